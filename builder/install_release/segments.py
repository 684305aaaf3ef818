"""The inflated bytes of segments, a slice at a time: neither they nor a file in them is ever held whole.

A segment's compressed bytes are held, in a buffer that is used again, because nothing of them is inflated before their digest was compared.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from .artifact import LAST_BLOCK, Artifact, damaged
from .table import Segment

_SLICE = 32 << 10  # bytes that zlib is given at once: what it has not used yet is copied each time
_STEP = 64 << 10  # bytes that it gives at once


class Reader:
    """Reads one run of consecutive segments after the other; forward only."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self._buffer = bytearray()
        self._waiting: bytes | memoryview = b""
        self.begin((), 0, "")

    def begin(self, segments: Sequence[Segment], offset: int, where: str) -> None:
        """Go to the start of ``segments``, ``offset`` bytes behind the signatures."""
        self._segments, self._offset, self._where = iter(segments), offset, where
        self._position = self._left = 0
        self._data, self._waiting = memoryview(b""), b""

    def pieces(self, offset: int, size: int) -> Iterator[bytes | memoryview]:
        """The ``size`` bytes from ``offset`` on, which is not before the last one that was read. Raises ``ArtifactError`` or ``OSError``."""
        end = offset + size
        while size and self._position < end:
            start = self._position
            piece = self._take(end - start)
            if start >= offset:
                yield piece
            elif self._position > offset:  # it begins with what lies between two files
                yield memoryview(piece)[offset - start :]

    def finish(self) -> None:
        """What nobody asked for must be what is stated, too."""
        while self._left:
            self._take(self._left)
        for segment in self._segments:
            self._open(segment)
            while self._left:
                self._take(self._left)

    def _take(self, most: int) -> bytes:
        """The next bytes, at least one and at most ``most``."""
        if not self._left:
            self._open(next(self._segments))
        piece, most = b"", min(most, self._left, _STEP)
        while not piece:
            if not self._waiting:
                self._waiting, self._data = self._data[:_SLICE], self._data[_SLICE:]
            last = not self._waiting
            try:
                piece = self._unzip.decompress(self._waiting, most)
            except zlib.error as error:
                raise damaged(self._where, f"can't be inflated: {error}") from None
            self._waiting = self._unzip.unconsumed_tail
            if not piece and (last or self._unzip.eof):
                raise self._of_another_length()
        self._position += len(piece)
        self._left -= len(piece)
        if not self._left:
            self._close()
        return piece

    def _open(self, segment: Segment) -> None:
        if len(self._buffer) < segment.bytes:
            self._data = memoryview(b"")
            self._buffer = bytearray(segment.bytes)
        self._data = memoryview(self._buffer)[: segment.bytes]
        self._artifact.read_into(self._data, segment, self._offset, self._where)
        self._offset += segment.bytes
        self._left = self._size = segment.size
        self._waiting, self._unzip = b"", zlib.decompressobj(-15)

    def _close(self) -> None:
        """The segment's end: there is nothing more in it."""
        try:
            rest = self._unzip.decompress(b"".join((self._waiting, self._data, LAST_BLOCK)), 1)
        except zlib.error as error:
            raise damaged(self._where, f"can't be inflated: {error}") from None
        if rest or not self._unzip.eof or self._unzip.unused_data:
            raise self._of_another_length()

    def _of_another_length(self) -> Exception:
        return damaged(self._where, f"does not inflate to the {self._size} bytes that are stated")
