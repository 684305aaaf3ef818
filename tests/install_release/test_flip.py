"""One link, forward and back."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from builder.install_release import flip, interrupts, journal, recover
from builder.install_release.errors import DamagedError, RolledBackError
from builder.install_release.flip import Switch
from builder.install_release.host import Host

from .roots import events, journal_state, live, past

A, B, C = (f"2025112310121{n}-0123456789ab" for n in range(3))


def root_with(directory: Path, *releases: str) -> Host:
    host = Host.create(str(directory))
    for release in releases:
        (directory / "releases" / release).mkdir()
    return host


def switch(to: str, how: str = "activate", marks_bad: bool = False) -> Switch:
    return Switch(to, "1", how, "tester", "because", marks_bad)


def test_flip_moves_current_and_previous(tmp_path: Path) -> None:
    """Both are relative links; the history says who, why and from where; the journal is idle afterwards."""
    with root_with(tmp_path, A, B) as host:
        assert flip.flip(host, switch(A)) == ""
        assert not os.path.lexists(tmp_path / "previous")
        assert flip.flip(host, switch(B)) == A
    assert os.readlink(tmp_path / "current") == f"releases/{B}"
    assert os.readlink(tmp_path / "previous") == f"releases/{A}"
    assert events(tmp_path) == [("activated", A), ("good", A), ("activated", B), ("good", B)]
    assert journal_state(tmp_path) == "idle"


def test_whoever_looks_always_finds_a_release(tmp_path: Path) -> None:
    """While it flips to and fro, current is never absent and never leads to nothing."""
    with root_with(tmp_path, A, B) as host:
        flip.flip(host, switch(A))
        missed: list[OSError] = []
        done = threading.Event()
        watcher = threading.Thread(target=_watch, args=(tmp_path / "current", done, missed))
        watcher.start()
        for to in (B, A) * 10:
            flip.flip(host, switch(to))
        done.set()
        watcher.join()
    assert missed == []


def _watch(path: Path, done: threading.Event, missed: list[OSError]) -> None:
    while not done.is_set():
        try:
            path.stat()
        except OSError as error:
            missed.append(error)


def test_flip_back_marks_what_it_leaves(tmp_path: Path) -> None:
    """A rollback is the same flip; what it leaves is bad, and the way that led there is shorter by one."""
    with root_with(tmp_path, A, B) as host:
        flip.flip(host, switch(A))
        flip.flip(host, switch(B))
        flip.flip(host, switch(A, "rollback", marks_bad=True))
    assert live(tmp_path) == A
    assert past(tmp_path).of(B).state == "bad"
    assert past(tmp_path).line == (A,)


@pytest.mark.parametrize("before", ["", A])
def test_a_flip_that_fails_changes_nothing(tmp_path: Path, before: str) -> None:
    """When a step fails (here: previous is a directory, then current's temporary is), what was live is live, and the next flip works."""
    with root_with(tmp_path, A, B) as host:
        if before:
            flip.flip(host, switch(before))
        (tmp_path / ".current.new").mkdir()
        with pytest.raises(RolledBackError) as caught:
            flip.flip(host, switch(B))
        assert caught.value.problems
        assert live(tmp_path) == before
        assert not os.path.lexists(tmp_path / "previous")
        assert journal_state(tmp_path) == "idle"
        assert events(tmp_path)[-1] == ("failed", B)
        (tmp_path / ".current.new").rmdir()
        flip.flip(host, switch(B))
    assert live(tmp_path) == B


def test_flip_refuses_a_current_it_did_not_make(tmp_path: Path) -> None:
    """A directory in the place of current stays what it is, and nothing is begun."""
    with root_with(tmp_path, A) as host:
        (tmp_path / "current").mkdir()
        with pytest.raises(DamagedError):
            flip.flip(host, switch(A))
    assert journal_state(tmp_path) == "none"


@pytest.mark.parametrize("state", ["prepared", "switching", "committed"])
@pytest.mark.parametrize("before", ["", A])
@pytest.mark.parametrize("moved", [False, True])
def test_back_and_forward_can_be_done_again_and_again(tmp_path: Path, state: str, before: str, moved: bool) -> None:
    """From every state of the journal, with the link moved or not: back gives what was live, forward what was committed, however often."""
    with root_with(tmp_path, A, B, C) as host:
        if before:
            flip.flip(host, switch(before))
        event = {"time": "2026-11-23T10:00:00Z", "event": "activated", "id": B, "tx": "t"}
        transaction = journal.Transaction("t", state, B, before, f"releases/{C}", "tester", (event,) if state == "committed" else ())
        (tmp_path / "previous").symlink_to(f"releases/{C}")
        journal.write(host, transaction)
        if moved:
            os.replace(_link(tmp_path, B), tmp_path / "current")
            if before:
                os.replace(_link(tmp_path, before), tmp_path / "previous")
        for _ in range(2):
            if state == "committed":
                flip.forward(host, transaction)
            else:
                flip.back(host, transaction, "test")
            assert live(tmp_path) == (B if state == "committed" else before)
            assert os.readlink(tmp_path / "previous") == f"releases/{before if state == 'committed' and before else C}"
            assert journal_state(tmp_path) == "idle"
    told = events(tmp_path)
    assert told.count(("activated", B)) == (state == "committed")
    assert told.count(("failed", B)) == (state != "committed")


def _hold_back(number: int, reached: list[int]) -> None:
    with interrupts.held():
        os.kill(os.getpid(), number)
        reached.append(number)


def _link(root: Path, release: str) -> Path:
    path = root / "moved"
    path.symlink_to(f"releases/{release}")
    return path


def test_recovery_knows_why_a_release_was_taken_back(tmp_path: Path) -> None:
    """Killed on the way back from a release that was not well: whoever recovers marks it bad, once, in the words of then."""
    with root_with(tmp_path, A, B) as host:
        flip.flip(host, switch(A))
        event = {"time": "2026-11-23T10:00:00Z", "event": "bad", "id": B, "why": "it answered 500", "tx": "t"}
        journal.write(host, journal.Transaction("t", "switching", B, A, "", "tester", (event,)))
        os.replace(_link(tmp_path, B), tmp_path / "current")
        for _ in range(2):
            recover.recover(host)
    assert live(tmp_path) == A
    assert events(tmp_path)[-1] == ("bad", B)
    assert (past(tmp_path).of(B).state, past(tmp_path).of(B).note) == ("bad", "it answered 500")


def test_back_leaves_a_current_that_somebody_else_set(tmp_path: Path) -> None:
    """An operator's own link is neither what was nor what should be: it stays."""
    with root_with(tmp_path, A, B, C) as host:
        flip.flip(host, switch(A))
        transaction = journal.Transaction("t", "switching", B, A, "", "tester")
        journal.write(host, transaction)
        os.replace(_link(tmp_path, C), tmp_path / "current")
        flip.back(host, transaction, "test")
    assert live(tmp_path) == C


@pytest.mark.parametrize("target", [None, "releases/20200101000000-0123456789ab", "/etc"])
@pytest.mark.parametrize("before", ["", A])
def test_back_mends_a_current_that_leads_to_no_release(tmp_path: Path, target: str | None, before: str) -> None:
    """Taken away while a flip was under way, or set to what is no release: nobody can have meant that, and what was live is live again."""
    with root_with(tmp_path, A, B) as host:
        if before:
            flip.flip(host, switch(before))
        transaction = journal.Transaction("t", "switching", B, before, "", "tester")
        journal.write(host, transaction)
        (tmp_path / "current").unlink(missing_ok=True)
        if target:
            (tmp_path / "current").symlink_to(target)
        flip.back(host, transaction, "test")
    assert live(tmp_path) == before
    assert journal_state(tmp_path) == "idle"


def test_a_signal_after_the_commit_changes_nothing(tmp_path: Path) -> None:
    """Once a flip is committed, SIGTERM no longer raises: it will be reported as done."""
    saved = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    try:
        interrupts.listen()
        with pytest.raises(interrupts.Interrupted, match="SIGTERM"):
            os.kill(os.getpid(), signal.SIGTERM)
        with root_with(tmp_path, A) as host:
            flip.flip(host, switch(A))
        os.kill(os.getpid(), signal.SIGTERM)
        interrupts.listen()
        reached: list[int] = []
        with pytest.raises(interrupts.Interrupted):
            _hold_back(signal.SIGHUP, reached)
        assert reached == [signal.SIGHUP]
    finally:
        for number, handler in saved.items():
            signal.signal(number, handler)
