"""What is sent: the whole artifact, and thin ones, each made once for all hosts that have the same."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..artifact import thin
from ..errors import ArtifactError, Problem
from ..frozen import frozen
from ..install_release.artifact import open_artifact
from ..install_release.errors import ArtifactError as Damaged
from ..install_release.installer import NAME, unpacked
from ..install_release.manifest import Manifest


@frozen
class Parcel:
    """A file to send: ``bytes`` long, without ``left_out`` layers of the release. ``sha256``: to be compared there, or ""."""

    path: Path
    bytes: int
    left_out: int
    sha256: str


class Load:
    """An artifact that is here, with the digest ``expected``, where one is. ``installer`` is the one that it carries."""

    def __init__(self, path: Path, work: Path, expected: str | None) -> None:
        with open_artifact(path) as artifact:
            thin.insist_whole(artifact)
            if expected is not None:
                _compare(path, artifact.sha256(), expected)
            self.manifest: Manifest = artifact.manifest
            self.id, self.bytes = artifact.id, artifact.size
            self.installer = unpacked(artifact.read(artifact.manifest.installer, where=NAME), artifact.manifest.installer)
        self._digests = frozenset(layer.digest for layer in self.manifest.layers)
        self.whole = Parcel(path, self.bytes, 0, expected or "")
        self._work = work
        self._thin: dict[frozenset[str], Parcel] = {}

    def without(self, have: frozenset[str]) -> Parcel:
        """What a host needs that has the layers ``have``."""
        have &= self._digests
        if have and have not in self._thin:
            path = self._work / f"{len(self._thin)}.tgz"
            made = thin.write(self.whole.path, have, path)
            digest = made.sha256 if self.whole.sha256 else ""
            self._thin[have] = Parcel(path, made.bytes, len(made.left_out), digest) if made.left_out else self.whole
        return self._thin.get(have, self.whole)


@contextmanager
def opened(path: Path, expected: str | None) -> Iterator[Load]:
    """The artifact, for as long as the block lasts. Raises ``ArtifactError``, also when its sha256 is not the expected one."""
    with tempfile.TemporaryDirectory(prefix="build-release-deploy-") as work:
        try:
            load = Load(path, Path(work), expected)
        except Damaged as error:
            raise ArtifactError(f"{path}: {error.message}", error.problems) from None
        yield load


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected.lower():
        what = f"{path} has sha256 {found}, expected {expected or 'nothing: --expect-sha256 has an empty value'}."
        raise ArtifactError("this is another artifact", [Problem("sha256", what, "Copy it again, or ask where the expected digest comes from.")])
