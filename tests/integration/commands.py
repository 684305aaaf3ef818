"""The two programs, run as people run them: the scripts beside the interpreter that runs the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BUILD_RELEASE = str(Path(sys.executable).parent / "build-release")
INSTALL_RELEASE = str(Path(sys.executable).parent / "install-release")


@dataclass(frozen=True)
class Artifact:
    """What ``build-release --json`` said: the file, its digest and release id, and all the rest of the object."""

    path: Path
    sha256: str
    id: str
    said: Mapping[str, object]


def build_release(
    *argv: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, check: bool = True, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``build-release``, ``env`` added to the environment, ``prefix`` before it on the command line. A failure shows all that it said."""
    words = [*prefix, BUILD_RELEASE, *map(str, argv)]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def build(
    recipe: Path, out: Path, *argv: str, env: Mapping[str, str] | None = None, prefix: tuple[str, ...] = (), cwd: Path | None = None
) -> Artifact:
    """Build one artifact into ``out``."""
    said = json.loads(build_release(recipe, "-o", out, "--json", *argv, env=env, prefix=prefix, cwd=cwd).stdout)
    return Artifact(Path(cwd or Path(), said["artifact"]).absolute(), said["sha256"], said["id"], said)
