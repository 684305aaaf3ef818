"""The campaign's figures, for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.__main__ import FIGURES, PAGE
from tests.faults.report import Report, page


def test_the_page_tells_the_figures() -> None:
    """Between its marks and nowhere else, however often; a page without a place for them is told of."""
    report = Report(seconds={"races": 120.0, "flips": 3.2}, redone={"races": 1}, about={"commit": "c0ffee", "python": "3.11"}, failed=["kill"])
    report.count("opens", 1_234_567)
    report.count("flips", 10)
    report.violation("opens", "one")
    once = page("before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n", report.to_json())
    table = [
        "| | tried | at least | violations |",
        "|---|--:|--:|--:|",
        "| bytes flipped, lengths cut | 10 | 1 | 0 |",
        "| opens during flips | 1 234 567 | 1 000 000 | 1 |",
        "",
        "Tried was commit c0ffee, python 3.11.",
        "Seconds by part: flips 3, races 120.",
        "Run again of the same commit: races, which had 1 violations before.",
        "Not finished: kill.",
    ]
    wanted = ["before", "<!-- figures -->", *table, "<!-- /figures -->", "after"]
    assert once.replace("\u202f", " ").splitlines() == wanted
    assert page(once, report.to_json()) == once
    with pytest.raises(ValueError, match="no place"):
        page("nothing", report.to_json())


def test_parts_make_a_whole(tmp_path: Path) -> None:
    """What each part has written is read again and added up, to the same figures as if one process had run all."""
    one, two, whole = Report(seconds={"kill": 1.5}), Report(seconds={"errnos": 2.0}, redone={"errnos": 2}), Report()
    for report in (one, whole):
        report.count("kill", 3)
        report.detail("double", ways_to_recover={"first": 2})
    for report in (two, whole):
        report.count("errno", 4)
        report.violation("errno", "one")
    one.write(tmp_path / "one")
    two.write(tmp_path / "two")
    read = [Report.from_json(json.loads((tmp_path / name).read_text())) for name in ("one", "two")]
    merged = Report.of(read, {"commit": "c0ffee"}, ["races"])
    assert (merged.points, merged.violations, merged.details) == (whole.points, whole.violations, whole.details)
    assert (merged.seconds, merged.redone, merged.failed) == ({"kill": 1.5, "errnos": 2.0}, {"errnos": 2}, ["races"])


def test_the_documentation_is_of_the_last_campaign() -> None:
    """What docs/reliability.md shows is what docs/faults.json says."""
    text = PAGE.read_text(encoding="utf-8")
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else None
    assert figures is None or page(text, figures) == text
