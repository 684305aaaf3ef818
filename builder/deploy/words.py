"""What deploy says of a rollout: to people, and to programs. Only words are made here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..report import count, size, table
from .rollout import Rollout, value
from .visit import Visit


def told(done: Rollout) -> Iterator[str]:
    yield f"{done.name} {done.version} ({done.id}) is on {count(len(done.visits), 'host')}"
    yield from table(["host", "from", "to", "sent", "of", "seconds", ""], [_row(visit) for visit in done.visits], right={3, 4, 5})


def _row(visit: Visit) -> list[str]:
    notes = ["was live already"] if visit.already else [str(visit.said.get("state") or "")]
    notes += ["its first installer"] if visit.brought else []
    notes += ["sent whole after all"] if visit.again else []
    return [visit.host, visit.before or "-", visit.id, size(visit.sent), size(visit.whole), f"{visit.seconds:.1f}", ", ".join(filter(None, notes))]


def planned(done: Rollout) -> Iterator[str]:
    for visit in done.visits:
        yield f"{visit.host}" + (f"   {visit.root}" if visit.root else "") + (f"   exit {visit.status}" if visit.status else "")
        yield from (f"  {line}" for line in visit.lines)
    yield "nothing has been changed"


def rollout_value(done: Rollout) -> dict[str, Any]:
    return {"name": done.name, "version": done.version, "id": done.id, "hosts": [value(visit) for visit in done.visits]}
