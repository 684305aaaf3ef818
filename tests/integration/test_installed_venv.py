"""What stands on the host after an installation, compared with what pip makes there of the same wheels."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pip as installed_pip
import pytest

from tests.conftest import KEPT

from .applications import CHECKOUT, DPASTE, ISSO, Application, Workshop, online
from .commands import build_release
from .deploy import ROOT, RUN, bootstrap, set_up
from .host import Host
from .tree import entries

VERSION = "3.5"  # of dpaste: C compiled from an sdist, scripts, data files
KINDS = ("venv", "pex", "wheelhouse")


@dataclass(frozen=True)
class Comparison:
    """Two environments on one host: ours, and the one that pip made of the same wheels. Paths are relative to each."""

    host: Host
    ours: Path
    pips: Path

    def differing(self) -> dict[str, str]:
        """Every path that is only in one of them, or not the same in both, but for those with a reason."""
        ours, pips = (entries(top) for top in (self.ours, self.pips))
        found = {}
        for path in sorted(ours.keys() | pips.keys()):
            if _reason(path):
                continue
            if path not in ours:
                found[path] = "only pip makes it"
            elif path not in pips:
                found[path] = "only we make it"
            elif ours[path] != pips[path] and not self._same_but_for_the_interpreter(path):
                found[path] = f"{ours[path]} is not {pips[path]}"
        return found

    def _same_but_for_the_interpreter(self, path: str) -> bool:
        """A script whose first line finds its interpreter relative to itself, or the RECORD that has such a script's hash and length."""
        ours, pips = (self.ours / path).read_bytes(), (self.pips / path).read_bytes()
        if path.startswith("bin/") and (self.ours / path).stat().st_mode == (self.pips / path).stat().st_mode:
            return _body(ours) == _body(pips)
        if path.endswith(".dist-info/RECORD"):
            return _rows(ours) == _rows(pips)
        return False


def _reason(path: str) -> str:
    """Why a path may differ from what pip makes; empty when nothing excuses it."""
    for pattern, reason in DIFFERENCES.items():
        if re.fullmatch(pattern, path):
            return reason
    return ""


DIFFERENCES = {
    r"pyvenv\.cfg": "made on the host by the installer; names the interpreter that the preflight chose, and nothing that moves",
    r"bin/(python[\d.]*|activate.*|Activate\.ps1)": "the installer makes the links; activation scripts hold the directory's path, and stay out",
    r"lib64": "Python's venv makes a link to lib; nothing that pip installs is found through it",
    r"include(/site)?|include/python.*": "an empty directory of Python's venv",
    r"share": "an empty directory of Python's venv",
    r"lib/python[\d.]+/site-packages/00_pin\.pth": "pins a process to its release",
    r"\.tables(/.*)?": "the layers' tables of contents, by which install-release verify proves every file",
    r".*/__pycache__(/.*)?": "byte code: ours is unchecked-hash, pip's has time stamps; which files there are is compared on its own",
}


@pytest.fixture
def comparison(workshop: Workshop, host: Host) -> Comparison:
    """dpaste installed by us, and by the host's own Python with pip, offline, from the wheels that went into the artifact."""
    set_up(host, DPASTE)
    bootstrap(host, workshop.artifact(DPASTE, VERSION, "venv").path)
    host.run("mkdir", f"{host.upload}/wheels")
    fetched = json.loads(build_release("fetch", workshop.recipe(DPASTE, VERSION, "venv"), "--json", env=online()).stdout)
    for wheel in fetched["wheels"]:
        host.copy(Path(wheel["path"]), f"wheels/{wheel['filename']}")
    _copy_pip(host)
    reference = "/srv/app/reference"
    host.run("python3", "-m", "venv", "--without-pip", reference)
    names = [f"{wheel['name']}=={wheel['version']}" for wheel in fetched["wheels"]]
    pip(host, f"{reference}/bin/python", "install", "--quiet", "--no-index", "--no-deps", "--find-links", f"{host.upload}/wheels", *names)
    return Comparison(host, host.seen(host.run("readlink", "-f", f"{ROOT}/current/venv").stdout.strip()), host.seen(reference))


def test_installed_is_what_pip_installs(comparison: Comparison) -> None:
    """File for file, mode for mode, link for link, but for a short list of differences, each with its reason."""
    differing = comparison.differing()
    assert not differing, "\n".join(f"{path}: {what}" for path, what in differing.items())
    assert len(entries(comparison.ours)) > 3000


def test_byte_code_is_there_for_the_same_files(comparison: Comparison) -> None:
    """Whatever pip compiles is compiled, and nothing else."""
    ours, pips = ({path for path in entries(top) if path.endswith(".pyc")} for top in (comparison.ours, comparison.pips))
    assert ours == pips


def test_no_two_environments_share_a_file(comparison: Comparison) -> None:
    """No file of the environment has a second name anywhere."""
    assert [path for path in comparison.ours.rglob("*") if path.is_file() and not path.is_symlink() and path.stat().st_nlink != 1] == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("application", [DPASTE, ISSO], ids=lambda application: application.name)
def test_environment_on_the_host(workshop: Workshop, host: Host, application: Application, kind: str) -> None:
    """pip check passes; every console script runs from another directory; no file names a place of the build machine."""
    version = list(application.versions)[-1]
    set_up(host, application)
    bootstrap(host, workshop.artifact(application, version, kind).path)
    _copy_pip(host)
    pip(host, f"{ROOT}/current/venv/bin/python", "check")

    scripts = [name for name in host.run("ls", f"{ROOT}/current/venv/bin/").stdout.split() if not name.startswith(("python", "__"))]
    assert "gunicorn" in scripts
    for script in scripts:
        done = host.run(f"{ROOT}/current/venv/bin/{script}", "--help", cwd="/", check=False, env={"HOME": "/nonexistent"}, input="")
        assert done.returncode in (0, 1, 2), f"{script}: {done.returncode} {done.stderr}"
        assert not re.search(r"Traceback|not found|No such file", done.stderr), f"{script}: {done.stderr}"
        assert host.run(RUN, script, "--help", check=False, input="").returncode == done.returncode, script

    places = build_places(workshop)
    named = [f"{path}: {place.decode()}" for path in _files(host.seen(ROOT)) for place in places if place in path.read_bytes()]
    assert named == []


def build_places(workshop: Workshop) -> list[bytes]:
    """Directories of the build machine that mean nothing on any other: where it was built, with what, and whose home it was."""
    prefixes = {sys.prefix, sys.base_prefix} - {"/usr"}
    return [str(place).encode() for place in (workshop.work, CHECKOUT, KEPT, os.environ["HOME"], tempfile.gettempdir() + "/build-release", *prefixes)]


def pip(host: Host, python: str, *argv: str) -> None:
    """Run pip for the environment of ``python``, on the host, from the wheel that was copied there."""
    host.run("python3", f"{host.upload}/pip.whl/pip", "--python", python, *argv, env={"HOME": "/srv/upload", "PIP_CONFIG_FILE": "/dev/null"})


def _copy_pip(host: Host) -> None:
    """The host has no pip of its own: that of the virtualenv which runs the tests, as a zip that runs."""
    with tempfile.TemporaryDirectory() as work:
        package = Path(installed_pip.__file__).parent
        shutil.copytree(package, Path(work, "tree", "pip"), ignore=shutil.ignore_patterns("__pycache__"))
        archive = shutil.make_archive(f"{work}/pip", "zip", f"{work}/tree")
        host.copy(Path(archive), "pip.whl")


def _files(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.is_file() and not path.is_symlink()]


def _body(script: bytes) -> bytes:
    """A script without the lines that find its interpreter: pip's one, or the three of the form that moves."""
    first, _, rest = script.partition(b"\n")
    if first == b"#!/bin/sh":
        return rest.split(b"' '''\n", 1)[1]
    return rest


def _rows(record: bytes) -> set[tuple[str, ...]]:
    """The rows of a RECORD, without hash and length where the file is a script or byte code."""
    rows = csv.reader(io.StringIO(record.decode()))
    return {(path,) if "/bin/" in path or path.endswith(".pyc") else (path, digest, length) for path, digest, length in rows}
