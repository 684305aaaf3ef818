"""Mutants of the protocol: a step left out, two swapped. Each is a patch of a copy of the installer, and a part of the campaign must notice.

That proves the campaign, not the installer: a mutant that nothing notices is a violation. A patch that no longer fits is one too.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import power, shim
from .kill import ERRNOS
from .patches import ALL, Mutant
from .pool import Job, Pool, pool
from .report import Report

BUILDER = Path(__file__).parents[2] / "builder"
BATCH = 8


def campaign(bounded: bool, report: Report) -> None:
    """Each mutant, until something is noticed. Bounded: some of each part, and that all patches fit."""
    caught: dict[str, str] = {}
    seconds: dict[str, float] = {}
    for number, mutant in enumerate(ALL):
        with tempfile.TemporaryDirectory(prefix="mutant-") as name:
            start = time.monotonic()
            try:
                package = patched(mutant, Path(name))
            except ValueError as error:
                report.violation("mutants", str(error))
                continue
            if bounded and number % 12:
                continue
            report.count("mutants")
            noticed = next(notices(mutant, package), "")
            if noticed:
                caught[mutant.name] = f"{mutant.part}: {noticed[:200]}"
            else:
                report.violation("mutants", f"nothing notices that {mutant.name} ({mutant.part})")
            seconds[mutant.name] = round(time.monotonic() - start, 1)
            print(f"  {seconds[mutant.name]:6.1f} s  {mutant.name}: {caught.get(mutant.name, 'SURVIVES')[:120]}", flush=True)
    parts = [mutant.part for mutant in ALL if mutant.name in caught]
    report.detail("mutants", caught={part: parts.count(part) for part in sorted(set(parts))})


def patched(mutant: Mutant, directory: Path) -> Path:
    """A directory with a copy of ``builder`` in which the mutant lives. Raises ``ValueError`` for a patch that does not fit."""
    shutil.copytree(BUILDER, directory / "builder", ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in ((mutant.file, mutant.old, mutant.new), *mutant.also):
        place = directory / "builder/install_release" / file
        text = place.read_text()
        if old not in text:
            raise ValueError(f"{mutant.name}: the patch no longer fits {file}")
        place.write_text(text.replace(old, new))
    return directory


def notices(mutant: Mutant, package: Path) -> Iterator[str]:
    """What the part that should notice it says."""
    if mutant.part == "power":
        yield from power.catches(package / "builder/install_release")
        return
    with pool(2, package, leases=mutant.part == "traps") as workers:  # each mutant needs new ones, and most are noticed soon
        for name in mutant.where:
            yield from _traps(workers, name) if mutant.part == "traps" else _faults(workers, mutant, name)


def _traps(workers: Pool, name: str) -> Iterator[str]:
    yield from workers.ask(("trap", name))["wrong"]


def _faults(workers: Pool, mutant: Mutant, name: str) -> Iterator[str]:
    try:
        calls = workers.ask(("count", name))["calls"]
    except RuntimeError:
        yield "the scenario itself goes wrong"
        return
    changing = [number for number, (_, cls) in enumerate(calls, 1) if cls == shim.CHANGES]
    changing.reverse()  # most of what goes wrong goes wrong in the flip, which comes late
    errors = [(shim.KILL, 0)] if mutant.part == "kill" else [(shim.FAIL, ERRNOS["EIO"])]
    jobs: list[Job] = [("points", name, mode, error, changing[at : at + BATCH]) for mode, error in errors for at in range(0, len(changing), BATCH)]
    for _, answer in workers.each(jobs):
        for target, found in answer["points"].items():
            yield from (f"{name}, {mutant.part} at {target} ({found['call']}): {each}" for each in found["wrong"])
