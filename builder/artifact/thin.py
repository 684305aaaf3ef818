"""A thin artifact: the whole one without the layers that a host has. docs/format.md specifies its bytes."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

from ..errors import ArtifactError, Problem
from ..frozen import frozen
from ..install_release import thin
from ..install_release.artifact import GZIP_HEADER, MANIFEST_PATH, THIN_PATH, Artifact, member, open_artifact, signature_path, stored
from ..install_release.crc import crc32_combine
from ..install_release.errors import ArtifactError as Damaged
from ..install_release.manifest import ENV_LAYERS, Layer, Manifest
from ..install_release.table import Segment
from . import publish

_STEP = 1 << 20
_FORMAT = 1  # of what a host says
_MOST_HAVE = 64 << 20  # bytes of it: some 900 000 layers
_SHA256 = re.compile(r"[0-9a-f]{64}")


@frozen
class Thin:
    """A thin artifact, written: its length, that of the whole one, its sha256, and the digests of the layers that it leaves out, sorted."""

    bytes: int
    whole_bytes: int
    sha256: str
    left_out: tuple[str, ...]


def droppable(manifest: Manifest, have: frozenset[str]) -> tuple[Layer, ...]:
    """The layers that may be left out for a host that has those with the digests ``have``.

    An environment that a host makes itself, of a pex or of wheels, it can only use as it is: all of its layers, or none.
    """
    env = {layer.digest for layer in manifest.layers if layer.kind in ENV_LAYERS}
    reuses = manifest.env.kind == "venv" or (manifest.env.share and env <= have)
    kept = {layer.digest for layer in manifest.layers if layer.kind in thin.NEVER} | (set() if reuses else env)
    return tuple(layer for layer in manifest.layers if layer.digest in have and layer.digest not in kept)


def read_have(source: BinaryIO | Path) -> frozenset[str]:
    """The digests of the layers that a host has, as ``install-release have --json`` says them. Raises ``ArtifactError`` for anything else."""
    where = str(source) if isinstance(source, Path) else "standard input"
    try:
        with source.open("rb") if isinstance(source, Path) else nullcontext(source) as file:
            value = json.loads(file.read(_MOST_HAVE))
        layers = frozenset(value["layers"])
        if value["format"] != _FORMAT or not all(_SHA256.fullmatch(each) for each in layers):
            raise ValueError(f"it is not of format {_FORMAT}")
    except OSError as error:
        raise ArtifactError("what the host has can't be read", [Problem(where, f"{error.strerror}.")]) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"is not what install-release have --json says: {error}."
        raise ArtifactError("what the host has can't be read", [Problem(where, what, "Ask the host again.")]) from None
    return layers


def write(whole: Path, have: frozenset[str], to: Path) -> Thin:
    """Write what a host that has the layers with the digests ``have`` lacks of ``whole`` to ``to``: all of it, or no file.

    What is copied is compared with the manifest's chain of digests. Where nothing can be left out, it is the whole artifact again. Raises
    ``ArtifactError``.
    """
    try:
        with open_artifact(whole) as artifact:
            insist_whole(artifact)
            left_out = frozenset(layer.digest for layer in droppable(artifact.manifest, have))
            contents = _Contents(artifact, left_out)
            publish(to, contents)
            return Thin(contents.bytes, artifact.size, contents.digest.hexdigest(), tuple(sorted(left_out)))
    except Damaged as error:
        raise ArtifactError(f"{whole}: {error.message}", error.problems) from None


def insist_whole(artifact: Artifact) -> None:
    """Raises ``ArtifactError`` for a thin one."""
    if artifact.left_out:
        what = f"leaves out {len(artifact.left_out)} of its {len(artifact.manifest.layers)} layers: it is for one host, for one time."
        raise ArtifactError("this is a thin artifact", [Problem(artifact.name, what, "Name the whole one that it was made of.")])


class _Contents:
    """Writes a thin artifact: ``bytes`` and ``digest`` of it."""

    def __init__(self, artifact: Artifact, left_out: frozenset[str]) -> None:
        self.artifact, self.left_out = artifact, left_out
        self.bytes, self.digest = 0, hashlib.sha256()

    def __call__(self, out: BinaryIO) -> None:
        artifact, manifest = self.artifact, self.artifact.manifest
        head = [member(MANIFEST_PATH, artifact.manifest_bytes)]
        head += [member(signature_path(number), data) for number, data in enumerate(artifact.signatures, 1)]
        size, crc = manifest.tail.size, manifest.tail.crc32
        if self.left_out:
            size, crc = self._measure()
            head.append(member(THIN_PATH, thin.to_bytes(thin.of(manifest, self.left_out, size, crc))))
        plain = b"".join(head)
        self._put(out, GZIP_HEADER + b"".join(map(stored, head)))
        for piece in self._pieces():
            self._put(out, piece)
        self._put(out, crc32_combine(zlib.crc32(plain), crc, size).to_bytes(4, "little"))
        self._put(out, ((len(plain) + size) & 0xFFFFFFFF).to_bytes(4, "little"))

    def _measure(self) -> tuple[int, int]:
        """Length and CRC-32 of what is left, inflated: that of each piece ends where a block does, so that all of them are one stream."""
        size = crc = 0
        unzip = zlib.decompressobj(-15)
        for piece in self._pieces():
            while piece:
                plain = unzip.decompress(piece, _STEP)
                size, crc = size + len(plain), zlib.crc32(plain, crc)
                piece = unzip.unconsumed_tail
        return size, crc

    def _pieces(self) -> Iterator[bytes]:
        """The tail without what is left out, each piece compared with its digest."""
        artifact, manifest = self.artifact, self.artifact.manifest
        yield artifact.read(manifest.installer, where="installer")
        for layer in manifest.layers:
            if layer.digest in self.left_out:
                continue
            yield artifact.read(layer.table, where=layer.name)
            position = layer.table.offset + layer.table.bytes
            for line in artifact.table(layer):
                if isinstance(line, Segment):
                    yield artifact.read(line, position, layer.name)
                    position += line.bytes
            if position != layer.table.offset + layer.bytes:
                raise Damaged("the artifact is not valid", [Problem(layer.name, "its segments don't fill it", "Build it again.")])
        yield artifact.read(manifest.end, where="end")

    def _put(self, out: BinaryIO, data: bytes) -> None:
        out.write(data)
        self.bytes += len(data)
        self.digest.update(data)
