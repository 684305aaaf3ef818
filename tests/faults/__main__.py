"""``python -m tests.faults [PART…] [--bounded]``: run the campaign, or parts of it; print its table; exit 1 on a violation or a missed target."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
import time
from pathlib import Path
from types import ModuleType

import tests.faults

from .report import Report, page

FIGURES = Path(__file__).parents[2] / "docs/faults.json"
PAGE = FIGURES.with_name("reliability.md")


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
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.part) - set(found)):
        parser.error(f"there is no part called {', '.join(unknown)}; there are {', '.join(found)}")
    report = Report()
    for name in options.part or found:
        print(f"{name} …", flush=True)
        start = time.monotonic()
        found[name].campaign(options.bounded, report)
        report.seconds[name] = round(time.monotonic() - start, 1)
        print(f"{name}: {report.seconds[name]} s", flush=True)
    print("\n".join(report.lines()))
    if options.bounded:
        return 1 if report.violations else 0
    if not options.part:
        report.write(FIGURES)
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), report.to_json()), encoding="utf-8")
    missed = report.missed(whole=not options.part)
    print(*(f"missed: {each}" for each in missed), sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
