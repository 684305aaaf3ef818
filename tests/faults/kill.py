"""Killed before every call that changes something, in every scenario; and again in the recovery from every state that this leaves."""

from __future__ import annotations

from collections import Counter

from . import scenarios, shim
from .pool import Job, Pool, pool
from .report import Report

NAMES = tuple(make.__name__ for make in scenarios.ALL)
BATCH = 24
ERRNOS = {"ENOSPC": 28, "EDQUOT": 122, "EIO": 5, "EROFS": 30, "EMFILE": 24, "EINTR": 4, "EACCES": 13}


def campaign(bounded: bool, report: Report) -> None:
    """Bounded: one call in 25 of three scenarios, one state in five, four calls of each recovery."""
    with pool() as workers:
        states = kill(workers, report, ("first", "upgrade", "unhealthy") if bounded else NAMES, 25 if bounded else 1)
        double(workers, report, states[:: 5 if bounded else 1], 4 if bounded else 1000)


def kill(workers: Pool, report: Report, names: tuple[str, ...], step: int) -> list[tuple[str, str, int]]:
    """Every ``step``-th call of the scenarios; a state that was left for each way to recover, by scenario, with the call that leaves it.

    Two recoveries are one way when they make the same calls in the same order, however many files of a stage there are to be removed.

    Where several processes share the work, the one that makes the call is killed; then, again, all of them.
    """
    calls = {name: answer["calls"] for (_, name), answer in workers.each(("count", name) for name in names)}
    groups: list[list[Job]] = []
    for name in names:
        jobs: list[Job] = []
        groups.append(jobs)
        changing = [number for number, (_, cls) in enumerate(calls[name], 1) if cls == shim.CHANGES][::step]
        report.detail("kill", calls={**_counts(report, "kill", "calls"), name: len(changing)})
        for mode in (shim.KILL, shim.KILL_GROUP) if name == "copied" else (shim.KILL,):
            jobs += [("points", name, mode, 0, changing[first : first + BATCH]) for first in range(0, len(changing), BATCH)]
    ways: dict[tuple[str, str], int] = {}
    for (_, name, mode, _, _), answer in workers.together(groups):
        for target, found in answer["points"].items():
            if not found["hit"]:
                continue
            report.count("kill")
            if mode == shim.KILL and found["recovery"] and name != "copied":  # of two processes, nobody can tell which call is the n-th again
                ways.setdefault((name, found["recovery"]), int(target))
            for each in found["wrong"]:
                report.violation("kill", f"{name} killed at {target} ({found['call']}): {each}")
    report.detail("double", ways_to_recover=dict(Counter(name for name, _ in ways)))
    return [(name, way, target) for (name, way), target in ways.items()]


def double(workers: Pool, report: Report, states: list[tuple[str, str, int]], limit: int) -> None:
    """From each of ``states``: recovery is killed at each of its calls, and at each told of an error, which is another one each time."""
    groups: dict[str, list[Job]] = {}
    for name, way, target in states:
        groups.setdefault(name, []).append(("double", name, target, way, list(ERRNOS.values()), limit))
    for _, answer in workers.together(groups.values()):
        report.count("double", answer["points"])
        for each in answer["wrong"]:
            report.violation("double", each)


def _counts(report: Report, row: str, name: str) -> dict[str, int]:
    found = report.details.get(row, {}).get(name, {})
    assert isinstance(found, dict)
    return {key: int(value) for key, value in found.items()}
