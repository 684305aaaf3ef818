"""Every error at every call, once and lasting: the exit status tells the truth, and nothing that is live is the worse for it."""

from __future__ import annotations

from collections import Counter

from . import shim
from .kill import BATCH, ERRNOS, NAMES
from .pool import Job, Pool, pool
from .report import Report

READING = ("EIO", "EACCES", "EMFILE", "EINTR")
"""What a call that changes nothing may say."""


def campaign(bounded: bool, report: Report) -> None:
    """Bounded: one call in 20 of two scenarios, with one error each, once or lasting."""
    with pool() as workers:
        inject(workers, report, ("upgrade", "stuck") if bounded else NAMES, bounded)


def inject(workers: Pool, report: Report, names: tuple[str, ...], bounded: bool) -> None:
    """Calls that change something get every error, once, and for all calls of that name from then on; for a dead disk (EIO) and one that was
    mounted again read-only (EROFS), for all calls. Those that only read are a sample of one in five, with one error each."""
    calls = {name: answer["calls"] for (_, name), answer in workers.each(("count", name) for name in names)}
    jobs: list[Job] = []
    for name in names:
        changing = [number for number, (_, cls) in enumerate(calls[name], 1) if cls == shim.CHANGES]
        reading = [number for number, (_, cls) in enumerate(calls[name], 1) if cls == shim.READS]
        for place, (word, error) in enumerate(ERRNOS.items()):
            modes = [shim.FAIL, shim.FAIL_LASTING, *([shim.FAIL_ALL] if word in ("EIO", "EROFS") else [])]
            for mode in modes:
                targets = changing[place * 3 + mode :: 7 * 20] if bounded else changing
                jobs += [("points", name, mode, error, targets[first : first + BATCH]) for first in range(0, len(targets), BATCH)]
        for place, word in enumerate(READING):
            targets = reading[place :: 700 if bounded else 5 * len(READING)]
            jobs += [("points", name, shim.FAIL, ERRNOS[word], targets[first : first + BATCH]) for first in range(0, len(targets), BATCH)]
    words = {error: word for word, error in ERRNOS.items()}
    statuses: Counter[str] = Counter()
    done: Counter[str] = Counter()
    false = 0
    for (_, name, mode, error, _), answer in workers.each(jobs):
        for target, found in answer["points"].items():
            if not found["hit"]:
                continue
            report.count("errno")
            done[name] += 1
            statuses[str(found["status"])] += 1
            false += any(each.startswith("FALSE SUCCESS") for each in found["wrong"])
            how = {shim.FAIL: "", shim.FAIL_LASTING: ", lasting", shim.FAIL_ALL: ", of all calls"}[mode]
            for each in found["wrong"]:
                report.violation("errno", f"{name}, {words[error]}{how} at {target} ({calls[name][int(target) - 1][0]}): {each}")
    report.detail("errno", false_successes=false, statuses=dict(statuses), scenarios=dict(done))
