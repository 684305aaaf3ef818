"""A release from the store: what is here already is taken from here, the rest read, the whole compared with its SHA-256.

A pull that was ended leaves a hidden file and a list of what is in it; the next one goes on from there.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..artifact import publish
from ..artifact.head import head, trailer
from ..errors import ArtifactError, ChecksumError, MovedError, Problem
from ..install_release.manifest import Manifest
from . import Moved, Store, catalog, layout, local
from .ledger import Reference, release_key
from .local import Here
from .tally import Tally

WORKERS = 8
_LEAST_ASKED, _MOST_ASKED = 8 << 20, 32 << 20  # bytes of a request: each costs some milliseconds of processor, and few requests are few connections
_NOTED = 2 << 20  # bytes that have arrived after which the journal says so: what a kill can cost, of each request
_STEP = 256 << 10  # stays in a processor's cache between the network, the file and the hash
_SYNCED = 256 << 20  # bytes after which what has arrived is written to the disk
_Span = tuple[int, int]


@dataclass(frozen=True)
class Pulled:
    """A release that is here: ``sha256`` of the file, signatures included; ``release_sha256`` of what the store calls release.tgz. Bytes that were
    read from the store, ``kept`` from an earlier try, ``local`` from files that were here."""

    path: Path
    id: str
    manifest: Manifest
    sha256: str
    release_sha256: str
    bytes: int
    read: int
    kept: int
    local: int
    signatures: int


@dataclass(frozen=True)
class _Chunk:
    """Bytes of the body, and where they come from: ``here``, or None: the store."""

    offset: int
    length: int
    here: Here | None = None
    done: bool = False


def pull(store: Store, wanted: Reference, directory: Path, *, have: Sequence[Path], cache: Path, moved: Moved) -> Pulled:
    """Write a release to ``directory``, with the signatures that the store has of it. Raises ``StoreError`` or ``ArtifactError``."""
    identity = catalog.resolve(store, wanted)
    stated = catalog.demanded(store, wanted.name, identity)
    manifest, data = catalog.manifest(store, wanted.name, identity)
    signatures = catalog.signatures(store, wanted.name, identity)
    target = manifest.target
    path = directory / f"{manifest.name}-{manifest.version}-{target.abi}-{target.platform}-{identity[-12:]}.tgz"
    tally = Tally(moved)
    if _is_here(path, identity, signatures, stated):
        sha256 = _sha256(path)
    else:
        directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            here = local.find(layout.regions(manifest), [*have, directory], cache, manifest.name, files)
            work = files.enter_context(_partial(path))
            assembly = _Assembly(store, manifest, data, signatures, identity, work, tally)
            tally("of", manifest.tail.bytes)
            assembly.run(here, stated)
            _finish(work, path)
        sha256 = assembly.sha256
    publish(path.with_name(f"{path.name}.sha256"), lambda out: _write(out.fileno(), f"{sha256}  {path.name}\n".encode()))
    size = path.stat().st_size
    return Pulled(path, identity, manifest, sha256, stated, size, tally.read, tally.kept, tally.local, len(signatures))


def _is_here(path: Path, identity: str, signatures: Sequence[bytes], stated: str) -> bool:
    """Whether an earlier pull or build has made that very file."""
    if not path.exists():
        return False
    try:
        with layout.Unsigned(path) as artifact:
            return artifact.id == identity and artifact.signatures == tuple(signatures) and artifact.check() == stated
    except ArtifactError:
        return False


@dataclass(frozen=True)
class _Work:
    """The file in which a release comes to be, and the journal of what is in it."""

    path: Path
    file: int
    journal: int


@contextmanager
def _partial(path: Path) -> Iterator[_Work]:
    """The one file of this name that one pull at a time works on. It stays when the block fails."""
    scratch = path.with_name(f".{path.name}.partial")
    how = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(scratch, how, 0o644)
    journal = -1
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not scratch.exists() or not os.path.samestat(os.fstat(file), scratch.stat()):
            raise BlockingIOError(errno.EAGAIN, "was finished by another pull")
        journal = os.open(scratch.with_name(f"{scratch.name}.done"), how | os.O_APPEND, 0o644)
        yield _Work(scratch, file, journal)
    except BlockingIOError:
        problem = Problem(str(path), "is being pulled by another process", "Wait for it, then run this again.")
        raise MovedError("somebody else pulls the same release into the same directory", [problem]) from None
    finally:
        os.close(file)
        if journal >= 0:
            os.close(journal)


def _finish(work: _Work, path: Path) -> None:
    os.fchmod(work.file, 0o644)
    os.fsync(work.file)
    os.replace(work.path, path)
    os.unlink(f"{work.path}.done")
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class _Assembly:
    """One release, put together in a file. ``sha256``: of that file, once it has ``run``."""

    sha256 = ""

    def __init__(self, store: Store, manifest: Manifest, data: bytes, signatures: Sequence[bytes], identity: str, work: _Work, moved: Moved) -> None:
        self._store, self._manifest, self._moved, self._work = store, manifest, moved, work
        self._key = release_key(manifest.name, identity, "release.tgz")
        self._plain_head, self._head = head(data), head(data, signatures)
        self._plain_trailer, self._trailer = trailer(manifest, data), trailer(manifest, data, signatures)
        self._asked = min(max(manifest.tail.bytes // WORKERS, _LEAST_ASKED), _MOST_ASKED)

    def run(self, here: dict[str, Here], stated: str) -> None:
        """Raises ``ChecksumError`` when the store's bytes are not those that it states."""
        done = self._done()
        chunks = [*self._chunks(here, done)]
        os.ftruncate(self._work.file, len(self._head) + self._manifest.tail.bytes + len(self._trailer))
        _write_at(self._work.file, self._head, 0)
        _write_at(self._work.file, self._trailer, len(self._head) + self._manifest.tail.bytes)
        found = self._assemble(chunks)
        if found != stated and any(chunk.here or chunk.done for chunk in chunks):
            # A file here, or what an earlier try has left, is not what it says: everything is read from the store.
            os.ftruncate(self._work.journal, 0)
            found = self._assemble([*self._chunks({}, [])])
        if found != stated:
            os.unlink(self._work.path)
            os.unlink(f"{self._work.path}.done")
            problem = Problem(
                self._key, f"has the sha256 {found}, stated is {stated}", "Don't use it. build-release verify STORE says what else is wrong."
            )
            raise ChecksumError("the store's bytes are not those that were pushed", [problem])

    def _done(self) -> list[_Span]:
        """What an earlier pull of the same bytes has finished, of the body."""
        title = json.dumps({"head": hashlib.sha256(self._head).hexdigest(), "key": self._key}).encode() + b"\n"
        data = os.pread(self._work.journal, os.fstat(self._work.journal).st_size, 0)
        first, _, rest = data.partition(b"\n")
        if first + b"\n" != title:
            os.ftruncate(self._work.journal, 0)
            _write(self._work.journal, title)
            return []
        spans = []
        for line in rest.split(b"\n")[:-1]:  # a torn last line is none
            with suppress(ValueError):
                offset, length = map(int, line.split())
                spans.append((offset, length))
        return spans

    def _chunks(self, here: dict[str, Here], done: Iterable[_Span]) -> Iterator[_Chunk]:
        """They tile the body."""
        missing: _Span | None = None
        for region in layout.regions(self._manifest):
            found = here.get(region.digest)
            if not found:
                missing = (missing[0], missing[1] + region.length) if missing else (region.offset, region.length)
                continue
            yield from _cut(missing, done, self._asked)
            missing = None
            for start in range(0, region.length, self._asked):
                length = min(self._asked, region.length - start)
                yield _Chunk(region.offset + start, length, found.part(start, length))
        yield from _cut(missing, done, self._asked)

    def _assemble(self, chunks: Sequence[_Chunk]) -> str:
        """Fill the body; the SHA-256 of what the store calls release.tgz. Hashed in order, while what follows arrives."""
        whole, signed = hashlib.sha256(self._plain_head), hashlib.sha256(self._head)
        unsynced = 0
        with ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor(1) as beside:
            syncing: Future[None] = beside.submit(os.fdatasync, self._work.file)
            begun: list[Future[None]] = [pool.submit(self._fill, chunk) for chunk in chunks]
            try:
                for chunk, filled in zip(chunks, begun, strict=True):
                    filled.result()
                    for data in Here(((self._work.file, len(self._head) + chunk.offset, chunk.length),)).read(_STEP):
                        whole.update(data)
                        if self._head != self._plain_head:
                            signed.update(data)
                    unsynced += chunk.length
                    if unsynced >= _SYNCED and syncing.done():  # so that little is left for the end
                        syncing.result()
                        syncing, unsynced = beside.submit(os.fdatasync, self._work.file), 0
                syncing.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        whole.update(self._plain_trailer)
        signed.update(self._trailer)
        self.sha256 = (whole if self._head == self._plain_head else signed).hexdigest()
        return whole.hexdigest()

    def _fill(self, chunk: _Chunk) -> None:
        if chunk.done:
            self._moved("kept", chunk.length)
            return
        if chunk.here:
            position = len(self._head) + chunk.offset
            for data in chunk.here.read(_STEP):
                _write_at(self._work.file, data, position)
                position += len(data)
            self._moved("local", chunk.length)
            return
        position = noted = chunk.offset
        for data in self._store.read(self._key, len(self._plain_head) + chunk.offset, chunk.length):
            _write_at(self._work.file, data, len(self._head) + position)
            position += len(data)
            self._moved("read", len(data))
            if position - noted >= _NOTED or position == chunk.offset + chunk.length:
                _write(self._work.journal, b"%d %d\n" % (noted, position - noted))
                noted = position


def _cut(span: _Span | None, done: Iterable[_Span], most: int) -> Iterator[_Chunk]:
    """``span`` in pieces: what is done, and between that chunks to be read, each of at most ``most`` bytes."""
    if not span:
        return
    position, end = span[0], span[0] + span[1]
    for first, length in [*sorted(done), (end, 0)]:
        last = min(first + length, end)
        first = min(max(first, position), end)
        while position < first:
            yield _Chunk(position, min(most, first - position))
            position += min(most, first - position)
        if position < last:
            yield _Chunk(position, last - position, done=True)
            position = last


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _write_at(file: int, data: bytes, position: int) -> None:
    left = memoryview(data)
    while left:
        count = os.pwrite(file, left, position)
        left, position = left[count:], position + count
