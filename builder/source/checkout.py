"""Entries of a listing → files and links in a directory, with the bytes, modes and times that they have everywhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from ..errors import Problem
from ..install_release.table import inside
from . import git, lfs
from .git import Repository
from .listing import Entry


def lay(entries: Iterable[Entry], tree: Path, time: int, *, lfs_policy: str) -> list[Problem]:
    """Write ``entries`` below the empty directory ``tree``, with ``time`` as theirs. ``lfs_policy``: refuse or include what pointers stand for.

    Returns a problem for each that must not be packed, or can't be had.
    """
    places = _Places(tree, time)
    links: list[tuple[str, bytes]] = []
    pointers: list[tuple[Entry, lfs.Pointer]] = []
    for entry, size, pieces in _contents(entries, tree.parent):
        if entry.mode == "link":
            links.append((entry.path, b"".join(pieces)))
        elif size > lfs.MAX_POINTER:
            places.write(entry, pieces)
        else:
            data = b"".join(pieces)
            wanted = lfs.pointer(data)
            if wanted:
                pointers.append((entry, wanted))
            else:
                places.write(entry, [data])
    problems = _lay_large(pointers, places, lfs_policy)
    problems += [problem for path, target in links for problem in places.link(path, target)]
    # Read by its letters a link may stay inside, and yet lead out by way of another one.
    top = f"{os.path.realpath(tree)}/"
    led_out = [path for path, _ in links if not f"{os.path.realpath(tree / path)}/".startswith(top)]
    problems += [Problem(path, "is a link that leads out of the tree by way of another link.", "Let it point into the source.") for path in led_out]
    places.finish()
    return problems


def _contents(entries: Iterable[Entry], scratch: Path) -> Iterator[tuple[Entry, int, Iterable[bytes]]]:
    """(entry, size in bytes, its contents in pieces), in an order that asks each repository once."""
    for kept, group in groupby(sorted(entries, key=lambda entry: (entry.file is not None, entry.repository.directory, entry.path)), _where_kept):
        if kept is not None:
            several = list(group)
            for entry, (size, pieces) in zip(several, git.read_blobs(kept, [entry.id for entry in several], scratch), strict=True):
                yield entry, size, pieces
            continue
        for entry in group:
            assert entry.file is not None
            data = os.fsencode(os.readlink(entry.file)) if entry.mode == "link" else entry.file.read_bytes()
            yield entry, len(data), [data]


def _where_kept(entry: Entry) -> Repository | None:
    return None if entry.file is not None else entry.repository


def _lay_large(pointers: Sequence[tuple[Entry, lfs.Pointer]], places: _Places, policy: str) -> list[Problem]:
    """Write the files that LFS pointers stand for. Returns a problem for each that may not, or can't, be had."""
    if policy == "refuse":
        remedy = 'Say source.lfs = "include", or name it in source.exclude.'
        return [Problem(entry.path, f"is an LFS pointer, not the file of {wanted.size} bytes itself.", remedy) for entry, wanted in pointers]
    missing = {(entry.repository, entry.commit) for entry, wanted in pointers if not lfs.stored(entry.repository, wanted)}
    said = {(repository, commit): lfs.fetch(repository, commit) for repository, commit in missing}
    problems = []
    for entry, wanted in pointers:
        path = lfs.stored(entry.repository, wanted)
        if path:
            places.write(entry, lfs.read(path, wanted, entry.path))
        else:
            reason = said[entry.repository, entry.commit] or "git lfs fetch did not bring it"
            problems.append(Problem(entry.path, f"is in LFS and not on this machine: {reason}.", "Run 'git lfs fetch' where it can be had."))
    return problems


@dataclass
class _Places:
    """The directory that is written to, and the directories made in it."""

    tree: Path
    time: int
    made: dict[str, None] = field(default_factory=dict)

    def write(self, entry: Entry, pieces: Iterable[bytes]) -> None:
        self._directory(entry.path.rpartition("/")[0])
        descriptor = os.open(f"{self.tree}/{entry.path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb", buffering=0) as file:
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    rest = rest[file.write(rest) or 0 :]
            os.fchmod(descriptor, int(entry.mode, 8))
            os.utime(descriptor, (self.time, self.time))

    def link(self, path: str, target: bytes) -> Iterator[Problem]:
        """Make a link. Yields the problem instead when it would lead out of the tree. Files are there already: none is written through it."""
        text = target.decode("utf-8", "backslashreplace")
        if not text.isprintable() or text.encode() != target:
            yield Problem(path, "is a link to a path that can't be printed.", "Let it point to a path of the source.")
        elif not inside(f"src/{path}", text, "src"):
            yield Problem(path, f"is a link that leads out of the tree, to {text}.", "Let it point into the source, or use host.linked_files.")
        else:
            self._directory(path.rpartition("/")[0])
            os.symlink(text, self.tree / path)
            os.utime(self.tree / path, (self.time, self.time), follow_symlinks=False)

    def finish(self) -> None:
        """Set the directories' times, when nothing is written to them any more."""
        for directory in ["", *self.made]:
            os.utime(self.tree / directory, (self.time, self.time))

    def _directory(self, path: str) -> None:
        if path and path not in self.made:
            self._directory(path.rpartition("/")[0])
            os.mkdir(self.tree / path)
            os.chmod(self.tree / path, 0o755)
            self.made[path] = None
