"""Commands that a release brings, as hostile as can be: hooks, checks, health, restarts. Row ``checks``.

Whatever they do, the installer ends in time and within its memory, says what is so, leaves nothing running, and what was live is live.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

from builder.install_release.declared import Health, Hook, Service
from tests.install_release.roots import REPOSITORY, artifact, differences, install, journal_state, live, temporary_files

from .report import Report

DEADLINE = 2  # seconds that each command has
SLACK = 20.0  # more, that a busy machine may take for all the rest of an installation
MOST_MEMORY = 64 << 10  # KiB
_MEASURED = """\
import os, sys
child = os.fork()
if not child:
    os.execv(sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(child, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""
"""What starts the installer, and is small itself: a process's peak counts that of the one that forked it, and a whole campaign is large."""

PLACES = ("pre_flip", "post_flip", "health", "check", "restart")

HOSTILE = """
import os, signal, subprocess, sys, time
behaviour, root = sys.argv[1], os.path.dirname(os.path.dirname(os.environ["RELEASE_DIR"]))
current = os.path.join(root, "current")
def forever():
    while True:
        time.sleep(1000)
if behaviour == "hangs":
    forever()
elif behaviour == "ignores signals":
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    forever()
elif behaviour == "forks":
    for _ in range(20):
        if os.fork() == 0:
            forever()
    forever()
elif behaviour in ("leaves its session", "leaves a daemon"):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 3)
            forever()
        os._exit(0)
    os.wait()
    if behaviour == "leaves its session":
        forever()
elif behaviour == "floods":
    while True:
        os.write(1, b"x" * 65536)
        os.write(2, b"y" * 65536)
elif behaviour == "floods by lines":
    while True:
        os.write(1, b"line\\n" * 10000)
elif behaviour == "closes its files":
    os.closerange(0, 100)
    forever()
elif behaviour == "stops itself":
    os.kill(os.getpid(), signal.SIGSTOP)
elif behaviour == "stops its group":
    os.killpg(0, signal.SIGSTOP)
elif behaviour == "kills itself":
    os.kill(os.getpid(), signal.SIGSEGV)
elif behaviour == "takes current away":
    os.unlink(current)
    sys.exit(1)
elif behaviour == "points current elsewhere":
    os.unlink(current)
    os.symlink("/etc", current)
    sys.exit(1)
elif behaviour == "signals the installer":
    os.kill(os.getppid(), signal.SIGTERM)
    forever()
elif behaviour == "lies":
    print("20200101000000-000000000000 is well")
elif behaviour == "fills the disk":
    with open(os.path.join(root, "shared/fill"), "wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
elif behaviour == "tells":
    with open(os.path.join(root, "shared/told-" + sys.argv[2]), "w") as file:
        file.write("\\n".join(sorted(os.environ)) + "\\n\\n" + "\\n".join(sys.argv[3:]))
"""
BEHAVIOURS = (
    "hangs",
    "ignores signals",
    "forks",
    "leaves its session",
    "floods",
    "floods by lines",
    "closes its files",
    "stops itself",
    "stops its group",
    "kills itself",
    "takes current away",
    "points current elsewhere",
    "signals the installer",
    "leaves a daemon",
)
ENVIRONMENT = {
    *("PATH", "SHELL", "LC_ALL", "LANG", "TZ", "USER", "LOGNAME", "HOME", "INSTALL_RELEASE_CHILD"),  # child.personal
    *("RELEASE_ID", "RELEASE_DIR", "RELEASE_VERSION", "PWD", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"),  # bin/run
}
"""All the variables that a release's command is started with, beside those of ``shared/env``. docs/reliability.md lists them too."""
LITERAL = ("$(touch injected)", "; touch injected", "`touch injected`", "a  b", "*")


def campaign(bounded: bool, report: Report) -> None:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="checks-", dir=memory))
    try:
        os.chmod(directory, 0o755)
        base = directory / "base"
        base.mkdir()
        install(base / "root", _release(base, "1.0", "", ""))
        places = cycle(PLACES)
        pairs = [(place, behaviour) for behaviour in BEHAVIOURS for place in ([next(places)] if bounded else PLACES)]
        pairs.append(("health", "lies"))
        cases = [Case(directory / f"case{number}", base, *pair) for number, pair in enumerate(pairs)]
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(Case.run, cases))
        for case, wrong in zip(cases, found, strict=True):
            report.count("checks")
            for what in wrong:
                report.violation("checks", f"{case.place} {case.behaviour}: {what}")
        report.detail("checks", longest_seconds=round(max(case.seconds for case in cases), 1), most_KiB=max(case.memory for case in cases))
        for place in ("post_flip",) if bounded else ("pre_flip", "post_flip", "health", "restart"):
            report.count("checks")
            for what in full(directory / f"full-{place}", place):
                report.violation("checks", f"{place} fills the disk: {what}")
        report.count("checks", len(PLACES))
        for what in environment(directory / "environment", base):
            report.violation("checks", what)
    finally:
        shutil.rmtree(directory)


def _release(directory: Path, version: str, place: str, behaviour: str) -> Path:
    """A release whose command at ``place`` behaves like that, while all others do nothing."""

    def words(where: str) -> tuple[str, ...]:
        if behaviour == "tells":
            return ("python", "hostile.py", behaviour, where, *LITERAL)
        return ("python", "hostile.py", behaviour) if where == place else ("true",)

    facts: dict[str, Any] = {
        "hooks": tuple(Hook(moment, words(moment), DEADLINE) for moment in ("pre_flip", "post_flip")),
        "services": (Service("thing", "command", restart_on=("release",), deadline=DEADLINE, check=words("check"), restart=words("restart")),),
        "health": Health(command=words("health"), passes=1, deadline=DEADLINE, reports_id=behaviour == "lies"),
    }
    return artifact(directory, version, {"hostile.py": HOSTILE}, etc={}, **(facts if place else {}))


class Case:
    """A copy of a host on which 1.0 is live, and 1.1, of which one command is hostile."""

    def __init__(self, directory: Path, base: Path, place: str, behaviour: str) -> None:
        self.root, self.place, self.behaviour = directory / "root", place, behaviour
        shutil.copytree(base / "root", self.root, symlinks=True)
        self.path = _release(directory, "1.1", place, behaviour)
        self.before = live(self.root)
        self.seconds, self.memory = 0.0, 0

    def run(self) -> list[str]:
        """What was not as it should be."""
        peak = self.path.with_suffix(".peak")
        words = [sys.executable, "-I", "-S", "-c", _MEASURED, str(peak), sys.executable, "-m", "builder.install_release"]
        words += [str(self.path), "--root", str(self.root), "--allow-root"]
        start = time.monotonic()
        with subprocess.Popen(words, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            said = process.stdout.read()
        self.seconds, self.memory = time.monotonic() - start, int(peak.read_text())
        return [f"{what}: {said.decode()[-2000:]}" for what in self._judge(process.returncode, len(said))]

    def _judge(self, status: int, said: int) -> Iterator[str]:
        daemon = self.behaviour == "leaves a daemon"
        wanted = 0 if daemon else 3 if self.place == "check" and self.behaviour != "signals the installer" else 4
        if status != wanted:
            yield f"status {status} instead of {wanted}"
        if (live(self.root) == self.before) == daemon:
            yield f"{live(self.root)} is live, it was {self.before}"
        if self.seconds > DEADLINE + SLACK:
            yield f"it took {self.seconds:.0f} s"
        if self.memory > MOST_MEMORY:
            yield f"it took {self.memory} KiB"
        if said > 1 << 20:
            yield f"it said {said} bytes"
        running = list(self._running())
        if running and not (daemon and self.place == "restart"):
            yield f"still running: {running}"
        for pid in running:
            os.kill(pid, signal.SIGKILL)
        if journal_state(self.root) not in ("none", "idle") or temporary_files(self.root) or differences(self.root, self.before):
            yield f"journal {journal_state(self.root)}, left over {temporary_files(self.root)}, {differences(self.root, self.before)[:3]}"

    def _running(self) -> Iterator[int]:
        """What was started from this root, and is not dead a moment later."""
        for path in Path("/proc").glob("[0-9]*"):
            try:
                mine = f"{self.root}/releases/".encode() in (path / "environ").read_bytes()
                for _ in range(50 if mine else 0):
                    if (path / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                        break
                    time.sleep(0.02)
                else:
                    if mine:
                        yield int(path.name)
            except OSError:
                continue


_FULL = """
set -u
directory=$1 python=$2 first=$3 second=$4
mount -t tmpfs -o size=64m tmpfs "$directory/root" || exit 99
run() { "$python" -m builder.install_release "$@" --root "$directory/root" --allow-root; }
run "$first" >&2 || exit 98
was=$(readlink "$directory/root/current")
run "$second" >&2; echo $?
[ "$(readlink "$directory/root/current")" = "$was" ]; echo $?
rm -f "$directory/root/shared/fill"
run recover >&2; echo $?
[ "$(readlink "$directory/root/current")" = "$was" ]; echo $?
run verify >&2; echo $?
"""


def full(directory: Path, place: str) -> list[str]:
    """A command that fills the disk: 4, or 5 where there is no room left to say that all is taken back; once there is, recovery ends it."""
    directory.mkdir()
    (directory / "root").mkdir()
    first, second = _release(directory, "1.0", "", ""), _release(directory, "1.1", place, "fills the disk")
    alone = ["unshare", "-m", *(["-r"] if os.geteuid() else [])]
    words = [*alone, "sh", "-c", _FULL, "sh", str(directory), sys.executable, str(first), str(second)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    said = done.stdout.split()
    if said[:1] in (["4"], ["5"]) and said[1:] == ["0"] * 4:
        return []
    return [f"statuses {said} ({done.returncode}): {done.stderr}"]


def environment(directory: Path, base: Path) -> Iterator[str]:
    """What each command is started with: those variables, no other; and the words that the recipe says, which no shell has looked at."""
    case = Case(directory, base, "all", "tells")
    words = [sys.executable, "-m", "builder.install_release", str(case.path), "--root", str(case.root), "--allow-root", "--json"]
    theirs = {**os.environ, "SECRET_TOKEN": "x", "LD_LIBRARY_PATH": "/nowhere", "PYTHONSTARTUP": "/nowhere", "BASH_ENV": "/nowhere", "IFS": "x"}
    done = subprocess.run(words, cwd=REPOSITORY, env=theirs, capture_output=True, text=True)
    if done.returncode != 0:
        yield f"commands that tell their environment: {done.stdout} {done.stderr}"
        return
    assert json.loads(done.stdout)["id"] == live(case.root)
    for place in PLACES:
        told = (case.root / "shared" / f"told-{place}").read_text()
        names, _, arguments = told.partition("\n\n")
        if set(names.split("\n")) != ENVIRONMENT:
            yield f"{place} is started with {set(names.split()) ^ ENVIRONMENT} too, or without"
        if arguments.split("\n") != list(LITERAL):
            yield f"{place} was given {arguments!r}"
    if injected := list(case.root.rglob("injected")):
        yield f"a shell has run: {injected}"
