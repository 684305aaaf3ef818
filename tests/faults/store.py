"""The store: publishers killed at every request, and eight on one channel for a hundred rounds, on a directory and on a real S3 server."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from builder.store import open_store
from tests.store import kills, rounds
from tests.store.releases import MIB, Wheels, release
from tests.store.weed import BUCKET, serving

from .report import Report

_AT_ONCE, _ROUNDS = 8, 100


def campaign(bounded: bool, report: Report) -> None:
    """All of it in some minutes; bounded: a few points of each."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="faults-store-") as name, serving(Path(name) / "weed") as server:
        os.environ.update(server.environment())
        try:
            directory = Path(name) / "store"
            directory.mkdir()
            count = 5 if bounded else _ROUNDS
            for url in (str(directory), f"s3://{BUCKET}/rounds"):
                for wrong in rounds.race([open_store(url) for _ in range(_AT_ONCE)], count):
                    report.violation("store-rounds", f"{url.split(':')[0]}: {wrong}")
                report.count("store-rounds", count)
            built = release(Path(name), wheels=Wheels({"w": ("w", 12 * MIB)}))
            total = kills.requests(server, f"s3://{BUCKET}/whole", built)
            for at in range(1, total + 1, 7 if bounded else 1):
                for heard in (False, True):
                    for wrong in kills.killed(server, f"s3://{BUCKET}/{at}-{heard}", built, at, heard):
                        report.violation("store-kills", wrong)
                    report.count("store-kills")
            report.detail("store-kills", requests=total)
        finally:
            os.environ.clear()
            os.environ.update(before)
