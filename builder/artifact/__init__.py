"""Layers to one release tarball, and its manifest. docs/format.md specifies the bytes."""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ..errors import ArtifactError, Problem
from ..install_release.artifact import GZIP_HEADER, MANIFEST_PATH, member, stored
from ..install_release.crc import crc32_combine
from ..install_release.manifest import Layer, Manifest, Range, Tail, parse, release_id, to_bytes
from . import tar
from .layers import PackedLayer, compress, copy_layer

INSTALLER_PATH = "release/install-release"
MINIMUM_INSTALLER = "1.0.0"
ORDER = ("src", "etc", "assets", "python", "env", "pex", "wheelhouse", "wheel", "git")  # the small and changing ones first
_END = bytes.fromhex("0300")  # the last deflate block, empty (RFC 1951, 3.2.6)


@dataclass(frozen=True)
class Built:
    """One artifact, written: where, the sha256 of the whole file, its release id, its length in bytes, what is in it."""

    path: Path
    sha256: str
    id: str
    bytes: int
    manifest: Manifest
    layers: tuple[PackedLayer, ...]


@dataclass(frozen=True)
class _Piece:
    """Compressed bytes of the tail that are no layer: the installer, and the end."""

    data: bytes
    plain: bytes

    def range(self, offset: int) -> Range:
        return Range(offset, len(self.data), len(self.plain), hashlib.sha256(self.data).hexdigest())


def write(facts: Manifest, layers: Iterable[PackedLayer], program: bytes, directory: Path) -> Built:
    """Write ``<name>-<version>-<abi>-<platform>-<12 digits of the id>.tgz`` into ``directory``, and its ``.sha256`` beside it.

    ``program`` is the installer. ``facts`` is the manifest but for what lies in the file: layers, ranges and tail are filled in
    here. Raises ``ArtifactError``.
    """
    ordered = tuple(sorted(layers, key=lambda layer: (ORDER.index(layer.kind), layer.name)))
    first = _Piece(compress(plain := member(INSTALLER_PATH, program, 0o755)), plain)
    last = _Piece(compress(tar.END) + _END, tar.END)
    manifest = _complete(facts, first, ordered, last)
    data = to_bytes(manifest)
    parse(data)  # what an installer would refuse is never written
    identity = release_id(manifest.commit_time, data)
    name = f"{manifest.name}-{manifest.version}-{manifest.target.abi}-{manifest.target.platform}-{identity[-12:]}.tgz"
    digest = hashlib.sha256()

    def contents(out: BinaryIO) -> None:
        head = member(MANIFEST_PATH, data)
        crc = crc32_combine(zlib.crc32(head), manifest.tail.crc32, manifest.tail.size)
        length = (len(head) + manifest.tail.size) & 0xFFFFFFFF
        for piece in (GZIP_HEADER, stored(head), first.data):
            _put(out, digest, piece)
        for layer in ordered:
            copy_layer(layer, out, digest)
        for piece in (last.data, crc.to_bytes(4, "little") + length.to_bytes(4, "little")):
            _put(out, digest, piece)

    path = directory / name
    _make(directory)
    publish(path, contents)
    publish(directory / f"{name}.sha256", lambda out: _put(out, hashlib.sha256(), f"{digest.hexdigest()}  {name}\n".encode()))
    return Built(path, digest.hexdigest(), identity, path.stat().st_size, manifest, ordered)


def _put(out: BinaryIO, digest: hashlib._Hash, data: bytes) -> None:
    digest.update(data)
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
    return replace(facts, layers=tuple(placed), installer=first.range(0), end=end, tail=Tail(position + end.bytes, size, crc))


def _make(directory: Path) -> None:
    """A directory that is made here ignores itself: what a build wrote must not make the working tree dirty for the next one."""
    if not directory.exists():
        publish(directory / ".gitignore", lambda out: _put(out, hashlib.sha256(), b"*\n"))


def publish(path: Path, contents: Callable[[BinaryIO], None]) -> None:
    """A new file by way of a temporary sibling, synced, then renamed: whole, or not there. Raises ``ArtifactError`` when the disk says no."""
    scratch = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(fd, "wb") as out:
            contents(out)
            out.flush()
            os.fchmod(out.fileno(), 0o644)
            os.fsync(out.fileno())
        os.replace(scratch, path)
        _sync_directory(path.parent)
    except BaseException as error:
        if scratch and os.path.lexists(scratch):
            os.unlink(scratch)
        if isinstance(error, OSError):
            problem = Problem(str(path), error.strerror or str(error), "Make room, or name another directory with -o.")
            raise ArtifactError("the artifact can't be written", [problem]) from None
        raise


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
