"""What the installer is allowed to touch on a host: the root that it was given, and no network at all. Looked at from outside, with strace."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import PYTHONS, missing

from .conftest import MakeHost
from .deploy import INSTALLER, ROOT, bootstrap, current
from .host import Host
from .probe import Probe, set_up_probe
from .rootfs import STRANGER, root_file_system

WRITING = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND|O_TMPFILE")
CHANGING = (
    "openat,open,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,"
    "chmod,fchmodat,chown,lchown,fchownat,truncate,mknod,mknodat,utimensat,setxattr,lsetxattr"
)
_SOCKET = re.compile(r"\d+ +(socket|socketpair|connect|bind|listen|sendto|sendmsg)\(")
# Where a process of the host may write that is no file of the host's: the console, and nothing.
HARMLESS = ("/dev/null", "/dev/tty")


@pytest.mark.parametrize("kind", ["venv", "pex", "wheelhouse"])
def test_installer_opens_no_socket_and_writes_below_its_root_only(probe: Probe, host: Host, tmp_path: Path, kind: str) -> None:
    """From the first installation to the rollback: no socket, and no file opened for writing, made or removed but below the root."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    set_up_probe(host)
    first, second = (host.copy(probe.artifact(version, kind).path, f"{version}.tgz") for version in ("1", "2"))
    host.run("tar", "xzf", first, "--occurrence=1", "release/install-release", cwd=host.upload)
    steps = {
        "install": ("python3", "-I", "-S", f"{host.upload}/release/install-release", first, "--root", ROOT),
        "second": (INSTALLER, second),
        "rollback": (INSTALLER, "rollback"),
        "status": (INSTALLER, "status"),
        "verify": (INSTALLER, "verify"),
    }
    trespasses: list[str] = []
    for name, command in steps.items():
        log = tmp_path / f"{name}.strace"
        trace = ["strace", "-f", "-y", "-qq", "-s", "4096", "-e", f"trace=execve,%network,{CHANGING}", "-e", "status=successful", "-o", str(log)]
        done = subprocess.run([*trace, *host.argv(*command, cwd="/")], capture_output=True, text=True)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        calls = _of_the_host(log.read_text())
        assert any(f"{ROOT}/" in call for call in calls), f"{name}: the trace shows nothing at all"
        programs: dict[str, str] = {}  # by process: what it runs, to say whose trespass it was
        for call in calls:
            process, _, what = call.partition(" ")
            if what.lstrip().startswith("execve("):
                programs[process] = what[:200]
            elif _SOCKET.match(call) or (_changes(call) and not _below_the_root(call)):
                trespasses.append(f"{name}: {call}\n    by {programs.get(process, 'a fork')}")
    assert not trespasses, "\n".join(trespasses)


def _of_the_host(log: str) -> list[str]:
    """The calls of the command itself: what nsenter and setpriv did before it is not the installer's."""
    lines = log.splitlines()
    begun = [number for number, line in enumerate(lines) if "/usr/bin/python3" in line or "/lib/python3" in line]
    return lines[begun[0] :] if begun else []


def _changes(call: str) -> bool:
    name = re.sub(r"^\d+ +", "", call).split("(")[0]
    if name in ("open", "openat"):
        return bool(WRITING.search(call))
    return name in CHANGING.split(",")


def _below_the_root(call: str) -> bool:
    """Every path of the call is below the root: absolute, or relative to a directory descriptor that strace names."""
    directories = re.findall(r"(?:AT_FDCWD|\d+)<([^>]*)>", call)
    paths = re.findall(r'"((?:[^"\\]|\\.)*)"', call)
    if "symlink" in call.split("(")[0]:
        paths = paths[1:]  # the first one is what the link says
    base = directories[0] if directories else "/"
    places = [os.path.normpath(os.path.join(base, path)) for path in paths] or directories[:1]
    return bool(places) and all(place == ROOT or place.startswith(f"{ROOT}/") or place in HARMLESS for place in places)


@pytest.mark.parametrize("version", PYTHONS)
def test_installer_runs_isolated_on_every_python(probe: Probe, interpreters: Mapping[str, Path], tmp_path: Path, version: str) -> None:
    """Under python -I -S, 3.9 to 3.13, the installer installs a release (of its own target's Python), says what is live, and verifies it."""
    if version not in interpreters:
        pytest.skip(f"no Python {version} on this machine")
    installer = tmp_path / "install-release"
    root = tmp_path / "root"
    artifact = probe.artifact("1").path
    command = ["tar", "xzf", str(artifact), "--occurrence=1", "--strip-components=1", "release/install-release"]
    subprocess.run(command, cwd=tmp_path, check=True)
    (root / "shared/var/data").mkdir(parents=True)
    (root / "shared/env").write_text("PROBE_SETTING=x\n")
    (root / "shared/local.ini").write_text("")

    def run(*argv: str | Path) -> str:
        options = ["--root", str(root), *(["--allow-root"] if os.geteuid() == 0 else [])]
        done = subprocess.run([interpreters[version], "-I", "-S", installer, *argv, *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(artifact, "--python", interpreters["3.11"])
    assert probe.artifact("1").id in run("status")
    run("verify")


def test_debian_python_installs_for_a_user_without_a_name(probe: Probe, make_host: MakeHost) -> None:
    """Debian's own 3.11.2, a uid that /etc/passwd does not know, a root file system that can't be written: it installs."""
    host = make_host(uid=STRANGER)
    assert host.run("python3", "-I", "-S", "-c", "import sys; print(sys.version.split()[0])").stdout == "3.11.2\n"
    set_up_probe(host)
    bootstrap(host, probe.artifact("1").path)
    assert current(host) == probe.artifact("1").id
    host.run(f"{ROOT}/current/bin/run", "python", "-c", "import probe_lib.late")


def test_a_stripped_python_is_refused_in_words(probe: Probe, make_host: MakeHost) -> None:
    """Where Debian has only python3-minimal, the installer says which package is missing, and changes nothing."""
    host = make_host(root_file_system("bookworm", "python3-minimal"))
    host.copy(probe.artifact("1").path, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "release/install-release", cwd=host.upload)
    done = host.run("python3", "release/install-release", "release.tgz", "--root", ROOT, cwd=host.upload, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "python3" in done.stderr
    assert host.run("ls", "-A", ROOT).stdout == ""
