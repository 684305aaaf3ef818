"""The figures of README and docs: written from results.json, large.json and store.json between two markers, never by hand.

``python -m bench.pages`` writes them again without measuring.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from .builders import OURS
from .installers import TAR

UNMEASURED = "Nothing is measured yet: `make {0}` writes the figures here."
_USUAL = {"build": "virtualenv + pip + tar czf", "install": TAR, "source": TAR, "wheel": TAR}
_BRIEF = ("build", "rebuild", "dependency", "install", "source", "wheel")
_HERE = Path(__file__).parent

Json = Mapping[str, Any]


def write(top: Path) -> list[Path]:
    """Write the figures into the pages of the repository ``top``; the pages."""
    pages = [top / name for name in _PARTS]
    for page in pages:
        page.write_text(updated(page.name, page.read_text(encoding="utf-8")), encoding="utf-8")
    return pages


def updated(name: str, text: str) -> str:
    """The page ``name`` with what stands in ``text`` between its markers made anew."""
    for target, source, make in next(parts for page, parts in _PARTS.items() if Path(page).name == name):
        path = _HERE / source
        lines = make(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else [UNMEASURED.format(target)]
        text = between(text, target, "\n".join(lines))
    return text


def between(text: str, marker: str, inside: str) -> str:
    """``text`` with ``inside`` between ``<!-- marker: begin -->`` and its end. Raises ``ValueError`` where they don't stand once."""
    begin, end = f"<!-- {marker}: begin -->", f"<!-- {marker}: end -->"
    if (text.count(begin), text.count(end)) != (1, 1):
        raise ValueError(f"{begin} and {end} must stand once")
    return re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{inside}\n{end}", text, flags=re.DOTALL)


def brief(results: Json) -> Iterator[str]:
    """For the README: the picture, and ours beside what people do and beside the fastest, whoever that is."""
    yield "![Seconds to build and to install, against other tools](bench/results.svg)"
    yield ""
    yield from _table(["seconds", "build-release", "the usual way", "the fastest other"], _brief_rows(results), right=range(1, 4))
    yield ""
    yield f"{_how(results)} [How it is measured, and where others are faster](docs/performance.md)."


def _brief_rows(results: Json) -> Iterator[list[str]]:
    for key in _BRIEF:
        group = results["groups"][key]
        steps = group["steps"]
        fastest = min((name for name in steps if name != OURS), key=lambda name: float(steps[name]["median"]))
        usual = f"{steps[_USUAL[key]]['median']:.2f} ({_USUAL[key]})" if key in _USUAL else ""
        yield [group["title"], f"**{steps[OURS]['median']:.2f}**", usual, f"{steps[fastest]['median']:.2f} ({fastest})"]


def full(results: Json) -> Iterator[str]:
    """For docs/performance.md: all of it."""
    machine = results["machine"]
    network = "no network" if results["offline"] else "a network that was not cut off"
    yield f"{_how(results)} Timed steps had {network}; load before the first: {machine['load']}."
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    yield f"{machine['processor']}, {machine['memory_gib']} GiB, Linux {machine['kernel']}; {versions}."
    yield ""
    yield from _table(["", "ratio", "range", "at most", "", "against"], map(_target, results["targets"]), right=range(1, 4))
    if sizes := results["sizes"]:
        yield ""
        yield f"The artifact has {sizes['artifact'] / 1e6:.1f} MB; `tar c | gzip -6` of the same tree {sizes['gzip'] / 1e6:.1f} MB."
    faster = list(_faster(results))
    if faster:
        yield ""
        yield f"Where others are faster: {'; '.join(faster)}."
    for group in results["groups"].values():
        yield ""
        yield f"### {group['title']}"
        yield from _table(["", "seconds", "range", "CPU s", "÷ ours", "peak MiB", ""], _rows(group), right=range(1, 6))
        if group["phases"]:
            yield ""
            yield f"By stage: {', '.join(f'{stage} {seconds:.2f}' for stage, seconds in group['phases'].items())}."


def large(results: Json) -> Iterator[str]:
    """For docs/performance.md: the installer's memory and time against files and bytes."""
    yield f"One install each, durably, on {results['file_system']}; memory is that of all processes together."
    yield ""
    rows = [
        [
            f"{row['files']:,}".replace(",", " "),
            f"{row['files'] * row['size'] / 2**30:.2f}",
            f"{row['artifact'] / 2**30:.2f}",
            f"{row['seconds']:.1f}",
            f"{row['cpu']:.1f}",
            f"{row['peak'] / 2**20:.0f}",
        ]
        for row in results["installs"]
    ]
    yield from _table(["files", "GiB", "artifact, GiB", "seconds", "CPU s", "peak MiB"], rows, right=range(6))


def store(results: Json) -> Iterator[str]:
    """For docs/store.md: push and pull beside aws, and what small changes cost."""
    machine, runs = results["machine"], results["runs"]
    often = f"medians of {runs} runs in turn" if runs > 1 else "one run"
    yield f"An artifact of {results['bytes'] / 1e9:.1f} GB, {often}; server and clients on one machine: {machine['processors']} processors,"
    yield f"{machine['file_system']}; {', '.join(f'{name} {version}' for name, version in results['versions'].items())}."
    yield ""
    yield from _table(["", "", "range", "bound", ""], map(_store_target, results["targets"]), right=range(1, 4))
    for what, group in results["groups"].items():
        yield ""
        rows = [
            [
                f"**{name}**" if name == OURS else name,
                f"{statistics.median(step['seconds']):.1f}",
                f"{min(step['seconds']):.1f} … {max(step['seconds']):.1f}",
                f"{results['bytes'] / 1e6 / statistics.median(step['seconds']):.0f}",
                f"{step['cpu']:.1f}",
                f"{step['peak'] / 2**20:.0f}",
            ]
            for name, step in group.items()
        ]
        yield from _table([what, "seconds", "range", "MB/s", "CPU s", "peak MiB"], rows, right=range(1, 6))
    yield ""
    rows = [
        [
            row["what"],
            *(f"{row[key] / 1e6:.2f}" for key in ("artifact", "changed", "sent", "most_sent", "copied", "read", "most_read")),
            "met" if row["sent"] <= row["most_sent"] and row["read"] <= row["most_read"] else "**missed**",
        ]
        for row in results["releases"]
    ]
    heads = ["MB", "artifact", "wheels that changed", "pushed", "at most", "copied there", "pulled", "at most", ""]
    yield from _table(heads, rows, right=range(1, 8))


def _store_target(target: Json) -> list[str]:
    span = f"{target['low']:.2f} … {target['high']:.2f}" if "low" in target else ""
    bound = f"≥ {target['least']:.2f}" if "least" in target else f"≤ {target['most']:.0f}"
    value = f"{target['value']:.2f}" if "least" in target else f"{target['value']:.0f}"
    return [target["what"], value, span, bound, "met" if target["met"] else "**missed**"]


def _how(results: Json) -> str:
    machine, runs = results["machine"], results["runs"]
    often = f"medians of {runs} runs in turn" if runs > 1 else "one run"
    return f"{results['application']}; {often}, {machine['python']}, {machine['processors']} processors, {machine['file_system']}."


def _target(target: Json) -> list[str]:
    met = "met" if target["met"] else "**missed**"
    return [target["what"], f"{target['value']:.3f}", f"{target['low']:.3f} … {target['high']:.3f}", f"{target['most']:.2f}", met, target["against"]]


def _faster(results: Json) -> Iterator[str]:
    for group in results["groups"].values():
        ours = [step["median"] for name, step in group["steps"].items() if name.startswith(OURS)]
        for name, step in sorted(group["steps"].items(), key=lambda item: float(item[1]["median"])):
            if not name.startswith(OURS) and len(ours) == 1 and step["median"] < ours[0]:
                remark = f", {step['remark']}" if step["remark"] else ""
                yield f"{name} ({group['title'].lower()}: {step['median']:.2f} s, ours {ours[0]:.2f} s{remark})"


def _rows(group: Json) -> Iterator[list[str]]:
    steps = sorted(group["steps"].items(), key=lambda item: float(item[1]["median"]))
    ours = next(step["median"] for name, step in group["steps"].items() if OURS in name)  # ours stands first
    for name, step in steps:
        seconds: Sequence[float] = step["seconds"]
        figures = [
            f"{statistics.median(seconds):.2f}",
            f"{min(seconds):.2f} … {max(seconds):.2f}",
            f"{step['cpu']:.2f}",
            f"{step['median'] / ours:.2f}",
        ]
        yield [f"**{name}**" if OURS in name else name, *figures, f"{step['peak'] / 2**20:.0f}", step["remark"]]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int]) -> Iterator[str]:
    aligned = set(right)
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join('--:' if column in aligned else '---' for column in range(len(heads)))}|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


_PARTS: Mapping[str, Sequence[tuple[str, str, Callable[[Json], Iterator[str]]]]] = {
    "README.md": [("bench", "results.json", brief)],
    "docs/performance.md": [("bench", "results.json", full), ("bench-large", "large.json", large)],
    "docs/store.md": [("bench-store", "store.json", store)],
}


if __name__ == "__main__":
    for written in write(_HERE.parent):
        print(written)
