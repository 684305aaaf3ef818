"""Power cuts, as many as make test can afford; that the model sees what a left-out sync does; and the model itself."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from builder import install_release
from tests.conftest import missing

from . import disk, landing, power
from .report import Report
from .volatile import DONE, LOST, ZEROS, Chosen, Disk, Node, lay, outcomes, scan

WITHOUT = {
    "no sync of a file": [("durable.py", "os.fsync(file)"), ("overlay/laying.py", "os.fsync(file)")],
    "no sync of a directory": [
        *(("durable.py", f"os.fsync({name})") for name in ("directory", "target", "source", "made")),
        ("overlay/laying.py", "os.fsync(directory)"),
    ],
    "neither": [("durable.py", "os.fsync("), ("overlay/laying.py", "os.fsync(")],
    "published before it is synced": [("stage.py", "durable.sync_tree(stage)")],
}
"""What is left out of a copy of the installer: text, and the module that it is in."""


@pytest.mark.parametrize("name", WITHOUT)
def test_a_sync_that_is_left_out_is_caught(tmp_path: Path, name: str) -> None:
    """The model finds a state that breaks a promise, as soon as the installer does not sync what it should."""
    needs_strace()
    package = tmp_path / "install_release"
    shutil.copytree(Path(install_release.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for module, text in WITHOUT[name]:
        (package / module).write_text((package / module).read_text().replace(text, "id(" if text.endswith("(") else "None"))
    assert power.catches(package) != []


def test_cuts_by_the_model() -> None:
    """Whatever a cut of an upgrade, an activation or a recovery leaves: what is live is whole, recovery mends it, the next release installs."""
    needs_strace()
    report = Report()
    power.campaign(True, report)
    assert report.violations == {}
    assert report.points["power-logical"] > 100


def test_cuts_on_a_real_file_system() -> None:
    """The same on ext4, whose disk lost any part of what was not flushed."""
    if not disk.tool("mkfs.ext4"):
        missing("mkfs.ext4 is not installed")
    if lacking := disk.usable():
        pytest.skip(f"{lacking}: no file of this project can install that")
    report = Report()
    landing.campaign(True, report)
    assert report.violations == {}
    assert report.points["power-real"] > 10


def needs_strace() -> None:
    if not shutil.which("strace"):
        missing("strace is not installed")


def test_only_a_sync_makes_durable() -> None:
    """A file's sync saves its bytes, its directory's the name; a later change of the same name is not undone by an earlier one."""
    volatile = Disk({"d": Node("dir", 0o755, b"")})
    volatile.make("d/new", Node("file", 0o644, b""))
    inode = volatile.find("d/new")
    assert inode is not None
    volatile.write(inode, 0, b"text")
    assert volatile.after([LOST, LOST]) == {"d": Node("dir", 0o755, b"")}
    assert volatile.after([DONE, LOST])["d/new"].content == b""
    assert volatile.after([DONE, ZEROS])["d/new"].content == bytes(4)
    volatile.sync(inode)
    assert volatile.after([DONE])["d/new"].content == b"text"
    volatile.rename("d/new", "d/there")
    volatile.sync(volatile.find("d"))
    assert volatile.waiting == []
    assert set(volatile.after([])) == {"d", "d/there"}


def test_a_name_that_moved_is_safe_once_its_new_directory_is_synced() -> None:
    """Syncing the directory that it left promises nothing."""
    volatile = Disk({"a": Node("dir", 0o755, b""), "b": Node("dir", 0o755, b""), "a/x": Node("file", 0o644, b"x")})
    volatile.rename("a/x", "b/x")
    volatile.sync(volatile.find("a"))
    assert set(volatile.after([LOST])) == {"a", "b", "a/x"}
    assert set(volatile.after([DONE])) == {"a", "b", "b/x"}
    volatile.sync(volatile.find("b"))
    assert set(volatile.after([])) == {"a", "b", "b/x"}


def test_little_is_tried_in_full_and_much_by_samples() -> None:
    """Every outcome where there are few; else none, all, and of each kind some."""
    volatile = Disk({})
    for number in range(9):
        volatile.make(str(number), Node("dir", 0o755, b""))
    few = list(outcomes(volatile.waiting[:2], Chosen(4, 1, 0), random.Random(0)))
    assert sorted(few) == [(LOST, LOST), (LOST, DONE), (DONE, LOST), (DONE, DONE)]
    some = set(outcomes(volatile.waiting, Chosen(4, 2, 3), random.Random(0)))
    assert {(LOST,) * 9, (DONE,) * 9, (DONE,) * 8 + (LOST,)} <= some
    assert len(some) <= 11


def test_a_tree_is_laid_out_as_it_was(tmp_path: Path) -> None:
    """What is read from a disk can be put on another one."""
    first, second = tmp_path / "first", tmp_path / "second"
    (first / "d").mkdir(parents=True)
    second.mkdir()
    (first / "d/file").write_bytes(b"bytes")
    (first / "d/file").chmod(0o640)
    (first / "link").symlink_to("d/file")
    (first / "d").chmod(0o711)
    lay(scan(first), second)
    assert scan(second) == scan(first)


def test_what_was_flushed_survives(tmp_path: Path) -> None:
    """Of the writes to a disk since its last flush only those land that a cut lets; the last one by half, when it is torn."""
    base, image, block = tmp_path / "base", tmp_path / "image", disk.BLOCK
    base.write_bytes(bytes(8 * block))
    done = [disk.Event(0, b"a" * block), disk.Event(-1, None), disk.Event(block, b"b" * block), disk.Event(2 * block, b"c" * 2 * block)]
    disk.lay(base, done, disk.Cut(4, (3,), torn=True), image)
    assert image.read_bytes() == b"a" * block + bytes(block) + b"c" * block + bytes(5 * block)
    found = disk.cuts(done, random.Random(0), 50)
    assert {disk.Cut(2, ()), disk.Cut(4, ()), disk.Cut(4, (2, 3))} <= set(found)
