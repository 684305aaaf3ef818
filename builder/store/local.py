"""What is here already of a release that is pulled: regions of artifacts, and layers of the build cache, by their digests."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ..artifact import layers
from ..errors import ArtifactError
from . import layout

_MOST_ARTIFACTS = 20  # of a directory, the newest


@dataclass(frozen=True)
class Here:
    """Bytes in open files, in order: (descriptor, offset, length). Who takes them checks them: a file may have changed since it was made."""

    pieces: tuple[tuple[int, int, int], ...]

    def part(self, offset: int, length: int) -> Here:
        """``length`` bytes of them from ``offset`` on."""
        found = []
        for file, start, size in self.pieces:
            first, last = max(offset, 0), min(offset + length, size)
            if first < last:
                found.append((file, start + first, last - first))
            offset -= size
        return Here(tuple(found))

    def read(self, most: int) -> Iterator[bytes]:
        """In pieces of at most ``most`` bytes; fewer than there should be where a file ends."""
        for file, start, size in self.pieces:
            while size and (data := os.pread(file, min(size, most), start)):
                yield data
                start, size = start + len(data), size - len(data)


def find(wanted: Iterable[layout.Region], artifacts: Iterable[Path], cache: Path, name: str, files: ExitStack) -> dict[str, Here]:
    """For each digest that is here: where. ``files`` closes what was opened.

    ``artifacts``: files that must be artifacts, and directories that may hold some.

    Raises ``ArtifactError`` for a file that was named and is none.
    """
    lengths = {region.digest: region.length for region in wanted}
    found: dict[str, Here] = {}
    for path in artifacts:
        if not path.is_dir():
            _from_artifact(path, lengths, found, files)
            continue
        for each in _newest(path, name):
            with suppress(ArtifactError):
                _from_artifact(each, lengths, found, files)
    for layer in layers.cached(cache) if len(found) < len(lengths) else ():
        if lengths.get(layer.table_sha256) == layer.bytes and layer.table_sha256 not in found:
            with suppress(OSError):
                file = os.open(layer.path, os.O_RDONLY | os.O_CLOEXEC)
                files.callback(os.close, file)
                found[layer.table_sha256] = Here(((file, layer.segments_bytes, layer.table_bytes), (file, 0, layer.segments_bytes)))
    return found


def _from_artifact(path: Path, lengths: dict[str, int], found: dict[str, Here], files: ExitStack) -> None:
    artifact = files.enter_context(layout.Unsigned(path))
    for region in layout.regions(artifact.manifest):
        if lengths.get(region.digest) == region.length:
            found.setdefault(region.digest, Here(((artifact.descriptor, artifact.body + region.offset, region.length),)))


def _newest(directory: Path, name: str) -> list[Path]:
    def age(path: Path) -> float:
        try:
            return -path.stat().st_mtime
        except OSError:
            return 0

    return sorted(directory.glob(f"{name}-*.tgz"), key=age)[:_MOST_ARTIFACTS]
