"""Work shared with processes that are forked from this one: threads would queue for the interpreter's lock at every system call.

They end with this process, however it ends, and before ``share`` does. What goes wrong in one is raised here, as what it was.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress

from . import interrupts
from .errors import ArtifactError, Problem, RolledBackError
from .typed import Any

MOST_JOBS = 256  # a job is one byte in a pipe, which holds them all


class Queue:
    """The numbers of the jobs that nobody has begun. What is taken here is taken from all."""

    def __init__(self, pipe: int, parent: int = 0) -> None:
        self._pipe, self._parent = pipe, parent

    def __iter__(self) -> Iterator[int]:
        while number := os.read(self._pipe, 1):
            self.check()
            yield number[0]

    def close(self) -> None:
        """Nobody begins another job."""
        os.read(self._pipe, MOST_JOBS)

    def check(self) -> None:
        """To be called now and then in a long job: a process whose parent is gone ends here."""
        if self._parent and os.getppid() != self._parent:
            os._exit(1)


def count(most: int) -> int:
    """As many processes as may run at once, up to ``most``."""
    return max(1, min(most, len(os.sched_getaffinity(0))))


def share(jobs: int, processes: int, work: Callable[[Queue], Any]) -> list[Any]:
    """Call ``work`` in this process and in ``processes - 1`` others (fewer, where the system allows no more), which divide ``jobs`` among them.

    ``jobs`` is at most ``MOST_JOBS``. What each call returned, in the types of JSON. Raises what ``work`` raises, here or there; ``RolledBackError``
    for a process that was killed. No other thread may run in this process.
    """
    queue, end = os.pipe()
    os.write(end, bytes(range(jobs)))
    os.close(end)
    children: list[_Child] = []
    try:
        while len(children) < processes - 1:
            with interrupts.held():  # no signal finds a child that isn't in the list
                try:
                    children.append(_Child(work, queue))
                except OSError:  # this user may have no more processes, or there is no memory for one
                    break
        values = [work(Queue(queue))]
        return values + [child.value() for child in children]
    finally:
        with interrupts.held():
            for child in children:
                child.end()
            os.close(queue)


class _Child:
    """A process forked from this one, which writes what came of its work into a pipe. Made with signals held."""

    def __init__(self, work: Callable[[Queue], Any], queue: int) -> None:
        self._pipe, answer = os.pipe()
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError:
            os.close(self._pipe)
            os.close(answer)
            raise
        if self._pid == 0:
            _be_child(work, Queue(queue, parent), answer)
        os.close(answer)

    def value(self) -> Any:
        """What its work returned, once it has ended. Raises what that raised, or ``RolledBackError``."""
        data = b""
        while piece := os.read(self._pipe, 1 << 16):
            data += piece
        status = os.waitstatus_to_exitcode(self._wait())
        if status < 0:
            what = f"a process of the installer was ended by signal {-status}{' (is there enough memory?)' if status == -signal.SIGKILL else ''}."
            raise RolledBackError("unpacking was stopped", [Problem("unpack", what, "See the system's log, then run this again.")])
        return _understand(data)

    def end(self) -> None:
        """Nothing of it is left when this returns."""
        os.close(self._pipe)
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._wait()

    def _wait(self) -> int:
        status = 0
        with interrupts.held():  # it is waited for once: a signal may not come between that and the note of it
            with suppress(ChildProcessError):  # whoever started this ignores what becomes of children, and so does the system then
                status = os.waitpid(self._pid, 0)[1]
            self._pid = 0
        return status


def _be_child(work: Callable[[Queue], Any], queue: Queue, answer: int) -> None:
    """Never returns: nothing of the parent's is undone or flushed here."""
    try:
        for number in interrupts.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, interrupts.SIGNALS)
        try:
            said: dict[str, Any] = {"value": work(queue)}
        except ArtifactError as error:
            said = {"artifact": error.message, "problems": [[problem.where, problem.what, problem.remedy] for problem in error.problems]}
        except OSError as error:
            said = {"system": [error.errno, error.strerror, error.filename]}
        except BaseException:
            import traceback  # only now: each start would pay for it

            said = {"bug": traceback.format_exc()}
        if "value" not in said:
            queue.close()
        left = memoryview(json.dumps(said).encode("ascii"))
        while left:
            left = left[os.write(answer, left) :]
        os._exit(0)
    finally:
        os._exit(1)


def _understand(data: bytes) -> Any:
    if not data:  # what it had to say could not be written either
        problem = Problem("unpack", "a process of the installer ended without a word.", "See the system's log, then run this again.")
        raise RolledBackError("unpacking was stopped", [problem])
    said: dict[str, Any] = json.loads(data)
    if "artifact" in said:
        raise ArtifactError(said["artifact"], [Problem(*problem) for problem in said["problems"]])
    if "system" in said:
        raise OSError(*said["system"])
    if "bug" in said:
        raise RuntimeError(said["bug"])
    return said["value"]
