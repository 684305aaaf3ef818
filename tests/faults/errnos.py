"""Every error at every call, once and lasting: the exit status tells the truth, and nothing that is live is the worse for it."""

from __future__ import annotations

from collections import Counter

from . import shim
from .kill import BATCH, ERRNOS, NAMES
from .pool import Job, Pool, pool
from .report import Report

SCENARIOS = tuple(name for name in NAMES if name not in ("activate", "edited", "resumed"))
"""All whose calls are not those of others: an activation is in every upgrade, and one after a kill is a recovery and an upgrade."""

READING = ("EIO", "EACCES", "EMFILE", "EINTR")
"""What a call that changes nothing may say."""


def campaign(bounded: bool, report: Report) -> None:
    """Bounded: one call in 20 of two scenarios, with one error each, once or lasting."""
    with pool() as workers:
        inject(workers, report, ("upgrade", "stuck") if bounded else SCENARIOS, bounded)


def inject(workers: Pool, report: Report, names: tuple[str, ...], bounded: bool) -> None:
    """Calls that change something get every error, once, and for all calls of that name from then on; for a dead disk (EIO) and one that was
    mounted again read-only (EROFS), for all calls. Those that only read are a sample of one in ten, with one error each.

    A call that changes names fails, too, though it was made: the reply of a network file system was lost. And every read and write is short.
    """
    found = {name: answer for (_, name, _), answer in workers.each(("count", name, True) for name in names)}
    groups: list[list[Job]] = []
    for name in names:
        jobs: list[Job] = []
        groups.append(jobs)
        numbered = list(enumerate(found[name]["calls"], 1))
        changing = [number for number, (_, cls) in numbered if cls == shim.CHANGES]
        reading = [number for number, (_, cls) in numbered if cls == shim.READS]
        naming = [number for number, (call, _) in numbered if call.startswith(("rename", "link", "symlink", "unlink", "mkdir", "rmdir"))]
        for place, (word, error) in enumerate(ERRNOS.items()):
            modes = [shim.FAIL, shim.FAIL_LASTING, *([shim.FAIL_ALL] if word in ("EIO", "EROFS") else [])]
            for mode in modes:
                jobs += _jobs(name, mode, error, changing[place * 3 + mode :: 7 * 20] if bounded else changing)
        for place, word in enumerate(READING):
            jobs += _jobs(name, shim.FAIL, ERRNOS[word], reading[place :: 700 if bounded else 10 * len(READING)])
        jobs += _jobs(name, shim.LOST, ERRNOS["EIO"], naming[:: 20 if bounded else 1])
        jobs += _jobs(name, shim.SHORT, 0, [1])
    statuses: Counter[str] = Counter()
    done: Counter[str] = Counter()
    false = 0
    for (_, name, mode, error, _), answer in workers.together(groups):
        for target, point in answer["points"].items():
            if not point["hit"]:
                continue
            report.count("errno")
            done[name] += 1
            statuses[str(point["status"])] += 1
            false += any(each.startswith("FALSE SUCCESS") for each in point["wrong"])
            if mode == shim.SHORT and point["status"] != found[name]["status"]:
                point["wrong"].append(f"status {point['status']}")
            where = f"{name}, {_said(mode, error)} at {target} ({point['call']})"
            for each in point["wrong"]:
                report.violation("errno", f"{where}: {each}")
    report.detail("errno", false_successes=false, statuses=dict(statuses), scenarios=dict(done))


def _jobs(name: str, mode: int, error: int, targets: list[int]) -> list[Job]:
    return [("points", name, mode, error, targets[first : first + BATCH]) for first in range(0, len(targets), BATCH)]


def _said(mode: int, error: int) -> str:
    word = next((word for word, number in ERRNOS.items() if number == error), "")
    how = {shim.FAIL_LASTING: ", lasting", shim.FAIL_ALL: ", of all calls", shim.LOST: ", though it was done", shim.SHORT: "short reads and writes"}
    return word + how.get(mode, "")
