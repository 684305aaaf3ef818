"""The preflight: every refusal, from facts; and the facts of a real host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import builder
from builder.install_release import facts as looking
from builder.install_release import host, preflight
from builder.install_release.artifact import open_artifact
from builder.install_release.errors import Problem
from builder.install_release.facts import Directory, Facts
from builder.install_release.interpreter import Interpreter, Search
from builder.install_release.manifest import Env, Layer, Libc, Manifest, Range, Requires
from tests.releases import FACTS as MANIFEST
from tests.releases import THIS_TARGET, write_release

ID = "20261123101112-1a2b3c4d5e6f"
RANGE = Range(0, 1, 1, "0" * 64)
PYTHON = Interpreter("/usr/bin/python3.11", "cpython", "3.11.2", "cp311", "linux_x86_64", "glibc", "2.36", "a70d0d0a")
WANTED = MANIFEST._replace(
    target=THIS_TARGET._replace(python="3.11", abi="cp311", platform="linux_x86_64", libc=Libc("glibc", "2.28"), byte_code="a70d0d0a"),
    requires=Requires(("media",), ("local.py",), ("SECRET_KEY", "DATABASE_URL"), ("convert",), 1000, 10),
    layers=(Layer("src", "src", 1, 10, 100_000, RANGE), Layer("a-1-py3-none-any", "wheel", 1, 1000, 50_000_000, RANGE)),
)
GOOD = Facts(
    search=Search(PYTHON),
    private="",
    root="/srv/shop",
    ancestors=(Directory("/", 0, 0o755), Directory("/srv", 0, 0o1777), Directory("/srv/shop", 1000, 0o755)),
    trusted=frozenset({0, 1000}),
    unwritable=(),
    not_directories=(),
    foreign=(),
    filesystem="ext4",
    pointers=(),
    free_bytes=10**12,
    free_inodes=10**6,
    env_key="0123456789abcdef",
    env_here=False,
    release_here=False,
    shared={"local.py": "file", "media": "dir"},
    variables={"SECRET_KEY": "x", "DATABASE_URL": ""},
    variables_mode=0o640,
    variables_problem="",
    commands=frozenset({"convert"}),
)


def refused(manifest: Manifest = WANTED, **facts: Any) -> list[str]:
    """The refusals for a host that differs in ``facts`` from one where all is well."""
    return [str(problem) for problem in preflight.refusals(GOOD._replace(**facts), manifest)]


def test_a_host_that_fits_is_not_refused() -> None:
    """Where everything is as it should be there is nothing to say."""
    assert refused() == []
    assert preflight.warnings(GOOD, WANTED) == ()


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({"search": Search(PYTHON._replace(version="3.9.2", abi="cp39"))}, "python: needs CPython 3.11 with ABI cp311; found CPython 3.9.2"),
        ({"search": Search(None, ("/bin/x: is broken",))}, "none was found. Tried: /bin/x: is broken. Install python3.11, or name"),
        ({"search": Search(PYTHON._replace(libc_version="2.24"))}, "libc: needs glibc ≥ 2.28; this host has 2.24."),
        ({"search": Search(PYTHON._replace(libc_version="2.4"))}, "libc: needs glibc ≥ 2.28; this host has 2.4."),
        ({"unwritable": ("/srv/shop",)}, "root: /srv/shop can't be written by this user. Give it to this user (chown)"),
        (
            {"unwritable": ("/srv",)},
            "root: /srv can't be written by this user. Let an administrator make /srv/shop for it, as install-release bootstrap",
        ),
        ({"not_directories": ("/srv/shop/releases",)}, "root: /srv/shop/releases is not a directory."),
        ({"foreign": ("/srv/shop/envs",)}, "root: /srv/shop/envs is on another file system than /srv/shop"),
        ({"filesystem": "nfs4"}, "root: /srv/shop is on nfs4, where neither locks nor renames can be relied on."),
        ({"filesystem": "fuse.sshfs"}, "root: /srv/shop is on fuse.sshfs"),
        ({"ancestors": (Directory("/srv", 0, 0o777),)}, "root: /srv can be written by everybody (mode 777). chmod go-w /srv"),
        ({"ancestors": (Directory("/srv", 0, 0o775),)}, "root: /srv can be written by its group (mode 775). chmod go-w /srv"),
        ({"ancestors": (Directory("/srv", 33, 0o755),)}, "root: /srv belongs to user 33, who could put something else in the place of the root."),
        ({"pointers": (Problem("current", "is not a link."),)}, "current: is not a link."),
        ({"free_bytes": 60_000_000}, "disk: needs 74.2 MB on the disk of /srv/shop; 60.0 MB are free. Make room"),
        ({"free_inodes": 1000}, "disk: needs 1367 inodes on the disk of /srv/shop; 1000 are free."),
        ({"shared": {"media": "dir"}}, "shared: /srv/shop/shared/local.py is missing; the release links it in. Create it, mode 600 or 640"),
        ({"shared": {"local.py": "dir"}}, "shared: /srv/shop/shared/local.py is not a file."),
        ({"shared": {"local.py": "file", "media": "file"}}, "shared: /srv/shop/shared/media is not a directory."),
        ({"variables": None}, "shared/env: /srv/shop/shared/env is missing; the release needs SECRET_KEY and DATABASE_URL from it. Create"),
        ({"variables": {"SECRET_KEY": ""}}, "shared/env: /srv/shop/shared/env lacks DATABASE_URL. Add what is missing"),
        ({"variables_problem": "/x/env, line 3: is bad."}, "shared/env: /x/env, line 3: is bad. Correct it"),
        ({"variables_mode": 0o666}, "shared/env: /srv/shop/shared/env can be written by others (mode 666). chmod 640"),
        (
            {"variables": {"SECRET_KEY": "", "DATABASE_URL": "", "PYTHONPATH": "/srv/shop/current/src"}},
            "shared/env: PYTHONPATH in /srv/shop/shared/env leads through current",
        ),
        ({"commands": frozenset()}, "commands: convert is not on PATH. Install it."),
    ],
)
def test_each_thing_that_is_wrong_is_refused(facts: dict[str, Any], text: str) -> None:
    """One fact out of order is one refusal, which says where, what, and what to do."""
    (only,) = refused(**facts)
    assert text in only


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """A host that is wrong in many ways is told all of them, each with a remedy."""
    wrong = GOOD._replace(
        search=Search(PYTHON._replace(version="3.9.2", abi="cp39", libc_version="2.24")),
        filesystem="nfs",
        ancestors=(Directory("/srv", 33, 0o777),),
        free_bytes=0,
        free_inodes=0,
        shared={},
        variables=None,
        commands=frozenset(),
    )
    problems = preflight.refusals(wrong, WANTED._replace(minimum_installer="99.0.0"))
    assert [problem.where for problem in problems] == [
        "installer", "python", "libc", "root", "root", "disk", "disk", "shared", "shared/env", "commands",
    ]  # fmt: skip
    assert all(problem.remedy for problem in problems)


def test_a_pex_can_not_be_anywhere() -> None:
    """pex writes the interpreter's path into the first line of its scripts: no space, and not too long. The other kinds don't mind."""
    pex = WANTED._replace(env=Env("pex", True))
    for root in ("/srv/a shop", "/srv/" + "x" * 80):
        (only,) = refused(pex, root=root)
        assert "scripts that pex makes can't start from there" in only
        assert refused(root=root) == []


def test_what_is_there_already_needs_no_room() -> None:
    """An environment or a release that is here is not counted; unlimited inodes are enough."""
    assert refused(env_here=True, free_bytes=preflight.RESERVE_BYTES + 200_000) == []
    assert refused(release_here=True, free_bytes=0, free_inodes=0) == []
    assert refused(free_inodes=None) == []


def test_warnings_refuse_nothing() -> None:
    """A secret file that all can read, a Python in a private home and another root than the recipe's are told, and tolerated."""
    odd = GOOD._replace(private="/home/ci", variables_mode=0o644, root="/tmp/shop")
    assert [problem.where for problem in preflight.warnings(odd, WANTED)] == ["python", "shared/env", "root"]
    assert preflight.refusals(odd, WANTED) == ()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root as the installer prepares it."""
    host.Host.create(str(tmp_path / "root")).close()
    return tmp_path / "root"


def gather(root: Path, **requires: Any) -> Facts:
    """The facts of this machine for a small release with these requirements."""
    manifest = MANIFEST._replace(requires=MANIFEST.requires._replace(**requires))
    return looking.gather(manifest, ID, str(root), sys.executable)


def test_a_real_root_is_looked_at_without_being_changed(root: Path) -> None:
    """Gathering writes nothing, follows the way to the physical root, and this machine's own root passes."""
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*"))
    found = gather(root, commands=("sh", "no-such-command"))
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in root.rglob("*")) == before
    assert found.ancestors[0].path == "/"
    assert found.ancestors[-1] == Directory(str(root), os.geteuid(), 0o755)
    assert found.commands == {"sh"}
    assert found.filesystem
    assert found.free_bytes > 0
    assert preflight.refusals(found, MANIFEST) == ()


def test_a_root_that_is_not_there_yet_is_judged_by_where_it_would_be(tmp_path: Path) -> None:
    """A missing root is fine; a file in its way is not; a link is followed."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("real")
    assert preflight.refusals(gather(tmp_path / "a" / "b"), MANIFEST) == ()
    assert gather(tmp_path / "link" / "b").root == str(tmp_path / "real" / "b")
    assert [problem.where for problem in preflight.refusals(gather(tmp_path / "file" / "b"), MANIFEST)] == ["root"]
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        ("mkdir current", "is not a link"),
        ("touch current", "is not a link"),
        ("ln -s /etc current", "points to /etc, outside releases/"),
        (f"ln -s releases/{ID} current", f"points to releases/{ID}, which is not there"),
        ("rm -r releases; touch releases", "releases is not a directory"),
        ("rm -r envs; ln -s /tmp envs", "envs is not a directory"),
        ("chmod 777 .", "can be written by everybody (mode 777)"),
        ("printf 'A=1\\nexport B=2\\n' > shared/env", "shared/env, line 2: 'export' is no name of a variable"),
        ("touch shared/env; chmod 666 shared/env", "can be written by others (mode 666)"),
    ],
)
def test_an_impossible_state_is_refused(root: Path, make: str, text: str) -> None:
    """What an operator or an accident put in the way is found on a real root, and refused once."""
    subprocess.run(["/bin/sh", "-c", make], cwd=root, check=True)
    (only,) = preflight.refusals(gather(root), MANIFEST)
    assert text in str(only)


def test_shared_files_and_variables_are_looked_up(root: Path) -> None:
    """Files, directories, links and what is missing below shared/ are told apart; variables are read as systemd reads them."""
    shared = root / "shared"
    (shared / "a").write_text("")
    (shared / "d").mkdir()
    (shared / "loop").symlink_to("loop")
    (shared / "env").write_text("A='1'\n# c\nB=\n")
    (shared / "env").chmod(0o640)
    found = gather(root, linked_files=("a", "loop", "gone"), linked_dirs=("d",))
    assert found.shared == {"a": "file", "d": "dir", "loop": "other"}
    assert (found.variables, found.variables_mode) == ({"A": "1", "B": ""}, 0o640)


AS_NOBODY = """
import ast, glob, os, shutil, subprocess, sys  # what is imported late: nobody may not read where it lies
sys.path.insert(0, sys.argv[1])
from builder.install_release import facts, preflight
from builder.install_release.manifest import parse
manifest = parse(sys.stdin.buffer.read())
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
for problem in preflight.refusals(facts.gather(manifest, sys.argv[2], "/mnt"), manifest):
    print(problem)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount and become another user")
def test_a_small_disk_and_a_user_without_rights_are_refused(tmp_path: Path) -> None:
    """On a real tmpfs of 1 MiB with 20 inodes, as a user who may not write there, room and rights are both refused."""
    built = write_release(tmp_path, {"env": {"lib": None}, "src": {"a": "b"}}, requires=MANIFEST.requires._replace(bytes=5 << 20, inodes=500))
    with open_artifact(built.path) as artifact:
        manifest = artifact.manifest_bytes
    mount = 'mount -t tmpfs -o size=1m,nr_inodes=20,mode=755 tmpfs /mnt || exit 99; exec "$@"'
    command = ["unshare", "-m", "/bin/sh", "-c", mount, "sh", sys.executable, "-c", AS_NOBODY, str(Path(builder.__file__).parent.parent), ID]
    done = subprocess.run(command, input=manifest, capture_output=True)
    if done.returncode == 99 or b"unshare" in done.stderr:
        pytest.skip("mounting is not allowed here")
    problems = done.stdout.decode().splitlines()
    assert [problem.partition(":")[0] for problem in problems].count("disk") == 2, done
    assert [problem for problem in problems if problem.startswith("root: /mnt can't be written by this user. ")]
