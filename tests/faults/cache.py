"""The build side, killed and told of errors at every call: cache and artifact are whole or not there; the next build makes the same bytes."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from builder import cache
from builder.artifact import write
from builder.artifact.layers import Tree, pack
from builder.errors import BuildError
from tests.releases import FACTS

from . import shim
from .kill import BATCH, ERRNOS
from .pool import Job, pool
from .report import Report
from .shim import Control
from .world import Done, forked, image, lay

NAMES = ("cold", "warm", "prune")


def campaign(bounded: bool, report: Report) -> None:
    """Bounded: one call in ten."""
    step = 10 if bounded else 1
    with pool() as workers:
        jobs: list[Job] = []
        for (_, name), answer in workers.each(("build", name) for name in NAMES):
            changing = [number for number, (_, cls) in enumerate(answer["calls"], 1) if cls == shim.CHANGES][::step]
            # (Of a directory that can never be removed, Python's own TemporaryDirectory tries again until its stack is full: EACCES is tried once.)
            modes = [
                (shim.KILL, 0),
                *(
                    (mode, error)
                    for mode in (shim.FAIL, shim.FAIL_LASTING)
                    for word, error in ERRNOS.items()
                    if (mode, word) != (shim.FAIL_LASTING, "EACCES")
                ),
            ]
            for mode, error in modes:
                jobs += [("build", name, mode, error, changing[first : first + BATCH]) for first in range(0, len(changing), BATCH)]
        statuses: Counter[str] = Counter()
        for (_, name, mode, error, _), answer in workers.each(jobs):
            for target, found in answer["points"].items():
                report.count("cache", bool(found["hit"]))
                statuses[f"{name} {found['status']}"] += 1
                for each in found["wrong"]:
                    report.violation("cache", f"{name}, mode {mode}, error {error} at {target}: {each}")
        report.detail("cache", statuses=dict(statuses))


class Building:
    """A cache and a directory for artifacts; each scenario is what is in them before, and what is done."""

    def __init__(self, directory: Path, control: Control) -> None:
        self.directory, self.control = directory, control
        self.cache, self.out, self.work = (directory / name for name in ("cache", "out", "work"))
        directory.mkdir()
        self.saved = {"cold": {"": (0o40755, b"")}}
        self._restore("cold")
        assert self._run(self.build).status == 0
        self.wanted = self._artifacts()
        self.saved["warm"] = self.saved["prune"] = image(self.cache)

    def calls(self, name: str) -> list[tuple[str, int]]:
        self._restore(name)
        self.control.arm()
        done = self._run(self._what(name))
        self.control.disarm()
        assert done.status == 0, done
        return [(str(call), call.cls) for call in self.control.calls()]

    def point(self, name: str, mode: int, target: int, error: int) -> dict[str, Any]:
        self._restore(name)
        self.control.arm(mode, target, error)
        done = self._run(self._what(name))
        _, hit, again = self.control.disarm()
        wrong = ["a file was synced again after that had failed"] if again else []
        if done.status not in (0, 3, -9) or "Traceback" in done.said:
            wrong.append(f"status {done.status}: {done.said[-400:]}")
        there = self._artifacts()
        if any(self.wanted.get(path) != digest for path, digest in there.items()):
            wrong.append(f"an artifact that is not whole: {sorted(there)}")
        if done.status == 0 and name != "prune" and there != self.wanted:
            wrong.append("FALSE SUCCESS: the artifact is not there")
        if (then := self._run(self.build)).status != 0 or self._artifacts() != self.wanted:
            wrong.append(f"the next build ended with status {then.status}, and {sorted(self._artifacts())}: {then.said[-400:]}")
        if (then := self._run(lambda: _prune(self.cache, cache.EVERYTHING))).status != 0:
            wrong.append(f"the cache can't be emptied: {then.said[-400:]}")
        left = sorted(
            str(path.relative_to(self.cache)) for path in self.cache.rglob("*") if path.is_file() and path.name not in (".gate", ".room.json")
        )
        wrong += [f"{each} is left in the cache" for each in left]
        left = sorted(path.name for path in self.out.iterdir() if path.name not in self.wanted)
        wrong += [f"{each} is left beside the artifact" for each in left]
        return {"hit": hit, "status": done.status, "wrong": wrong}

    def build(self) -> int:
        """Two layers, cached, and the artifact of them."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        with cache.in_use(self.cache):
            trees = [Tree("src", "src", "1", _source), Tree("etc", "etc", "2", _configuration)]
            packed = pack(trees, self.cache, self.work, jobs=1)
            write(FACTS, packed, b'#!/usr/bin/python3\n__version__ = "1.0"\n', self.out)
        return 0

    def _what(self, name: str) -> Any:
        return self.build if name != "prune" else lambda: _prune(self.cache, 0)

    def _run(self, start: Any) -> Done:
        def guarded() -> int:
            try:
                return int(start())
            except (BuildError, OSError):  # which the command line tells in words
                return 3

        return forked(guarded, self.directory / "said")

    def _restore(self, name: str) -> None:
        for path in (self.cache, self.out):
            shutil.rmtree(path, ignore_errors=True)
        lay(str(self.cache), self.saved[name])
        self.out.mkdir()

    def _artifacts(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.out.iterdir() if not path.name.startswith(".")}


def _prune(root: Path, bound: int) -> int:
    cache.prune(root, bound)
    return 0


def _source(root: Path) -> None:
    (root / "src").mkdir()
    (root / "src/app.py").write_text("VERSION = 1\n")


def _configuration(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/app.conf").write_text("version = 1\n")
