"""Runs one command and writes what it cost: run as a small program of its own, ``python -I -S launch.py OUT WEIGH -- COMMAND…``.

A child's peak memory begins with that of the process it was forked from, so whoever measures must be small. Seconds are of the wall clock,
``cpu`` of all processors together. ``peak``, in bytes, is the largest resident set of the command or any of its descendants; where WEIGH (seconds,
0: never) says how often to look, it is that of all of them together, pages that several share counted once, if that was ever more. Looking costs
time of its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator


def main(out: str, every: float, command: list[str]) -> int:
    begin = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    together = 0
    while True:
        ended, status, used = os.wait4(child, os.WNOHANG if every else 0)
        if ended:
            break
        together = max(together, sum(map(_share, _family(child))))
        time.sleep(every)
    seconds = time.perf_counter() - begin
    with open(out, "w") as file:
        json.dump({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "peak": max(used.ru_maxrss * 1024, together)}, file)
    return os.waitstatus_to_exitcode(status)


def _family(process: int) -> Iterator[int]:
    """A process and its descendants, of all its threads."""
    yield process
    try:
        children: list[int] = []
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as file:
                children += map(int, file.read().split())
    except OSError:  # it has just ended
        return
    for child in children:
        yield from _family(child)


def _share(process: int) -> int:
    """Its resident bytes; of a page that several processes have, its part."""
    try:
        with open(f"/proc/{process}/smaps_rollup") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[4:]))
