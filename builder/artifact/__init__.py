"""Layers to one release tarball, and its manifest. docs/format.md specifies the bytes."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import queue
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from zlib_ng.zlib_ng import crc32  # five times as fast as zlib's, of the same values

from ..errors import ArtifactError, DamagedLayerError, Problem
from ..frozen import frozen
from ..install_release.artifact import member
from ..install_release.crc import crc32_combine
from ..install_release.manifest import Layer, Manifest, Range, Tail, parse, release_id, to_bytes
from . import tar
from .head import head, trailer
from .layers import PackedLayer, compress

if TYPE_CHECKING:
    from ..install_release.signatures import Signature

INSTALLER_PATH = "release/install-release"
MINIMUM_INSTALLER = "1.0.0"
ORDER = ("src", "etc", "assets", "python", "env", "pex", "wheelhouse", "wheel", "git")  # the small and changing ones first
Sign: TypeAlias = "Callable[[str, bytes], Iterable[Signature]]"
_END = bytes.fromhex("0300")  # the last deflate block, empty (RFC 1951, 3.2.6)
_CHUNK = 1 << 18  # bytes, which stay in a processor's cache while they are compared, hashed and written
_BUFFERS = 8


@frozen
class Built:
    """One artifact, written: where, the sha256 of the whole file, its release id, its length in bytes, what is in it."""

    path: Path
    sha256: str
    id: str
    bytes: int
    manifest: Manifest
    layers: tuple[PackedLayer, ...]
    signatures: tuple[Signature, ...] = ()


@frozen
class _Piece:
    """Compressed bytes of the tail that are no layer: the installer, and the end."""

    data: bytes
    plain: bytes

    def range(self, offset: int) -> Range:
        return Range(offset, len(self.data), len(self.plain), hashlib.sha256(self.data).hexdigest())


def write(facts: Manifest, layers: Iterable[PackedLayer], program: bytes, directory: Path, sign: Sign = lambda name, manifest: ()) -> Built:
    """Write ``<name>-<version>-<abi>-<platform>-<12 digits of the id>.tgz`` into ``directory``, and its ``.sha256`` beside it.

    ``program`` is the installer. ``facts`` is the manifest but for what lies in the file: layers, ranges and tail are filled in
    here. ``sign`` gives the signatures of a manifest's bytes, of the application of that name. Raises ``ArtifactError``, for a layer
    that was damaged ``DamagedLayerError``.
    """
    ordered = tuple(sorted(layers, key=lambda layer: (ORDER.index(layer.kind), layer.name)))
    first = _Piece(compress(plain := member(INSTALLER_PATH, program, 0o755)), plain)
    last = _Piece(compress(tar.END) + _END, tar.END)
    manifest = _complete(facts, first, ordered, last)
    data = to_bytes(manifest)
    parse(data)  # what an installer would refuse is never written
    identity = release_id(manifest.commit_time, data)
    signatures = tuple(sign(manifest.name, data))
    armours = [each.armour for each in signatures]
    name = f"{manifest.name}-{manifest.version}-{manifest.target.abi}-{manifest.target.platform}-{identity[-12:]}.tgz"

    def contents(out: BinaryIO) -> None:
        for piece in (head(data, armours), first.data):
            _put(out, digest, piece)
        for layer in ordered:
            _copy(layer, out, digest)
        for piece in (last.data, trailer(manifest, data, armours)):
            _put(out, digest, piece)

    path = directory / name
    _make(directory)
    with _Digest() as digest:
        publish(path, contents)
        sha256 = digest.hexdigest()
    publish(directory / f"{name}.sha256", lambda out: _write(out, f"{sha256}  {name}\n".encode()))
    return Built(path, sha256, identity, path.stat().st_size, manifest, ordered, signatures)


class _Digest:
    """The SHA-256 of what is given to ``update``, made by a thread: hashing takes as long as reading, writing and syncing together."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[bytes | memoryview, bytearray | None] | None] = queue.SimpleQueue()
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._sha256 = hashlib.sha256()
        self._thread = threading.Thread(target=self._work)
        for _ in range(_BUFFERS):
            self._free.put(bytearray(_CHUNK))

    def __enter__(self) -> _Digest:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.hexdigest()

    def buffer(self) -> bytearray:
        """One of a few, for what is given to ``update`` with it: waits until one is hashed."""
        return self._free.get()

    def update(self, data: bytes | memoryview, buffer: bytearray | None = None) -> None:
        """Append ``data``, which must stay as it is; ``buffer``: that of ours which it lies in."""
        self._waiting.put((data, buffer))

    def hexdigest(self) -> str:
        """The digest of all, once all is hashed; nothing can be added then."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        return self._sha256.hexdigest()

    def _work(self) -> None:
        while (given := self._waiting.get()) is not None:
            data, buffer = given
            self._sha256.update(data)
            if buffer is not None:
                self._free.put(buffer)


def _copy(layer: PackedLayer, out: BinaryIO, digest: _Digest) -> None:
    """Append table and segments to ``out``. What is written is what is compared with what was made: each byte is read once.

    Raises ``DamagedLayerError``, after the last of them.
    """
    try:
        source = os.open(layer.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _damaged(layer, f"can't be read: {error.strerror}") from None
    try:
        table = _copy_part(layer, source, layer.segments_bytes, layer.bytes, out, digest)
        segments = _copy_part(layer, source, 0, layer.segments_bytes, out, digest)
    finally:
        os.close(source)
    if crc32_combine(segments, table, layer.table_bytes) != layer.check:
        raise _damaged(layer, "differs from what was made")


def _copy_part(layer: PackedLayer, source: int, begin: int, end: int, out: BinaryIO, digest: _Digest) -> int:
    """Append the bytes from ``begin`` to ``end`` of the open file ``source`` to ``out``; their CRC-32."""
    check = 0
    while begin < end:
        buffer = digest.buffer()
        room = memoryview(buffer)[: end - begin]
        try:
            count = os.preadv(source, [room], begin)
        except OSError as error:
            raise _damaged(layer, f"can't be read: {error.strerror}") from None
        if not count:
            raise _damaged(layer, "is shorter than what was made")
        piece = room[:count]
        check = crc32(piece, check)
        digest.update(piece, buffer)
        out.write(piece)
        begin += count
    return check


def _damaged(layer: PackedLayer, what: str) -> DamagedLayerError:
    """The error; the layer is removed, so that the next one who wants it makes it again."""
    with suppress(OSError):
        layer.path.unlink()
    return DamagedLayerError(layer.name, layer.cached, what)


def _put(out: BinaryIO, digest: _Digest, data: bytes) -> None:
    digest.update(data)
    _write(out, data)


def _write(out: BinaryIO, data: bytes) -> None:
    out.write(data)


def _complete(facts: Manifest, first: _Piece, layers: tuple[PackedLayer, ...], last: _Piece) -> Manifest:
    """The manifest with every range in it; they tile the tail: installer, layers, end."""
    position = len(first.data)
    crc, size = zlib.crc32(first.plain), len(first.plain)
    placed = []
    for layer in layers:
        table = Range(position, layer.table_bytes, layer.table_size, layer.table_sha256)
        placed.append(Layer(layer.name, layer.kind, layer.bytes, layer.files, layer.size, table))
        position += layer.bytes
        crc, size = crc32_combine(crc, layer.crc32, layer.plain), size + layer.plain
    crc, size = crc32_combine(crc, zlib.crc32(last.plain), len(last.plain)), size + len(last.plain)
    end = last.range(position)
    return facts._replace(layers=tuple(placed), installer=first.range(0), end=end, tail=Tail(position + end.bytes, size, crc))


def _make(directory: Path) -> None:
    """A directory that is made here ignores itself: what a build wrote must not make the working tree dirty for the next one."""
    if not directory.exists():
        publish(directory / ".gitignore", lambda out: _write(out, b"*\n"))


def publish(path: Path, contents: Callable[[BinaryIO], None]) -> None:
    """A new file by way of a temporary sibling, synced, then renamed: whole, or not there. Raises ``ArtifactError`` when the disk says no."""
    scratch = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, scratch = _scratch(path)
        with os.fdopen(fd, "wb") as out:
            contents(out)
            out.flush()
            os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
            os.replace(scratch, path)  # while it is locked: closed, it would be a dead writer's to others
        _sync_directory(path.parent)
    except BaseException as error:
        if scratch:
            with suppress(OSError):  # renamed already; or the next one removes it
                os.unlink(scratch)
        if isinstance(error, OSError):
            problem = Problem(str(path), error.strerror or str(error), "Make room, or name another directory with -o.")
            raise ArtifactError("the artifact can't be written", [problem]) from None
        raise


def _scratch(path: Path) -> tuple[int, str]:
    """A temporary sibling of ``path``, locked as long as it is open. Those that killed writers left, which nobody has locked, are removed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
    while True:
        fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd, name
        os.close(fd)  # between its making and its locking another writer took it for a dead one's


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
