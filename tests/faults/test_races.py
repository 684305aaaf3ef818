"""Races, as many as make test can afford."""

from __future__ import annotations

from tests.faults import races
from tests.faults.report import Report


def test_races() -> None:
    """Installers at once, some killed; eight that wait; a killed holder; readers during flips; builds at once: nothing that must never be is seen."""
    report = Report()
    races.campaign(True, report)
    assert report.violations == {}
    assert report.points["races"] > 30
    assert report.points["opens"] > 10_000
