"""Writing an artifact: one file, reproducible, whole or not there."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from builder.artifact import publish
from builder.errors import ArtifactError
from builder.install_release.artifact import open_artifact
from builder.target import ask
from builder.zipapp import for_target, installer
from tests.releases import write_release

LAYERS = {
    "wheel:b-1-py3-none-any": {"lib/b.py": "b"},
    "wheel:a-1-py3-none-any": {"lib/a.py": "a"},
    "env": {"lib/00_pin.pth": "pass"},
    "etc": {"nginx/x.conf": "x"},
    "src": {"app.py": "app"},
    "assets": {"x.css": "x"},
}


def test_the_small_and_changing_layers_come_first(tmp_path: Path) -> None:
    """Whatever order they were made in."""
    built = write_release(tmp_path, LAYERS)
    assert [layer.name for layer in built.manifest.layers] == ["src", "etc", "assets", "env", "a-1-py3-none-any", "b-1-py3-none-any"]


def test_the_same_contents_give_the_same_file(tmp_path: Path) -> None:
    """Bytes, id and name; another commit time is another id."""
    one = write_release(tmp_path / "one", LAYERS)
    two = write_release(tmp_path / "two", dict(reversed(LAYERS.items())))
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.path.name == two.path.name == f"shop-1.0-{one.manifest.target.abi}-{one.manifest.target.platform}-{one.id[-12:]}.tgz"
    assert write_release(tmp_path / "three", LAYERS, commit_time=1).id != one.id


def test_what_a_killed_writer_left_goes_with_the_next_one(tmp_path: Path) -> None:
    """Its unfinished sibling, as large as an artifact, is removed; one that another writer is at work on stays."""
    name = write_release(tmp_path, LAYERS).path.name
    dead, alive = tmp_path / f".{name}.deadbeef", tmp_path / f".{name}.livebeef"
    dead.write_bytes(b"half")
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_release(tmp_path, LAYERS)
        assert sorted(path.name for path in tmp_path.glob(".*")) == [alive.name]


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path) -> None:
    """A directory that can't be made is a typed error."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError) as caught:
        write_release(tmp_path / "file/out", LAYERS)
    assert caught.value.problems[0].remedy
    assert os.listdir(tmp_path) == ["file"]


def test_a_directory_that_is_made_ignores_itself(tmp_path: Path) -> None:
    """What one build wrote does not make the working tree dirty for the next; a directory that was there is left as it is."""
    write_release(tmp_path / "new", LAYERS)
    (tmp_path / "there").mkdir()
    write_release(tmp_path / "there", LAYERS)
    assert (tmp_path / "new/.gitignore").read_text() == "*\n"
    assert not (tmp_path / "there/.gitignore").exists()


def test_what_an_installer_would_refuse_is_never_written(tmp_path: Path) -> None:
    """The manifest is read back by the installer's own code before a byte is written."""
    with pytest.raises(Exception, match="manifest is not valid"):
        write_release(tmp_path / "out", LAYERS, name="Not A Name")
    assert not (tmp_path / "out").exists()


def test_the_first_thing_a_bare_host_needs_is_the_first_thing_in_the_file(tmp_path: Path) -> None:
    """tar finds the installer without reading the layers, and it is the zipapp, executable."""
    built = write_release(tmp_path, LAYERS)
    subprocess.run(["tar", "xzf", str(built.path), "--occurrence=1", "release/install-release"], check=True, cwd=tmp_path)
    program = tmp_path / "release/install-release"
    assert program.read_bytes() == installer()
    assert program.stat().st_mode & 0o111
    with open_artifact(built.path) as artifact:
        assert artifact.manifest.installer.offset == 0


def test_the_installer_is_deterministic_and_self_contained() -> None:
    """A zip of the package and a main; the same bytes each time."""
    data = installer()
    assert data == installer()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        assert {"__main__.py", "install_release/cli.py", "install_release/unpack.py"} <= set(names)
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())
    assert data.startswith(b"#!/usr/bin/python3 -IS\n")


def test_the_installer_starts_without_site_and_environment(tmp_path: Path) -> None:
    """It runs under -I -S and prints its help."""
    (tmp_path / "install-release").write_bytes(installer())
    done = subprocess.run([sys.executable, "-I", "-S", str(tmp_path / "install-release"), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "exit statuses:" in done.stdout


def test_the_installers_byte_code_is_read_by_its_python_and_passed_over_by_others(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """Each Python runs it, whichever one it was compiled for; made twice, and from the cache, it has the same bytes."""
    for_this = ask(sys.executable)
    program = for_target(for_this, tmp_path / "cache")
    assert for_target(for_this, tmp_path / "cache") == for_target(for_this, tmp_path / "other") == program
    (tmp_path / "install-release").write_bytes(program)
    for python in [sys.executable, *interpreters.values()]:
        done = subprocess.run([python, "-I", "-S", "-v", str(tmp_path / "install-release"), "--version"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("install-release ")
    with zipfile.ZipFile(io.BytesIO(program)) as archive:
        assert len([name for name in archive.namelist() if name.endswith(".pyc")]) == len(list(archive.namelist())) // 2


def test_writers_of_one_artifact_at_once(tmp_path: Path) -> None:
    """None takes another's unfinished sibling for a dead writer's, not in the moment of the rename either; who locks the directory stops nobody."""

    def write(out: BinaryIO) -> None:
        out.write(b"whole")

    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(publish, tmp_path / "a.tgz", write) for _ in range(400)]
        for writer in writers:
            writer.result()
    os.close(directory)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.tgz": b"whole"}
