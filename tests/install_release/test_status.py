"""What status tells, on the screen and to programs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builder.install_release import release, status
from builder.install_release.host import Host

from .roots import artifact, install, order

NOW = "2026-11-23T12:00:00Z"


def screen(root: Path) -> str:
    with Host(str(root)) as host:
        return "\n".join(status.to_text(status.gather(host), NOW))


def test_status_of_two_releases(tmp_path: Path) -> None:
    """What is live, by whom; each release with its state, sizes and the releases it shares an environment with."""
    root = tmp_path / "root"
    install(root, artifact(tmp_path, "1.0"))
    second = install(root, artifact(tmp_path, "1.1"))
    release.mark(order(root, why="it leaks"), "1.0", "bad")
    release.mark(order(root), "1.0", "pinned")
    lines = screen(root).splitlines()
    assert lines[0].startswith(f"shop   {root}   current 1.1 ({second.id})   good since ")
    assert lines[0].endswith("by tester")
    live, other = lines[2:4]
    assert live.startswith(f"* {second.id}   1.1 ")
    assert f"{second.env[:4]} (" in live
    assert "shared with 1.0" in live
    assert "bad, pinned" in other
    assert other.endswith("it leaks")
    with Host(str(root)) as host:
        value = json.loads(json.dumps(status.to_json(status.gather(host))))
    assert value["current"] == second.id
    assert {row["past"]["state"] for row in value["rows"]} == {"good", "bad"}
    assert all(row["bytes"] > 0 and row["env_bytes"] > 0 for row in value["rows"])


def test_a_long_story_is_cut(tmp_path: Path) -> None:
    """What a failed service said stays out of the table: log has it whole."""
    root = tmp_path / "root"
    install(root, artifact(tmp_path, "1.0"))
    release.mark(order(root, why="x" * 500), "1.0", "bad")
    assert screen(root).splitlines()[2].endswith(f" {'x' * 120}… (see log 1.0)")


def test_status_names_processes_of_older_releases(tmp_path: Path) -> None:
    """A process that was started from the release before is told from one of the live release; workers are counted with their parent."""
    root = tmp_path / "root"
    install(root, artifact(tmp_path, "1.0"))
    server = tmp_path / "server"
    server.write_text("import os, sys; pid = os.fork(); print(flush=True) if pid else None; sys.stdin.read()")
    first = subprocess.Popen([sys.executable, server], cwd=root / "current/src", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    install(root, artifact(tmp_path, "1.1"))
    live = root / "current/src"
    second = subprocess.Popen([sys.executable, "-u", server], cwd=live, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        for process in (first, second):
            assert process.stdout is not None
            process.stdout.readline()
        text = screen(root)
    finally:
        for process in (first, second):
            process.communicate()
    assert f"server {first.pid} (+1) still runs 1.0: restart pending" in text
    assert f"server {second.pid} (+1) from 1.1" in text


def test_status_says_that_recovery_is_due_and_changes_nothing(tmp_path: Path) -> None:
    """A reading command reports what a killed installer left."""
    root = tmp_path / "root"
    install(root, artifact(tmp_path, "1.0"))
    (root / ".install/staging/dead").mkdir()
    assert "recovery is due: remove the stage .install/staging/dead" in screen(root)
    assert (root / ".install/staging/dead").is_dir()


@pytest.mark.parametrize("how", ["directory", "by hand", "nothing"])
def test_status_says_what_is_odd_about_current(tmp_path: Path, how: str) -> None:
    """A current that install-release did not make is a problem to be seen, not an error."""
    root = tmp_path / "root"
    first = install(root, artifact(tmp_path, "1.0"))
    install(root, artifact(tmp_path, "1.1"))
    (root / "current").unlink()
    if how == "directory":
        (root / "current").mkdir()
        expected = "is not a link"
    elif how == "by hand":
        (root / "current").symlink_to(f"releases/{first.id}")
        expected = "set by hand"
    else:
        expected = "nothing is live"
    assert expected in screen(root)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172799, "47 h"), (172800, "2 days")]
)
def test_spans(seconds: int, text: str) -> None:
    """A span has at least two of its unit, so that it says something."""
    assert status._span(seconds) == text
