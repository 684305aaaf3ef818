"""Power cuts on real file systems: a run on a disk that remembers its writes, and each cut of it mounted, looked at, recovered and used on."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import disk
from .cuts import Bench, Installer, runs, wrong
from .disk import Event, FileSystem
from .power import SEED, apart, place, use
from .report import Report
from .trace import Recording
from .volatile import scan

ROW = "power-real"


class DiskBench(Bench):
    """As a ``Bench``, but on a file system of its own: ``base`` is its image before the run, ``done`` what the run wrote."""

    def __init__(self, directory: Path, installer: Installer, system: FileSystem) -> None:
        super().__init__(directory, installer)
        self.system_, self.base, self.image = system, directory / "base", directory / "image"
        self.done: list[Event] = []
        self.stack = ExitStack()

    def begin(self) -> None:
        self.stack.close()
        disk.make(self.system_, self.base)
        self.stack.enter_context(disk.mounted(self.system_, self.base, self.top))
        super().begin()

    def record(self, *words: str | Path, inject: str = "") -> Recording:
        before = scan(self.top)
        self.stack.close()
        subprocess.run(["cp", "--sparse=always", self.base, self.image], check=True)
        log, point = self.log.with_name("log"), self.log.with_name("disk")
        log.unlink(missing_ok=True)
        root = ["--allow-root"] if os.geteuid() == 0 else []
        command = [*self.installer.words, *map(str, words), "--root", str(self.root), *root]
        with disk.remembering(self.image, log, point), disk.mounted(self.system_, point, self.top):
            environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(self.home)}
            done = subprocess.run(command, cwd=self.installer.place, env=environment, capture_output=True, text=True, timeout=300)
            self.done = disk.events(log)
            after = scan(self.top)
        return Recording(self.top, before, after, (), 0, done.returncode, done.stdout + done.stderr)


def campaign(bounded: bool, report: Report) -> None:
    """Every set-up; bounded: one, and few cuts."""
    lacking = disk.usable()
    if lacking:
        report.detail(ROW, left_out=lacking)
        print(f"power cuts on real file systems are left out: {lacking}", flush=True)
        return
    plan = {"upgrade": 20} if bounded else {"upgrade": 70, "failing": 30, "rollback": 20}
    counts: dict[str, int] = {}
    for system in disk.FILE_SYSTEMS[: 1 if bounded else None]:
        states, found = apart(lambda system=system: _try(system, plan))
        counts.update({f"{system.name}, {name}": count for name, count in states.items()})
        report.count(ROW, sum(states.values()))
        for each in found:
            report.violation(ROW, f"{system.name}: {each}")
    report.detail(ROW, states=counts)


def _try(system: FileSystem, plan: dict[str, int]) -> tuple[dict[str, int], list[str]]:
    """Cuts of each scenario of ``plan``, at most so many; how many were tried, and what was wrong."""
    disk.private()
    counts: Counter[str] = Counter()
    found: list[str] = []
    with place() as directory:
        bench = DiskBench(directory, Installer(), system)
        every = runs(bench)
        for name, most in plan.items():
            run, seen = every[name](), set[int]()
            for cut in disk.cuts(bench.done, random.Random(SEED), most):
                disk.lay(bench.base, bench.done, cut, bench.image)
                told = cut.at == len(bench.done)
                try:
                    with disk.mounted(system, bench.image, bench.top):
                        tree = scan(bench.top)
                        what = [*wrong(run, tree, told, recovered=False), *use(bench, run, told, seen)]
                except (OSError, subprocess.CalledProcessError) as error:
                    what = [f"{error} {getattr(error, 'stderr', '')}"]
                counts[name] += 1
                found += [f"{run.name}, {_words(cut, bench.done)}: {words}" for words in what]
    return dict(counts), found


def _words(cut: disk.Cut, done: Sequence[Event]) -> str:
    return f"cut at {cut.at} of {len(done)}, landed {','.join(map(str, cut.landed)) or 'none'}{', the last torn' if cut.torn else ''}"
