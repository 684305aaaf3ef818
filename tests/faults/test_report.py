"""The campaign's figures, for people."""

from __future__ import annotations

import json

import pytest

from tests.faults.__main__ import FIGURES, PAGE
from tests.faults.report import Report, page


def test_the_page_tells_the_figures() -> None:
    """Between its marks and nowhere else, however often; a page without a place for them is told of."""
    report = Report(seconds={"races": 120.0})
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
        "It took 2 minutes.",
    ]
    wanted = ["before", "<!-- figures -->", *table, "<!-- /figures -->", "after"]
    assert once.replace("\u202f", " ").splitlines() == wanted
    assert page(once, report.to_json()) == once
    with pytest.raises(ValueError, match="no place"):
        page("nothing", report.to_json())


def test_the_documentation_is_of_the_last_campaign() -> None:
    """What docs/reliability.md shows is what docs/faults.json says."""
    text = PAGE.read_text(encoding="utf-8")
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else None
    assert figures is None or page(text, figures) == text
