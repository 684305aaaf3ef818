"""A bounded part of ``flips``: one of ten bytes of a release flipped, some lengths, all that may stand around it."""

from __future__ import annotations

from . import flips
from .report import Report


def test_nothing_changed_is_taken() -> None:
    """Refused with a typed error, whatever was flipped, cut off or added; as it was made, it is taken."""
    report = Report()
    flips.campaign(True, report)
    assert report.violations == {}
    assert report.points[flips.ROW] > 1500
