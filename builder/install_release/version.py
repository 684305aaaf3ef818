"""Which of two versions is the older one: enough of PEP 440's order to guard a rollback. Pure."""

from __future__ import annotations

import re

_VERSION = re.compile(r"v?(?:(\d+)!)?(\d+(?:\.\d+)*)(.*)", re.IGNORECASE)
_PARTS = re.compile(r"[._-]?(dev|alpha|a|beta|b|preview|pre|rc|c|post|rev|r)?[._-]?(\d*)", re.IGNORECASE)
_RANKS = {"dev": -4, "a": -3, "alpha": -3, "b": -2, "beta": -2, "rc": -1, "c": -1, "pre": -1, "preview": -1, "": 1, "post": 1, "rev": 1, "r": 1}
_Key = tuple[int, tuple[int, ...], tuple[tuple[int, int], ...]]


def older(one: str, other: str) -> bool | None:
    """Whether ``one`` comes before ``other``. None: that can't be told, for one of them is no version as Python's packages have them."""
    if one == other:
        return False
    first, second = _key(one), _key(other)
    return None if first is None or second is None else first < second


def _key(version: str) -> _Key | None:
    """Epoch, numbers, and what follows them: 1.0.dev1 < 1.0a1 < 1.0rc1 < 1.0 < 1.0.post1. A local part (after "+") makes no difference."""
    match = _VERSION.fullmatch(version.partition("+")[0])
    if not match:
        return None
    numbers = [int(number) for number in match[2].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    rest, ranks = match[3], []
    while rest:
        part = _PARTS.match(rest)
        if not part or not part[0] or not (part[1] or part[2]):
            return None
        ranks.append((_RANKS[(part[1] or "").lower()], int(part[2] or 0)))
        rest = rest[part.end() :]
    return int(match[1] or 0), tuple(numbers), (*ranks, (0, 0))
