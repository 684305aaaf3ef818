"""Power cuts. By a model: every run of the installer is recorded, and whatever a cut at any of its calls may leave is laid out, recovered and used.

``catches(package)`` is for the mutants: it tells what the model has against ``package``, a changed copy of the directory ``install_release``,
as soon as it has found something, in seconds. An empty list: nothing.
"""

from __future__ import annotations

import os
import pickle
import random
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.install_release.roots import differences, id_of

from .cuts import ROOT, STATE, SYSTEM, Bench, Installer, Run, left_over, recovery, runs, side, wrong
from .report import Report
from .volatile import Chosen, Disk, Tree, outcomes, scan

ROW = "power-logical"
SEED = 5
Result = TypeVar("Result")


class Trial:
    """Cuts of one run. ``states`` counts distinct trees; ``found`` is what was wrong, each with the words that say where.

    ``used``: what a cut left is recovered and used on; else it is only looked at. ``first``: one thing found is enough.
    """

    def __init__(self, bench: Bench, run: Run, chosen: Chosen, *, used: bool = True, first: bool = False) -> None:
        self.bench, self.run, self.chosen, self.used, self.first = bench, run, chosen, used, first
        self.chance = random.Random(SEED)
        self.found: list[str] = []
        self.states: dict[int, bool] = {}
        self.recovered: set[int] = set()
        self.remarkable: dict[str, Tree] = {}

    def __call__(self) -> Trial:
        self.run.recording.replay(self._cut)
        return self

    def _cut(self, disk: Disk, number: int) -> None:
        told = number >= self.run.recording.said
        for each in outcomes(disk.waiting, self.chosen, self.chance):
            if self.first and self.found:
                return
            tree = disk.after(each)
            key = hash(frozenset(tree.items()))
            if self.states.get(key, False) or (key in self.states and not told):
                continue
            self.states[key] = told
            call = self.run.recording.calls[number - 1] if number else None
            where = f"{self.run.name}, cut after call {number}" + (f" ({call.name} {call.paths[-1] if call.paths else ''})" if call else "")
            if self.used:
                self.bench.lay(tree)
                if STATE in tree:
                    self.remarkable.setdefault(_kind(tree), tree)
            what = [*wrong(self.run, tree, told, recovered=False), *(use(self.bench, self.run, told, self.recovered) if self.used else ())]
            self.found += [f"{where}, {len(disk.waiting)} waiting: {''.join(map(str, each))}: {words}" for words in what]


def use(bench: Bench, run: Run, told: bool, seen: set[int]) -> Iterator[str]:
    """Recover what a cut left where ``bench`` is, and use the host on, unless what recovery made of it was ``seen`` before. What was wrong."""
    try:
        _recover(bench)
        after = scan(bench.top)
        yield from (f"after recovery: {words}" for words in wrong(run, after, told, recovered=True))
        key = hash(frozenset((path, node._replace(content=_timeless(node.content))) for path, node in after.items()))
        if key not in seen:
            seen.add(key)
            yield from _go_on(bench, run)
    except Exception as error:  # whatever it is: nobody is there to clean up
        problems = [str(each) for each in getattr(error, "problems", ())]
        yield f"after recovery: {type(error).__name__}: {error} {problems or ''}"


def _recover(bench: Bench) -> tuple[str, ...]:
    if not (bench.root / ".install").is_dir():  # nothing was ever begun here: there is nothing that could be asked to recover
        return ()
    return bench.installer.recover(bench.root)


def _go_on(bench: Bench, run: Run) -> Iterator[str]:
    """The host is used on: a second recovery has nothing to do, and the next release is installed (I7)."""
    if again := _recover(bench):
        yield f"recovery was not finished: {again}"
    wanted = id_of(run.following)
    bench.install(run.following)
    after = scan(bench.top)
    if side(after).release != wanted:
        yield f"after the next installation: {side(after).release} is live"
    for release in sorted(os.listdir(bench.root / "releases")):
        yield from (f"after the next installation: {release}: {each}" for each in differences(bench.root, release))
    if after[f"{SYSTEM}/a.conf"].content != b"version = 9.0\n":
        yield f"after the next installation: {after[f'{SYSTEM}/a.conf']}"
    yield from (f"after the next installation: {words}" for words in left_over(after))


def _timeless(content: bytes) -> bytes:
    return re.sub(rb'"time":"[^"]*"|^[0-9-]{10} [0-9:]{8} UTC', b"", content, flags=re.MULTILINE)


def _kind(tree: Tree) -> str:
    """What a recovery has to do there, roughly: one of each is worth a recovery that is cut itself."""
    journal = tree.get(f"{STATE}/journal.json")
    state = re.search(rb'"state":"(\w+)"', journal.content) if journal else None
    stages = sorted({"env" if "/env-" in path else "gc" if "/gc-" in path else "stage" for path in tree if path.startswith(f"{STATE}/staging/")})
    here = f"{ROOT}/current" in tree, any(".rel-tmp." in path for path in tree), ".rel-old." in "".join(tree)
    return f"{state[1].decode() if state else 'none'} {stages} {here}"


WHOLE, LOOK, QUICK = Chosen(32, 8, 2), Chosen(64, 40, 4), Chosen(1, 1, 0)


def campaign(bounded: bool, report: Report) -> None:
    """All scenarios, and the recoveries of what they leave; bounded: some outcomes of two scenarios, and of one recovery."""
    states: dict[str, int] = {}
    kinds: set[str] = set()
    start, chosen = time.process_time(), QUICK if bounded else WHOLE
    with place() as directory:
        bench = Bench(directory, Installer())
        for name, make in runs(bench).items():
            if bounded and name not in ("upgrade", "activate"):
                continue
            trial = _count(Trial(bench, make(), chosen), states, report)
            for kind, tree in trial.remarkable.items():
                if kind in kinds or (bounded and (kinds or not kind.startswith("switching"))):
                    continue
                kinds.add(kind)
                try:
                    run = recovery(bench, trial.run, tree)
                except AssertionError as error:
                    report.violation(ROW, f"{trial.run.name}, {kind}: {error}")
                    continue
                _count(Trial(bench, run, chosen), states, report)
    report.detail(ROW, states=states, recoveries=len(kinds), cpu_seconds=round(time.process_time() - start, 1))


def _count(trial: Trial, states: dict[str, int], report: Report) -> Trial:
    trial()
    states[trial.run.name] = states.get(trial.run.name, 0) + len(trial.states)
    report.count(ROW, len(trial.states))
    for each in trial.found:
        report.violation(ROW, each)
    return trial


def catches(package: Path) -> list[str]:
    """See above. ``package``: the path of a directory with all of ``install_release``, under any name that can be imported."""
    return apart(lambda: _catches(package))


def _catches(package: Path) -> list[str]:
    with place() as directory:
        bench = Bench(directory, Installer(package))
        every = runs(bench)
        recorded: dict[str, Run] = {}
        for chosen, used in ((LOOK, False), (QUICK, True)):  # to look is quick, and sees most
            for name in ("upgrade", "each_synced", "rollback", "failing_flat", "first_install"):
                try:
                    recorded[name] = recorded.get(name) or every[name]()
                except AssertionError as error:  # it does not even work when nothing happens to it
                    return [str(error)]
                trial = Trial(bench, recorded[name], chosen, used=used, first=True)()
                if trial.found:
                    return trial.found
    return []


@contextmanager
def place() -> Iterator[Path]:
    """A directory in memory: nothing there takes the time of a disk."""
    memory = "/dev/shm"
    directory = tempfile.mkdtemp(prefix="power-", dir=memory if os.access(memory, os.W_OK) else None)
    try:
        yield Path(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def apart(work: Callable[[], Result]) -> Result:
    """Do it in a process of its own, which may load another installer, or fall over."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(readable)
            with os.fdopen(writable, "wb") as stream:
                pickle.dump(work(), stream)
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable, "rb") as stream:
        data = stream.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise AssertionError("the process that tried it failed")
    return pickle.loads(data)
