"""Durable changes by directory descriptor."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.install_release import durable
from tests.conftest import missing

from .roots import REPOSITORY


@pytest.fixture
def here(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, durable.DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_write_file_replaces_and_leaves_no_temporary(tmp_path: Path, here: int) -> None:
    """The new bytes stand at the name, whatever a killed process left beside it, and nothing else is there."""
    (tmp_path / "f").write_text("old")
    (tmp_path / ".f.new").write_text("torn")
    durable.write_file(here, "f", b"new")
    assert (tmp_path / "f").read_text() == "new"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.usefixtures("narrow_umask")
def test_modes_are_exact_whatever_the_umask(tmp_path: Path, here: int) -> None:
    """Files and directories get the mode that was asked for."""
    durable.write_file(here, "f", b"", 0o664)
    durable.create_file(here, "g", b"", 0o755)
    durable.make_dir(here, "d", 0o775)
    durable.append_lines(here, "h", b"x\n", 0o644)
    assert [mode(tmp_path / name) for name in "fgdh"] == [0o664, 0o755, 0o775, 0o644]


def test_write_file_does_not_follow_a_link(tmp_path: Path, here: int) -> None:
    """A link at the name is replaced; what it leads to keeps its bytes."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "f").symlink_to("precious")
    durable.write_file(here, "f", b"new")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "f").is_symlink()


@pytest.mark.parametrize("kind", ["empty directory", "file", "dangling link"])
def test_publish_refuses_a_name_that_is_taken(tmp_path: Path, here: int, kind: str) -> None:
    """Whatever is at the target stays, even an empty directory, onto which a rename would succeed."""
    (tmp_path / "new").mkdir()
    target = tmp_path / "there"
    {"empty directory": target.mkdir, "file": target.touch, "dangling link": lambda: target.symlink_to("nowhere")}[kind]()
    with pytest.raises(FileExistsError):
        durable.publish(here, "new", here, "there")
    assert (tmp_path / "new").is_dir()


def test_replace_link_replaces_any_link_in_one_step(tmp_path: Path, here: int) -> None:
    """An old link, a dangling one, and a temporary one that was left over all give way."""
    (tmp_path / "current").symlink_to("gone")
    (tmp_path / ".current.new").symlink_to("left over")
    durable.replace_link(here, "current", "releases/1")
    assert os.readlink(tmp_path / "current") == "releases/1"
    assert os.listdir(tmp_path) == ["current"]


def test_replace_link_leaves_a_directory_alone(tmp_path: Path, here: int) -> None:
    """A directory in the link's place is an error, nothing of it is lost, and no temporary link stays."""
    (tmp_path / "current").mkdir()
    with pytest.raises(OSError, match="directory"):
        durable.replace_link(here, "current", "releases/1")
    assert (tmp_path / "current").is_dir()
    assert os.listdir(tmp_path) == ["current"]


@pytest.mark.parametrize("torn", [b"", b'{"half', b"\0" * 5000, b"x" * 4096])
def test_append_takes_a_torn_line_away(tmp_path: Path, here: int, torn: bytes) -> None:
    """What follows the last line feed was never whole: it makes room for the new line."""
    (tmp_path / "log").write_bytes(b"one\n" + torn)
    durable.append_lines(here, "log", b"two\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_remove_tree_reaches_what_no_path_can_name(tmp_path: Path, here: int) -> None:
    """A tree far deeper than the longest path, with read-only directories in it, is removed with few open files."""
    deep = os.dup(here)
    for _ in range(300):
        os.mkdir("d" * 200, 0o755, dir_fd=deep)
        below = os.open("d" * 200, durable.DIRECTORY, dir_fd=deep)
        os.close(os.open("f", os.O_CREAT, 0o600, dir_fd=below))
        os.fchmod(deep, 0o555 if deep != here else 0o755)
        os.close(deep)
        deep = below
    os.close(deep)
    os.chmod(tmp_path, 0o700)
    durable.remove_tree(here, "d" * 200)
    assert os.listdir(tmp_path) == []


def test_remove_tree_follows_no_link(tmp_path: Path, here: int) -> None:
    """Links are removed, what they lead to stays; an absent name is fine."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/link").symlink_to(tmp_path / "precious")
    durable.remove_tree(here, "tree")
    durable.remove_tree(here, "absent")
    assert (tmp_path / "precious/file").exists()
    assert os.listdir(tmp_path) == ["precious"]


def test_open_dir_goes_through_no_link(tmp_path: Path, here: int) -> None:
    """A link anywhere on the way is refused."""
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    os.close(durable.open_dir(here, "real/inner"))
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        durable.open_dir(here, "link/inner")


def test_without_ctypes_every_file_is_synced_before_its_directory(tmp_path: Path) -> None:
    """Where syncfs can't be called, each file and then each directory is synced, children before parents, each once."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    (tmp_path / "t/a/b").mkdir(parents=True)
    (tmp_path / "t/a/b/f").touch()
    (tmp_path / "t/g").touch()
    code = f"""
import sys, os
sys.modules["ctypes"] = None
sys.path.insert(0, {str(REPOSITORY)!r})
from builder.install_release import durable
durable.sync_tree(os.open({str(tmp_path / "t")!r}, durable.DIRECTORY))
"""
    trace = tmp_path / "trace"
    subprocess.run(["strace", "-qq", "-y", "-e", "trace=fsync,syncfs", "-o", trace, sys.executable, "-c", code], check=True)
    synced = [line.partition("<")[2].partition(">")[0] for line in trace.read_text().splitlines()]
    order = [os.path.relpath(path, tmp_path) for path in synced]
    assert sorted(order) == ["t", "t/a", "t/a/b", "t/a/b/f", "t/g"]
    assert order.index("t/a/b/f") < order.index("t/a/b") < order.index("t/a") < order.index("t")
    assert order.index("t/g") < order.index("t")


def test_a_synced_file_takes_the_place_of_what_a_killed_process_left(tmp_path: Path, here: int) -> None:
    """With exactly its mode and group; a link that waits there is removed, and not followed."""
    (tmp_path / "victim").write_text("victim")
    (tmp_path / "new").symlink_to("victim")
    durable.create_synced(here, "new", b"data", 0o640, os.getegid())
    durable.create_synced(here, "new", b"other", 0o604)
    assert (tmp_path / "new").read_bytes() == b"other"
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o604
    assert (tmp_path / "victim").read_text() == "victim"


def test_replace_takes_the_place_of_what_is_there(tmp_path: Path, here: int) -> None:
    """The same inode, under the other name; nothing of the old one is left."""
    for name in ("new", "old"):
        (tmp_path / name).write_text(name)
    inode = (tmp_path / "new").stat().st_ino
    durable.replace(here, "new", "old")
    with pytest.raises(FileNotFoundError):
        durable.replace(here, "new", "old")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert ((tmp_path / "old").read_text(), (tmp_path / "old").stat().st_ino) == ("new", inode)


def test_remove_directory_takes_only_an_empty_one(tmp_path: Path, here: int) -> None:
    """One with something in it stays, an absent one is gone already; a file is no directory."""
    (tmp_path / "full/below").mkdir(parents=True)
    (tmp_path / "file").touch()
    assert not durable.remove_directory(here, "full")
    assert not durable.remove_directory(here, "file")
    assert durable.remove_directory(here, "absent")
    (tmp_path / "full/below").rmdir()
    assert durable.remove_directory(here, "full")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
