"""Hostile targets: what is no plain file of this user's own, or lies where others can put something else, is refused and stays as it was."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.install_release import overlay
from builder.install_release.errors import Problem
from builder.install_release.manifest import Copied
from builder.install_release.overlay import OverlayError, place

from ..services.place import ORDINARY, as_user
from .system import System, tree, write

ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not ROOT, reason="only root can give files to others")


def link(path: Path) -> None:
    (path.parent / "elsewhere").write_text("elsewhere\n")
    path.symlink_to("elsewhere")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def hard_link(path: Path) -> None:
    path.write_text("one\n")
    os.link(path, path.parent / "another")


def sock(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)  # the name of a socket may not be long
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def foreign(path: Path) -> None:
    path.write_text("one\n")
    os.chown(path, 12345, -1)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(place.MOST + 1)


STRANGE = [
    (link, "is a link"),
    (dangling, "is a link"),
    (hard_link, "one of 2 hard links"),
    (os.mkfifo, "is no regular file"),
    (sock, "is no regular file"),
    (Path.mkdir, "is a directory"),
    (huge, f"longer than {place.MOST} bytes"),
    pytest.param(foreign, "belongs to user 12345", marks=as_root),
]


@pytest.mark.parametrize(("make", "what"), STRANGE)
def test_what_is_no_plain_file_of_ours(system: System, make: Callable[[Path], None], what: str) -> None:
    """It is refused in words, and left alone; an operator may say that it shall be left alone, and the release goes live without it."""
    make(system.etc / "shop")
    before = os.lstat(system.etc / "shop")
    release = system.release("1", {"shop": "one\n", "other": "one\n"}, {"**": "take-new"})
    [problem] = system.propose(release).refusals
    assert str(system.etc / "shop") in problem.what
    assert what in problem.what
    assert "--etc sys/shop=keep-local" in problem.remedy
    assert system.flip(release, [("sys/shop", "keep-local")]) == {"shop": "kept", "other": "new"}
    after = os.lstat(system.etc / "shop")
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def test_a_file_of_ours_that_was_replaced_by_a_link(system: System) -> None:
    """Nothing is ever written through it, also not when the release has the file no more, or on the way back."""
    first = system.release("1", {"shop": "one\n"})
    system.flip(first)
    system.flip(system.release("2", {"shop": "two\n"}))
    (system.etc / "victim").write_text("victim\n")
    (system.etc / "shop").unlink()
    (system.etc / "shop").symlink_to("victim")
    for release, back in ((first, True), (system.release("3", {}), False)):
        assert "is a link" in system.propose(release, back=back).refusals[0].what
    system.flip(first, [("sys/shop", "keep-local")], back=True)
    assert (system.etc / "victim").read_text() == "victim\n"
    assert (system.etc / "shop").is_symlink()


def test_a_directory_on_the_way_that_is_a_link(system: System, tmp_path: Path) -> None:
    """A link on the way could be turned elsewhere: the recipe must name the place itself."""
    (tmp_path / "real").mkdir()
    (system.etc / "conf.d").symlink_to(tmp_path / "real")
    [problem] = system.propose(system.release("1", {"conf.d/shop": "one\n"})).refusals
    assert problem.what == f"{system.etc}/conf.d is a link, and nothing is written through links."
    assert tree(tmp_path / "real") == {}


def test_a_directory_on_the_way_that_is_a_file(system: System) -> None:
    """A file where a directory should be is not taken away."""
    (system.etc / "conf.d").write_text("")
    [problem] = system.propose(system.release("1", {"conf.d/shop": "one\n"})).refusals
    assert problem.what == f"{system.etc}/conf.d is not a directory."


@pytest.mark.parametrize(("mode", "who"), [(0o777, "everybody"), (0o775, "its group"), (0o1777, "")])
@pytest.mark.parametrize("where", ["", "above"])
def test_a_directory_that_others_can_write(system: System, mode: int, who: str, where: str) -> None:
    """Who can write a directory decides what is in it: refused, wherever it is on the way; a sticky one will do."""
    directory = system.etc / where
    directory.mkdir(exist_ok=True)
    directory.chmod(mode)
    refusals = system.propose(system.release("1", {"above/shop": "one\n"})).refusals
    assert [problem.what for problem in refusals] == ([f"{directory} can be written by {who} (mode {mode:o})."] if who else [])
    assert [problem.remedy.partition(" Or ")[0] for problem in refusals] == ([f"chmod go-w {directory}"] if who else [])
    directory.chmod(0o755)


@as_root
def test_a_directory_of_another_user(system: System) -> None:
    """Its owner could put something else in the place of the file."""
    os.chown(system.etc, 12345, -1)
    [problem] = system.propose(system.release("1", {"shop": "one\n"})).refusals
    assert f"{system.etc} belongs to user 12345" in problem.what


def test_the_release_root_is_no_target(system: System) -> None:
    """A release may not write into the root by way of the overlay, neither the root itself nor anything below it."""
    for to in (str(system.root / "releases"), str(system.root / "bin/run"), str(system.root)):
        release = system.release("1", {"shop": "one\n"}, copied=(Copied("sys/shop", to),))
        [problem] = system.propose(release).refusals
        assert "lies in the release root" in problem.what


def test_a_directory_that_this_user_can_not_write() -> None:
    """It is told before anything is done, with the way to set it up; where nothing changes, nothing is refused."""
    with tempfile.TemporaryDirectory() as directory:
        os.chown(directory, ORDINARY, -1)
        os.chmod(directory, 0o755)
        [problem], later, [beside] = as_user(ORDINARY, _unwritable, Path(directory))
    assert problem.what == beside.what == f"{directory}/etc can't be written by this user."
    assert "bootstrap --print" in problem.remedy
    assert later == ()


def _unwritable(directory: Path) -> tuple[tuple[Problem, ...], ...]:
    system = System(directory)
    release = system.release("1", {"shop": "one\n"})
    system.etc.chmod(0o555)
    first = system.propose(release).refusals
    system.etc.chmod(0o755)
    system.flip(release)
    system.etc.chmod(0o555)
    later = system.propose(system.release("2", {"shop": "one\n"})).refusals
    write(system.etc / "shop", "by hand\n")
    beside = system.propose(system.release("3", {"shop": "three\n"}), [("**", "beside")]).refusals
    system.etc.chmod(0o755)
    return first, later, beside


@as_root
def test_a_file_of_a_group_that_this_user_is_not_in() -> None:
    """Replaced or put back it would lose its group: refused before anything is done, also where the file would only be removed."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        system = System(Path(directory))
        first, none = system.release("1", {"shop": "one\n"}), system.release("0", {})
        system.flip(first)
        for path in [Path(directory), system.etc, *system.etc.rglob("*"), *system.root.rglob("*"), system.root]:
            os.chown(path, ORDINARY, -1, follow_symlinks=False)
        os.chown(system.etc / "shop", -1, 12345)
        for release in (none, system.release("2", {"shop": "two\n"})):
            [problem] = as_user(ORDINARY, system.propose, release).refusals
            assert f"{system.etc}/shop belongs to group 12345" in problem.what
        assert as_user(ORDINARY, system.propose, first).refusals == ()
        system.host.close()


def test_what_is_wrong_with_a_directory_is_told_once(system: System) -> None:
    """Not once for each file in it."""
    system.etc.chmod(0o777)
    assert len(system.propose(system.release("1", {f"{number}": "one\n" for number in range(9)})).refusals) == 1


def test_what_can_not_be_copied_at_all(system: System) -> None:
    """A link in the artifact, a path that is not there, a name that leaves no room: all of it at once."""
    long = "x" * 201
    release = system.release("1", {"shop": "one\n", long: "one\n"}, copied=(Copied("sys", str(system.etc)), Copied("nowhere", "/etc/nowhere")))
    (system.root / "releases" / release / "etc/sys/link").symlink_to("shop")
    assert sorted(problem.what for problem in system.propose(release).refusals) == [
        "etc/nowhere is to be copied to /etc/nowhere, and is not there.",
        "etc/sys/link is a link, and only files are copied.",
        f"etc/sys/{long} has a name of more than 200 bytes.",
    ]


def test_a_target_that_appears_between_preparation_and_switch(system: System) -> None:
    """Where nothing was, a link to a victim is put: it is not followed and not replaced."""
    (system.etc / "victim").write_text("victim\n")
    changes = system.propose(system.release("1", {"shop": "one\n"})).changes
    overlay.prepare(system.host, "a" * 12, changes)
    (system.etc / "shop").symlink_to("victim")
    with pytest.raises(OverlayError, match="can't be touched"):
        overlay.switch(system.host, "a" * 12, changes)
    overlay.restore(system.host, "a" * 12, changes)
    assert (system.etc / "victim").read_text() == "victim\n"
    assert sorted(os.listdir(system.etc)) == ["shop", "victim"]


def test_a_temporary_name_that_is_taken(system: System) -> None:
    """A link that waits at the temporary file's name is removed, not written through."""
    (system.etc / "victim").write_text("victim\n")
    (system.etc / f".shop.rel-tmp.{'a' * 12}~").symlink_to("victim")
    changes = system.propose(system.release("1", {"shop": "one\n"})).changes
    overlay.prepare(system.host, "a" * 12, changes)
    overlay.switch(system.host, "a" * 12, changes)
    assert tree(system.etc) == {"victim": "victim\n", "shop": "one\n"}


def test_the_place_of_a_saved_edit_is_taken(system: System) -> None:
    """Something else lies where an edit would be saved: it is never overwritten."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / "shop", "by hand\n")
    second = system.release("2", {"shop": "two\n"}, {"**": "take-new"})
    [change] = [change for change in system.propose(second).changes if change.beside]
    write(Path(change.path), "something else\n")
    [problem] = system.propose(second).refusals
    assert problem.what == f"{change.path} is in the way, and holds something else."
    write(Path(change.path), "by hand\n")
    system.flip(second)
    assert Path(change.path).read_text() == "by hand\n"
