"""An environment that works here and now: for build steps, and for development. virtualenv makes it, the wheels are laid out as in an artifact."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..errors import EnvError
from ..run import EARLIEST, build_environment, run
from ..target import Interpreter
from .venv import bare, install, refuse_conflicts

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse


def make(directory: Path, house: Wheelhouse, interpreter: Interpreter, byte_code: bool) -> None:
    """A virtual environment in ``directory``, which must be empty or absent. Raises ``EnvError``; what was made by then stays."""
    refuse_conflicts(house, interpreter)
    with TemporaryDirectory(prefix="build-release-env-") as name:
        private = Path(name)
        env = build_environment(private, EARLIEST, {"VIRTUALENV_CONFIG_FILE": os.devnull})
        quiet = ("--quiet", "--no-seed", "--no-download", "--no-periodic-update", "--app-data", private / "app-data")
        command: list[str | Path] = [sys.executable, "-m", "virtualenv", *quiet, "--python", interpreter.executable, directory.absolute()]
        run(command, what="making the virtual environment", error=EnvError, cwd=private, env=env, offline=True, log=True)
    bare(directory, interpreter)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        # By size, so that the largest does not come last, when nothing is left to do beside it.
        wheels = sorted(house.wheels, key=lambda wheel: -wheel.path.stat().st_size)
        for done in [pool.submit(install, wheel.path, directory, interpreter, byte_code) for wheel in wheels]:
            done.result()
