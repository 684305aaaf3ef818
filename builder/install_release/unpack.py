"""Layers to files: ranges are read once, hashed, inflated and written by a few threads, below a directory descriptor.

Nothing is written outside that directory: every name is opened relative to the descriptor of its parent, links are never
followed, and nothing that exists is opened for writing. Syncing is the caller's business (``durable``).

A layer that the host already has unpacked is copied from there, as clones where the file system shares blocks, and each
copy is hashed: never as hard links, since nothing installed may change under another release.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Callable

from .artifact import Artifact
from .errors import ArtifactError, Problem
from .manifest import Layer
from .table import Entry, Segment

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_STEP = 1 << 20
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Group:
    """Consecutive segments, the file ranges in them, and where the first begins (from the end of the signatures).

    One segment and any number of files, or several segments and the one file that spans them.
    """

    offset: int
    segments: list[Segment] = field(default_factory=list)
    files: list[Entry] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(segment.bytes for segment in self.segments)


def groups(artifact: Artifact, layer: Layer, place: Callable[[Entry], None]) -> Iterator[Group]:
    """A layer's files, group by group, as its table is read; directories and links go to ``place`` at once.

    Raises ``ArtifactError`` when the segments don't tile the layer, or a file isn't where its table says.
    """
    position, group, complete = layer.table.offset + layer.table.bytes, Group(0), True
    for line in artifact.table(layer):
        if isinstance(line, Segment):
            if complete:  # an entry stood between the last segment's line and this one
                if group.files:
                    yield group
                group, complete = Group(position), False
            group.segments.append(line)
            position += line.bytes
            continue
        complete = True
        if line.type == "file":
            _check_file(group, line, layer)
            group.files.append(line)
        place(line)
    if group.files:
        yield group
    if position != layer.table.offset + layer.bytes:
        raise _wrong(layer.name, "its segments don't fill it")


def _check_file(group: Group, entry: Entry, layer: Layer) -> None:
    if not entry.size:
        return
    if len(group.segments) == 1:
        only = group.segments[0]
        good = entry.segment == only.number and entry.offset + entry.size <= only.size
    else:
        room = sum(segment.size for segment in group.segments)
        good = not group.files and bool(group.segments) and entry.segment == group.segments[0].number and entry.offset + entry.size <= room
    if not good:
        raise _wrong(layer.name, f"{entry.path!r} is not where the table says")


@dataclass(frozen=True)
class Destination:
    """An empty directory to unpack into. ``strip`` drops a path's first part (``venv/lib`` becomes ``lib``)."""

    fd: int
    strip: bool = False

    def path(self, entry: Entry) -> str:
        return entry.path.partition("/")[2] if self.strip else entry.path


def unpack(
    artifact: Artifact,
    layers: Sequence[Layer],
    to: Destination,
    *,
    donors: Mapping[str, int] | None = None,
    threads: int = 2,
) -> None:
    """Write ``layers`` below ``to``. Modes are exact whatever the umask.

    ``donors``: by the digest of a layer, the descriptor of a directory that has it unpacked, in the same places. What it lacks, or holds
    otherwise, is inflated instead.
    Raises ``ArtifactError`` for what the artifact says wrongly, ``OSError`` for what the disk says; what was written stays.
    """
    umask = os.umask(0o077)
    os.umask(umask)
    work = _Work(artifact, to, bool(umask & 0o755), donors or {})
    pool = ThreadPoolExecutor(threads)
    running: deque[Future[None]] = deque()
    try:
        for layer in layers:
            for group in groups(artifact, layer, lambda entry, layer=layer: work.place(layer, entry)):  # type: ignore[misc]
                running.append(_submit(pool, work.write, layer, group))
                while len(running) > threads + 1:  # bounds memory: a group in hand for each thread, and one waiting
                    running.popleft().result()
        while running:
            running.popleft().result()
        work.make_links()
        work.compare_twice_claimed()
    finally:
        work.stop.set()
        pool.shutdown(wait=True)
        work.close()


def _submit(pool: ThreadPoolExecutor, write: Callable[[Layer, Group], None], layer: Layer, group: Group) -> Future[None]:
    try:
        return pool.submit(write, layer, group)
    except RuntimeError as error:  # this user may have no more of them
        raise OSError(errno.EAGAIN, f"{error} (see ulimit -u)") from None


class _Work:
    """What the threads share. Directories are made by the reader of the tables, files by the threads, links last."""

    def __init__(self, artifact: Artifact, to: Destination, must_chmod: bool, donors: Mapping[str, int]) -> None:
        self.artifact, self.to, self.must_chmod, self.donors = artifact, to, must_chmod, donors
        self.clones = True  # until the file system says no
        self.stop = threading.Event()
        self.directories: set[str] = set()
        self.links: dict[str, str] = {}
        self.twice: list[tuple[str, Entry]] = []
        self.local = threading.local()
        self.walkers: list[_Walker] = []
        self.walker = self._walker(self.to.fd)

    def _walker(self, root: int) -> _Walker:
        """This thread's way down from ``root``."""
        known: dict[int, _Walker] = self.local.__dict__.setdefault("walkers", {})
        if root not in known:
            known[root] = _Walker(root)
            self.walkers.append(known[root])
        return known[root]

    def place(self, layer: Layer, entry: Entry) -> None:
        path = self.to.path(entry)
        if entry.type == "dir" and path and path not in self.directories:
            parent, _, name = path.rpartition("/")
            fd = self.walker.directory(parent)
            try:
                os.mkdir(name, 0o755, dir_fd=fd)
            except FileExistsError:
                raise _wrong(layer.name, f"{entry.path!r} is a directory here and a file elsewhere") from None
            if self.must_chmod:
                os.chmod(name, 0o755, dir_fd=fd)
            self.directories.add(path)
        elif entry.type == "link" and self.links.setdefault(path, entry.target) != entry.target:
            raise _wrong(layer.name, f"{entry.path!r} is a link to two different places")

    def write(self, layer: Layer, group: Group) -> None:
        if self.stop.is_set():
            return
        donor = self.donors.get(layer.digest)
        left = group.files if donor is None else [entry for entry in group.files if not self._copied(donor, entry)]
        if not left:
            return
        if len(group.segments) == 1:
            plain = self.artifact.segment(group.segments[0], group.offset, layer.name)
            view = memoryview(plain)
            for entry in left:
                self._file(entry, partial(_write, pieces=[view[entry.offset : entry.offset + entry.size]]))
        else:
            self._file(left[0], partial(_write, pieces=self._pieces(layer, group)))

    def _copied(self, donor: int, entry: Entry) -> bool:
        """Whether the donor's file could be taken: the copy is what the table says."""
        path = self.to.path(entry)
        parent, _, name = path.rpartition("/")
        try:
            source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._walker(donor).directory(parent))
        except (OSError, ArtifactError):
            return False
        try:
            facts = os.fstat(source)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size != entry.size:
                return False
            self._file(entry, partial(self._clone, source, entry))
            return True
        except _AnotherContent:
            os.unlink(name, dir_fd=self._walker(self.to.fd).directory(parent))
            return False
        finally:
            os.close(source)

    def _pieces(self, layer: Layer, group: Group) -> Iterator[memoryview]:
        """The contents of a file that spans segments, one at a time, so that memory doesn't grow with it."""
        position, skip, left = group.offset, group.files[0].offset, group.files[0].size
        for segment in group.segments:
            plain = memoryview(self.artifact.segment(segment, position, layer.name))
            piece = plain[skip : skip + left]
            position, skip, left = position + segment.bytes, 0, left - len(piece)
            yield piece

    def _file(self, entry: Entry, fill: Callable[[int], None]) -> None:
        """Make a file, filled through its descriptor. One that is there already is compared in the end."""
        path = self.to.path(entry)
        parent, _, name = path.rpartition("/")
        mode = int(entry.mode, 8)
        try:
            fd = os.open(name, _NEW_FILE, mode, dir_fd=self._walker(self.to.fd).directory(parent))
        except FileExistsError:
            self.twice.append((path, entry))
            return
        try:
            fill(fd)
            if self.must_chmod:
                os.fchmod(fd, mode)
        finally:
            os.close(fd)

    def _clone(self, source: int, entry: Entry, target: int) -> None:
        """Fill ``target`` from a donor's file; what is there in the end must have the entry's digest. Raises ``_AnotherContent``."""
        cloned = False
        if self.clones and entry.size:
            try:
                fcntl.ioctl(target, _FICLONE, source)
                cloned = True
            except OSError:
                self.clones = False
        digest = hashlib.sha256()
        while piece := os.read(target if cloned else source, _STEP):
            digest.update(piece)
            if not cloned:
                _write(target, (memoryview(piece),))
        if digest.hexdigest() != entry.sha256:
            raise _AnotherContent

    def make_links(self) -> None:
        for path, target in sorted(self.links.items()):
            parent, _, name = path.rpartition("/")
            try:
                os.symlink(target, name, dir_fd=self.walker.directory(parent))
            except FileExistsError:
                raise _wrong(path, "is a link here and something else elsewhere") from None

    def compare_twice_claimed(self) -> None:
        """Two wheels may hold the same file (the namespace packages of old do): alike is fine, else it isn't clear which one is meant."""
        for path, entry in self.twice:
            parent, _, name = path.rpartition("/")
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.walker.directory(parent))
            try:
                facts, digest = os.fstat(fd), hashlib.sha256()
                while stat.S_ISREG(facts.st_mode) and (piece := os.read(fd, 1 << 20)):
                    digest.update(piece)
            finally:
                os.close(fd)
            alike = stat.S_ISREG(facts.st_mode) and digest.hexdigest() == entry.sha256
            if not alike or stat.S_IMODE(facts.st_mode) != int(entry.mode, 8):
                raise _wrong(path, "two layers claim it, and differ")

    def close(self) -> None:
        for walker in self.walkers:
            walker.close()


class _AnotherContent(Exception):
    """A donor's file is not what it was when it was made."""


def _write(fd: int, pieces: Iterable[memoryview]) -> None:
    for piece in pieces:
        while piece:
            piece = piece[os.write(fd, piece) :]


class _Walker:
    """Descriptors of directories below a root, found part by part without following links; the last way down is kept open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._way: list[tuple[str, int]] = []

    def directory(self, path: str) -> int:
        """The descriptor of ``path`` (relative, "" is the root), valid until the next call."""
        parts = path.split("/") if path else []
        same = 0
        while same < len(parts) and same < len(self._way) and parts[same] == self._way[same][0]:
            same += 1
        while len(self._way) > same:
            os.close(self._way.pop()[1])
        for part in parts[same:]:
            above = self._way[-1][1] if self._way else self._root
            try:
                self._way.append((part, os.open(part, _DIRECTORY, dir_fd=above)))
            except NotADirectoryError:
                raise _wrong(path, f"{part!r} is a directory in one layer and a file in another") from None
        return self._way[-1][1] if self._way else self._root

    def close(self) -> None:
        while self._way:
            os.close(self._way.pop()[1])


def _wrong(where: str, what: str) -> ArtifactError:
    return ArtifactError("the artifact is not valid", [Problem(where, what, "Build it again: build-release verify says what is wrong with it.")])
