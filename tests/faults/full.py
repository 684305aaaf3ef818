"""Disks that are really full, by bytes and by inodes, and a limit on the size of files: each amount of room that is too little."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from . import oracle
from .pool import Job, alone, pool
from .report import Report
from .scenarios import Ready
from .shim import Control
from .world import Image, World, lay

NAMES = ("upgrade", "shared", "activate", "rollback", "stuck", "aside")
PAGE = 4096


def campaign(bounded: bool, report: Report) -> None:
    """The root is a tmpfs on which so much is left, mounted for its own process. Bounded: one amount in 20 of two scenarios."""
    if not alone():
        return  # nothing can be mounted here: nothing is counted
    names, step = (("upgrade", "activate"), 8) if bounded else (NAMES, 1)
    jobs: list[Job] = [("full", name, "bytes", room * PAGE) for name in names for room in range(0, 120, step)]
    jobs += [("full", name, "inodes", room) for name in names for room in range(0, 100, step)]
    jobs += [("full", name, "limit", 64 << room) for name in names for room in range(0, 14)]
    statuses: Counter[str] = Counter()
    with pool() as workers:
        for (_, name, what, room), answer in workers.each(jobs):
            report.count("full")
            statuses[f"{what} {answer['status']}"] += 1
            for each in answer["wrong"]:
                report.violation("full", f"{name} with {room} {what}: {each}")
    report.detail("full", statuses=dict(statuses))


def tried(world: World, control: Control, ready: Ready, what: str, room: int) -> dict[str, Any]:
    """The command with so much room; recovery without more of it, which need not succeed; then with more."""
    with _root(world, ready.saved) as remount:
        if what != "limit":
            remount(what, room)
        control.arm(roomy=True)
        done = world.run(ready.words, limit=room if what == "limit" else 0)
        control.disarm()
        wrong = list(oracle.at_once(world, ready, done))
        if done.status not in (0, 3, 4, 5):
            wrong.append(f"status {done.status}")
        repair = world.run(world.command("recover"), limit=room if what == "limit" else 0)
        if repair.status not in (0, 3, 4, 5) or "Traceback" in repair.said:
            wrong.append(f"recovery without room ended with status {repair.status}: {repair.said}")
        wrong += (f"after recovery without room: {each}" for each in oracle.at_once(world, ready, repair._replace(status=5)))
        remount("bytes", 1 << 26)
        repair = world.run(world.command("recover"))
        if repair.status != 0:
            wrong.append(f"recovery with room ended with status {repair.status}: {repair.said}")
        wrong += oracle.recovered(world, ready, done)
        before = oracle.live(world)
        wrong += oracle.installed(world, ready, before, world.run(world.install(ready.following, *ready.answers)))
    return {"wrong": wrong, "status": done.status}


@contextmanager
def _root(world: World, saved: Mapping[str, Image]) -> Iterator[Any]:
    """The root as a file system of its own, and what leaves so many bytes, or inodes, free on it."""
    world.restore({**saved, "root": {"": (0o40755, b"")}})
    root = str(world.root)

    def remount(what: str, room: int) -> None:
        facts = os.statvfs(root)
        used, inodes = (facts.f_blocks - facts.f_bfree) * facts.f_frsize, facts.f_files - facts.f_ffree
        size = f"size={used + room},nr_inodes=0" if what == "bytes" else f"size=1g,nr_inodes={inodes + room}"
        _mount("-o", f"remount,{size}", root)

    _mount("-t", "tmpfs", "-o", "mode=755,size=1g,nr_inodes=100000", "faults", root)
    try:
        lay(root, saved["root"])
        yield remount
    finally:
        subprocess.run(["umount", "--lazy", root], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True)
