"""The processes of the campaign: two for each processor, for they often wait, each with a world of its own in memory. Jobs go to whoever is free."""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from . import shim

Job = tuple[Any, ...]


class Pool:
    """Workers that wait for jobs."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._free: queue.Queue[subprocess.Popen[str]] = queue.Queue()
        for process in processes:
            self._free.put(process)

    def ask(self, job: Job) -> Any:
        """Let whoever is free do one job. Raises ``RuntimeError`` when that ends it."""
        process = self._free.get()
        try:
            return _answer(process, job)
        finally:
            self._free.put(process)

    def each(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Any]]:
        """Do them all, several at a time; each job with what came of it, in their order, as soon as that is known."""
        waiting = list(jobs)
        with ThreadPoolExecutor(self._free.qsize()) as threads:
            try:
                yield from zip(waiting, threads.map(self.ask, waiting), strict=True)
            finally:
                threads.shutdown(cancel_futures=True)

    def together(self, groups: Iterable[Sequence[Job]]) -> Iterator[tuple[Job, Any]]:
        """The same; all jobs of a group are one worker's, which has seen much of what it will see. What is known first comes first.

        The largest group is begun first.
        """
        answers: queue.Queue[tuple[Job, Any] | BaseException | None] = queue.Queue()

        def work(group: Sequence[Job]) -> None:
            process = self._free.get()
            try:
                for job in group:
                    answers.put((job, _answer(process, job)))
                answers.put(None)
            except BaseException as error:
                answers.put(error)
            finally:
                self._free.put(process)

        waiting = sorted(groups, key=len, reverse=True)
        with ThreadPoolExecutor(self._free.qsize()) as threads:
            try:
                for group in waiting:
                    threads.submit(work, group)
                left = len(waiting)
                while left:
                    answer = answers.get()
                    if isinstance(answer, BaseException):
                        raise answer
                    if answer is None:
                        left -= 1
                    else:
                        yield answer
            finally:
                threads.shutdown(cancel_futures=True)


def _answer(process: subprocess.Popen[str], job: Job) -> Any:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker ended in the middle of {job}")
    return json.loads(line)


_WITHOUT_LOCKS = 'mount --bind "$1" /proc/locks && shift && exec "$@"'
"""Each look at that file waits for all processors, some 10 ms on a busy machine, twice in each run that prunes. What holds a lease stands there."""


@contextmanager
def pool(count: int | None = None, package: Path | None = None, *, leases: bool = False) -> Iterator[Pool]:
    """Workers, ended and cleaned away in the end. ``package``: a directory that holds another ``builder``, to be tried instead of this one's.
    ``leases``: what they try holds leases, which the installer shall see."""
    here = Path(__file__).parents[2]
    memory = Path("/dev/shm")
    library, _ = shim.compiled("shim.c"), shim.compiled("standin.c")  # before there are workers, who find it in their environment
    with ExitStack() as stack:
        top = Path(tempfile.mkdtemp(prefix="faults-", dir=memory if os.access(memory, os.W_OK) else None))
        stack.callback(shutil.rmtree, top, ignore_errors=True)
        top.chmod(0o755)
        no_locks = top / "locks"
        no_locks.touch()
        processes = []
        for number in range(count or 2 * len(os.sched_getaffinity(0))):
            told = top / f"control-{number}"
            shim.Control(told, create=True)
            environment = {
                **os.environ,
                "LD_PRELOAD": str(library),
                "FAULTS_SHM": str(told),
                "PYTHONPATH": os.pathsep.join([*([str(package)] if package else []), str(here)]),
                "PYTHONDONTWRITEBYTECODE": "1",
                "MALLOC_MMAP_THRESHOLD_": "1000000000",  # what is given back to the system costs each fork a page fault
                "MALLOC_TRIM_THRESHOLD_": "1000000000",
            }
            before = [*alone(), "sh", "-c", _WITHOUT_LOCKS, "sh", str(no_locks)] if alone() and not leases else [*alone()]
            words = [*before, sys.executable, "-m", "tests.faults.worker", str(top / f"world-{number}")]
            process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=package or here)
            stack.callback(_end, process)
            processes.append(process)
        yield Pool(processes)


@cache
def alone() -> tuple[str, ...]:
    """What starts a worker in namespaces of its own, where that may be done: an installer that looks for processes finds few, and it can mount."""
    user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    words = ("unshare", *user, "--mount", "--pid", "--fork", "--mount-proc", "--kill-child")
    return words if subprocess.run([*words, "true"], capture_output=True).returncode == 0 else ()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with suppress(BrokenPipeError):
                pipe.close()
