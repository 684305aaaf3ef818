"""Runs one command and writes what it cost: run as a small program of its own, ``python -I -S launch.py OUT -- COMMAND…``.

A child's peak memory begins with that of the process it was forked from, so whoever measures must be small. ``peak`` is the
largest resident set of the command or any of its descendants, in bytes; seconds are of the wall clock, ``cpu`` of all processors together.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(out: str, command: list[str]) -> int:
    begin = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - begin
    with open(out, "w") as file:
        json.dump({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024}, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[3:]))
