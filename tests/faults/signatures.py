"""Signature cases: each row of the specification's table, with the real ssh-keygen. They are tests of their own; a campaign counts them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from .report import Report

_REPOSITORY = Path(__file__).parents[2]
_TESTS = ("tests/install_release/test_signatures.py", "tests/install_release/test_policy.py", "tests/install_release/test_floor.py")


def campaign(bounded: bool, report: Report) -> None:
    """All of them, also when bounded. One that failed, or was skipped, is a violation."""
    with tempfile.TemporaryDirectory(prefix="faults-signatures-") as scratch:
        found = Path(scratch, "found.xml")
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={scratch}/tests", f"--junitxml={found}", *_TESTS]
        done = subprocess.run(words, cwd=_REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        cases = list(ElementTree.parse(found).iter("testcase")) if found.exists() else []
    report.count("signatures", len(cases))
    wrong = [case for case in cases if any(case.find(outcome) is not None for outcome in ("failure", "error", "skipped"))]
    for case in wrong:
        report.violation("signatures", f"{case.get('classname')}::{case.get('name')}")
    if done.returncode and not wrong:
        report.violation("signatures", f"the tests ended with {done.returncode}: {done.stdout[-500:]}")
