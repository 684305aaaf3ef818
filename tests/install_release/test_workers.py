"""Work that forked processes share: every job once, errors as what they were, and nobody is left."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from builder.install_release import workers
from builder.install_release.errors import ArtifactError, Problem, RolledBackError
from builder.install_release.workers import Queue

from .roots import REPOSITORY


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def own_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def runs(pid: int) -> bool:
    """Not when it is gone, nor when only its parent has not asked yet how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("jobs", [0, 1, 3, 256])
def test_every_job_is_done_once(processes: int, jobs: int) -> None:
    """Whoever does it; no process and no descriptor is left."""
    before = own_descriptors()
    values = workers.share(jobs, processes, lambda queue: [os.getpid(), list(queue)])
    assert sorted(number for _, done in values for number in done) == list(range(jobs))
    assert len({pid for pid, _ in values}) == processes
    assert (children(), own_descriptors()) == ([], before)


def test_a_process_that_can_not_say_what_went_wrong() -> None:
    """Whoever can't write an answer any more has failed, and is no bug of this program."""
    parent = os.getpid()

    def work(queue: Queue) -> int:
        if os.getpid() != parent:
            os.closerange(3, 1024)
        return 0

    with pytest.raises(RolledBackError) as caught:
        workers.share(2, 2, work)
    assert "without a word" in caught.value.problems[0].what


def elsewhere(error: BaseException) -> None:
    """Fail in the other process only, which has the first job for certain: this one waits."""
    parent = os.getpid()

    def work(queue: Queue) -> str:
        if os.getpid() == parent:
            assert os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT) is not None
            return "x" * len(list(queue))
        raise error

    workers.share(9, 2, work)


def test_an_error_there_is_raised_here_as_what_it_was() -> None:
    """An artifact's with all its problems, a disk's with its number and file, a bug with the lines where it is."""
    with pytest.raises(ArtifactError) as refused:
        elsewhere(ArtifactError("bad", [Problem("a", "is b", "Do c."), Problem("d", "is e")]))
    assert (refused.value.message, refused.value.problems) == ("bad", (Problem("a", "is b", "Do c."), Problem("d", "is e")))
    with pytest.raises(OSError, match="No space") as failed:
        elsewhere(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file"))
    assert (failed.value.errno, failed.value.filename) == (errno.ENOSPC, "some/file")
    with pytest.raises(RuntimeError, match=r"(?s)in work\n.*ZeroDivisionError: never"):
        elsewhere(ZeroDivisionError("never"))
    assert children() == []


def test_nobody_begins_a_job_after_an_error() -> None:
    """What is left undone stays so, and the error is told soon."""
    done: list[int] = []
    parent = os.getpid()

    def work(queue: Queue) -> None:
        if os.getpid() != parent:
            raise OSError(errno.EIO, "broken")
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        done.extend(queue)

    with pytest.raises(OSError, match="broken"):
        workers.share(200, 2, work)
    assert done == []


def test_a_process_that_is_killed_is_a_clear_error() -> None:
    """As the kernel does it when memory runs out: nothing is said to be done that isn't."""
    parent = os.getpid()

    def work(queue: Queue) -> None:
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RolledBackError) as stopped:
        workers.share(3, 2, work)
    assert "ended by signal 9 (is there enough memory?)" in str(stopped.value.problems[0])
    assert children() == []


def test_when_this_process_fails_the_others_are_ended_at_once() -> None:
    """Also those that would go on for a minute."""
    parent, before = os.getpid(), own_descriptors()

    def work(queue: Queue) -> None:
        if os.getpid() != parent:
            time.sleep(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workers.share(3, 4, work)
    assert (children(), own_descriptors()) == ([], before)


PROGRAM = """
import os, sys, time
from builder.install_release import interrupts, workers
interrupts.listen()
def work(queue):
    for number in queue:
        print(os.getpid(), flush=True)
        while True:
            time.sleep(0.01)
            queue.check()
workers.share(2, 2, work)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nobody_outlives_the_process_that_forked(number: signal.Signals) -> None:
    """Whatever ends it; a signal that it can hear is an exception there as ever."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = {int(process.stdout.readline()) for _ in range(2)}
    assert len(pids) == 2
    process.send_signal(number)
    _, said = process.communicate(timeout=60)  # the other one holds the pipe open for as long as it lives
    assert (number == signal.SIGKILL) == (process.returncode == -signal.SIGKILL)
    assert number == signal.SIGKILL or f"interrupted by {number.name}" in said
    while any(map(runs, pids)):  # what a process has open is closed a moment before it is gone
        time.sleep(0.01)


def test_ignored_children_are_no_obstacle() -> None:
    """Where what becomes of children is ignored, as some daemons leave it to what they start, their work counts all the same."""
    program = (
        "import signal; from builder.install_release import workers\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "print(sorted(sum(workers.share(5, 3, list), [])))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[0, 1, 2, 3, 4]\n", "")


def test_a_user_without_processes_left_does_the_work_alone(tmp_path: Path) -> None:
    """Where fork is refused, all jobs are done here."""
    program = (
        "import os, resource; from builder.install_release import workers\n"
        "if os.geteuid() == 0: os.setresgid(54321, 54321, 54321); os.setresuid(54321, 54321, 54321)\n"
        "resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))\n"
        "print(workers.share(3, 4, list))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[[0, 1, 2]]\n", "")
