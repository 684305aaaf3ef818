"""Every reader of a .tgz sees the same thing in an artifact: it is an ordinary one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.releases import write_release

from .applications import SHOP, Workshop
from .tree import entries

Listing = list[str]


def _lines(*argv: str | Path, **env: str) -> Listing:
    """What the program prints, as paths without a directory's slash. Undecodable bytes survive."""
    _need(str(argv[0]))
    out = subprocess.run(argv, env={**os.environ, **env}, check=True, capture_output=True).stdout
    return [os.fsdecode(line).rstrip("/") for line in out.splitlines()]


def _need(program: str) -> None:
    if not shutil.which(program):
        missing(f"{program} is not installed")


def _tarfile(path: Path, mode: str) -> Listing:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        return [member.name for member in archive]


def _seven_zip(path: Path) -> Listing:
    _need("7z")
    tar = path.with_suffix(".7z.tar")
    with tar.open("wb") as file:
        subprocess.run(["7z", "e", "-so", path], stdout=file, stderr=subprocess.PIPE, check=True)
    listed = subprocess.run(["7z", "l", "-slt", "-ttar", tar], check=True, capture_output=True, text=True).stdout
    members = listed.split("----------\n", 1)[1]
    return [line.removeprefix("Path = ") for line in members.splitlines() if line.startswith("Path = ")]


READERS: dict[str, Callable[[Path], Listing]] = {
    "GNU tar": lambda path: _lines("tar", "tzf", path, "--quoting-style=literal"),
    "bsdtar": lambda path: _lines("bsdtar", "tzf", path, LC_ALL="C.UTF-8"),
    "busybox tar": lambda path: _lines("busybox", "tar", "tzf", path),
    "7z": _seven_zip,
    "tarfile r:gz": lambda path: _tarfile(path, "r:gz"),
    "tarfile r|gz": lambda path: _tarfile(path, "r|gz"),
}
_PYTHON = "import sys, tarfile; tarfile.open(sys.argv[2], sys.argv[1]).extractall(filter='fully_trusted')"
EXTRACTORS: dict[str, tuple[str, ...]] = {
    "GNU tar": ("tar", "--no-same-owner", "-xzf"),
    "bsdtar": ("env", "LC_ALL=C.UTF-8", "bsdtar", "--no-same-owner", "-xzf"),
    "bsdtar in the C locale": ("env", "LC_ALL=C", "bsdtar", "--no-same-owner", "-xzf"),
    "busybox tar": ("busybox", "tar", "xzof"),
    "tarfile r:gz": (sys.executable, "-c", _PYTHON, "r:gz"),
    "tarfile r|gz": (sys.executable, "-c", _PYTHON, "r|gz"),
}


@pytest.fixture(scope="module")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small artifact with all that readers have ever disagreed about and a wheel can hold."""
    deep = "/".join(f"{n:02}-{'d' * 40}" for n in range(8))
    files = {
        "empty": "",
        "empty-directory": None,
        "run.sh": (0o755, b"#!/bin/sh\n"),
        "link": Path("run.sh"),
        f"{'n' * 99}": "a name of 99",
        f"{'n' * 100}": "a name of 100",
        f"{'n' * 101}": "a name of 101",
        f"{'n' * 255}": "the longest name",
        f"{deep}/file": "a path that no ustar header holds",
        f"{deep}/link": Path("../" * 8 + "run.sh"),
        f"to-{'x' * 150}": Path(f"{deep}/file"),
        "with space": "1",
        "a\u0301e\u0301 \u2603 \U0001f40d": "more than ASCII",
        "-rf": "an option",
        "a=b": "an assignment",
        "big": os.urandom(9 << 20),  # three segments and more
        "block": b"x" * 512,
        "zeros": bytes(1024),
    }
    return write_release(tmp_path_factory.mktemp("awkward"), {"src": files, "wheel:tiny-1.0": {"lib/tiny.py": "x = 1\n"}}).path


@pytest.fixture(scope="module", params=["awkward", "real"])
def artifact(request: pytest.FixtureRequest) -> Path:
    """The awkward artifact, and that of the example."""
    if request.param == "awkward":
        return Path(request.getfixturevalue("awkward"))
    workshop: Workshop = request.getfixturevalue("workshop")
    return workshop.artifact(SHOP, "1.0", "venv").path


def test_every_reader_lists_the_same(artifact: Path) -> None:
    """GNU tar, bsdtar, busybox, 7z, and Python's tarfile, seekable and as a stream, list the same paths in the same order."""
    listings = {name: read(artifact) for name, read in READERS.items()}
    expected = listings["tarfile r:gz"]
    assert len(expected) > 10
    assert all(path.split("/")[0] == "release" for path in expected)
    for name, listing in listings.items():
        assert listing == expected, name


def test_bsdtar_reads_every_member_in_the_c_locale(artifact: Path) -> None:
    """bsdtar under LC_ALL=C complains of nothing and lists as many members as anyone."""
    _need("bsdtar")
    listed = subprocess.run(["bsdtar", "tzf", artifact], env={**os.environ, "LC_ALL": "C"}, capture_output=True)
    assert (listed.returncode, listed.stderr) == (0, b"")
    assert len(listed.stdout.splitlines()) == len(_tarfile(artifact, "r:gz"))


def test_every_program_extracts_the_same(artifact: Path, tmp_path: Path) -> None:
    """Each of them makes the same tree of it, down to modes, links and contents."""
    _need("bsdtar")
    _need("busybox")
    trees = {}
    for name, command in EXTRACTORS.items():
        place = tmp_path / name.replace(" ", "-")
        place.mkdir()
        subprocess.run([*command, artifact], cwd=place, check=True, umask=0o022)
        trees[name] = entries(place)
    for name, tree in trees.items():
        assert tree == trees["GNU tar"], name


@pytest.mark.parametrize("program", ["gzip", "pigz"])
def test_gzip_finds_nothing_wrong(artifact: Path, program: str) -> None:
    """gzip -t and pigz -t pass, without a word."""
    _need(program)
    tested = subprocess.run([program, "-t", artifact], capture_output=True)
    assert (tested.returncode, tested.stderr) == (0, b"")


def test_the_installer_comes_first(artifact: Path, tmp_path: Path) -> None:
    """tar --occurrence=1 gets the installer out, having read no more than the head of the file."""
    head = artifact.read_bytes()[: 1 << 20]
    command = ["tar", "xzf", "-", "--occurrence=1", "release/install-release"]
    subprocess.run(command, input=head, cwd=tmp_path, stderr=subprocess.DEVNULL, check=False)
    installer = tmp_path / "release/install-release"
    assert os.access(installer, os.X_OK)
    assert subprocess.run(["/usr/bin/python3", "-I", "-S", installer, "--help"], capture_output=True).returncode == 0
