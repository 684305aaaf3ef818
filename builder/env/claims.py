"""Which wheel wants to write which path, and what of that several want. A wheel's answer is kept in the cache: it never changes."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from ..cache import load, save
from ..errors import Problem
from ..install_release.manifest import canonical
from ..target import Interpreter
from . import keys

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse

Paths: TypeAlias = Mapping[str, str]
"""Path → what would stand there, as a text: two that are equal are the same file."""


def read(house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> dict[str, Paths]:
    """What each wheel of ``house`` would write, by the wheel's file name. ``cache`` is the root of one that is asked first.

    Raises ``EnvError`` for a wheel that is not valid.
    """
    layout = (interpreter.python, interpreter.paths["purelib"], interpreter.paths["platlib"])
    return {wheel.filename: _of(wheel.path, wheel.sha256, layout, cache) for wheel in house.wheels}


@functools.cache
def _of(wheel: Path, sha256: str, layout: tuple[str, str, str], cache: Path | None) -> Paths:
    """Asked twice by a build: whether the wheels go together, and what they have in common. 20 µs for each file that no cache knows."""
    place = cache / "claims" / keys.key("claims", wheel.name, sha256, *layout, tools=("installer",)) if cache else None
    if cache and place and (data := load(cache, place)) is not None:
        known: Paths = json.loads(data)
        return known
    from .layout import Layout, claims  # slow to import

    found = claims(wheel, Layout(*layout))
    if place:
        save(place, canonical(found))
    return found


def clashes(claimed: Mapping[str, Paths]) -> Iterator[Problem]:
    """What can't be: one path with different contents, and a path that is a file of one wheel and a directory of another."""
    for path, wheels in _several(claimed):
        if len({claimed[wheel][path] for wheel in wheels}) > 1:
            yield Problem(path, f"is in {' and '.join(wheels)}, with different contents.")
    owners = {path: wheel for wheel, paths in claimed.items() for path in paths}
    for folder, wheel in sorted((folder, wheel) for wheel, paths in claimed.items() for folder in _folders(paths) & owners.keys()):
        yield Problem(folder, f"is a file of {owners[folder]} and a directory of {wheel}.")


def alike(claimed: Mapping[str, Paths]) -> Iterator[Problem]:
    """What several wheels hold with the same contents."""
    for path, wheels in _several(claimed):
        if len({claimed[wheel][path] for wheel in wheels}) == 1:
            yield Problem(path, f"is in {' and '.join(wheels)}, with the same contents.")


def _several(claimed: Mapping[str, Paths]) -> Iterator[tuple[str, list[str]]]:
    """Each path that more than one wheel claims, with them, sorted."""
    once: set[str] = set()
    twice: set[str] = set()
    for paths in claimed.values():
        twice |= once & paths.keys()
        once |= paths.keys()
    return ((path, sorted(wheel for wheel, paths in claimed.items() if path in paths)) for path in sorted(twice))


def _folders(paths: Iterable[str]) -> set[str]:
    """Every directory that ``paths`` lie in."""
    found: set[str] = set()
    inner = {path.rpartition("/")[0] for path in paths}
    while inner := inner - found - {""}:
        found |= inner
        inner = {folder.rpartition("/")[0] for folder in inner}
    return found
