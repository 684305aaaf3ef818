"""The history: one JSON line per event, appended, never changed; and what it means, as a pure fold.

    staged ──▶ verified ──▶ active ──▶ good | bad

*Installed* and *active* are separate facts. Order is the order of the lines: a time stamp is for people, clocks go wrong.
A last line without its line feed was torn by a power cut before anybody was told of it, and is ignored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache

from . import durable
from .errors import DamagedError, Problem
from .host import HISTORY, REVISIONS, STATE, Host
from .manifest import canonical
from .records import NamedTuple
from .typed import TYPE_CHECKING, Any
from .who import printable

if TYPE_CHECKING:
    from datetime import datetime

Event = dict[str, Any]  # time, event, id, version, who, why, tx, and what an event has beside them
_MAX_BYTES = 64 << 20


class Fact(NamedTuple):
    """Something that happened: when last (UTC, ISO 8601), by whom, how many times in all."""

    time: str
    who: str
    count: int  # type: ignore[assignment]  # a tuple has a method of that name


class Past(NamedTuple):
    """What the history says of one release. ``order`` is that of the events that installed it; ``note`` is why it is bad, or failed."""

    id: str
    version: str = ""
    state: str = "staged"
    installed: Fact | None = None
    active: Fact | None = None
    spans: tuple[tuple[str, str], ...] = ()  # from when to when it was live, each time that it ceased to be
    pinned: bool = False
    note: str = ""
    order: int = -1
    record: str = ""  # sha256 of install.json
    manifest: str = ""  # sha256 of release.json
    ran: int = -1  # order of the last event that says that it ran: from then on the data may be as this release leaves them
    safe_to: str = ""  # the oldest version that can run with such data; "" for any
    health: str = ""  # what its health check saw last, when that was good
    signed: tuple[tuple[str, ...], ...] = ()  # since it is here: sha256 of release.json, and by whom (``trust.By``)

    @property
    def seconds(self) -> int:
        """Of having been live, up to the last time it ceased to be."""
        return sum(seconds_between(start, end) for start, end in self.spans)


class History(NamedTuple):
    """``line`` is the way that led to the live release: activating adds to it, rolling back shortens it; ``live`` is its last.

    ``degraded``: the event of a way back that failed and was not mended since.
    """

    releases: Mapping[str, Past] = {}
    line: tuple[str, ...] = ()
    since: str = ""  # when the live release became live
    degraded: Event | None = None

    @property
    def live(self) -> str:
        return self.line[-1] if self.line else ""

    def of(self, release: str) -> Past:
        """What is known of a release; one that is there without a word in the history was published whole, and is verified."""
        return self.releases.get(release) or Past(release, state="verified")


def now() -> str:
    """The time for an event."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def seconds_between(start: str, end: str) -> int:
    """Whole seconds from one event's time to another's; 0 when a clock went backwards or says nonsense."""
    try:
        return max(0, int((_moment(end) - _moment(start)).total_seconds()))
    except ValueError:
        return 0


def read(host: Host) -> list[Event]:
    """All events, oldest first. Raises ``DamagedError`` when a whole line is no event."""
    return list(_parsed(_written(host), host.path(STATE, HISTORY)))


def past(host: Host) -> History:
    """What all events add up to. Raises ``DamagedError`` when a whole line is no event."""
    return _past(_written(host), host.path(STATE, HISTORY))


def _written(host: Host) -> bytes:
    return host.read(STATE, HISTORY, most=_MAX_BYTES) or b""


@lru_cache(maxsize=1)  # one command asks five times: it looks each time what is written, and reads that once
def _past(data: bytes, where: str) -> History:
    return fold(_parsed(data, where))


@lru_cache(maxsize=1)
def _parsed(data: bytes, where: str) -> tuple[Event, ...]:
    events = []
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict) or not all(isinstance(event.get(key), str) for key in ("time", "event", "id")):
            what = f"{where}, line {number}, is no event."
            raise DamagedError("the history is damaged", [Problem("history", what, "Nothing was changed. Take that line away, or mend it.")])
        events.append(event)
    return tuple(events)


def append(host: Host, events: Iterable[Event]) -> None:
    """Add events, durably, and a line for people about each. The caller holds the lock."""
    events = list(events)
    with host.directory(STATE) as state:
        durable.append_lines(state, HISTORY, b"".join(canonical(event) for event in events))
    durable.append_lines(host.fd, REVISIONS, _lines(for_people(event) for event in events), 0o644)


def append_missing(host: Host, tx: str, events: Iterable[Event]) -> None:
    """Add those events of a transaction that a killed process had not added yet; what it had added may not be on disk: that too."""
    events = list(events)
    there = {(event["event"], event["id"]) for event in read(host) if event.get("tx") == tx}
    told = set((host.read(REVISIONS, most=_MAX_BYTES) or b"").split(b"\n"))
    with host.directory(STATE) as state:
        durable.append_lines(state, HISTORY, b"".join(canonical(event) for event in events if (event["event"], event["id"]) not in there))
    lines = (for_people(event) for event in events)
    durable.append_lines(host.fd, REVISIONS, _lines(line for line in lines if line.encode("utf-8") not in told), 0o644)


def for_people(event: Event) -> str:
    """One line of ``revisions.log``, and of ``log``."""
    version = f" ({event['version']})" if event.get("version") else ""
    what = f"{event['time'][:10]} {event['time'][11:19]} UTC  {event['event']:<9}  {event['id']}{version}"
    from_ = f", from {event['from']}" if event.get("from") else ""
    signed = f", signed by {', '.join(map(str, event['signed']))}" if isinstance(event.get("signed"), list) else ""
    why = f": {event['why']}" if event.get("why") else ""
    return printable(f"{what} by {event.get('who', '?')}{from_}{signed}{why}")


def with_log(event: Event) -> list[str]:
    """Its line, and where something went wrong the lines of what was seen."""
    seen = event.get("log") if event["event"] != "good" else None
    return [for_people(event), *(f"    {printable(str(line))}" for line in (seen if isinstance(seen, list) else ()))]


def fold(events: Iterable[Event]) -> History:
    """What the events add up to. Events of a kind that this installer does not know change nothing."""
    releases: dict[str, Past] = {}
    line: tuple[str, ...] = ()
    since = ""
    degraded: Event | None = None
    for number, event in enumerate(events):
        kind, release = event["event"], event["id"]
        past = releases.get(release, Past(release))
        past = past._replace(version=str(event.get("version") or past.version))
        if kind == "installed":
            state = "good" if past.state == "good" else "verified"
            fact = _again(past.installed, event)
            record, manifest = str(event.get("record", "")), str(event.get("manifest", ""))
            past = past._replace(state=state, installed=fact, order=number, note="", record=record, manifest=manifest)
        elif kind == "activated":
            if line and line[-1] != release:
                left = releases[line[-1]]
                releases[line[-1]] = left._replace(spans=(*left.spans, (since, event["time"])))
            if not line or line[-1] != release:
                since = event["time"]
            line = _extend(line, release, back=event.get("how") == "rollback")
            past, degraded = past._replace(state="active", active=_again(past.active, event), note=""), None
        elif kind in ("good", "bad"):
            why = str(event.get("why", ""))
            past = past._replace(state=kind, note=why if kind == "bad" else "", health=why if kind == "good" and "log" in event else "")
        elif kind == "failed":
            past = past._replace(note=str(event.get("why", "")))
        elif kind == "signed":
            by = event["by"] if isinstance(event.get("by"), dict) else {}
            words = (event.get("manifest", ""), *(by.get(key, "") for key in ("principal", "kind", "key")))
            past = past._replace(signed=(*past.signed, tuple(map(str, words))))
        elif kind in ("pinned", "unpinned"):
            past = past._replace(pinned=kind == "pinned")
        elif kind in ("degraded", "mended"):
            degraded = event if kind == "degraded" else None
        if kind == "activated" or "safe_to" in event:
            past = past._replace(ran=number, safe_to=str(event.get("safe_to", "")))
        releases[release] = past
    return History(releases, line, since, degraded)


def demands(history: History, release: str) -> tuple[Past, ...]:
    """The releases that ran after ``release`` did, and say how old a version may be that runs with the data as they left them."""
    ran = history.of(release).ran
    return tuple(past for past in history.releases.values() if past.ran > ran and past.safe_to and past.id != release)


def rollback_target(history: History, current: str, present: Collection[str]) -> str | None:
    """The last good release before ``current`` on the way that led to it, of those that are there."""
    before = history.line[: history.line.index(current)] if current in history.line else history.line
    for release in reversed(before):
        if release in present and history.of(release).state == "good":
            return release
    return None


def _lines(texts: Iterable[str]) -> bytes:
    return "".join(text + "\n" for text in texts).encode("utf-8")


def _extend(line: tuple[str, ...], release: str, back: bool) -> tuple[str, ...]:
    if back and release in line:
        return line[: line.index(release) + 1]
    return (*(each for each in line if each != release), release)


def _again(fact: Fact | None, event: Event) -> Fact:
    return Fact(event["time"], str(event.get("who", "?")), (fact.count if fact else 0) + 1)


def _moment(text: str) -> datetime:
    from datetime import datetime  # only now: each start would pay for it

    return datetime.fromisoformat(text[:-1] + "+00:00")
