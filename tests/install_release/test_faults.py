"""An upgrade that is killed, or told that the disk is full, at a system call: what was live or what will be, whole, and the next one works.

SIGKILL is delivered at a call's entry, so the call is not made: killed before each call is killed after the one before it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.install_release import release
from tests.conftest import missing

from .roots import REPOSITORY, artifact, differences, events, install, journal_state, live, order, temporary_files

CALLS = ("renameat", "fsync", "syncfs", "symlinkat", "unlinkat", "mkdirat", "ftruncate", "fchmod", "write")
EVERY = os.environ.get("FAULTS") == "all"
SAMPLE = 3
"""At most so many points of one system call are tried, spread evenly. FAULTS=all tries every one, and takes minutes."""


@dataclass(frozen=True)
class Upgrade:
    """A root with two releases, of which the older is pruned by the upgrade to ``path``; how often each call is made in it."""

    base: Path
    path: Path
    before: str
    after: str
    calls: Counter[str]

    def run(self, root: Path, inject: str) -> subprocess.CompletedProcess[str]:
        strace = ["strace", "-f", "-qq", "-o", str(root.parent / "trace"), "-e", f"trace={','.join(CALLS)}"]
        program = [sys.executable, "-m", "builder.install_release", str(self.path), "--root", str(root), "--python", sys.executable]
        words = [*strace, *(["-e", f"inject={inject}"] if inject else []), *program, *(["--allow-root"] if os.geteuid() == 0 else [])]
        return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})

    def points(self, call: str) -> list[int]:
        """Which occurrences of a call are tried, counted from 1."""
        count = self.calls[call]
        most = count if EVERY else min(count, SAMPLE)
        return sorted({1 + number * count // most for number in range(most)})


@pytest.fixture(scope="module")
def upgrade(tmp_path_factory: pytest.TempPathFactory) -> Upgrade:
    if not shutil.which("strace"):
        missing("strace is not installed")
    directory = tmp_path_factory.mktemp("faults")
    base = directory / "base/root"
    for version in ("0.8", "0.9"):
        before = install(base, artifact(directory, version, wheel=version, keep_releases=1)).id
    path = artifact(directory, "1.0", wheel="1.0", keep_releases=1)
    trial = directory / "trial/root"
    shutil.copytree(base, trial, symlinks=True)
    found = Upgrade(base, path, before, "", Counter())
    assert found.run(trial, "").returncode == 0
    lines = (directory / "trial/trace").read_text().splitlines()
    main = next(line.split()[0] for line in lines if "fsync(" in line)
    calls = Counter(match[1] for line in lines if (match := re.match(rf"{main} +(\w+)\(", line)))
    assert calls["renameat"] > 8, calls
    assert calls["fsync"] > 20, calls
    assert len(os.listdir(trial / "releases")) == 2, "the upgrade was to prune the oldest"
    return Upgrade(base, path, before, live(trial), calls)


def check_whole(upgrade: Upgrade, root: Path, point: str) -> None:
    """What is live is one of the two, and what is live or was live lacks nothing."""
    assert live(root) in (upgrade.before, upgrade.after), point
    for wanted in {live(root), upgrade.before}:
        assert differences(root, wanted) == [], point


def check_recovery(upgrade: Upgrade, root: Path, point: str) -> None:
    """Recovery, twice, leaves nothing over and a whole release live; then the upgrade works."""
    check_whole(upgrade, root, point)
    for _ in range(2):
        release.recover_now(order(root))
        check_whole(upgrade, root, point)
    assert temporary_files(root) == [], point
    assert journal_state(root) in ("none", "idle"), point
    assert sorted(os.listdir(root / "envs")) == sorted(name[:-5] for name in os.listdir(root / ".install/envs")), point
    install(root, upgrade.path)
    release.prune_now(order(root))
    assert live(root) == upgrade.after, point
    assert differences(root, upgrade.after) == [], point
    assert temporary_files(root) == [], point
    assert ("activated", upgrade.after) in events(root), point
    assert len(os.listdir(root / "releases")) == 2, point


@pytest.mark.parametrize("call", CALLS)
def test_killed_before_a_call(upgrade: Upgrade, tmp_path: Path, call: str) -> None:
    """Wherever it is killed, the old release or the new one is live and whole, at once and after recovery, and the next upgrade works."""
    for number in upgrade.points(call):
        root = tmp_path / f"{number}/root"
        shutil.copytree(upgrade.base, root, symlinks=True)
        done = upgrade.run(root, f"{call}:signal=KILL:when={number}")
        assert done.returncode == -9, f"{call} {number}: {done.stderr}"
        check_recovery(upgrade, root, f"killed at {call} {number}")


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("call", CALLS if EVERY else ("renameat", "fsync", "write"))
def test_an_error_of_a_call(upgrade: Upgrade, tmp_path: Path, call: str, lasting: bool) -> None:
    """A full disk, for once or from then on: the status is true, typed, and what the status says is live is live; then as above."""
    for number in upgrade.points(call):
        root = tmp_path / f"{number}/root"
        shutil.copytree(upgrade.base, root, symlinks=True)
        done = upgrade.run(root, f"{call}:error=ENOSPC:when={number}{'+' if lasting else ''}")
        point = f"{call} {number}{'+' if lasting else ''}: status {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.returncode in (0, 3, 4, 5), point
        assert "Traceback" not in done.stderr, point
        if done.returncode != 5:
            assert live(root) == (upgrade.before if done.returncode else upgrade.after), point
        check_recovery(upgrade, root, point)


@pytest.mark.parametrize("call", ["fsync", "syncfs"] if EVERY else ["syncfs"])
def test_a_sync_that_failed_is_not_tried_again(upgrade: Upgrade, tmp_path: Path, call: str) -> None:
    """After EIO the file is thrown away: no second sync of the same descriptor's file could be believed."""
    for number in upgrade.points(call):
        root = tmp_path / f"{number}/root"
        shutil.copytree(upgrade.base, root, symlinks=True)
        done = upgrade.run(root, f"{call}:error=EIO:when={number}")
        point = f"{call} {number}: status {done.returncode}\n{done.stderr}"
        assert done.returncode in (0, 4, 5), point
        if done.returncode == 0:
            assert live(root) == upgrade.after, point
        check_recovery(upgrade, root, point)
