"""``make bench``: builds and installs one application with this project and with what people use today, in one run on one file system."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from . import application, installers, machine, measure, pages, picture, products, report
from .builders import BUILDERS, REBUILDERS, WHEELS_ONLY
from .measure import Bench, BenchError, Step
from .results import Group, Results, Sizes

GROUPS = {
    "build": "Build, nothing cached but downloads",
    "rebuild": "Build again after one source edit",
    "dependency": "Build again after one dependency changed",
    "wheels": "Build, where wheels travel and the host makes the environment",
    "install": "Install on an empty host",
    "source": "Install when only the source changed",
    "wheel": "Install when one wheel of 67 changed",
    "durable": "Install on a disk, durably",
    "start": "First import from a fresh install",
}
_WARM = ("build", "rebuild", "dependency")  # once everyone has built, their first round need not be thrown away
_ENOUGH = 5  # runs, for figures that are kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=_ENOUGH, help=f"how often each step is measured ({_ENOUGH})")
    parser.add_argument("--only", default="", metavar="GROUP,…", help=f"only these: {', '.join(GROUPS)}")
    parser.add_argument("--out", type=Path, help="where results.json and results.svg go (bench/, when every group was measured often enough)")
    options = parser.parse_args()
    chosen = [word for word in options.only.split(",") if word] or list(GROUPS)
    if options.runs < 1 or (unknown := [word for word in chosen if word not in GROUPS]):
        parser.error(f"--only knows {', '.join(GROUPS)}" if unknown else "--runs must be at least 1")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that gigabytes of memory don't stay behind
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    begin = time.monotonic()
    try:
        with _work() as work, _disk("durable" in chosen) as disk:
            results = _measure(work, disk, chosen, options.runs, console)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    report.show(results, console)
    console.print(f"\n{(time.monotonic() - begin) / 60:.0f} minutes")
    here = Path(__file__).parent
    out = options.out or (here if set(chosen) == set(GROUPS) and options.runs >= _ENOUGH and not results.failed else None)
    if out:
        (out / "results.json").write_text(json.dumps(results.to_json(), indent=1, ensure_ascii=False) + "\n")
        (out / "results.svg").write_text(picture.draw(results))
        console.print(f"→ {out}/results.json, {out}/results.svg")
    if out == here:
        console.print(f"→ {', '.join(map(str, pages.write(here.parent)))}")
    if not out:
        console.print(f"A quick look: kept are the results of a run of every group with {_ENOUGH} runs or more, and without a failure.")
    for why in results.failed:
        print(f"bench: {why}", file=sys.stderr)
    return 1 if results.failed else 0


def _measure(work: Path, disk: Path | None, chosen: Sequence[str], runs: int, console: Console) -> Results:
    """Prepare what the chosen groups need, then run them, one after the other."""
    python = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    warm_up = min(1, runs - 1)
    app = application.make(work, python, edits=runs + warm_up)
    described = machine.describe(python, work)
    bench = Bench(work, _variables(work, app, python), python, runs, warm_up, measure.can_jail())
    products.fill_caches(bench)
    prepared = bool(set(chosen) - {"build", "wheels"})
    if prepared:
        console.print("preparing: everyone builds once")
        products.build(bench, BUILDERS)
    sizes = None
    if set(chosen) & {"install", "source", "wheel", "durable", "start"}:
        products.make(bench)
        sizes = Sizes(*(os.path.getsize(work / "products" / name) for name in ("base.tgz", "plain-base.tgz")))
    if "start" in chosen:
        products.start(bench)
    groups, failed = [], []
    for key in (key for key in GROUPS if key in chosen):
        steps = _steps(key, disk)
        if not steps:
            console.print(f"{GROUPS[key]}: left out, there is no disk with room here")
            continue
        try:
            with console.status(GROUPS[key]) as status:
                series = bench.run(steps, lambda what, status=status: status.update(what), warm=prepared and key in _WARM)  # type: ignore[misc]
        except BenchError as error:  # hours may have gone into the others
            console.print(f"{GROUPS[key]}: failed")
            failed.append(str(error))
            continue
        on = f", {machine.file_system(disk)}" if disk and key == "durable" else ""
        groups.append(Group(key, GROUPS[key] + on, series, ours=steps[0].name))
        console.print(f"{GROUPS[key]}: done")
    words = f"{app.distributions} distributions and {app.modules} modules of own source"
    return Results(described, words, runs, bench.offline, tuple(groups), sizes, tuple(failed))


def _steps(key: str, disk: Path | None) -> tuple[Step, ...]:
    """What is compared in the group ``key``; ours first."""
    makers: dict[str, Callable[[], tuple[Step, ...]]] = {
        "build": lambda: tuple(builder.anew() for builder in BUILDERS),
        "rebuild": lambda: tuple(builder.again("edit-$ROUND") for builder in REBUILDERS),
        "dependency": lambda: tuple(builder.again("changed") for builder in REBUILDERS),
        "wheels": lambda: tuple(builder.anew() for builder in WHEELS_ONLY),
        "install": installers.on_an_empty_host,
        "source": installers.of_new_source,
        "wheel": installers.of_one_new_wheel,
        "durable": lambda: installers.on_a_disk(str(disk)) if disk else (),
        "start": installers.starts,
    }
    return makers[key]()


def _variables(work: Path, app: application.Application, python: Path) -> dict[str, str]:
    """The whole environment of every step: nothing of this machine's settings for pip, uv, git or Python."""
    home = work / "home"
    home.mkdir()
    return {
        **application.GIT,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(home),
        "TMPDIR": str(work),
        "LANG": "C.UTF-8",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "UV_PYTHON_DOWNLOADS": "never",
        "BENCH": str(Path(__file__).parent),
        "REPO": str(app.repository),
        "LOCK": str(app.repository / "requirements.txt"),
        "WHEELS": str(app.wheels),
        "PRODUCTS": str(work / "products"),
        "PYTHON": str(python),
        "JOBS": str(len(os.sched_getaffinity(0))),
    }


@contextmanager
def _work() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=machine.work_directory(), ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _disk(wanted: bool) -> Iterator[Path | None]:
    place = machine.disk_directory() if wanted else None
    if place is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place, ignore_cleanup_errors=True) as name:
        yield Path(name)


if __name__ == "__main__":
    sys.exit(main())
