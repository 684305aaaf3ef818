"""What is in an artifact, for people and programs to look at."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path

from ..errors import ArtifactError
from ..frozen import frozen
from ..install_release.artifact import Artifact, open_artifact
from ..install_release.errors import ArtifactError as Damaged
from ..install_release.manifest import Manifest
from ..install_release.signatures import NAMESPACE, Signature, read_all
from ..install_release.table import Entry


@frozen
class Content:
    """One file: its path below ``release/``, its length in bytes, the layer that holds it."""

    path: str
    bytes: int
    layer: str


@frozen
class Inspection:
    """An artifact, described: ``bytes`` and ``sha256`` of the whole file, the signatures that it carries, its largest files. ``left_out``: the
    digests of layers that a thin one leaves out.

    Nothing is said of a signature but by which key it is: who may sign, a host knows.
    """

    path: Path
    bytes: int
    sha256: str
    id: str
    manifest: Manifest
    signatures: tuple[Signature, ...]
    largest: tuple[Content, ...]
    left_out: frozenset[str]


def inspect(path: Path, *, most: int = 20) -> Inspection:
    """Look into an artifact: its head and its tables. Raises ``ArtifactError`` when it is none, or damaged where it was looked at."""
    try:
        with open_artifact(path) as artifact:
            largest = heapq.nsmallest(most, _files(artifact), key=lambda content: (-content.bytes, content.path))
            signatures = read_all(artifact.signatures, f"{NAMESPACE}{artifact.manifest.name}")
            facts = artifact.sha256(), artifact.id, artifact.manifest, signatures, tuple(largest), artifact.left_out
            return Inspection(path, artifact.size, *facts)
    except Damaged as error:
        raise ArtifactError(f"{path}: {error.message}", error.problems) from None


def _files(artifact: Artifact) -> Iterator[Content]:
    for layer in artifact.manifest.layers:
        if layer.digest in artifact.left_out:
            continue
        for line in artifact.table(layer):
            if isinstance(line, Entry) and line.type == "file":
                yield Content(line.path, line.size, layer.name)
