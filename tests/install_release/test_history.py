"""The history, its fold, and what a rollback goes to."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.install_release import history
from builder.install_release.errors import DamagedError
from builder.install_release.history import Fact
from builder.install_release.host import Host


def told(text: str) -> list[history.Event]:
    """Events from a line like ``installed A, activated A, good A``; ``back A`` is an activation by a rollback. One minute apart."""
    found = []
    for minute, pair in enumerate(text.split(", ") if text else []):
        kind, _, release = pair.partition(" ")
        event = {"time": f"2026-11-23T10:{minute:02}:00Z", "event": kind, "id": release, "version": f"v{release}", "who": "me", "why": "because"}
        found.append({**event, "event": "activated", "how": "rollback"} if kind == "back" else event)
    return found


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("staged A", "staged"),
        ("staged A, failed A", "staged"),
        ("staged A, installed A", "verified"),
        ("installed A, failed A", "verified"),
        ("installed A, activated A", "active"),
        ("installed A, activated A, good A", "good"),
        ("installed A, activated A, good A, bad A", "bad"),
        ("installed A, bad A, installed A", "verified"),
        ("installed A, activated A, good A, pruned A, installed A", "good"),
        ("installed A, frobbed A", "verified"),
        ("installed B", "verified"),
    ],
)
def test_states(text: str, state: str) -> None:
    """A release's state is what its events add up to; events that nobody knows change nothing."""
    assert history.fold(told(text)).of("A").state == state


def test_installed_and_active_are_separate_facts() -> None:
    """Each has its last time, its count and who; the time of having been live adds up, spans of others left out."""
    past = history.fold(told("installed A, activated A, good A, installed B, activated B, good B, back A, bad B, activated B"))
    a, b = past.of("A"), past.of("B")
    assert a.installed == Fact("2026-11-23T10:00:00Z", "me", 1)
    assert a.active == Fact("2026-11-23T10:06:00Z", "me", 2)
    assert a.seconds == (3 + 2) * 60
    assert (b.seconds, b.active and b.active.count) == (2 * 60, 2)
    assert past.live == "B"
    assert past.since == "2026-11-23T10:08:00Z"


@pytest.mark.parametrize(
    ("text", "current", "target"),
    [
        ("", "A", None),
        ("activated A, good A", "A", None),
        ("activated A, good A, activated B, good B", "B", "A"),
        ("activated A, good A, activated B, good B, activated C, good C", "C", "B"),
        ("activated A, good A, activated B, good B, bad A", "B", None),
        ("activated A, good A, activated B, good B, activated C, good C, bad B", "C", "A"),
        ("activated A, good A, activated B, good B, back A, bad B", "A", None),
        ("activated A, good A, activated B, good B, back A", "A", None),  # kept: A, then B, is not "before A"
        ("activated A, good A, activated B, good B, back A, good A, activated B, good B", "B", "A"),
        ("activated A, good A, activated B, good B, activated C, good C, back A, bad C", "A", None),
        ("activated A, good A, activated B, good B, failed C", "B", "A"),
        ("activated A, good A, activated B, good B, activated A, good A", "A", "B"),
        ("activated A, good A, activated G, good G, activated B, good B", "B", "A"),  # G is gone from the disk
        ("activated A, good A", "B", "A"),  # B was made current by hand
    ],
)
def test_rollback_goes_to_the_last_good_one_on_the_way(text: str, current: str, target: str | None) -> None:
    """The order of events decides, never a time stamp; neither a bad one, nor one that is gone, nor the live one itself is a target."""
    assert history.rollback_target(history.fold(told(text)), current, {"A", "B", "C"}) == target


def test_a_clock_that_went_backwards_harms_nothing() -> None:
    """Times of events may say anything: spans are never negative."""
    assert history.seconds_between("2026-11-23T10:00:00Z", "1970-01-01T00:00:00Z") == 0
    assert history.seconds_between("yesterday", "2026-11-23T10:00:00Z") == 0


def test_a_torn_last_line_is_ignored_and_replaced(tmp_path: Path) -> None:
    """What has no line feed was promised to nobody."""
    first, second = told("installed A, activated A")
    with Host.create(str(tmp_path)) as host:
        history.append(host, [first])
        with (tmp_path / ".install/history.jsonl").open("ab") as file:
            file.write(b'{"event":"activ')
        assert history.read(host) == [first]
        history.append(host, [second])
        assert history.read(host) == [first, second]
    assert len((tmp_path / "revisions.log").read_text().splitlines()) == 2


def test_what_is_written_between_two_looks_is_seen(tmp_path: Path) -> None:
    """Whoever wrote it; and damage too."""
    first, second = told("installed A, activated A")
    with Host.create(str(tmp_path)) as host:
        assert history.past(host) == history.History()
        history.append(host, [first])
        assert history.past(host) == history.past(host) == history.fold([first])
        with Host(str(tmp_path)) as other:
            history.append(other, [second])
        assert history.past(host) == history.fold([first, second])
        with (tmp_path / ".install/history.jsonl").open("ab") as file:
            file.write(b"{}\n")
        with pytest.raises(DamagedError):
            history.past(host)


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"\n", b"\0\0\0\n", b'{"event":1,"id":"A","time":""}\n'])
def test_a_whole_line_that_is_no_event_is_damage(tmp_path: Path, line: bytes) -> None:
    """It is named by its number."""
    with Host.create(str(tmp_path)) as host:
        history.append(host, told("installed A"))
        with (tmp_path / ".install/history.jsonl").open("ab") as file:
            file.write(line)
        with pytest.raises(DamagedError) as caught:
            history.read(host)
    assert "line 2" in caught.value.problems[0].what


def test_events_of_a_transaction_are_there_once(tmp_path: Path) -> None:
    """However often a killed process tries again, and wherever it was stopped, each event and each line for people is there once."""
    events = [{**event, "tx": "t1"} for event in told("activated A, good A, bad B")]
    with Host.create(str(tmp_path)) as host:
        history.append(host, events[:1])
        (tmp_path / "revisions.log").write_text("")
        for _ in range(3):
            history.append_missing(host, "t1", events)
        assert history.read(host) == events
    assert len((tmp_path / "revisions.log").read_text().splitlines()) == 3


def test_who_ran_after_whom_counts_for_the_data(tmp_path: Path) -> None:
    """What a release demands counts from its last run on, whether it stayed live or was taken back, and only against what ran before it."""
    events = told("activated A, activated B, bad C, activated A, activated D")
    events[1]["safe_to"], events[2]["safe_to"] = "2.0", "3.0"
    fold = history.fold(events)
    assert [past.safe_to for past in history.demands(fold, "X")] == ["2.0", "3.0"]
    assert history.demands(fold, "A") == ()  # it has run since, on what they left
    assert [past.id for past in history.demands(history.fold(events[:3]), "A")] == ["B", "C"]
    assert [past.id for past in history.demands(fold, "B")] == ["C"]


def test_a_way_back_that_failed_counts_until_it_is_mended() -> None:
    """Or until a release is made live."""
    assert history.fold(told("activated A, degraded B")).degraded == told("activated A, degraded B")[1]
    assert history.fold(told("degraded B, mended B")).degraded is None
    assert history.fold(told("degraded B, activated C")).degraded is None
    assert history.fold(told("degraded B, failed C")).degraded is not None


def test_what_was_seen_is_told_where_something_went_wrong() -> None:
    """In lines of its own, without what could play with a terminal; not of a release that was well."""
    bad, good = told("bad A, good A")
    bad["log"], good["log"] = ["0.0 s  answered \x1b[2J"], ["0.0 s  passed"]
    assert history.with_log(bad) == [history.for_people(bad), "    0.0 s  answered ?[2J"]
    assert history.with_log(good) == [history.for_people(good)]
    assert history.fold([good]).of("A").health == "because"
