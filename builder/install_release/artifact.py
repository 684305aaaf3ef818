"""An artifact, opened: its head is read and checked, everything else only by ranges, each hashed before it is inflated.

    gzip header | manifest | signatures … | installer | layers … | end | CRC-32, length

A thin one has ``release/thin.json`` behind the signatures, which names layers that it leaves out: a host that has them lends them (``donors``).

The manifest and the signatures lie in *stored* deflate blocks of one possible spelling: nothing is inflated before its
digest was compared with the manifest, and no tar archive is parsed. docs/format.md is the specification.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress

from . import manifest as contract
from . import table as tables
from .crc import crc32_combine
from .errors import ArtifactError, Problem
from .manifest import Layer, Manifest, Range
from .table import Line, Segment
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from .donors import Lender

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: deflate, no flags, no time, unknown system
TRAILER_BYTES = 8
LAST_BLOCK = b"\x03\x00"  # RFC 1951, 3.2.6: empty. What inflates to its end with this behind it ended where a block does, on a whole byte
MTIME = 315532800  # 1980-01-01: GNU tar warns of 0, and zip can't say anything earlier
MANIFEST_PATH = "release/release.json"
THIN_PATH = "release/thin.json"
REMEDY = "Send the whole artifact."  # of a thin one that leaves out what a host can't make again
MAX_SIGNATURE_BYTES = 64 << 10
MAX_SIGNATURES = 16
_BLOCK = 65535  # the longest stored block (RFC 1951, 3.2.4)
_STEP = 64 << 10  # bytes that a stream gives at once
_SLICE = 16 << 10  # bytes that it takes at once: what zlib has not used yet is copied each time
_NOBODY = b"0000000\0" * 2  # owner and group
_TIME = b"%011o\0" % MTIME
_MAGIC = b"ustar  \0"
_REST = sum(_MAGIC) + 8 * ord(" ")  # of the bytes that a checksum counts: it counts itself as spaces


def tar_header(path: bytes, size: int = 0, mode: int = 0o644, type: bytes = b"0", link: bytes = b"") -> bytes:
    """One 512-byte header of a GNU tar: no owner, no group, no time but ``MTIME``. ``path`` and ``link`` hold at most 100 bytes."""
    length = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    numbers = b"%07o\0" % mode + _NOBODY + length + _TIME
    checksum = b"%06o\0 " % (sum(path) + sum(numbers) + sum(type) + sum(link) + _REST)
    return b"".join((path.ljust(100, b"\0"), numbers, checksum, type, link.ljust(100, b"\0"), _MAGIC)).ljust(512, b"\0")


def padded(size: int) -> int:
    """``size`` rounded up to whole tar blocks of 512 bytes."""
    return -(-size // 512) * 512


def member(path: str, data: bytes, mode: int = 0o644) -> bytes:
    """A file in a tar: header, contents, padding."""
    return (tar_header(path.encode("ascii"), len(data), mode) + data).ljust(512 + padded(len(data)), b"\0")


def stored(payload: bytes) -> bytes:
    """``payload`` in stored deflate blocks, none of them the last: the one spelling that a head may have."""
    blocks = []
    for start in range(0, len(payload), _BLOCK):
        piece = payload[start : start + _BLOCK]
        blocks.append(b"\0" + len(piece).to_bytes(2, "little") + (len(piece) ^ 0xFFFF).to_bytes(2, "little") + piece)
    return b"".join(blocks)


def signature_path(number: int) -> str:
    """Where signature ``number`` (from 1) lies in the archive."""
    return f"{MANIFEST_PATH}.sig.{number}"


def inflate(data: bytes, size: int, where: str) -> bytes:
    """The ``size`` bytes of one segment. Memory is bounded by ``size``. Raises ``ArtifactError`` unless they are exactly that many."""
    unzip = zlib.decompressobj(-15)
    try:
        plain = unzip.decompress(data, size)
        rest = unzip.decompress(unzip.unconsumed_tail + LAST_BLOCK, 1)
    except zlib.error as error:
        raise damaged(where, f"can't be inflated: {error}") from None
    if len(plain) != size or rest or not unzip.eof or unzip.unused_data:
        raise damaged(where, f"does not inflate to the {size} bytes that are stated")
    return plain


class Artifact:
    """A release in one file. Nothing that reads it moves the descriptor's position: processes may share it.

    ``manifest``, ``manifest_bytes`` (what a signature signs), ``id``, ``signatures`` (bytes, in order), ``size`` of the file, ``body``: where in it
    the installer begins, ``tail``: what is from there to the trailer. ``left_out``: digests of layers that a thin one leaves out, whose tables and
    files the ``lender`` has (``borrow``); none of a whole one, of which ``tail`` is what the manifest says.
    """

    left_out: frozenset[str] = frozenset()
    lender: Lender | None = None

    def __init__(self, fd: int, name: str) -> None:
        """Take over the descriptor of a regular file. Raises ``ArtifactError`` when the head isn't a release's."""
        self.name = name
        self._fd = fd
        try:
            self._open()
        except BaseException:
            os.close(fd)
            raise

    def _open(self) -> None:
        facts = os.fstat(self._fd)
        if not stat.S_ISREG(facts.st_mode):
            raise ArtifactError("this is no release", [Problem(self.name, "is not a regular file", "Name the .tgz itself, or pipe it in and say -.")])
        self.size = facts.st_size
        if self._pread(0, len(GZIP_HEADER)) != GZIP_HEADER:
            problem = Problem(self.name, "does not begin as a release does", "Was it copied whole, and made by build-release?")
            raise ArtifactError("this is no release", [problem])
        position = len(GZIP_HEADER)
        self.manifest_bytes, position = self._member(position, MANIFEST_PATH, contract.MAX_BYTES)
        self.manifest: Manifest = contract.parse(self.manifest_bytes)
        self.id = contract.release_id(self.manifest.commit_time, self.manifest_bytes)
        self.tail = self.manifest.tail
        self.body = self.size - TRAILER_BYTES - self.tail.bytes
        signatures: list[bytes] = []
        while (name := self._name(position)) != THIN_PATH and len(signatures) < MAX_SIGNATURES:
            path = signature_path(len(signatures) + 1)
            if position >= self.body and name != path:
                break
            signature, position = self._member(position, path, MAX_SIGNATURE_BYTES)
            signatures.append(signature)
        self.signatures: tuple[bytes, ...] = tuple(signatures)
        self._thin = b""
        self._gaps: tuple[tuple[int, int], ...] = ()
        if name == THIN_PATH:
            position = self._open_thin(position)
        if position != self.body:
            many = f"{position - self.body} too few" if position > self.body else f"{self.body - position} too many"
            what = f"is {self.size} bytes long, {many}"
            raise ArtifactError("the artifact is not whole", [Problem(self.name, what, "Copy it again, and compare its sha256.")])
        self._check_trailer()

    def _open_thin(self, position: int) -> int:
        """Read which layers were left out. Where that member ends."""
        from . import thin  # only now: each start would pay for it

        self._thin, position = self._member(position, THIN_PATH, thin.MAX_BYTES)
        found = thin.parse(self._thin, self.manifest)
        self.left_out, self.tail, self._gaps = found.left_out, found.tail, found.gaps
        self.body = self.size - TRAILER_BYTES - self.tail.bytes
        return position

    def _name(self, position: int) -> str:
        """The name of the stored member that may begin there."""
        return self._pread(position + 5, 100).rstrip(b"\0").decode("latin-1")

    def _check_trailer(self) -> None:
        head = b"".join(self._head_members())
        crc = crc32_combine(zlib.crc32(head), self.tail.crc32, self.tail.size)
        expected = crc.to_bytes(4, "little") + ((len(head) + self.tail.size) & 0xFFFFFFFF).to_bytes(4, "little")
        if self._pread(self.size - TRAILER_BYTES, TRAILER_BYTES) != expected:
            raise damaged(self.name, "ends in another checksum than its head says")
        self.read(self.manifest.end, where="end")  # nobody needs it: but a copy that differs there was not copied whole

    def _member(self, position: int, path: str, most: int) -> tuple[bytes, int]:
        """The contents of the stored member at ``position``, and where it ends. What isn't spelled exactly as ``stored`` does is refused."""
        header = self._pread(position + 5, 512)
        try:
            size = int(header[124:135], 8)
        except ValueError:
            size = -1
        if not 0 <= size <= most or header != tar_header(path.encode("ascii"), size):
            raise damaged(self.name, f"has no {path} at byte {position}")
        total = 512 + padded(size)
        length = total + 5 * -(-total // _BLOCK)
        found = self._pread(position, length)
        if len(found) < length:
            raise damaged(self.name, f"is cut off: it ends within {path}")
        blocks = (found[start + 5 : start + 5 + _BLOCK] for start in range(0, len(found), _BLOCK + 5))
        payload = b"".join(blocks)
        data = payload[512 : 512 + size]
        if stored(member(path, data)) != found:
            raise damaged(self.name, f"spells {path} in another way than a release does")
        return data, position + length

    def borrow(self, root: str) -> None:
        """What a thin one leaves out, the host at ``root`` shall lend."""
        if self.left_out:
            from .donors import Lender  # only now: each start would pay for it

            self.lender = Lender(root, self.left_out)

    def read(self, span: Range | Segment, offset: int | None = None, where: str = "") -> bytes:
        """The compressed bytes of a range, read once, their digest compared. ``offset`` counts from the end of the signatures of a whole artifact."""
        start = span.offset if isinstance(span, Range) else offset
        assert start is not None
        data = self._pread(self._place(start, where), span.bytes)
        self._compare(data, span, start, where)
        return data

    def read_into(self, buffer: memoryview, segment: Segment, offset: int, where: str) -> None:
        """Like ``read``, into a buffer of the segment's length."""
        done, place = 0, self._place(offset, where)
        while done < len(buffer) and (count := os.preadv(self._fd, [buffer[done:]], place + done)):
            done += count
        self._compare(buffer[:done], segment, offset, where)

    def _place(self, offset: int, where: str) -> int:
        """Where in the file lies what lies at ``offset`` of a whole artifact."""
        place = self.body + offset
        for begin, end in self._gaps:
            if offset < begin:
                break
            if offset < end:
                raise lacking(where or self.name, "was left out of this thin artifact.")
            place -= end - begin
        return place

    def _compare(self, data: bytes | memoryview, span: Range | Segment, start: int, where: str) -> None:
        if len(data) != span.bytes or hashlib.sha256(data).hexdigest() != span.sha256:
            first = self._place(start, where)
            raise damaged(where or self.name, f"differs from its digest (bytes {first} to {first + span.bytes} of {self.name})")

    def segment(self, segment: Segment, offset: int, where: str) -> bytes:
        """One segment of a layer, inflated. ``offset`` is where it begins, counted from the end of the signatures."""
        return inflate(self.read(segment, offset, where), segment.size, where)

    def has_table(self, layer: Layer) -> bool:
        """Whether a layer's table can be had."""
        return layer.digest not in self.left_out or (self.lender is not None and self.lender.table(layer) is not None)

    def packed_table(self, layer: Layer) -> bytes:
        """A layer's table of contents, compressed, its digest compared. The table of a layer that was left out is the lender's."""
        if layer.digest not in self.left_out:
            return self.read(layer.table, where=layer.name)
        data = self.lender.table(layer) if self.lender else None
        if data is None or hashlib.sha256(data).hexdigest() != layer.digest:
            raise lacking(layer.name, "was left out of this thin artifact, and nothing here has it.")
        return data

    def table(self, layer: Layer) -> Iterator[Line]:
        """The lines of a layer's table of contents, as a stream: the table is never held inflated."""
        return tables.parse(table_blocks(self.packed_table(layer), layer), layer.top, layer.name, layer.files)

    def table_lines(self, layer: Layer) -> Iterator[bytes]:
        """The table's lines as they are written, without their line feeds."""
        for block in table_blocks(self.packed_table(layer), layer):
            yield from block.split(b"\n")

    def sha256(self) -> str:
        """The digest of the whole file: the head as it was read at opening, the rest read now (and again, against its digests, when it is used)."""
        digest = hashlib.sha256(GZIP_HEADER + b"".join(map(stored, self._head_members())))
        position = self.body
        while position < self.size:
            data = self._pread(position, min(16 * _STEP, self.size - position))
            digest.update(data)
            position += len(data)
        return digest.hexdigest()

    def _head_members(self) -> Iterator[bytes]:
        yield member(MANIFEST_PATH, self.manifest_bytes)
        for number, data in enumerate(self.signatures, 1):
            yield member(signature_path(number), data)
        if self._thin:
            yield member(THIN_PATH, self._thin)

    def _pread(self, position: int, count: int) -> bytes:
        pieces = []
        while count > 0:
            piece = os.pread(self._fd, count, position)
            if not piece:
                break
            pieces.append(piece)
            position += len(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            with suppress(OSError):  # it was only read: an error here would take the place of one that matters
                os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Artifact:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_artifact(path: str | os.PathLike[str]) -> Artifact:
    """Open a file as an artifact. Raises ``ArtifactError``, also when it can't be read at all."""
    name = os.fspath(path)
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        problem = Problem(name, error.strerror or str(error), "Name a release .tgz that you can read.")
        raise ArtifactError("the artifact can't be opened", [problem]) from None
    return Artifact(fd, name)


def table_path(layer: str) -> str:
    """Where a layer's table of contents lies in the archive."""
    return f"release/layers/{layer}.jsonl"


def long_name(path: bytes, type: bytes = b"L") -> bytes:
    """GNU tar's way to say a name (``L``) or link target (``K``) of more than 100 bytes: a member before the member."""
    header = tar_header(b"././@LongLink", len(path) + 1, 0o644, type)
    return (header + path).ljust(512 + padded(len(path) + 1), b"\0")


def table_prefix(layer: str, size: int) -> bytes:
    """The tar header (long name included) of a layer's table of ``size`` bytes."""
    name = table_path(layer).encode("ascii")
    return (long_name(name) if len(name) > 100 else b"") + tar_header(name[:100], size)


def table_blocks(data: bytes, layer: Layer) -> Iterator[bytes]:
    """A table, whole lines at a time, as many as are inflated at once, without the last one's line feed. The caller has compared ``data``, its
    compressed bytes, with ``layer.digest``."""
    skip, rest = len(table_prefix(layer.name, 0)), b""  # JSON between a tar header and padding
    for piece in _inflate_stream(data, layer.table.size, layer.name):
        block, feed, rest = (rest + piece[skip:]).rpartition(b"\n")
        skip = max(0, skip - len(piece))
        if feed:
            yield block
        if len(rest) > 2 * _STEP:
            raise damaged(layer.name, "has a line in its table that no writer makes")
    if rest.strip(b"\0"):
        raise damaged(layer.name, "has a table that ends in the middle of a line")


def _inflate_stream(data: bytes, size: int, where: str) -> Iterator[bytes]:
    """What ``inflate`` gives, in pieces of at most 64 KiB, for what is too long to hold."""
    unzip, view, left = zlib.decompressobj(-15), memoryview(data), size
    try:
        for start in range(0, len(view), _SLICE):
            waiting: bytes | memoryview = view[start : start + _SLICE]
            while waiting and not unzip.eof:
                piece = unzip.decompress(waiting, min(_STEP, left + 1))
                waiting, left = unzip.unconsumed_tail, left - len(piece)
                if left < 0:
                    raise damaged(where, f"inflates to more than the {size} bytes that are stated")
                yield piece
            if unzip.eof:
                raise damaged(where, "is the end of a stream in its middle")
        unzip.decompress(LAST_BLOCK, 1)
    except zlib.error as error:
        raise damaged(where, f"can't be inflated: {error}") from None
    if left or not unzip.eof or unzip.unused_data:
        raise damaged(where, f"does not inflate to the {size} bytes that are stated")


def damaged(where: str, what: str) -> ArtifactError:
    """What is raised for bytes that are not those of the build."""
    return ArtifactError("the artifact is damaged", [Problem(where, what, "Copy it again, and compare its sha256.")])


def lacking(where: str, what: str) -> ArtifactError:
    """What is raised for what a thin artifact leaves out and this host does not have."""
    return ArtifactError("a thin artifact is not enough here", [Problem(where, what, REMEDY)])
