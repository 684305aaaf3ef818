"""A root: what every root has, what current is, the lock."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from builder.install_release.errors import BusyError, DamagedError, RefusedError
from builder.install_release.host import Host, pointer_problem

from .roots import REPOSITORY

ID = "20251123101212-0123456789ab"
HOLD = """
import sys
from builder.install_release.host import Host
with Host(sys.argv[1]) as host, host.lock("deploy", 0):
    print("held", flush=True)
    sys.stdin.readline()
"""


def holder(root: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(root)], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_create_makes_the_same_directories_under_any_umask(tmp_path: Path) -> None:
    """The root and its scaffold have exact modes, private where only the installer looks; doing it again changes nothing."""
    before = os.umask(0)
    try:
        for _ in range(2):
            Host.create(str(tmp_path / "srv/shop")).close()
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {
        "srv": 0o755,
        "srv/shop": 0o755,
        "srv/shop/releases": 0o755,
        "srv/shop/envs": 0o755,
        "srv/shop/shared": 0o755,
        "srv/shop/bin": 0o755,
        "srv/shop/.install": 0o750,
        "srv/shop/.install/staging": 0o700,
        "srv/shop/.install/envs": 0o750,
    }


def test_create_refuses_a_root_that_is_a_file(tmp_path: Path) -> None:
    """What stands in the way is named."""
    (tmp_path / "shop").touch()
    with pytest.raises(RefusedError) as caught:
        Host.create(str(tmp_path / "shop"))
    assert str(tmp_path / "shop") in caught.value.problems[0].what


@pytest.mark.parametrize(
    ("target", "kind"),
    [(None, "absent"), (f"releases/{ID}", "release"), ("releases/20200101000000-0123456789ab", "dangling"), ("/etc", "foreign"), ("../x", "foreign")],
)
def test_pointer_tells_what_current_is(tmp_path: Path, target: str | None, kind: str) -> None:
    """A link is read by its letters, then looked up."""
    (tmp_path / "releases" / ID).mkdir(parents=True)
    if target:
        (tmp_path / "current").symlink_to(target)
    with Host(str(tmp_path)) as host:
        assert host.pointer("current").kind == kind


@pytest.mark.parametrize("kind", ["directory", "file", "foreign", "dangling"])
def test_current_that_nobody_installed_is_damage(tmp_path: Path, kind: str) -> None:
    """It is never followed nor replaced, and the problem says what it is and what to do."""
    current = tmp_path / "current"
    {
        "directory": current.mkdir,
        "file": current.touch,
        "foreign": lambda: current.symlink_to("/etc"),
        "dangling": lambda: current.symlink_to(f"releases/{ID}"),
    }[kind]()
    with Host(str(tmp_path)) as host:
        with pytest.raises(DamagedError) as caught:
            host.current()
        assert caught.value.problems == (pointer_problem(host, host.pointer("current")),)
        assert caught.value.problems[0].remedy


def test_where_current_can_not_be_read_nothing_is_said_of_it(tmp_path: Path) -> None:
    """An error of the system is no answer: it was taken for somebody else's current once, and told as damage."""
    (tmp_path / "releases" / ID).mkdir(parents=True)
    (tmp_path / "current").symlink_to(f"releases/{ID}")
    host = Host(str(tmp_path))
    host.close()
    for ask in (host.current, lambda: host.pointer("current")):
        with pytest.raises(OSError, match="Bad file descriptor"):
            ask()


def test_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    """A second installer is told who is at work, by whatever name it calls the root; a killed holder holds nothing."""
    root = tmp_path / "root"
    Host.create(str(root)).close()
    (tmp_path / "alias").symlink_to("root")
    process = holder(root)
    with Host(str(tmp_path / "alias")) as host:
        assert f"pid {process.pid} (deploy)" in host.holder()
        with pytest.raises(BusyError) as caught, host.lock("test", 0.1):
            pass
        assert f"pid {process.pid} (deploy) since" in caught.value.problems[0].what
        inode = (root / ".install/lock").stat().st_ino
        process.send_signal(signal.SIGKILL)
        process.communicate()
        with host.lock("test", 5):
            assert (root / ".install/lock").stat().st_ino == inode
        assert host.holder() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can do what is refused here")
def test_root_changes_nothing_in_a_root_of_another_user(tmp_path: Path) -> None:
    """What root writes there, the owner could not read: his next command would be refused."""
    with Host.create(str(tmp_path)) as host:
        os.chown(tmp_path / ".install", 4321, 4321)
        with pytest.raises(RefusedError) as caught, host.lock("rollback", 0):
            raise AssertionError
    assert caught.value.problems[0].what == f"{tmp_path} belongs to user 4321, this is user 0."
    assert not (tmp_path / ".install/lock").exists()


def test_lock_is_waited_for(tmp_path: Path) -> None:
    """Within its deadline a second installer gets the lock when the first one lets go."""
    Host.create(str(tmp_path)).close()
    process = holder(tmp_path)
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    with Host(str(tmp_path)) as host, host.lock("test", 20):
        pass
    process.communicate()


def test_read_refuses_what_is_not_a_plain_file(tmp_path: Path) -> None:
    """A link or a pipe in the place of a record is damage, an absent one is None, and a long one is not read."""
    (tmp_path / "real").write_text("x" * 100)
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    with Host(str(tmp_path)) as host:
        assert host.read("absent") is None
        assert host.read("real", most=100) == b"x" * 100
        for name in ("link", "pipe", "directory"):
            with pytest.raises(DamagedError):
                host.read(name)
        with pytest.raises(DamagedError, match="damaged"):
            host.read("real", most=99)
