"""Wheels for the tests of environments: nasty ones made byte by byte, real ones from an index, and snapshots of what became of them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from builder.recipe import EnvSpec, PythonSpec
from builder.target import Interpreter, find
from tests.conftest import KEPT
from tests.integration.applications import online

# Between them: C extensions, headers, data files, scripts, templates that don't compile, executables.
REAL = (
    "django==5.2.8",
    "greenlet==3.2.4",
    "gunicorn==23.0.0",
    "jmespath==1.0.1",
    "jupyterlab-pygments==0.3.0",
    "markupsafe==3.0.3",
    "pyyaml==6.0.3",
)


def record_row(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"


def raw_wheel(
    directory: Path,
    name: str,
    members: Iterable[tuple[str, bytes]] | Mapping[str, bytes],
    *,
    executable: Sequence[str] = (),
    rows: Mapping[str, str] | None = None,
    wheel: bytes = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    metadata: bytes = b"",
    dist_info: str = "",
) -> Path:
    """A wheel that holds ``members`` in this order, twice if they are there twice. ``rows`` replace what RECORD should say of some."""
    info = dist_info or f"{name}-1.0.dist-info"
    items = list(members.items() if isinstance(members, Mapping) else members)
    items += [(f"{info}/METADATA", b"Metadata-Version: 2.1\nName: %s\nVersion: 1.0\n%s" % (name.encode(), metadata)), (f"{info}/WHEEL", wheel)]
    true = {path: record_row(path, data) for path, data in items if not path.endswith("/")}
    items.append((f"{info}/RECORD", "".join([*{**true, **(rows or {})}.values(), f"{info}/RECORD,,\n"]).encode()))
    path = directory / f"{name}-1.0-py3-none-any.whl"
    directory.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of a name that is twice
        for member, data in items:
            entry = zipfile.ZipInfo(member)
            entry.external_attr = (stat.S_IFREG | (0o755 if member in executable else 0o644)) << 16
            archive.writestr(entry, data)
    return path


def real_wheels(python: Path) -> tuple[Path, ...]:
    """The wheels of ``REAL`` for ``python``, from the package index, kept in the user's cache."""
    asked = subprocess.run([python, "-c", "import sys; print(sys.implementation.cache_tag)"], capture_output=True, text=True, check=True)
    kept = KEPT / "wheels" / asked.stdout.strip() / hashlib.sha256(repr(REAL).encode()).hexdigest()[:12]
    if not kept.exists():
        part = kept.with_name(f"{kept.name}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "--python", python, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", part, *REAL]
        subprocess.run(command, env={**os.environ, **online()}, check=True)
        with contextlib.suppress(OSError):  # another session was faster
            part.rename(kept)
    return tuple(sorted(kept.glob("*.whl")))


def snapshot(root: Path) -> dict[str, tuple[str, str]]:
    """Every file and link below ``root``: its mode (or ``link``), and its contents' hash (or target)."""
    found = {}
    for directory, folders, files in os.walk(root):
        for name in [*files, *(folder for folder in folders if os.path.islink(os.path.join(directory, folder)))]:
            path = Path(directory, name)
            where = path.relative_to(root).as_posix()
            if path.is_symlink():
                found[where] = ("link", os.readlink(path))
            else:
                found[where] = (f"{stat.S_IMODE(path.stat().st_mode):o}", hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def pip_install(python: Path, environment: Path, wheels: Sequence[Path], *options: str) -> subprocess.CompletedProcess[str]:
    """A virtual environment of ``python``, and pip's own idea of these wheels in it."""
    if not environment.exists():
        subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
    names = [f"{canonicalize_name(path.name.split('-')[0])}=={path.name.split('-')[1]}" for path in wheels]  # as a lock spells them
    places = sorted({f"--find-links={path.parent}" for path in wheels})
    options = ("--no-index", "--no-deps", *places, *options)
    command = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python", "install", *options, *names]
    return subprocess.run(command, capture_output=True, text=True, umask=0o022)


@dataclass(frozen=True)
class Wheel:
    """As much of a wheelhouse's wheel as an environment asks for."""

    name: str
    version: str
    filename: str
    path: Path
    sha256: str


def house(*paths: Path) -> Any:
    return SimpleNamespace(wheels=tuple(Wheel(*path.name.split("-")[:2], path.name, path, "0" * 64) for path in sorted(paths)))


@pytest.fixture(scope="session")
def interpreter() -> Interpreter:
    """The Python that runs the tests, without its virtual environment."""
    return find(PythonSpec(version=f"{sys.version_info[0]}.{sys.version_info[1]}", interpreter=os.path.realpath(sys.executable)))


def console(distribution: str, name: str, target: str) -> dict[str, bytes]:
    return {f"{distribution}-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{name} = {target}\n".encode()}


def recipe(kind: str = "venv", **more: Any) -> Any:
    return SimpleNamespace(env=EnvSpec(kind=kind, **more))
