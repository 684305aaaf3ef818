"""What is in a directory, path by path, and how that differs from what should be: the ground of ``verify``."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping

from . import durable
from .records import NamedTuple
from .table import Entry
from .typed import Any

_FIELDS: Mapping[str, tuple[str, ...]] = {
    "dir": ("path", "type", "mode"),
    "file": ("path", "type", "mode", "size", "sha256"),
    "link": ("path", "type", "mode", "target"),
    "other": ("path", "type", "mode"),
}
_STEP = 1 << 20


class Difference(NamedTuple):
    """``kind``: added, removed, edited (its contents), re-moded, re-linked, replaced (by another type); ``detail``: from what to what."""

    path: str
    kind: str
    detail: str = ""


def to_json(entry: Entry) -> dict[str, Any]:
    """The facts of an entry that matter on the host: not where its bytes were in the artifact."""
    return {name: getattr(entry, name) for name in _FIELDS[entry.type]}


def from_json(value: Mapping[str, Any]) -> Entry:
    """The reverse. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
    if set(value) != set(_FIELDS[value["type"]]):
        raise ValueError("an entry has missing or unknown keys")
    return Entry(**value)


def scan(directory: int) -> list[Entry]:
    """Everything below the descriptor ``directory``, sorted by path, contents hashed. No link is followed; a device or pipe is of type ``other``."""
    return sorted(_scan(directory, ""), key=lambda entry: os.fsencode(entry.path))


def _scan(directory: int, above: str) -> Iterator[Entry]:
    for name in os.listdir(directory):
        path, facts = above + name, os.stat(name, dir_fd=directory, follow_symlinks=False)
        mode = f"{stat.S_IMODE(facts.st_mode):o}"
        if stat.S_ISLNK(facts.st_mode):
            yield Entry(path, "link", "777", target=os.readlink(name, dir_fd=directory))
        elif stat.S_ISDIR(facts.st_mode):
            yield Entry(path, "dir", mode)
            below = durable.open_dir(directory, name)
            try:
                yield from _scan(below, f"{path}/")
            finally:
                os.close(below)
        elif stat.S_ISREG(facts.st_mode):
            size, digest = _digest(directory, name)
            yield Entry(path, "file", mode, size, digest)
        else:
            yield Entry(path, "other", mode)


def _digest(directory: int, name: str) -> tuple[int, str]:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    digest, size = hashlib.sha256(), 0
    with os.fdopen(file, "rb", buffering=0) as stream:
        while piece := stream.read(_STEP):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def compare(expected: Iterable[Entry], found: Iterable[Entry]) -> Iterator[Difference]:
    """Every way in which ``found`` is not what was ``expected``, sorted by path."""
    wanted, there = {entry.path: entry for entry in expected}, {entry.path: entry for entry in found}
    for path in sorted(wanted.keys() | there.keys()):
        old, new = wanted.get(path), there.get(path)
        if old is None:
            yield Difference(path, "added")
        elif new is None:
            yield Difference(path, "removed")
        elif old.type != new.type:
            yield Difference(path, "replaced", f"{old.type} → {new.type}")
        else:
            yield from _changes(old, new)


def _changes(old: Entry, new: Entry) -> Iterator[Difference]:
    if old.mode != new.mode:
        yield Difference(old.path, "re-moded", f"{old.mode} → {new.mode}")
    if old.target != new.target:
        yield Difference(old.path, "re-linked", f"{old.target} → {new.target}")
    if old.type == "file" and (old.size, old.sha256) != (new.size, new.sha256):
        yield Difference(old.path, "edited", f"{old.size} → {new.size} bytes" if old.size != new.size else "")
