"""The probe: a small application in two versions that says what it imports. Its library comes from an index of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import KEPT
from tests.distributions import Index, make_wheel

from .applications import online
from .commands import Artifact, build, build_release
from .host import Host

SAMPLE = Path(__file__).parent.parent / "samples" / "probe"
SETTINGS = "PROBE_SETTING=from shared/env\n"


class Probe:
    """Versions ``1`` and ``2`` of the probe; every module that it imports late says one of the two."""

    def __init__(self, work: Path, index: Index) -> None:
        self.work, self.index = work, index
        self._artifacts: dict[tuple[str, str], Artifact] = {}
        repository = work / "repository"
        repository.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        published("gunicorn", index.directory)
        for version in ("1", "2"):
            for file in (SAMPLE / "repository").iterdir():
                (repository / file.name).write_text(_stamped(file, version))
            self.git("add", "--all")
            self.git("commit", "--quiet", f"--message={version}")
            self.git("tag", f"v{version}")
            files = {f"probe_lib/{file.name}": _stamped(file, version) for file in sorted((SAMPLE / "wheel").iterdir()) if file.is_file()}
            make_wheel(index.directory, "probe-lib", f"{version}.0", files, scripts={"probe": "probe_lib:main"})

    def git(self, *argv: str) -> None:
        """Run git in the probe's repository."""
        subprocess.run(["git", *argv], cwd=self.work / "repository", check=True)

    def recipe(self, version: str, kind: str = "venv") -> Path:
        """The recipe of one version, its lock made."""
        recipe = self.work / f"probe-{version}-{kind}.toml"
        if not recipe.exists():
            recipe.write_text((SAMPLE / "recipe.toml").read_text().replace("@version@", version).replace("@kind@", kind))
            build_release("lock", recipe, env=self.index.environment)
        return recipe

    def artifact(self, version: str, kind: str = "venv") -> Artifact:
        """Built when first asked for."""
        key = (version, kind)
        if key not in self._artifacts:
            self._artifacts[key] = build(self.recipe(version, kind), self.work / "artifacts" / kind, env=self.index.environment)
        return self._artifacts[key]


def set_up_probe(host: Host) -> None:
    """What the probe requires of a host."""
    host.run("mkdir", "-p", "/srv/app/shared/var/data")
    for name, text in {"env": SETTINGS, "local.ini": "[local]\n"}.items():
        host.run("sh", "-c", 'umask 027; cat > "$0"', f"/srv/app/shared/{name}", input=text)


def _stamped(file: Path, version: str) -> str:
    return file.read_text().replace("@version@", version)


def published(requirement: str, directory: Path) -> None:
    """Put a real distribution and what it needs into an index, from the user's cache if it was ever asked for."""
    kept = KEPT / "wheels" / requirement
    if not kept.exists():
        arriving = kept.with_name(f"{requirement}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--dest", str(arriving), requirement]
        subprocess.run(command, env={**os.environ, **online()}, check=True)
        arriving.rename(kept)
    for wheel in kept.iterdir():
        shutil.copy(wheel, directory)
