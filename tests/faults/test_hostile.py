"""A bounded part of ``hostile``: some of every group, in every way, on one Python."""

from __future__ import annotations

from . import hostile
from .report import Report


def test_hostile_artifacts_are_refused_and_do_no_harm() -> None:
    """A typed refusal that says why, nothing outside or left over, what was live stays live, in 2 s and 64 MiB; and a sound one is installed."""
    report = Report()
    hostile.campaign(True, report)
    assert report.violations == {}
    assert report.points[hostile.ROW] > 400


def test_there_are_hundreds_of_them() -> None:
    """Each has a name of its own."""
    assert len(hostile.corpus()) > 2000
