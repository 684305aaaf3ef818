"""What the campaign counted: points and violations of each row, whether its targets were met, the table, and ``docs/faults.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Value = int | float | str | list[str] | dict[str, int] | dict[str, float]


@dataclass(frozen=True)
class Row:
    """One line of the table: what is counted, and how much of it a whole campaign has to try."""

    key: str
    words: str
    least: int


ROWS = (
    Row("kill", "mutating calls killed", 1_500),
    Row("errno", "errors injected", 15_000),
    Row("double", "double faults", 2_000),
    Row("full", "disks that are really full", 1),
    Row("traps", "states that others have made", 50),
    Row("cache", "faults on the build side", 1),
    Row("power-logical", "power cuts, by the model", 5_000),
    Row("power-real", "power cuts, real file systems", 500),
    Row("mutants", "mutants of the protocol", 25),
    Row("hostile", "hostile artifacts x Pythons", 400),
    Row("flips", "bytes flipped, lengths cut", 1),
    Row("fuzz", "inputs made up", 1),
    Row("signatures", "signature cases", 100),
    Row("races", "installers at once, killed", 1),
    Row("opens", "opens during flips", 1_000_000),
    Row("life", "steps of the state machine", 1),
    Row("checks", "hostile checks and hooks", 1),
    Row("store-rounds", "rounds of eight publishers on one channel", 200),
    Row("store-kills", "requests at which a publisher was killed", 30),
)


@dataclass
class Report:
    """Counts by row. A part adds to the rows that it is about; what it finds wrong is a violation, in words that say how to see it again.

    ``seconds`` by part. ``redone``: parts that were run again of the same commit, and how many violations they had before. ``about``: what was tried,
    and where. ``failed``: parts that did not come to their end.
    """

    points: dict[str, int] = field(default_factory=dict)
    violations: dict[str, list[str]] = field(default_factory=dict)
    details: dict[str, dict[str, Value]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    redone: dict[str, int] = field(default_factory=dict)
    about: Mapping[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, reports: Iterable[Report], about: Mapping[str, str], failed: Iterable[str] = ()) -> Report:
        """All parts in one."""
        whole = cls(about=about, failed=sorted(failed))
        for each in reports:
            for row, points in each.points.items():
                whole.count(row, points)
            for row, words in each.violations.items():
                whole.violations.setdefault(_known(row), []).extend(words)
            for row, figures in each.details.items():
                whole.detail(row, **figures)
            whole.seconds.update(each.seconds)
            whole.redone.update(each.redone)
        return whole

    def count(self, row: str, points: int = 1) -> None:
        """``points`` more were tried."""
        self.points[_known(row)] = self.points.get(row, 0) + points

    def violation(self, row: str, what: str) -> None:
        """Something that must never be was seen."""
        self.violations.setdefault(_known(row), []).append(what)
        print(f"VIOLATION {row}: {what}", flush=True)

    def detail(self, row: str, **figures: Value) -> None:
        """Figures that say more about a row: by scenario, by file system, …"""
        self.details.setdefault(_known(row), {}).update(figures)

    def missed(self, whole: bool = True) -> list[str]:
        """The targets that were not met: of a whole campaign, or of those rows of which something was tried."""
        rows = [row for row in ROWS if whole or row.key in self.points]
        found = [f"{row.key}: {self.points.get(row.key, 0)} of {row.least}" for row in rows if self.points.get(row.key, 0) < row.least]
        return found + [f"{row}: {len(each)} violations" for row, each in sorted(self.violations.items())]

    def lines(self) -> list[str]:
        """The table, for a reader."""
        width = max(len(row.words) for row in ROWS)
        lines = [f"{'':<{width}}  {'tried':>10}  {'at least':>10}  violations"]
        for row in ROWS:
            if row.key in self.points or row.key in self.violations:
                wrong = len(self.violations.get(row.key, ()))
                lines.append(f"{row.words:<{width}}  {self.points.get(row.key, 0):>10}  {row.least:>10}  {wrong}")
        return lines

    def to_json(self) -> Mapping[str, object]:
        rows = {
            row.key: {
                "what": row.words,
                "tried": self.points.get(row.key, 0),
                "least": row.least,
                "violations": self.violations.get(row.key, []),
                **({"details": self.details[row.key]} if row.key in self.details else {}),
            }
            for row in ROWS
        }
        return {"about": self.about, "rows": rows, "seconds": self.seconds, "redone": self.redone, "failed": self.failed}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Report:
        """What ``to_json`` has made."""
        rows = value["rows"]
        return cls(
            {key: row["tried"] for key, row in rows.items() if row["tried"]},
            {key: row["violations"] for key, row in rows.items() if row["violations"]},
            {key: row["details"] for key, row in rows.items() if "details" in row},
            value["seconds"],
            value["redone"],
            value["about"],
            value["failed"],
        )

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.to_json(), indent=2, sort_keys=True) + "\n")


_BEGIN, _END = "<!-- figures -->\n", "<!-- /figures -->"


def page(text: str, figures: Mapping[str, Any]) -> str:
    """``text``, a page in Markdown, with the table of ``figures`` (what ``Report.to_json`` says) between its two marks."""
    rows = [row for each in ROWS if (row := figures["rows"].get(each.key)) and row["tried"]]
    lines = ["| | tried | at least | violations |", "|---|--:|--:|--:|"]
    lines += [f"| {row['what']} | {_number(row['tried'])} | {_number(row['least'])} | {len(row['violations'])} |" for row in rows]
    lines += ["", f"Tried was {', '.join(f'{what} {each}' for what, each in figures['about'].items())}."]
    lines += [f"Seconds by part: {', '.join(f'{part} {seconds:.0f}' for part, seconds in sorted(figures['seconds'].items()))}."]
    lines += [f"Run again of the same commit: {part}, which had {count} violations before." for part, count in sorted(figures["redone"].items())]
    lines += [f"Not finished: {', '.join(figures['failed'])}."] if figures["failed"] else []
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not (begin and end):
        raise ValueError("the page has no place for figures")
    return "".join((before, begin, *(f"{line}\n" for line in lines), end, after))


def _number(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")  # a narrow space


def _known(row: str) -> str:
    if row not in {each.key for each in ROWS}:
        raise ValueError(f"{row} is no row of the table")
    return row
