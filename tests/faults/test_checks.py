"""Hostile hooks, checks and health commands: each behaviour at one place, as make test can afford no more."""

from __future__ import annotations

from tests.faults import checks
from tests.faults.report import Report


def test_hostile_commands() -> None:
    """Whatever a command does, what was live is live, the status says so, in time, within the memory, and nothing is left running."""
    report = Report()
    checks.campaign(True, report)
    assert report.violations == {}
    assert report.points["checks"] > len(checks.BEHAVIOURS)
