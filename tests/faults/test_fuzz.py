"""A bounded part of ``fuzz``: the same some hundred inputs for each reader, each time."""

from __future__ import annotations

from . import fuzz
from .report import Report


def test_no_input_is_more_than_refused() -> None:
    """Every reader of what others wrote accepts it or raises its own error; what is sound it accepts, and a planted bug is found."""
    report = Report()
    fuzz.campaign(True, report)
    assert report.violations == {}
    assert report.points[fuzz.ROW] > 3000
