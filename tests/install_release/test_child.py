"""child: a program that is started ends, whatever it does; what it says is told; a daemon that it is allowed to leave goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from builder.install_release import child


def test_what_a_child_leaves_is_ended_with_it() -> None:
    """A process that forks and ends takes what it started along."""
    done = child.run(["/bin/sh", "-c", "sleep 60 & echo $!"], deadline=20)
    assert done.good
    assert _gone(int(done.output))


def test_what_leaves_the_session_is_ended_too(tmp_path: Path) -> None:
    """A process that takes a session of its own, and forks there, goes on neither when its starter ends nor when that is out of time."""
    file = tmp_path / "written"
    stray = f"setsid sh -c '(while :; do echo x >> {file}; sleep 0.02; done) & wait' &"
    for deadline, end in ((20.0, "sleep 0.3"), (0.5, "sleep 60")):
        done = child.run(["/bin/sh", "-c", f"{stray} {end}"], deadline=deadline)
        assert done.good == (deadline == 20)
        size = file.stat().st_size
        time.sleep(0.2)
        assert file.stat().st_size == size


def test_a_daemon_may_be_left() -> None:
    """One that has not yet left the session when its starter ends is not caught either."""
    done = child.run(["/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"], deadline=20, leaves=True)
    pid = int(done.output)
    assert not _gone(pid)
    os.kill(pid, signal.SIGKILL)


def test_one_that_is_out_of_time_is_ended_though_it_might_leave_a_daemon() -> None:
    """With all that it started."""
    done = child.run(["/bin/sh", "-c", "sleep 60 & echo $!; wait"], deadline=0.5, leaves=True)
    assert done.status is None
    assert _gone(int(done.output))


def test_errors_are_part_of_what_it_says_or_are_not() -> None:
    """Where its output is data, what it says beside is none."""
    command = ["/bin/sh", "-c", "echo data; echo trouble >&2"]
    assert child.run(command, deadline=20).output == "data\ntrouble\n"
    assert child.run(command, deadline=20, errors=False).output == "data\n"


def _gone(pid: int) -> bool:
    """Whether a process ends: what was killed may take a moment."""
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except OSError:
            return True
        time.sleep(0.02)
    return False
