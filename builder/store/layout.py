"""Where everything lies in an artifact, with signatures or without: what is in front of the body, the body's regions, the trailer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..artifact.head import head, trailer
from ..artifact.thin import insist_whole
from ..errors import ArtifactError, Problem
from ..install_release.artifact import TRAILER_BYTES, Artifact
from ..install_release.errors import InstallError
from ..install_release.manifest import Manifest

_SEGMENT = b'{"bytes":'  # how a table's line begins that is a segment's (keys are sorted)


@dataclass(frozen=True)
class Region:
    """A part of the body that is the same wherever its digest is the same: the installer, a layer, the end. ``offset``: from the body's start."""

    digest: str
    offset: int
    length: int


def regions(manifest: Manifest) -> Iterator[Region]:
    """They tile the body."""
    yield Region(manifest.installer.sha256, 0, manifest.installer.bytes)
    for layer in manifest.layers:
        yield Region(layer.digest, layer.table.offset, layer.bytes)
    yield Region(manifest.end.sha256, manifest.end.offset, manifest.end.bytes)


class Unsigned:
    """An artifact's file, as it would be without signatures. Threads may read at once."""

    def __init__(self, path: Path) -> None:
        """Raises ``ArtifactError``."""
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise ArtifactError("the artifact can't be read", [Problem(str(path), error.strerror or str(error))]) from None
        self.path = path
        self.ended = False  # nobody waits for ``check`` any more
        try:
            self._artifact = Artifact(os.dup(self._file), str(path))
        except BaseException as error:
            os.close(self._file)
            if isinstance(error, InstallError):
                raise ArtifactError(error.message, error.problems) from None
            raise
        try:
            insist_whole(self._artifact)
        except ArtifactError:
            self.close()
            raise
        self.manifest, self.manifest_bytes = self._artifact.manifest, self._artifact.manifest_bytes
        self.id, self.signatures = self._artifact.id, self._artifact.signatures
        self.body = self._artifact.body  # where it begins in the file
        self._head, self._trailer = head(self.manifest_bytes), trailer(self.manifest, self.manifest_bytes)
        self.size = len(self._head) + self.manifest.tail.bytes + TRAILER_BYTES

    @property
    def descriptor(self) -> int:
        return self._file

    def read(self, offset: int, length: int) -> bytes:
        pieces, begins = [], 0
        for data, there, size in (
            (self._head, 0, len(self._head)),
            (b"", self.body, self.manifest.tail.bytes),
            (self._trailer, 0, len(self._trailer)),
        ):
            first, last = max(offset, begins), min(offset + length, begins + size)
            if first < last:
                start = first - begins
                pieces.append(data[start : start + last - first] if data else self._pread(there + start, last - first))
            begins += size
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _pread(self, position: int, count: int) -> bytes:
        data = os.pread(self._file, count, position)
        while len(data) < count:  # a signal, or a file system that gives less
            more = os.pread(self._file, count - len(data), position + len(data))
            if not more:
                raise ArtifactError(
                    "the artifact became shorter while it was read", [Problem(str(self.path), f"ends before byte {position + count}")]
                )
            data += more
        return data

    def check(self) -> str:
        """Read all of it, compare everything with the manifest's chain of digests, and give the SHA-256 of the whole. Raises ``ArtifactError``."""
        whole = hashlib.sha256(self._head)
        try:
            whole.update(self._artifact.read(self.manifest.installer, where="installer"))
            for layer in self.manifest.layers:
                whole.update(self._artifact.read(layer.table, where=layer.name))
                position = layer.table.offset + layer.table.bytes
                for line in self._artifact.table_lines(layer):
                    if self.ended:
                        raise ArtifactError("the artifact was not read to its end")
                    if line.startswith(_SEGMENT):
                        segment = json.loads(line)
                        data = self._pread(self.body + position, segment["bytes"])
                        if hashlib.sha256(data).hexdigest() != segment["sha256"]:
                            raise self._damaged(layer.name, f"segment {segment['segment']} differs from its digest")
                        whole.update(data)
                        position += len(data)
                if position != layer.table.offset + layer.bytes:
                    raise self._damaged(layer.name, "its segments don't fill it")
            whole.update(self._artifact.read(self.manifest.end, where="end"))
        except InstallError as error:
            raise ArtifactError(error.message, error.problems) from None
        whole.update(self._trailer)
        return whole.hexdigest()

    def _damaged(self, layer: str, what: str) -> ArtifactError:
        return ArtifactError("the artifact is damaged", [Problem(layer, what, "Copy it again, or build it again.")])

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._file)
        self._artifact.close()

    def __enter__(self) -> Unsigned:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
