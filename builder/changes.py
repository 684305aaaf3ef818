"""What one release has that another has not, told from their manifests alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .frozen import frozen
from .install_release.artifact import open_artifact
from .install_release.errors import ArtifactError
from .install_release.manifest import Manifest

_WHEEL = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)(-\d[^-]*)?-[^-]+-[^-]+-[^-]+")


@frozen
class Package:
    """A distribution whose version differs: ``before`` is empty when it is new, ``after`` when it is gone."""

    name: str
    before: str
    after: str


@frozen
class Changes:
    """From the release ``since`` (a version; ``since_id`` its id) to a newer one. ``new_bytes`` are those of its layers that ``since`` has not."""

    since: str
    since_id: str
    packages: tuple[Package, ...]
    layers: tuple[str, ...]
    new_bytes: int


def compare(before: Manifest, before_id: str, after: Manifest) -> Changes:
    """What is new in ``after``. Packages are those of the layers of kind ``wheel``, whose names are wheel file names."""
    known = {layer.digest for layer in before.layers}
    new = [layer for layer in after.layers if layer.digest not in known]
    old_packages, new_packages = packages(before), packages(after)
    changed = [
        Package(name, old_packages.get(name, ""), new_packages.get(name, ""))
        for name in sorted(old_packages.keys() | new_packages.keys())
        if old_packages.get(name) != new_packages.get(name)
    ]
    return Changes(before.version, before_id, tuple(changed), tuple(layer.name for layer in new), sum(layer.bytes for layer in new))


def packages(manifest: Manifest) -> Mapping[str, str]:
    """The distributions that travel as layers of their own: normalised name → version."""
    return dict(found for layer in manifest.layers if layer.kind == "wheel" and (found := package(layer.name)))


def package(layer: str) -> tuple[str, str] | None:
    """Normalised name and version in the name of a layer of kind ``wheel``; None for any other."""
    match = _WHEEL.fullmatch(layer)
    return (re.sub(r"[-_.]+", "-", match["name"]).lower(), match["version"]) if match else None


def last_of(name: str, directory: Path) -> tuple[Manifest, str] | None:
    """Manifest and id of the artifact of application ``name`` that was written last into ``directory``; None when there is none."""
    written = []
    for path in directory.glob(f"{name}-*.tgz"):
        try:
            written.append((path.stat().st_mtime_ns, path))
        except FileNotFoundError:  # removed by someone else in this moment
            continue
    for _, path in sorted(written, reverse=True):
        try:
            with open_artifact(path) as artifact:
                if artifact.manifest.name == name:
                    return artifact.manifest, artifact.id
        except ArtifactError:  # not ours to judge: whatever lies there, the build goes on
            continue
    return None
