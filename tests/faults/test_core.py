"""The campaign's core itself, and as much of it as each run of the tests can afford; ``make faults`` runs all."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from builder.install_release import release
from tests.conftest import missing
from tests.install_release.roots import REPOSITORY, artifact, differences, install, live, order, temporary_files

from . import cache, errnos, full, kill, mutants, shim, traps
from .pool import alone
from .report import Report

_CHANGING = (
    *("openat", "write", "pwrite64", "writev", "renameat", "renameat2", "symlinkat", "linkat", "unlinkat", "mkdirat"),
    *("fsync", "syncfs", "ftruncate", "fchmod"),
)
SYSTEM = {"open": "openat"}
"""What the kernel calls a call, where that is not what libc calls it."""


@pytest.fixture(scope="module", autouse=True)
def tools() -> None:
    if not shutil.which("cc"):
        missing("there is no C compiler")
    if not alone():
        missing("nothing can be mounted here")


@pytest.mark.parametrize("part", [kill, errnos, full, cache, traps])
def test_a_part_of_the_campaign(part: object) -> None:
    """Some points of each: no violation, and no success that is none."""
    report = Report()
    part.campaign(True, report)  # type: ignore[attr-defined]
    assert report.violations == {}
    assert sum(report.points.values()) > 50


def test_mutants_of_the_protocol() -> None:
    """Every patch fits, and of some each is noticed."""
    report = Report()
    mutants.campaign(True, report)
    assert report.violations == {}
    assert report.points["mutants"] > 3


def test_the_shim_misses_nothing(tmp_path: Path) -> None:
    """Of an upgrade in a process of its own it counts each call as often as the kernel sees it (what opens is told apart by its flags)."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    base, path = _upgrade(tmp_path)
    shutil.copytree(base, tmp_path / "root", symlinks=True)
    told = tmp_path / "control"
    control = shim.Control(told, create=True)
    control.arm()
    environment = {**os.environ, "LD_PRELOAD": str(shim.compiled("shim.c")), "FAULTS_SHM": str(told), "PYTHONDONTWRITEBYTECODE": "1"}
    strace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(tmp_path / "trace"),
        "-e",
        f"trace={','.join(_CHANGING)}",
        "-E",
        f"LD_PRELOAD={environment.pop('LD_PRELOAD')}",
    ]
    assert subprocess.run([*strace, *_words(path, tmp_path / "root")], cwd=REPOSITORY, env=environment).returncode == 0
    control.disarm()
    counted = Counter(SYSTEM.get(call.kind, call.kind) for call in control.calls() if call.cls == shim.CHANGES)
    seen: Counter[str] = Counter()
    for line in (tmp_path / "trace").read_text().splitlines():
        match = re.match(r"\d+ +(?:<\.\.\. )?(\w+)\((.*)", line)
        if match and (match[1] != "openat" or re.search(r"O_CREAT|O_TRUNC|O_TMPFILE", match[2])):
            seen[match[1].replace("renameat2", "renameat")] += 1
    assert {call: count for call, count in counted.items() if call in _CHANGING} == seen
    assert counted["fsync"] > 20


def test_a_line_is_added_to_a_history_that_is_read_in_pieces(tmp_path: Path) -> None:
    """Where the system gives half of what is asked for, all the same no whole line is taken for a torn one."""
    lines = b"".join(b"line %d\n" % number for number in range(900))
    (tmp_path / "history").write_bytes(lines)
    control = shim.Control(tmp_path / "control", create=True)
    control.arm(shim.SHORT)
    program = (
        "import os, sys; from builder.install_release import durable; durable.append_lines(os.open(sys.argv[1], os.O_RDONLY), 'history', b'last\\n')"
    )
    preload = {"LD_PRELOAD": str(shim.compiled("shim.c")), "FAULTS_SHM": str(tmp_path / "control")}
    environment = {**os.environ, **preload, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=REPOSITORY, env=environment, check=True)
    assert (tmp_path / "history").read_bytes() == lines + b"last\n"


def test_a_refusal_leaves_nothing(tmp_path: Path) -> None:
    """Wherever what is live can't be read while a release is put here: status 3 leaves nothing of it; what a decision fails at is taken back."""
    base, path = _upgrade(tmp_path)
    control = shim.Control(tmp_path / "control", create=True)
    preload = {"LD_PRELOAD": str(shim.compiled("shim.c")), "FAULTS_SHM": str(tmp_path / "control")}
    environment = {**os.environ, **preload, "PYTHONDONTWRITEBYTECODE": "1"}

    def attempt(name: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        root = tmp_path / name
        shutil.copytree(base, root, symlinks=True)
        done = subprocess.run(_words(path, root), cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        control.disarm()
        return done, root

    control.arm()
    assert attempt("counted")[0].returncode == 0
    numbers = [number for number, call in enumerate(control.calls(), 1) if call.kind.startswith("readlink") and call.what == "current"]
    taken_back = 0
    for number in numbers:
        control.arm(shim.FAIL, number, 5)
        done, root = attempt(str(number))
        assert "Traceback" not in done.stderr
        assert done.returncode in (0, 3, 4, 5), done.stderr
        removed = "what it had made was removed" in done.stderr
        if done.returncode == 3 or removed:
            taken_back += removed
            assert [sorted(os.listdir(root / name)) for name in ("releases", "envs")] == [
                sorted(os.listdir(base / name)) for name in ("releases", "envs")
            ]
            assert live(root) == live(base)
    assert taken_back > 0


@pytest.mark.parametrize("inject", ["signal=KILL", "error=EIO", "error=ENOSPC"])
@pytest.mark.parametrize("call", ["renameat", "fsync", "write"])
def test_real_system_calls(tmp_path: Path, call: str, inject: str) -> None:
    """The kernel's own refusals and kills, of a process of its own, say the same: what is live is whole, and the next upgrade works."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    base, path = _upgrade(tmp_path)
    for number in (3, 9):
        root = tmp_path / f"{number}"
        shutil.copytree(base, root, symlinks=True)
        before = live(root)
        words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:{inject}:when={number}", *_words(path, root)]
        done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        assert done.returncode in ((-9,) if "KILL" in inject else (0, 3, 4, 5)), done.stderr
        assert "Traceback" not in done.stderr
        assert differences(root, live(root)) == []
        release.recover_now(order(root))
        assert done.returncode != 0 or live(root) != before
        assert (differences(root, live(root)), differences(root, before), temporary_files(root)) == ([], [], [])
        assert differences(root, install(root, path).id) == []


def _upgrade(directory: Path) -> tuple[Path, Path]:
    """A root with a release, and an artifact for it."""
    install(directory / "base", artifact(directory, "1.0"))
    return directory / "base", artifact(directory, "1.1", wheel="2")


def _words(path: Path, root: Path) -> list[str]:
    words = [sys.executable, "-m", "builder.install_release", str(path), "--root", str(root), "--python", sys.executable]
    return words + (["--allow-root"] if os.geteuid() == 0 else [])
