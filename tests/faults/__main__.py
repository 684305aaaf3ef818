"""``python -m tests.faults [PART…] [--bounded]``: run the campaign, or parts of it; print its table; exit 1 on a violation or a missed target.

Each part is a process of its own, as many at once as there are processors: one that falls over takes no other with it. What a part found is kept
in ``.faults/<commit>/`` until the whole is done: a campaign that was interrupted goes on there, and a part that was run by itself counts, as long as
the commit is the same and nothing of it was changed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType

import tests.faults

from .report import Report, page

REPOSITORY = Path(__file__).parents[2]
FIGURES = REPOSITORY / "docs/faults.json"
PAGE = FIGURES.with_name("reliability.md")
KEPT = REPOSITORY / ".faults"
LONGEST = ("errnos", "power", "mutants", "kill", "landing")
"""What begins first, so that nothing long is left for the end."""


def parts() -> dict[str, ModuleType]:
    """Every module of this package that has a ``campaign``, by name."""
    names = [each.name for each in pkgutil.iter_modules(tests.faults.__path__) if not each.name.startswith(("test_", "__"))]
    modules = {name: importlib.import_module(f"tests.faults.{name}") for name in sorted(names)}
    return {name: module for name, module in modules.items() if hasattr(module, "campaign")}


def main(argv: list[str]) -> int:
    found = parts()
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(found)} (all)")
    parser.add_argument("--bounded", action="store_true", help="only as much as make test runs")
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)), help="parts at the same time (%(default)s)")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # what one part found: written there by its own process
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.part) - set(found)):
        parser.error(f"there is no part called {', '.join(unknown)}; there are {', '.join(found)}")
    signal.signal(signal.SIGTERM, _stop)
    if options.into:
        (name,) = options.part
        alone(name, found[name], options.bounded).write(options.into)
        return 0
    with tempfile.TemporaryDirectory(prefix="faults-parts-") as scratch:
        commit, clean = _commit()
        whole = not options.bounded
        kept = KEPT / commit if whole and clean else Path(scratch)
        kept.mkdir(parents=True, exist_ok=True)
        done = {} if options.part else {name: each for name, each in _kept(kept, found).items() if not each.violations}
        for name in done:
            print(f"{name}: taken over, it was run of this commit before", flush=True)
        wanted = [name for name in options.part or found if name not in done]
        wanted.sort(key=lambda name: LONGEST.index(name) if name in LONGEST else len(LONGEST))
        failed = run(wanted, kept, options.bounded, options.at_once)
        results = _kept(kept, found if whole and clean else wanted)
    report = Report.of(results.values(), {"commit": commit if clean else f"{commit}, changed", **_versions(options.at_once)}, failed)
    print("\n".join(report.lines()))
    if whole and (not options.part or len(results) == len(found)):
        report.write(FIGURES)
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), report.to_json()), encoding="utf-8")
    missed = [*report.missed(whole=whole and not options.part), *(f"{name}: fell over" for name in failed)]
    if whole and clean and len(results) == len(found) and not missed:
        shutil.rmtree(kept)  # the next campaign begins anew
    print(*(f"missed: {each}" for each in missed), sep="\n")
    return 1 if (report.violations or failed if options.bounded else missed) else 0


def alone(name: str, part: ModuleType, bounded: bool) -> Report:
    """One part, here and now."""
    report, start = Report(), time.monotonic()
    print(f"{name} …", flush=True)
    part.campaign(bounded, report)
    report.seconds[name] = round(time.monotonic() - start, 1)
    print(f"{name}: {report.seconds[name]} s", flush=True)
    return report


def run(names: Sequence[str], kept: Path, bounded: bool, at_once: int) -> list[str]:
    """Each part in a process of its own, so many at a time; what they found is in ``kept``. Returned are those that fell over."""
    running: set[subprocess.Popen[bytes]] = set()

    def part(name: str) -> bool:
        result = kept / f"{name}.json"
        before = _read(result)
        with suppress(FileNotFoundError):
            result.unlink()
        words = [sys.executable, "-m", "tests.faults", name, "--into", str(result), *(["--bounded"] if bounded else [])]
        process = subprocess.Popen(words, cwd=REPOSITORY)
        running.add(process)
        status = process.wait()
        running.discard(process)
        if status:
            print(f"VIOLATION {name}: it fell over: status {status}", flush=True)
        elif before and before.violations and (now := _read(result)):
            now.redone[name] = sum(map(len, before.violations.values()))
            now.write(result)
        return status == 0

    threads = ThreadPoolExecutor(max(1, at_once))
    try:
        return [name for name, good in zip(names, threads.map(part, names), strict=True) if not good]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        for process in tuple(running):  # there are some only when this process is to end
            process.terminate()
        for process in tuple(running):
            process.wait()


def _stop(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _commit() -> tuple[str, bool]:
    """The commit of this checkout, and whether what is tried is exactly that."""
    git = ("git", "-C", str(REPOSITORY))
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", "--", "builder", "tests", "pyproject.toml"], capture_output=True, text=True)
    return commit.stdout.strip() or "unknown", commit.returncode == changed.returncode == 0 and not changed.stdout


def _versions(at_once: int) -> Mapping[str, str]:
    processors = len(os.sched_getaffinity(0))
    return {"python": platform.python_version(), "kernel": platform.release(), "processors": str(processors), "parts at once": str(at_once)}


def _kept(directory: Path, names: Iterator[str] | Sequence[str] | Mapping[str, ModuleType]) -> dict[str, Report]:
    return {name: report for name in names if (report := _read(directory / f"{name}.json"))}


def _read(path: Path) -> Report | None:
    """What a part wrote when it was done; None where it is not, or was cut off."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        return Report.from_json(json.loads(path.read_text(encoding="utf-8")))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
