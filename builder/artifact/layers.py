"""Trees to layers: a table of contents and compressed segments, made once for what went in, and cached by its hash.

An entry of the cache is one file, published by rename: segments, table, a line of JSON that describes them, its checksum and length.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

from zlib_ng import zlib_ng
from zlib_ng.zlib_ng import crc32  # five times as fast as zlib's, of the same values

from ..cache import used
from ..errors import ArtifactError, Problem
from ..frozen import frozen
from ..install_release.artifact import table_prefix
from ..install_release.crc import crc32_combine
from ..install_release.manifest import FORMAT, TOPS, canonical
from ..install_release.table import Entry, Segment, to_line
from . import tar
from .contents import File, Read, gather

SEGMENT_BYTES = 4 << 20  # of tar: what two threads of an installer hold in memory twice, with room to spare below 64 MiB
LEVEL = 4  # docs/decisions/0002: within four per cent of gzip -6, in less than a third of its time
_WAITING = 2  # segments of one layer that are being compressed while the next is filled
_TRAILER = struct.Struct("<IQ")  # of a cache entry: CRC-32 and length of the line before it


@frozen
class Tree:
    """What becomes one layer. ``make`` lays it out in an empty directory, below the top that its kind has in ``release/``, or returns files that
    are packed as if they lay there: what need not be written to a disk is not.

    ``key`` is the hash of all that goes in; "" means: never cached. The heaviest by ``weight`` (like bytes) is begun first, so that
    no processor is left with a large one at the end.
    """

    name: str
    kind: str
    key: str
    make: Callable[[Path], Iterable[File] | None]
    weight: int = 0


@frozen
class PackedLayer:
    """A layer, compressed, in ``path``: ``segments_bytes`` of segments, then the table. Sizes in bytes, ``room`` in whole 4 KiB blocks.

    ``plain`` is the inflated length of table and segments, ``crc32`` theirs in the archive's order (table first), ``check``
    the CRC-32 of the compressed bytes as they lie in ``path``.
    """

    name: str
    kind: str
    files: int
    inodes: int
    size: int
    room: int
    table_bytes: int
    table_size: int
    table_sha256: str
    segments_bytes: int
    plain: int
    crc32: int
    check: int
    path: Path
    cached: bool

    @property
    def bytes(self) -> int:
        return self.table_bytes + self.segments_bytes


def pack(trees: Iterable[Tree], cache: Path, work: Path, *, jobs: int) -> tuple[PackedLayer, ...]:
    """Each tree as a layer, in order, from ``cache`` where it is there; ``work`` is a scratch directory that outlives the layers."""
    directory = cache / "layers"
    directory.mkdir(parents=True, exist_ok=True)
    ordered = tuple(trees)
    with ThreadPoolExecutor(jobs) as pool, ThreadPoolExecutor(jobs) as compressors:
        heaviest = sorted(ordered, key=lambda tree: -tree.weight)
        begun = {tree.name: pool.submit(_pack_one, tree, directory, work, compressors) for tree in heaviest}
        try:
            return tuple(begun[tree.name].result() for tree in ordered)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _pack_one(tree: Tree, cache: Path, work: Path, compressors: Executor) -> PackedLayer:
    entry = cache / _cache_name(tree)
    if tree.key and used(cache.parent, entry) and (found := _load(entry, tree)):
        return found
    with tempfile.TemporaryDirectory(dir=work, prefix="tree-") as name:
        root = Path(name)
        files = tree.make(root) or ()
        (root / TOPS[tree.kind]).mkdir(exist_ok=True)
        # A layer that is not cached lives in the work directory until the artifact is written.
        fd, scratch = tempfile.mkstemp(dir=cache if tree.key else work, prefix=".layer-")
        try:
            with os.fdopen(fd, "w+b") as out:
                layer = _Packer(out, compressors).pack(tree, gather(root, files, TOPS[tree.kind], tree.name))
                _save(out, layer)
            if not tree.key:
                return replace(layer, path=Path(scratch))
            os.replace(scratch, entry)
        except BaseException:
            os.unlink(scratch)
            raise
    return replace(layer, path=entry)


def _cache_name(tree: Tree) -> str:
    import zlib_ng

    went_in = [FORMAT, SEGMENT_BYTES, LEVEL, zlib_ng.__version__, tree.kind, tree.name, tree.key]
    return hashlib.sha256(canonical(went_in)).hexdigest()


def _save(out: BinaryIO, layer: PackedLayer) -> None:
    facts = {key: value for key, value in asdict(layer).items() if key not in ("path", "cached")}
    line = canonical(facts)
    out.write(line + _TRAILER.pack(crc32(line), len(line)))


def _load(path: Path, tree: Tree) -> PackedLayer | None:
    """The cached layer, or None when there is none, or none of this length: then it is made again.

    Its bytes are compared by whoever takes them (``artifact.write``): once, as they are when they are used.
    """
    layer = _described(path)
    return layer if layer and (layer.name, layer.kind) == (tree.name, tree.kind) else None


def cached(cache: Path) -> Iterator[PackedLayer]:
    """Every layer that ``cache`` holds, as it says of itself: whoever takes its bytes has to check them."""
    yield from filter(None, map(_described, sorted((cache / "layers").glob("*"))))


def _described(path: Path) -> PackedLayer | None:
    """What the cache entry ``path`` says of itself; None for one that is not whole."""
    try:
        with path.open("rb") as file:
            end = file.seek(-_TRAILER.size, os.SEEK_END)
            check, length = _TRAILER.unpack(file.read(_TRAILER.size))
            begin = file.seek(max(0, end - length))
            line = file.read(end - begin)
        layer = PackedLayer(**json.loads(line), path=path, cached=True) if crc32(line) == check else None
        return layer if layer and layer.bytes == begin else None
    except (OSError, ValueError, TypeError, struct.error):
        return None


class _Packer:
    """Writes the segments of one tree, and its table behind them. ``compressors`` work on some while the next is filled."""

    def __init__(self, out: BinaryIO, compressors: Executor) -> None:
        self.out = out
        self.compressors = compressors
        self.buffer = bytearray()
        self.filled = 0  # segments
        self.waiting: deque[tuple[bytearray, Future[bytes]]] = deque()
        self.segments: list[Segment] = []
        self.pending: list[Entry] = []
        self.order: list[Entry | None] = []  # of the table's lines; None is the next segment's
        self.crc = self.plain = self.check = 0

    def pack(self, tree: Tree, contents: Iterable[tuple[Entry, Read]]) -> PackedLayer:
        files = inodes = size = room = 0
        for entry, read in contents:
            inodes += 1
            room += max(1, -(-entry.size // 4096)) * 4096
            if entry.type == "file":
                files += 1
                size += entry.size
            self._add(entry, read)
        self._close_segment()
        while self.waiting:
            self._write_segment()
        segments_bytes = self.out.tell()
        segments = iter(self.segments)
        text = b"".join(to_line(entry or next(segments)) for entry in self.order)
        table = table_prefix(tree.name, len(text)) + text + tar.padding(len(text))
        compressed = compress(table)
        self._write(compressed)
        return PackedLayer(
            name=tree.name,
            kind=tree.kind,
            files=files,
            inodes=inodes,
            size=size,
            room=room,
            table_bytes=len(compressed),
            table_size=len(table),
            table_sha256=hashlib.sha256(compressed).hexdigest(),
            segments_bytes=segments_bytes,
            plain=len(table) + self.plain,
            crc32=crc32_combine(crc32(table), self.crc, self.plain),
            check=self.check,
            path=Path(),
            cached=False,
        )

    def _add(self, entry: Entry, read: Read) -> None:
        head = tar.header(entry)
        if self.buffer and len(self.buffer) + len(head) + entry.size + 511 > SEGMENT_BYTES:
            self._close_segment()
        offset = len(self.buffer) + len(head)
        self.buffer += head
        if entry.type != "file":
            self.pending.append(entry)
            return
        digest = None if entry.sha256 else hashlib.sha256()
        first, left = self.filled, entry.size
        for piece in read():
            left -= len(piece)
            if digest:
                digest.update(piece)
            while len(self.buffer) + len(piece) > SEGMENT_BYTES:
                room = SEGMENT_BYTES - len(self.buffer)
                self.buffer += piece[:room]
                piece = piece[room:]
                self._compress_buffer()
            self.buffer += piece
        if left:
            raise ArtifactError(
                "a file changed while it was packed", [Problem(entry.path, f"became {abs(left)} bytes {'shorter' if left > 0 else 'longer'}")]
            )
        self.buffer += tar.padding(entry.size)
        where = (first, offset) if entry.size else (0, 0)
        sha256 = digest.hexdigest() if digest else entry.sha256
        self.pending.append(entry._replace(sha256=sha256, segment=where[0], offset=where[1]))
        if self.filled > first:  # a file of its own segments: it shares none with others
            self._close_segment(self.filled - first)

    def _close_segment(self, before: int = 0) -> None:
        """``before``: how many segments are full of the beginning of the same file."""
        self.order += [None] * (before + bool(self.buffer))
        self.order += self.pending
        self.pending = []
        if self.buffer:
            self._compress_buffer()

    def _compress_buffer(self) -> None:
        self.waiting.append((self.buffer, self.compressors.submit(compress, self.buffer)))
        self.buffer = bytearray()
        self.filled += 1
        if len(self.waiting) > _WAITING:
            self._write_segment()

    def _write_segment(self) -> None:
        plain, compressing = self.waiting.popleft()
        compressed = compressing.result()
        self.crc = crc32(plain, self.crc)
        self.plain += len(plain)
        self.segments.append(Segment(len(self.segments), len(compressed), len(plain), hashlib.sha256(compressed).hexdigest()))
        self._write(compressed)

    def _write(self, data: bytes) -> None:
        self.check = crc32(data, self.check)
        self.out.write(data)


def compress(plain: bytes | bytearray) -> bytes:
    """``plain`` as raw deflate that inflates alone and ends on a byte, not the stream. One call, since the bytes depend on how they are cut."""
    deflate = zlib_ng.compressobj(LEVEL, zlib_ng.DEFLATED, -15)
    return bytes(deflate.compress(plain) + deflate.flush(zlib_ng.Z_FULL_FLUSH))
