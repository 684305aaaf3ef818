"""What a host refuses, and what fails on it: one error, its exit status, what and where and what to do; and everything is as it was before."""

from __future__ import annotations

import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from builder.install_release.artifact import open_artifact

from .conftest import MakeHost
from .deploy import INSTALLER, ROOT, bootstrap, current
from .host import Host, wait_until
from .probe import Probe, set_up_probe
from .rootfs import root_file_system

REFUSED, FAILED = 3, 4
# What an installation that failed half-way does leave: the directories of the root, and that it failed, in the history.
RECORDED = re.compile(r"^/srv/app/(releases|envs|bin|\.install/(envs|staging)) d|/srv/app/(revisions\.log|\.install/history\.jsonl)\b")


def refused(host: Host, *argv: str, status: tuple[int, ...] = (REFUSED,), begun: bool = False) -> str:
    """Run the installer twice, for a program and for people: it must refuse. What it said. Nothing of it is left, but the record if it had begun."""
    before = snapshot(host)
    for_program, for_people = (host.run(*argv, *options, cwd=host.upload, check=False) for options in (("--json",), ()))
    print(for_people.stderr)
    assert for_people.returncode == for_program.returncode
    assert for_program.returncode in status, for_program.stdout + for_program.stderr
    error = json.loads(for_program.stdout)["error"]
    assert error["status"] == for_program.returncode
    assert error["problems"], "it names no reason"
    assert "Traceback" not in for_people.stderr
    for problem in error["problems"]:
        assert _flat(problem["what"]) in _flat(for_people.stderr)
    left = {line for line in snapshot(host) - before if not begun or not RECORDED.search(line)}
    assert (left, before - snapshot(host)) == (set(), set())
    return _flat(" ".join([error["message"], *(f"{problem['where']}: {problem['what']} {problem['remedy']}" for problem in error["problems"])]))


def _flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def snapshot(host: Host) -> set[str]:
    """Every path below /srv and /tmp with its type, mode, target and contents; but for the lock, which outlives what it was for."""
    script = "find /srv /tmp -printf '%p %y %m %l\n' -type f -exec sha256sum {} + | grep -v -e /.install/lock -e '^/srv/app/.install d'"
    return set(host.run("sh", "-c", script).stdout.splitlines())


@pytest.fixture
def bare(probe: Probe, host: Host) -> Host:
    """A host with the installer and the first version's artifact in the upload directory, nothing installed."""
    set_up_probe(host)
    host.copy(probe.artifact("1").path, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "--strip-components=1", "release/install-release", cwd=host.upload)
    return host


def install(host: Host, *argv: str) -> tuple[str, ...]:
    """The command line of a first installation."""
    return ("python3", f"{host.upload}/install-release", *(argv or (f"{host.upload}/release.tgz",)), "--root", ROOT)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated_artifact(probe: Probe, bare: Host, tmp_path: Path, part: float) -> None:
    """An artifact that was cut off anywhere is refused before anything is written."""
    data = probe.artifact("1").path.read_bytes()
    cut = tmp_path / "release.tgz"
    cut.write_bytes(data[: int(len(data) * part)])
    bare.copy(cut)
    text = refused(bare, *install(bare))
    assert "release.tgz" in text
    assert re.search(r"copied whole|Copy it again", text)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.6, 0.9, 0.9999])
def test_edited_artifact(probe: Probe, bare: Host, tmp_path: Path, part: float) -> None:
    """An artifact with one bit that is not as it was built, wherever it is, leaves nothing behind but words."""
    data = bytearray(probe.artifact("1").path.read_bytes())
    data[int((len(data) - 1) * part)] ^= 0x10
    (tmp_path / "release.tgz").write_bytes(data)
    bare.copy(tmp_path / "release.tgz")
    text = refused(bare, *install(bare), status=(REFUSED, FAILED), begun=True)
    assert "release.tgz" in text


def test_artifact_that_is_not_the_expected_one(probe: Probe, bare: Host) -> None:
    """--expect-sha256 refuses every other artifact, whole as it may be."""
    text = refused(bare, *install(bare), "--expect-sha256", "0" * 64)
    assert probe.artifact("1").sha256 in text


def test_no_artifact_at_all(bare: Host) -> None:
    """A file that is none of ours, or is not there, is refused by name."""
    assert "nothing.tgz" in refused(bare, *install(bare, f"{bare.upload}/nothing.tgz"))
    bare.run("sh", "-c", "head -c 100000 /dev/urandom > noise.tgz", cwd=bare.upload)
    assert "noise.tgz" in refused(bare, *install(bare, f"{bare.upload}/noise.tgz"))


def test_host_without_the_right_python(probe: Probe, make_host: MakeHost) -> None:
    """A host with another Python (Debian 11: 3.9, an older libc) is told which one is needed, which there is, and that --python names one."""
    host = make_host(root_file_system("bullseye", "python3"))
    set_up_probe(host)
    host.copy(probe.artifact("1").path, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "--strip-components=1", "release/install-release", cwd=host.upload)
    text = refused(host, *install(host))
    assert "3.11" in text
    assert "3.9" in text
    assert "--python" in text


def test_missing_requirements_are_named_together(probe: Probe, host: Host) -> None:
    """A host that lacks a shared file and a variable hears of both at once, with what to do."""
    host.copy(probe.artifact("1").path, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "--strip-components=1", "release/install-release", cwd=host.upload)
    text = refused(host, *install(host))
    assert "PROBE_SETTING" in text
    assert "local.ini" in text


def test_disk_without_room(probe: Probe, make_host: MakeHost) -> None:
    """A disk that is too small is refused before the first byte, with how much is needed and how much there is."""
    size = os.stat(probe.artifact("1").path).st_size
    host = make_host(srv_bytes=size + (2 << 20))
    set_up_probe(host)
    host.copy(probe.artifact("1").path, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "--strip-components=1", "release/install-release", cwd=host.upload)
    text = refused(host, *install(host))
    assert re.search(r"\d+(\.\d+)? ?[KMG]i?B", text), text


@pytest.mark.parametrize("place", ["/usr/local/app", "/srv/elsewhere", "/proc/app"])
def test_root_that_can_not_be_written(bare: Host, place: str) -> None:
    """A root on a file system that can't be written to, or in a directory of somebody else's, is refused by its name."""
    command = [word if word != ROOT else place for word in install(bare)]
    assert place in refused(bare, *command)


def test_root_that_others_can_write(bare: Host) -> None:
    """A root below a directory that anybody can write to is refused; a sticky one, like /tmp, is not."""
    bare.run("sh", "-c", "mkdir -p /srv/app/open/root && chmod 777 /srv/app/open")
    command = [word if word != ROOT else "/srv/app/open/root" for word in install(bare)]
    assert "/srv/app/open" in refused(bare, *command)


def test_current_that_is_a_directory(bare: Host) -> None:
    """A `current` that is no link of ours is a state that an operator has to look at: refused, and left alone."""
    bare.run("mkdir", "-p", f"{ROOT}/current")
    assert "current" in refused(bare, *install(bare), status=(REFUSED, 7))


def test_refused_upgrade_leaves_what_is_live(probe: Probe, bare: Host, tmp_path: Path) -> None:
    """An artifact edited in what is new on a host that serves: the release before stays live, whole, and serves on."""
    bootstrap(bare, probe.artifact("1").path)
    data = bytearray(probe.artifact("2").path.read_bytes())
    with open_artifact(probe.artifact("2").path) as artifact:
        source = next(layer for layer in artifact.manifest.layers if layer.kind == "src")
        data[artifact.body + source.table.offset + source.bytes - 9] ^= 1
    (tmp_path / "edited.tgz").write_bytes(data)
    upload = bare.copy(tmp_path / "edited.tgz")
    done = bare.run(INSTALLER, upload, check=False)
    assert done.returncode in (REFUSED, FAILED)
    assert current(bare) == probe.artifact("1").id
    bare.run(INSTALLER, "verify")
    assert [name for name in bare.run("ls", f"{ROOT}/releases").stdout.split() if name != current(bare)] == []
    assert bare.run(f"{ROOT}/current/bin/run", "python", "-c", "import probe_late; print(probe_late.version)").stdout == "1\n"


def test_edit_of_what_is_not_read(probe: Probe, bare: Host, tmp_path: Path) -> None:
    """An artifact that was edited in a layer that the host has already: that layer is not read, and what is installed is whole."""
    bootstrap(bare, probe.artifact("1").path)
    (gunicorn,) = (layer["name"] for layer in manifest(probe.artifact("2").path)["layers"] if layer["name"].startswith("gunicorn"))
    bare.run(INSTALLER, bare.copy(edited(probe.artifact("2").path, gunicorn, tmp_path)))
    assert current(bare) == probe.artifact("2").id
    bare.run(INSTALLER, "verify")


def manifest(artifact: Path) -> dict[str, Any]:
    """The manifest: the first member."""
    with tarfile.open(artifact, "r|gz") as archive:
        member = archive.extractfile(next(iter(archive)))
        assert member
        value: dict[str, Any] = json.loads(member.read())
        return value


def edited(artifact: Path, layer: str, place: Path) -> Path:
    """A copy with one bit of the layer's last segment changed."""
    data = bytearray(artifact.read_bytes())
    said = manifest(artifact)
    tail = len(data) - 8 - said["tail"]["bytes"]  # what gzip ends with: CRC and length
    (span,) = (each for each in said["layers"] if each["name"] == layer)
    data[tail + span["table"]["offset"] + span["bytes"] - 20] ^= 1
    copy = place / "edited.tgz"
    copy.write_bytes(data)
    return copy


def test_second_installer_is_told_to_wait(probe: Probe, bare: Host, tmp_path: Path) -> None:
    """While one installer holds the lock, another one says so, and exits with 6."""
    bootstrap(bare, probe.artifact("1").path)
    holder = "import fcntl, time; lock = open('/srv/app/.install/lock'); fcntl.flock(lock, fcntl.LOCK_EX); open('/tmp/held', 'w'); time.sleep(600)"
    with bare.service("python3", "-c", holder, log=tmp_path / "log"):
        wait_until(lambda: bare.run("cat", "/tmp/held", check=False).returncode == 0)
        done = bare.run(INSTALLER, "rollback", check=False, timeout=200)
    assert done.returncode == 6, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
