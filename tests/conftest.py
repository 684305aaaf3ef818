"""What every test stands on: no pip, git or Python settings of this machine, a home and caches of the session's own, the interpreters found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

MACHINE = dict(os.environ)
"""The environment that the tests were started with: for what must be asked of this machine (its index, its caches)."""

KEPT = Path(MACHINE.get("XDG_CACHE_HOME") or Path(MACHINE["HOME"]) / ".cache") / "build-release-tests"
"""What the tests keep from one session to the next: only what can be made anew."""

PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
_LEAKS = re.compile(r"(PIP|UV|GIT|PYTHON|PYENV|VIRTUAL_ENV|XDG|PEX|BUILD_RELEASE|INSTALL_RELEASE|COLUMNS|LC|LANG|SOURCE_DATE_EPOCH)(_.*)?|PYTHON.+")
_KEPT = {"PIP_CERT", "PIP_DEFAULT_TIMEOUT"}  # how this machine reaches any index at all, not which one


def pytest_configure(config: pytest.Config) -> None:
    """Replace the environment before any test module is imported."""
    home = Path(tempfile.mkdtemp(prefix="build-release-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    for name in list(os.environ):
        if _LEAKS.fullmatch(name) and name not in _KEPT:
            del os.environ[name]
    os.environ.update(
        HOME=str(home),
        XDG_CACHE_HOME=str(home / "cache"),
        XDG_CONFIG_HOME=str(home / "config"),
        LANG="C.UTF-8",
        PATH=_path(),
        PIP_CONFIG_FILE=os.devnull,
        PIP_FIND_LINKS="",
        PIP_EXTRA_INDEX_URL="",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        GIT_CONFIG_GLOBAL=str(home / "gitconfig"),  # not /dev/null: git config --global would put a file in its place
        GIT_CONFIG_NOSYSTEM="1",
        GIT_AUTHOR_NAME="Test",
        GIT_AUTHOR_EMAIL="test@example.org",
        GIT_COMMITTER_NAME="Test",
        GIT_COMMITTER_EMAIL="test@example.org",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick tests first: they say sooner and more exactly what is broken."""
    items.sort(key=lambda item: "integration" in item.path.parts)


def _path() -> str:
    """This machine's PATH without pyenv's shims, which need the home that was taken away; the interpreters behind them stand at its end instead."""
    pyenv = Path(MACHINE.get("PYENV_ROOT") or Path(MACHINE.get("HOME", "/")) / ".pyenv")
    parts = [part for part in MACHINE.get("PATH", os.defpath).split(os.pathsep) if Path(part) != pyenv / "shims"]
    return os.pathsep.join([*parts, *(str(path) for path in sorted(pyenv.glob("versions/3.*/bin")))])


@pytest.fixture(scope="session")
def interpreters() -> Mapping[str, Path]:
    """Every CPython from 3.9 to 3.13 that this machine has, by version like ``3.11``. CI has at least two."""
    found = {}
    for version in PYTHONS:
        name = f"python{version}"
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            found[version] = Path(path)
    if len(found) < 2:
        missing(f"only {', '.join(found) or 'no Python'} of {', '.join(PYTHONS)} found on PATH and below ~/.pyenv/versions")
    return found


def missing(reason: str) -> None:
    """A component is not there: CI fails, a contributor's laptop skips and prints why. Never returns."""
    if MACHINE.get("CI") == "true":
        pytest.fail(f"{reason} (`make packages` installs it)")
    pytest.skip(reason)
