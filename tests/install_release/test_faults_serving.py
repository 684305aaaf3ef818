"""An activation with a file of the system, a service and a health check, killed at a system call: after recovery link, file and process agree.

SIGKILL is delivered at a call's entry, so that the call is not made. Only the installer itself is traced: what it started lives on, or not.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.install_release import release
from tests.conftest import missing

from . import stub
from .roots import REPOSITORY, differences, install, journal_state, live, order, run, temporary_files

CALLS = {"rename": 99, "renameat": 99, "symlinkat": 99, "clone": 99, "vfork": 99, "connect": 1}
"""What changes names, and what starts or asks a service: at most so many points of each are tried, spread evenly.

tests/faults tries every call, of an activation whose service is no process.
"""


@dataclass(frozen=True)
class Host:
    """A root with two releases of the service, the older one live; what both look like at rest is kept in ``saved``."""

    directory: Path
    root: Path
    old: str
    new: str

    @property
    def config(self) -> Path:
        return self.directory / "system/stub.conf"

    def reset(self) -> None:
        """As it was: the older release live, and running."""
        stub.end(self.root)
        shutil.rmtree(self.root)
        shutil.rmtree(self.config.parent)
        shutil.copytree(self.directory / "saved/root", self.root, symlinks=True)
        shutil.copytree(self.directory / "saved/system", self.config.parent)
        stub.start(self.root, self.config)

    def activate(self, *inject: str) -> subprocess.CompletedProcess[str]:
        strace = ["strace", "-qq", "-o", str(self.directory / "trace"), "-e", f"trace={','.join(CALLS)}"]
        words = [*strace, *inject, sys.executable, "-m", "builder.install_release", "activate", self.new, "--root", str(self.root)]
        words += ["--allow-root"] if os.geteuid() == 0 else []
        return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})

    def check(self, point: str, *allowed: str) -> None:
        """Link, file and process say the same."""
        wanted = live(self.root)
        assert wanted in allowed, point
        text = "version = 1.0" if wanted == self.old else "version = 1.1"
        assert self.config.read_text().strip() == text, point
        assert stub.asked(self.root) == (wanted, text), point
        assert os.listdir(self.config.parent) == ["stub.conf"], point


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if not shutil.which("strace"):
        missing("strace is not installed")
    directory = tmp_path_factory.mktemp("serving")
    with stub.ended(directory / "srv/shop") as root:
        old = install(root, stub.release(directory, "1.0"))
        new = install(root, stub.release(directory, "1.1"), activate=False)
        shutil.copytree(root, directory / "saved/root", symlinks=True, ignore=shutil.ignore_patterns("s", "pid"))
        shutil.copytree(directory / "system", directory / "saved/system")
        yield Host(directory, root, old.id, new.id)


@pytest.fixture(scope="module")
def calls(host: Host) -> Counter[str]:
    """How often each call is made in an activation that nothing happens to, from the first change on."""
    assert host.activate().returncode == 0
    host.check("untouched", host.new)
    lines = (host.directory / "trace").read_text().splitlines()
    counted = Counter(match[1] for line in lines if (match := re.match(r"(?:\d+ +)?(\w+)\(", line)))
    assert counted["clone"] + counted["vfork"] >= 1, counted
    return counted


def points(calls: Counter[str], call: str) -> list[int]:
    count = calls[call]
    most = min(count, CALLS[call])
    return sorted({1 + number * count // most for number in range(most)})


@pytest.mark.parametrize("call", CALLS)
def test_killed_before_a_call(host: Host, calls: Counter[str], call: str) -> None:
    """Wherever: after recovery, done twice, all three are of the old release or all of the new; then the activation works."""
    for number in points(calls, call):
        host.reset()
        done = host.activate("-e", f"inject={call}:signal=KILL:when={number}")
        point = f"killed at {call} {number}: {done.stderr}"
        assert done.returncode == -9, point
        for _ in range(2):
            release.recover_now(order(host.root))
            host.check(point, host.old, host.new)
        assert (journal_state(host.root), temporary_files(host.root)) in (("idle", []), ("none", [])), point
        assert host.activate().returncode == 0, point
        host.check(point, host.new)
        assert differences(host.root, host.new) == [], point


def test_killed_while_it_recovers(host: Host, calls: Counter[str]) -> None:
    """Killed when the new release was live and asked whether it is well; then again and again while that is undone."""
    words = [sys.executable, "-m", "builder.install_release", "recover", "--root", str(host.root)]
    words += ["--allow-root"] if os.geteuid() == 0 else []
    for call in ("renameat", "clone", "vfork", "unlinkat"):
        number = 1
        while number < 5:
            host.reset()
            assert host.activate("-e", "inject=connect:signal=KILL:when=1").returncode == -9
            assert live(host.root) == host.new
            strace = ["strace", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
            done = subprocess.run([*strace, *words], cwd=REPOSITORY, capture_output=True, text=True)
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            assert run("recover", "--root", host.root).returncode == 0
            host.check(f"{call} {number}", host.old)
            number += 1
