"""Layers to files: ranges are read once, hashed, inflated and written by a few processes, below a directory descriptor.

Nothing is written outside that directory: every name is opened relative to the descriptor of its parent, links are never
followed, and nothing that exists is opened for writing. Syncing is the caller's business (``durable``).

A layer that the host already has unpacked is copied from there, as clones where the file system shares blocks, and each
copy is hashed: never as hard links, since nothing installed may change under another release.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from . import workers
from .artifact import Artifact, lacking
from .errors import ArtifactError, Problem
from .manifest import Layer
from .records import NamedTuple
from .segments import Reader
from .table import Entry, Segment
from .typed import Any

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409  # ioctl_ficlone(2)
_MODES = {"644": 0o644, "755": 0o755}
_MOST_PROCESSES = 2  # each takes some 25 MiB
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MANY = 1024  # directories and links of one segment; one that is cut at 4 MiB has at most eight times as many
_STEP = 128 << 10  # what is copied at once stays in a processor's cache
_WORTH_A_PROCESS = 1 << 20  # what a fork takes is made up for by so much work


class Group:
    """Consecutive segments, the file ranges in them, and where the first begins (from the end of the signatures).

    One segment and any number of files, or several segments and the one file that spans them.
    """

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.segments: list[Segment] = []
        self.files: list[Entry] = []


def groups(artifact: Artifact, layer: Layer, place: Callable[[Entry], None]) -> Iterator[Group]:
    """A layer's files, group by group, as its table is read; directories and links go to ``place``, right before the files of their group.

    Raises ``ArtifactError`` when the segments don't tile the layer, or a file isn't where its table says.
    """
    position, group, complete, end = layer.table.offset + layer.table.bytes, Group(layer.table.offset), True, 0
    last, left, others = layer.table.offset + layer.bytes, layer.size, list[Entry]()
    for line in artifact.table(layer):
        if isinstance(line, Segment):
            if complete:  # an entry stood between the last segment's line and this one
                if group.segments:
                    _settle(artifact, layer, group, others, place)
                    yield group
                group, complete, end, others = Group(position), False, 0, []
            group.segments.append(line)
            position += line.bytes
            if position > last:
                raise _wrong(layer.name, "its segments are longer than it is")
            continue
        complete = True
        if len(group.segments) > 1 and not line.size:
            raise _wrong(layer.name, f"{line.path!r} is not what segments in a row are for")
        if line.type != "file":
            others.append(line)
            continue
        if line.size:
            _check_file(group, line, layer, end)
            end, left = line.offset + line.size, left - line.size
            if left < 0:
                raise _wrong(layer.name, f"its files hold more than the {layer.size} bytes that are stated")
        group.files.append(line)
    if group.segments:
        _settle(artifact, layer, group, others, place)
        yield group
    if position != last or not complete:
        raise _wrong(layer.name, "its segments don't fill it")
    if left:
        raise _wrong(layer.name, f"its files hold {layer.size - left} bytes, stated are {layer.size}")


def _settle(artifact: Artifact, layer: Layer, group: Group, others: Sequence[Entry], place: Callable[[Entry], None]) -> None:
    """Directories take longer to make, and to remove, than to list: where there are many, the segments that they are said to lie in come first.

    (Of a layer that a thin artifact leaves out they were read when it was unpacked here.)
    """
    if len(others) > _MANY and layer.digest not in artifact.left_out:
        reader = Reader(artifact)
        reader.begin(group.segments, group.offset, layer.name)
        reader.finish()
    for entry in others:
        place(entry)


def _check_file(group: Group, entry: Entry, layer: Layer, end: int) -> None:
    """``end``: that of the file before it in the same group."""
    if len(group.segments) == 1:
        good, room = True, group.segments[0].size
    else:
        room = sum(segment.size for segment in group.segments)
        good = bool(group.segments) and not group.files and entry.offset + entry.size > room - group.segments[-1].size
    if not good or entry.segment != group.segments[0].number or not end <= entry.offset <= room - entry.size:
        raise _wrong(layer.name, f"{entry.path!r} is not where the table says")


class Destination(NamedTuple):
    """An empty directory to unpack into. ``strip`` drops a path's first part (``venv/lib`` becomes ``lib``)."""

    fd: int
    strip: bool = False


class Share(NamedTuple):
    """What one process does at a time: the groups of ``layer`` that begin from ``first`` up to ``end``, in bytes from the end of the signatures."""

    layer: Layer
    first: int
    end: int


def shares(layers: Sequence[Layer], processes: int) -> list[list[Share]]:
    """All of ``layers``, divided so that ``processes`` of them are busy until the end: large ones first. At most ``workers.MOST_JOBS`` lists."""
    found = []
    whole = sum(map(_work, layers))
    for layer in sorted(layers, key=_work, reverse=True):
        parts = processes if _work(layer) * processes > whole else 1
        start, length = layer.table.offset, layer.bytes
        found += [Share(layer, start + length * part // parts, start + length * (part + 1) // parts) for part in range(parts)]
    return [found[first :: workers.MOST_JOBS] for first in range(min(len(found), workers.MOST_JOBS))]


def _work(layer: Layer) -> int:
    """What a layer costs, in compressed bytes: making a file takes as long as inflating 4 KiB."""
    return layer.bytes + (layer.files << 12)


def unpack(
    artifact: Artifact,
    layers: Sequence[Layer],
    to: Destination,
    *,
    donors: Mapping[str, int] | None = None,
    processes: int | None = None,
) -> None:
    """Write ``layers`` below ``to``. Modes are exact whatever the umask.

    ``donors``: by the digest of a layer, the descriptor of a directory that has it unpacked, in the same places. What it lacks, or holds
    otherwise, is inflated instead, if it is there. ``processes``: how many share the work, else as many as are worth their while.
    Raises ``ArtifactError`` for what the artifact says wrongly, ``OSError`` for what the disk says, ``RolledBackError`` for a process that was
    killed; what was written stays.
    """
    if processes is None:
        processes = workers.count(min(_MOST_PROCESSES, 1 + sum(map(_work, layers)) // _WORTH_A_PROCESS))
    jobs = shares(layers, processes)

    def work(queue: workers.Queue) -> Any:
        unpacking = _Unpacking(artifact, to, donors or {}, queue.check)
        try:
            for number in queue:
                for share in jobs[number]:
                    unpacking.unpack(share)
        finally:
            unpacking.close()
        return unpacking.links, unpacking.twice

    umask = os.umask(0)
    try:
        found = workers.share(len(jobs), processes, work)
    finally:
        os.umask(umask)
    walker = _Walker(to.fd)
    try:
        _make_links(walker, [links for links, _ in found])
        for _, twice in found:
            _compare_twice_claimed(walker, twice)
    finally:
        walker.close()


class _Unpacking:
    """What one process does. Directories and files are made at once; links, and files that two layers claim, are told to the one that forked."""

    def __init__(self, artifact: Artifact, to: Destination, donors: Mapping[str, int], check: Callable[[], None]) -> None:
        self.artifact, self.strip, self.check = artifact, to.strip, check
        self.reader = Reader(artifact)
        self.walker = _Walker(to.fd)
        self.donors = {digest: _Walker(fd) for digest, fd in donors.items()}
        self.buffer = memoryview(bytearray(_STEP if donors else 0))
        self.clones = True  # until the file system says no
        self.directories: set[str] = set()
        self.links: dict[str, str] = {}
        self.twice: list[tuple[str, int, str]] = []  # path, mode, digest

    def unpack(self, share: Share) -> None:
        layer = share.layer
        donor = self.donors.get(layer.digest)
        skip = len(layer.top) + 1 if self.strip else 0
        for group in groups(self.artifact, layer, lambda entry: self.place(layer, entry, entry.path[skip:])):
            if group.files and not share.first <= group.offset < share.end:
                continue
            self.check()
            self.reader.begin(group.segments, group.offset, layer.name)
            left_out = layer.digest in self.artifact.left_out
            inflated = not group.files and not left_out  # headers alone: that they are there is not known before they are read
            for entry in group.files:
                parent, _, name = entry.path[skip:].rpartition("/")
                if donor is None or not self.copied(donor, parent, name, entry):
                    if left_out:
                        raise lacking(layer.name, f"was left out of this thin artifact, and {entry.path} is not here as it was unpacked.")
                    self.write(parent, name, entry)
                    inflated = True
            if inflated:
                self.reader.finish()

    def place(self, layer: Layer, entry: Entry, path: str) -> None:
        if entry.type == "dir" and path and path not in self.directories:
            parent, _, name = path.rpartition("/")
            above = self.walker.directory(parent)
            try:
                os.mkdir(name, 0o755, dir_fd=above)
            except FileExistsError:  # another layer has it too, unless it is a file
                if not stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
                    raise _wrong(layer.name, f"{entry.path!r} is a directory here and a file elsewhere") from None
            self.directories.add(path)
        elif entry.type == "link" and self.links.setdefault(path, entry.target) != entry.target:
            raise _wrong(layer.name, f"{entry.path!r} is a link to two different places")

    def write(self, parent: str, name: str, entry: Entry) -> None:
        file = self.new(parent, name, entry)
        if file is None:
            return
        try:
            for piece in self.reader.pieces(entry.offset, entry.size):
                if entry.size > _STEP:
                    self.check()
                _write(file, piece)
        finally:
            os.close(file)

    def new(self, parent: str, name: str, entry: Entry) -> int | None:
        """A new file. None: there is one already, to be compared in the end."""
        mode = _MODES[entry.mode]
        try:
            return os.open(name, _NEW_FILE, mode, dir_fd=self.walker.directory(parent))
        except FileExistsError:
            self.twice.append((f"{parent}/{name}" if parent else name, mode, entry.sha256))
            return None

    def copied(self, donor: _Walker, parent: str, name: str, entry: Entry) -> bool:
        """Whether the donor's file could be taken: what was written is what the table says."""
        try:
            source = os.open(name, _OLD_FILE, dir_fd=donor.directory(parent))
        except (OSError, ArtifactError):
            return False
        try:
            target = self.new(parent, name, entry)
            if target is None:
                return True
            good = False
            try:
                good = self.fill(target, source, entry)
            finally:
                os.close(target)
                if not good:
                    os.unlink(name, dir_fd=self.walker.directory(parent))
            return good
        finally:
            os.close(source)

    def fill(self, target: int, source: int, entry: Entry) -> bool:
        """Fill ``target`` with what ``source`` holds. Whether that is what the entry says."""
        cloned = self.clones and entry.size > 0 and self.clone(target, source)
        if entry.size <= _STEP and not cloned:  # nearly every file
            data = self.buffer[: min(self.next(source), entry.size)]
            if hashlib.sha256(data).hexdigest() != entry.sha256:
                return False
            _write(target, data)
            return True
        digest, left = hashlib.sha256(), entry.size
        while left >= 0 and (count := self.next(target if cloned else source)):
            self.check()
            piece = self.buffer[:count]
            digest.update(piece)
            left -= count
            if not cloned:
                _write(target, piece)
        return digest.hexdigest() == entry.sha256

    def next(self, file: int) -> int:
        """How many of its bytes are in the buffer now; 0 at its end, and when it can't be read: it is a directory, or the disk fails."""
        try:
            return os.readv(file, (self.buffer,))
        except OSError:
            return 0

    def clone(self, target: int, source: int) -> bool:
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError:
            self.clones = False
        return self.clones

    def close(self) -> None:
        for walker in (self.walker, *self.donors.values()):
            walker.close()


def _make_links(walker: _Walker, found: Iterable[Mapping[str, str]]) -> None:
    links: dict[str, str] = {}
    for some in found:
        for path, target in some.items():
            if links.setdefault(path, target) != target:
                raise _wrong(path, "is a link to two different places")
    for path, target in sorted(links.items()):
        parent, _, name = path.rpartition("/")
        try:
            os.symlink(target, name, dir_fd=walker.directory(parent))
        except FileExistsError:
            raise _wrong(path, "is a link here and something else elsewhere") from None


def _compare_twice_claimed(walker: _Walker, twice: Iterable[tuple[str, int, str]]) -> None:
    """Two wheels may hold the same file (the namespace packages of old do): alike is fine, else it isn't clear which one is meant."""
    for path, mode, sha256 in twice:
        parent, _, name = path.rpartition("/")
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=walker.directory(parent))
        try:
            facts, digest = os.fstat(file), hashlib.sha256()
            while stat.S_ISREG(facts.st_mode) and (piece := os.read(file, _STEP)):
                digest.update(piece)
        finally:
            os.close(file)
        alike = stat.S_ISREG(facts.st_mode) and digest.hexdigest() == sha256
        if not alike or stat.S_IMODE(facts.st_mode) != mode:
            raise _wrong(path, "two layers claim it, and differ")


def _write(file: int, data: bytes | memoryview) -> None:
    done = os.write(file, data)
    while done < len(data):
        done += os.write(file, memoryview(data)[done:])


class _Walker:
    """Descriptors of directories below a root, found part by part without following links; the last way down is kept open."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._way: list[tuple[str, int]] = []
        self._last = ("", root)

    def directory(self, path: str) -> int:
        """The descriptor of ``path`` (relative, "" is the root), valid until the next call."""
        if path == self._last[0]:  # most files lie beside the last one
            return self._last[1]
        parts = path.split("/") if path else []
        same = 0
        while same < len(parts) and same < len(self._way) and parts[same] == self._way[same][0]:
            same += 1
        self._up(same)
        for part in parts[same:]:
            above = self._way[-1][1] if self._way else self._root
            try:
                self._way.append((part, os.open(part, _DIRECTORY, dir_fd=above)))
            except NotADirectoryError:
                raise _wrong(path, f"{part!r} is a directory in one layer and a file in another") from None
        self._last = (path, self._way[-1][1] if self._way else self._root)
        return self._last[1]

    def close(self) -> None:
        self._up(0)

    def _up(self, depth: int) -> None:
        self._last = ("", self._root)
        while len(self._way) > depth:
            os.close(self._way.pop()[1])


def _wrong(where: str, what: str) -> ArtifactError:
    return ArtifactError("the artifact is not valid", [Problem(where, what, "Build it again: build-release verify says what is wrong with it.")])
