"""Artifacts for a store: of several megabytes that do not compress, some of them the same in two releases."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.artifact import Built
from builder.artifact.head import head, trailer
from builder.install_release.artifact import Artifact, open_artifact
from tests.releases import write_release

MIB = 1 << 20


def noise(seed: str, size: int) -> bytes:
    """The same bytes for the same seed; no compressor makes them shorter."""
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True)
class Wheels:
    """Synthetic distributions: name -> (what its bytes are made from, how many)."""

    of: Mapping[str, tuple[str, int]]

    def layers(self) -> dict[str, dict[str, Any]]:
        return {f"wheel:{name}": {f"lib/{name}/data.bin": noise(seed, size)} for name, (seed, size) in self.of.items()}


LARGE = Wheels({f"w{number:02}": (f"w{number}", 3 * MIB) for number in range(22)})
"""66 MiB in 22 wheels."""


def release(directory: Path, *, source: str = "one", wheels: Wheels | None = None, time: int = 1763892672, **facts: Any) -> Built:
    """An artifact whose source is ``source``; ``time`` (of the commit) begins its id."""
    layers: dict[str, Any] = {"src": {"app.py": f"VERSION = {source!r}\n"}, **(wheels or Wheels({"w": ("w", 1000)})).layers()}
    return write_release(directory, layers, commit_time=time, **facts)


def sign(path: Path, *signatures: bytes) -> Path:
    """The same artifact with other signatures: a file of its own beside it."""
    artifact: Artifact
    with open_artifact(path) as artifact:
        body = path.read_bytes()[artifact.body : -8]
        signed = head(artifact.manifest_bytes, signatures) + body + trailer(artifact.manifest, artifact.manifest_bytes, signatures)
    made = path.with_name(f"signed-{path.name}")
    made.write_bytes(signed)
    return made
