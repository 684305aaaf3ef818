"""Same commit, same lock, same bytes: whoever builds it, where, when, and on whatever machine."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.conftest import missing

from .applications import DPASTE, Workshop, online
from .commands import Artifact, build, build_release

KINDS = ("venv", "pex", "wheelhouse")
VERSION = "3.5"  # dpaste: C compiled from an sdist, a build step, templates, static files


class Elsewhere:
    """Another directory, later and in another time zone, another user, one core, other hash seeds and umask, and an empty cache of its own."""

    def __init__(self, work: Path) -> None:
        self.work = work / "quite" / "another place"
        self.work.mkdir(parents=True)
        for program in ("taskset", "unshare"):
            if not shutil.which(program):
                missing(f"{program} is not installed")

    def build(self, recipe: Path) -> Artifact:
        """Build the same recipe from a copy of all that it names, with file times of another year."""
        folder = self.work / recipe.parent.name
        if not folder.exists():
            shutil.copytree(recipe.parent, folder, symlinks=True)
            for path in folder.rglob("*"):
                os.utime(path, (2_000_000_000, 2_000_000_000), follow_symlinks=False)
        shutil.copy(recipe, folder)
        return build(folder / recipe.name, self.work / "out", "--jobs", "1", env=self._environment(), prefix=self._prefix(), cwd=folder)

    def _prefix(self) -> tuple[str, ...]:
        """On the first core, as a user that is not the one of the other build, with another umask."""
        user = ("unshare", "--map-user=12345", "--map-group=12345")  # can read what the tests' own user can: interpreters may live in a home
        return (*user, "taskset", "--cpu-list", "0", "sh", "-c", 'umask 077; exec "$@"', "sh")

    def _environment(self) -> dict[str, str]:
        home = self.work / "home"
        home.mkdir(exist_ok=True)
        return {
            **online(),
            "HOME": str(home),
            "USER": "somebody",
            "LOGNAME": "somebody",
            "XDG_CACHE_HOME": str(home / "cache"),
            "PIP_CACHE_DIR": str(home / "pip"),
            "TMPDIR": str(home),
            "TZ": "Asia/Kathmandu",
            "LANG": "C",
            "PYTHONHASHSEED": "4711",
        }


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """The other builder; its cache is cold for the first kind, and holds no environment for any."""
    return Elsewhere(tmp_path_factory.mktemp("elsewhere"))


@pytest.mark.parametrize("kind", KINDS)
def test_same_bytes_elsewhere(workshop: Workshop, elsewhere: Elsewhere, kind: str) -> None:
    """Directory, time, user, core count, hash seed, umask, locale and a cold cache change not one byte."""
    here = workshop.artifact(DPASTE, VERSION, kind)
    while time.time() < here.path.stat().st_mtime + 2:  # zip's times count in steps of two seconds: no luck here
        time.sleep(0.1)
    there = elsewhere.build(workshop.recipe(DPASTE, VERSION, kind))
    assert here.path.name == there.path.name
    assert here.sha256 == there.sha256
    assert here.path.read_bytes() == there.path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_same_bytes_from_a_warm_cache(workshop: Workshop, tmp_path: Path, kind: str) -> None:
    """A second build takes every layer of dependencies from the cache and gives the same bytes."""
    here = workshop.artifact(DPASTE, VERSION, kind)
    again = build(workshop.recipe(DPASTE, VERSION, kind), tmp_path, env={**online(), "PYTHONHASHSEED": "1"})
    assert again.sha256 == here.sha256
    layers = again.said["layers"]
    assert isinstance(layers, list)
    assert {layer["name"] for layer in layers if not layer["cached"]} <= {"src", "assets", "etc"}


@pytest.mark.parametrize("kind", KINDS)
def test_artifact_keeps_every_law(workshop: Workshop, kind: str) -> None:
    """build-release verify finds that a real artifact holds, and the sha256 beside it is its own."""
    artifact = workshop.artifact(DPASTE, VERSION, kind)
    build_release("verify", artifact.path)
    beside = Path(f"{artifact.path}.sha256").read_text()
    assert beside == f"{artifact.sha256}  {artifact.path.name}\n"
    assert artifact.path.name.endswith(f"-{artifact.id.split('-')[1]}.tgz")
    assert os.stat(artifact.path).st_size == artifact.said["bytes"]
