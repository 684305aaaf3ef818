"""The floor: how new the newest release is that was ever committed here, and how new the list of revoked keys. It never goes down.

``.install/floor.json``, written before the journal says ``committed``: a release that is live is never above what the floor knows.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone

from . import durable
from .errors import DamagedError, Problem
from .host import STATE, Host
from .manifest import canonical
from .records import NamedTuple, as_dict
from .seal import seal, unseal

NAME = "floor.json"


class Floor(NamedTuple):
    """``commit_time`` of the newest release, seconds since 1970; ``release`` is its id; the highest version seen of the ``revocations``."""

    commit_time: int = 0
    release: str = ""
    revocations: int = 0

    def raised(self, other: Floor) -> Floor:
        """The higher of both, each part by itself."""
        newer = other if other.commit_time > self.commit_time else self
        return Floor(newer.commit_time, newer.release, max(self.revocations, other.revocations))


def of_release(release: str) -> Floor:
    """That of one release, by its id, which begins with the time of its commit: its manifest may be damaged."""
    made = datetime.strptime(release[:14], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    return Floor(int(made.timestamp()), release)


def read(host: Host) -> Floor:
    """What is recorded; nothing yet is a floor of 0. Raises ``DamagedError``."""
    data = host.read(STATE, NAME)
    if data is None:
        return Floor()
    try:
        value = json.loads(unseal(data))
        if sorted(value) != sorted(Floor._fields):
            raise ValueError("it has other keys than this installer knows")
        floor = Floor(**value)
        if not (type(floor.commit_time) is type(floor.revocations) is int and isinstance(floor.release, str)):
            raise ValueError("it holds something else than numbers and an id")
        return floor
    except (ValueError, TypeError, RecursionError) as error:
        what = f"{host.path(STATE, NAME)} can't be trusted: {error}."
        remedy = "Nothing was changed. Compare it with the history (log), then move it away: the live release is the floor then."
        raise DamagedError("the floor is damaged", [Problem("floor", what, remedy)]) from None


def lift(host: Host, floor: Floor) -> None:
    """Raise what is recorded to ``floor``, durably, where that is higher. The caller holds the lock."""
    there = read(host)
    wanted = there.raised(floor)
    if wanted != there:
        with host.directory(STATE) as state:
            durable.write_file(state, NAME, seal(canonical(as_dict(wanted))), 0o640)
