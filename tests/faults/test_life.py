"""A host's life, as much as make test can afford."""

from __future__ import annotations

from tests.faults import life
from tests.faults.report import Report


def test_life() -> None:
    """Whatever people do, in whatever order, killed or not, whatever the clock says: the host is what a small model says, and nothing is lost."""
    report = Report()
    life.campaign(True, report)
    assert report.violations == {}
    assert report.points["life"] > 50
