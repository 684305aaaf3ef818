"""``build-release verify``: does an artifact hold every law of docs/format.md? The tar headers must say exactly what the tables say."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError
from ..frozen import frozen
from ..install_release.artifact import Artifact, inflate, member, open_artifact, padded, table_prefix
from ..install_release.errors import ArtifactError as InstallArtifactError
from ..install_release.errors import Problem
from ..install_release.manifest import Layer, Manifest
from ..install_release.signatures import NAMESPACE, read_all
from ..install_release.table import Entry, Segment, to_line
from . import INSTALLER_PATH, ORDER, tar


@frozen
class Verified:
    """An artifact that holds: its manifest, and the digests of the layers that a thin one leaves out, of which nothing is known then."""

    manifest: Manifest
    left_out: frozenset[str]


def verify(path: Path) -> Verified:
    """Read every byte of an artifact and compare it with what it says of itself. Raises ``ArtifactError`` with what does not hold.

    Of a thin one, what it does not leave out.
    """
    try:
        with open_artifact(path) as artifact:
            problems = [*_verify(artifact)]
            found = Verified(artifact.manifest, artifact.left_out)
    except InstallArtifactError as error:
        raise ArtifactError(f"{path.name}: {error.message}", error.problems) from None
    if problems:
        raise ArtifactError(f"{path.name} breaks the laws of its format", problems)
    return found


def _verify(artifact: Artifact) -> Iterator[Problem]:
    manifest = artifact.manifest
    try:
        read_all(artifact.signatures, f"{NAMESPACE}{manifest.name}")  # well-formed: who may sign, and whether it is good, a host's policy knows
    except InstallArtifactError as error:
        yield from error.problems
    kinds = [(ORDER.index(layer.kind), layer.name) for layer in manifest.layers]
    if kinds != sorted(kinds):
        yield Problem("layers", f"are not in the order {', '.join(ORDER)}")
    plain = inflate(artifact.read(manifest.installer, where="installer"), manifest.installer.size, "installer")
    size = int(plain[124:135], 8) if re.fullmatch(b"[0-7]{11}", plain[124:135]) else 0
    if not size or plain != member(INSTALLER_PATH, plain[512 : 512 + size], 0o755):
        yield Problem("installer", "has another tar header than its place says")
    crc, total = zlib.crc32(plain), len(plain)
    for layer in manifest.layers:
        if layer.digest in artifact.left_out:
            continue
        lines = b"".join(map(to_line, artifact.table(layer)))  # which has one spelling alone
        table = table_prefix(layer.name, len(lines)) + lines + tar.padding(len(lines))
        if len(table) != layer.table.size:
            yield Problem(layer.name, f"has a table of {len(table)} bytes, stated are {layer.table.size}")
        crc, total = zlib.crc32(table, crc), total + len(table)
        check = _LayerCheck(artifact, layer, crc)
        yield from check.run()
        crc, total = check.crc, total + check.plain
    end = artifact.read(manifest.end, where="end")
    if not _ends(end):
        yield Problem("end", "is not two zero blocks and the last of the stream")
    crc, total = zlib.crc32(tar.END, crc), total + len(tar.END)
    if (crc, total) != (artifact.tail.crc32, artifact.tail.size):
        yield Problem("tail", "has another checksum or length than its head says")


def _ends(data: bytes) -> bool:
    """Whether this is two zero blocks, and the last deflate block of the stream right behind them."""
    unzip = zlib.decompressobj(-15)
    try:
        return unzip.decompress(data, len(tar.END) + 1) == tar.END and unzip.eof and not unzip.unused_data
    except zlib.error:
        return False


class _LayerCheck:
    """One layer: its inflated segments must be, byte for byte, the headers that its table implies and contents with the stated digests."""

    def __init__(self, artifact: Artifact, layer: Layer, crc: int) -> None:
        self.artifact, self.layer, self.crc = artifact, layer, crc
        self.plain = self.files = self.size = 0
        self.offset = layer.table.offset + layer.table.bytes
        self.waiting: list[Segment] = []
        self.data = b""
        self.position = 0

    def run(self) -> Iterator[Problem]:
        for line in self.artifact.table(self.layer):
            if isinstance(line, Segment):
                if self.position < len(self.data):
                    yield self._problem(f"segment {line.number - 1} holds bytes that no entry accounts for")
                    self.position = len(self.data)
                self.waiting.append(line)
            else:
                yield from self._entry(line)
        if self.position < len(self.data) or self.waiting:
            yield self._problem("its last segment holds bytes that no entry accounts for")
        if self.offset != self.layer.table.offset + self.layer.bytes:
            yield self._problem("its segments don't fill it")
        if (self.files, self.size) != (self.layer.files, self.layer.size):
            yield self._problem(f"holds {self.files} files of {self.size} bytes, the manifest says {self.layer.files} of {self.layer.size}")

    def _entry(self, entry: Entry) -> Iterator[Problem]:
        header = tar.header(entry)
        if self._take(len(header)) != header:
            yield self._problem(f"{entry.path}: its tar header differs from the table")
        if entry.type != "file":
            return
        self.files += 1
        self.size += entry.size
        digest = hashlib.sha256()
        left = entry.size
        if left and (entry.segment, entry.offset) != (self.number, self.position):
            yield self._problem(f"{entry.path}: is not where the table says")
        while left:
            piece = self._take(min(left, max(1, len(self.data) - self.position)))
            if not piece:
                break
            digest.update(piece)
            left -= len(piece)
        if digest.hexdigest() != entry.sha256:
            yield self._problem(f"{entry.path}: its contents differ from the digest in the table")
        if self._take(padded(entry.size) - entry.size).strip(b"\0"):
            yield self._problem(f"{entry.path}: is padded with something else than zeros")

    def _take(self, count: int) -> bytes:
        if self.position == len(self.data) and self.waiting and count:
            segment = self.waiting.pop(0)
            self.number = segment.number
            self.data, self.position = self.artifact.segment(segment, self.offset, self.layer.name), 0
            self.offset += segment.bytes
            self.crc, self.plain = zlib.crc32(self.data, self.crc), self.plain + len(self.data)
        piece = self.data[self.position : self.position + count]
        self.position += len(piece)
        return piece

    number = -1

    def _problem(self, what: str) -> Problem:
        return Problem(self.layer.name, what)
