"""Killed, or told that the disk is full, at each system call that changes something: the system's files are all old or all new after recovery.

A process lays down, restores, or commits one small scenario that has every kind of change: new, changed, removed, an edit that gives way, a
directory that is made. SIGKILL is delivered at a call's entry, so the call is not made: killed before each call is killed after the one before.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.install_release import overlay
from builder.install_release.host import Host
from tests.conftest import missing

from ..roots import REPOSITORY
from .system import System, journaled, tree, write

CALLS = ("renameat", "fsync", "unlinkat", "mkdirat", "fchmod", "write", "rmdir", "openat")
TX = "a" * 12
PROGRAM = """
import json, sys
from builder.install_release import overlay
from builder.install_release.host import Host
from builder.install_release.overlay import Change

root, changes, tx, release, before, *steps = json.load(sys.stdin)
changes = [Change.from_json(change) for change in changes]
host = Host(root)
open(root + "/.begun", "w").close()
for step in steps:
    if step == "commit":
        overlay.commit(host, tx, changes, release, before)
    else:
        getattr(overlay, step)(host, tx, changes)
"""


@dataclass(frozen=True)
class Scenario:
    """A system at release 1 with an edit, the changes that release 2 makes, and how it looks before and after."""

    base: Path
    changes: list[dict[str, object]]
    first: str
    second: str
    old: dict[str, str]
    new: dict[str, str]

    def copy(self, directory: Path) -> Path:
        """The scenario in its place: paths are absolute, so one at a time lives there."""
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(self.base, directory, symlinks=True)
        return directory

    def run(self, directory: Path, steps: list[str], inject: str = "") -> subprocess.CompletedProcess[str]:
        strace = ["strace", "-qq", "-o", str(directory.parent / "trace"), "-e", f"trace={','.join(CALLS)}"]
        words = [*strace, *(["-e", f"inject={inject}"] if inject else []), sys.executable, "-S", "-c", PROGRAM]
        order = json.dumps([str(directory / "root"), self.changes, TX, self.second, self.first, *steps])
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(words, input=order, cwd=REPOSITORY, capture_output=True, text=True, env=environment)

    def points(self, directory: Path, steps: list[str]) -> list[tuple[str, int]]:
        """Every call that the steps make, by its name and its number within the process."""
        done = self.run(self.copy(directory), steps)
        assert done.returncode == 0, done.stderr
        seen: Counter[str] = Counter()
        found, begun = [], False
        for line in (directory.parent / "trace").read_text().splitlines():
            if match := re.match(r"(\w+)\((.*)", line):
                seen[match[1]] += 1
                if begun and (match[1] != "openat" or "O_CREAT" in line):
                    found.append((match[1], seen[match[1]]))
                begun = begun or ".begun" in match[2]
        return found


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Path]:
    """The scenario, and the directory in which its copies live, one after the other."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    top = tmp_path_factory.mktemp("faults")
    directory = top / "here"
    directory.mkdir()
    system = System(directory)
    first = system.release("1", {"changed": "one\n", "edited": "one\n", "kept": "same\n", "gone/file": "one\n"})
    second = system.release("2", {"changed": ("two\n", 0o755), "edited": "two\n", "kept": "same\n", "made/for/it": "two\n"})
    system.flip(first)
    write(directory / "etc/edited", ("by hand\n", 0o640))
    write(directory / "etc/kept", "by hand\n")
    changes = [change.to_json() for change in system.propose(second, [("**", "take-new")]).changes]
    system.host.close()
    shutil.copytree(directory, top / "base", symlinks=True)
    old = tree(directory / "etc")
    found = Scenario(top / "base", changes, first, second, old, {})
    assert found.run(directory, ["prepare", "switch", "commit"]).returncode == 0
    new = tree(directory / "etc")
    assert sorted(name.rpartition("/")[2] for name in new if not name.startswith(".")) == ["changed", "edited", "for", "it", "kept", "made"]
    return Scenario(top / "base", changes, first, second, old, new), directory


def recovered(scenario: Scenario, directory: Path, way: str) -> dict[str, str]:
    """Go the way that a journal would say, twice; no temporary file and no bytes that nobody needs are left."""
    changes = journaled([overlay.Change.from_json(change) for change in scenario.changes])
    with Host(str(directory / "root")) as host:
        for _ in range(2):
            if way == "back":
                assert overlay.restore(host, TX, changes) == ()
            else:
                overlay.commit(host, TX, changes, scenario.second, scenario.first)
            overlay.clear(host)
        assert overlay.leftovers(host) == ()
        assert not [name for name in host.names(".install/overlay") if name.startswith(".")]
    return tree(directory / "etc")


def next_flip_works(scenario: Scenario, directory: Path, release: str) -> None:
    """The rollback from there brings back what was there under release 1, edits included; from release 1 nothing is lost either."""
    system = System.__new__(System)
    system.etc, system.root, system.host, system.live = directory / "etc", directory / "root", Host(str(directory / "root")), release
    system.manifests = {}
    for version, files in (("1", {"x": ""}), ("2", {"x": ""})):
        known = System.release(system, version, files)
        (directory / "root/releases" / known / "etc/sys/x").unlink()
    if release == scenario.second:
        system.flip(scenario.first, back=True)
        assert system.tree() == scenario.old
    else:
        system.flip(scenario.second, [("**", "take-new")])
        assert system.tree() == scenario.new
    system.host.close()


Way = Callable[[Scenario, Path, str], None]


def goes_back(scenario: Scenario, directory: Path, point: str) -> None:
    found = tree(directory / "etc")
    for name, text in scenario.old.items():
        assert found.get(name) in (text, scenario.new.get(name)), f"{point}: {name}"
    assert recovered(scenario, directory, "back") == scenario.old, point
    next_flip_works(scenario, directory, scenario.first)


def goes_forward(scenario: Scenario, directory: Path, point: str) -> None:
    assert recovered(scenario, directory, "forward") == scenario.new, point
    next_flip_works(scenario, directory, scenario.second)


@pytest.mark.parametrize(
    ("before", "steps", "then"),
    [
        ([], ["prepare", "switch"], goes_back),
        (["prepare", "switch"], ["restore"], goes_back),
        (["prepare"], ["restore"], goes_back),
        (["prepare", "switch"], ["commit"], goes_forward),
    ],
    ids=["prepare and switch", "restore after the switch", "restore before it", "commit"],
)
@pytest.mark.parametrize("how", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_stopped_at_each_call(scenario: tuple[Scenario, Path], how: str, before: list[str], steps: list[str], then: Way) -> None:
    """Wherever it stops: each file is the old or the new one, recovery makes all old (or, committed, all new), and the next flip works."""
    found, directory = scenario
    prepared = found
    if before:
        assert found.run(found.copy(directory), before).returncode == 0
        shutil.rmtree(found.base.parent / "prepared", ignore_errors=True)
        shutil.copytree(directory, found.base.parent / "prepared", symlinks=True)
        prepared = Scenario(found.base.parent / "prepared", found.changes, found.first, found.second, found.old, found.new)
    points = prepared.points(directory, steps)
    assert len(points) > 8, points
    if os.environ.get("FAULTS") != "all":  # as in tests/install_release/test_faults.py: every one takes minutes
        points = points[:: 3 if how == "signal=KILL" else 8]
    for call, number in points:
        done = prepared.run(prepared.copy(directory), steps, f"{call}:{how}:when={number}")
        point = f"{call} {number} {how}: status {done.returncode}\n{done.stderr}"
        assert done.returncode == -9 if how == "signal=KILL" else done.returncode in (0, 1), point
        then(found, directory, point)
