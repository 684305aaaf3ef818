"""The only place of the build half that starts a process.

A process gets its own session, no standard input but what is given, a plain umask, and no credential on its command line. Offline
means in a network namespace with nothing in it: not even a loopback interface that is up.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import selectors
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .errors import BuildError, Problem, UsageError
from .frozen import frozen

if TYPE_CHECKING:
    import socket

EARLIEST = 315532800  # 1980-01-01, in seconds: zip files can't say an earlier time
MAX_DATA_BYTES = 1 << 30  # of standard output that is data
MAX_LOG_BYTES = 1 << 18  # of output that is only read by people, its end is kept
# https://user:password@, https://token@; but the name alone in ssh://git@ is no secret.
_CREDENTIALS = re.compile(r"""(?<=//)[^/\s@'":]+:[^/\s@'"]*@|(?<=//)(?<!ssh://)[^/\s@'":]+@""")

# What a build may know of the machine: the tools it is made with. Everything else (tokens, sessions, the user's Python settings) stays out.
_BUILD_KEEPS = ("PATH", "CC", "CXX", "LD_LIBRARY_PATH", "LIBRARY_PATH", "CPATH", "PKG_CONFIG_PATH", "LDFLAGS")


_running: set[subprocess.Popen[bytes]] = set()
_ended = threading.Event()


@frozen
class Completed:
    """A process that ended by itself. ``stderr`` holds only its end when it was longer than ``MAX_LOG_BYTES``."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def log(self) -> str:
        """Both outputs as text for people, redacted."""
        return redact((self.stdout + self.stderr).decode("utf-8", "replace"))


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    error: type[BuildError] = BuildError,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    input: bytes = b"",
    stdout: IO[bytes] | None = None,
    log: bool = False,
    offline: bool = False,
    timeout: float | None = None,
    check: bool = True,
) -> Completed:
    """Run ``argv`` to its end.

    ``what`` says for people what is being done (``"exporting the commit"``); a failure is ``error("<what> failed: …")`` with the last lines of
    output. ``env`` replaces the environment (None: inherited). ``stdout`` is an open file that takes the output instead of ``Completed.stdout``.
    ``log``: the output is for people: both streams go, in order, to ``Completed.stdout``, of which the end is kept. ``timeout`` in seconds.
    ``check=False`` returns a failed process too. On a time-out or an interrupt the whole process group is ended before the exception goes up.
    """
    words = tuple(str(word) for word in argv)
    if any(redact(word) != word for word in words):
        problem = Problem(_shown(words), "would show a password to every user of this machine.", "Use a netrc file or a credential helper.")
        raise error(f"{what} failed: a credential would stand on a command line", [problem])
    if _ended.is_set():
        raise error(f"{what} failed: interrupted before it began")
    command = (*no_network(), *words) if offline else words
    with contextlib.ExitStack() as ending:
        with tempfile.TemporaryFile() if input else open(os.devnull, "rb") as stdin, _uninterrupted():
            if input:
                stdin.write(input)
                stdin.seek(0)
            try:
                process = subprocess.Popen(
                    command,
                    cwd=cwd,
                    env=None if env is None else dict(env),
                    stdin=stdin,
                    stdout=stdout or subprocess.PIPE,
                    stderr=subprocess.STDOUT if log else subprocess.PIPE,
                    start_new_session=True,
                    umask=0o022,
                )
            except OSError as reason:
                # ENOENT is also what a missing interpreter of a script or a missing working directory says.
                problem = Problem(words[0], f"{reason.strerror}.", "Install it, or correct its path.")
                raise error(f"{what} failed: {words[0]} can't be started", [problem]) from None
            ending.callback(_end, process)
            _running.add(process)
        if _ended.is_set():  # while it was started: whoever ended the others has not seen it
            _terminate(process)
        try:
            outputs = _collect(process, None if timeout is None else time.monotonic() + timeout, MAX_LOG_BYTES if log else None)
        except subprocess.TimeoutExpired:
            raise error(f"{what} failed: not done after {timeout:g} seconds", [Problem(_shown(words), "took too long and was ended.")]) from None
        except OverflowError:
            raise error(f"{what} failed: more than {MAX_DATA_BYTES} bytes of output", [Problem(_shown(words), "was ended.")]) from None
    completed = Completed(words, process.returncode, *outputs)
    if check and completed.returncode != 0:
        raise failure(completed, what, error)
    return completed


@contextlib.contextmanager
def connection(argv: Sequence[str], error: type[BuildError]) -> Iterator[socket.socket]:
    """A process that speaks on its standard input and output (ssh calls it a proxy command), as a socket, for as long as the block lasts.

    It hears no Ctrl-C; when the block is left it reads to the end of what was sent, and has two seconds for that.
    """
    import socket  # a build has no need of one

    ours, its = socket.socketpair()
    with ours:
        with its:
            try:
                process = subprocess.Popen(argv, stdin=its.fileno(), stdout=its.fileno(), start_new_session=True)
            except OSError as reason:
                problem = Problem(argv[0], f"{reason.strerror}.", "Install it, or correct its path.")
                raise error(f"{argv[0]} can't be started", [problem]) from None
        try:
            yield ours
        finally:
            ours.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
            _end(process)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals that Python handles wait for the end of the block: one within ``Popen`` would leave a process that nobody knows."""
    if threading.current_thread() is not threading.main_thread():  # where no handler ever runs
        yield
        return
    waiting: list[int] = []
    handlers = {number: handler for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if callable(handler := signal.getsignal(number))}
    for number in handlers:
        signal.signal(number, lambda number, _: waiting.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for each in waiting:
            signal.raise_signal(each)


def end_running() -> None:
    """End every process, in whatever thread it was started, and start no more. For signal handlers: a thread would wait for its process."""
    _ended.set()
    for process in tuple(_running):
        _terminate(process)


def _terminate(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)


def failure(completed: Completed, what: str, error: type[BuildError], next_step: str = "") -> BuildError:
    """The error for a process that ended badly: what was done, how it ended, and the last lines it said."""
    code = completed.returncode
    ending = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    lines = [line.rstrip() for line in completed.log.splitlines() if line.strip()][-15:]
    said = "said nothing" if not lines else "said at last:" + "".join(f"\n    {line[:300]}" for line in lines)
    return error(f"{what} failed: {ending}", [Problem(_shown(completed.argv), said)], next_step=next_step)


def redact(text: str) -> str:
    """``text`` without the credentials of any URL in it."""
    return _CREDENTIALS.sub("***@", text)


def without_credentials(url: str) -> str:
    """``url`` as it may be stored."""
    return _CREDENTIALS.sub("", url)


def build_environment(build: Path, epoch: int, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment in which code of others is built: the same everywhere, without secrets, its home and temporary files below ``build``.

    ``epoch`` is the time that archives and compilers should write, in seconds. Compiled code gets no debug information and no build path.
    """
    for name in ("home", "tmp"):
        (build / name).mkdir(parents=True, exist_ok=True)
    flags = f"-g0 {shlex.quote(f'-ffile-prefix-map={build}=.')}"  # whoever splits them does it as a shell would
    return {
        **{key: os.environ[key] for key in _BUILD_KEEPS if key in os.environ},
        "HOME": str(build / "home"),
        "TMPDIR": str(build / "tmp"),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": str(epoch),
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CFLAGS": flags,
        "CXXFLAGS": flags,
        **(extra or {}),
    }


def _collect(process: subprocess.Popen[bytes], deadline: float | None, keep: int | None) -> tuple[bytes, bytes]:
    """Read both outputs until the process ends. ``keep``: only that many last bytes of standard output; of standard error always."""
    outputs = {process.stdout: _Output(keep), process.stderr: _Output(MAX_LOG_BYTES)}
    with selectors.DefaultSelector() as selector:
        for stream in filter(None, outputs):
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            # A grandchild may hold the pipes for as long as it likes: the process itself decides when it is over.
            ready = selector.select(_remaining(process, deadline, at_most=0.2))
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                if data:
                    outputs[key.fileobj].add(data)  # type: ignore[index]
                else:
                    selector.unregister(key.fileobj)
            if not ready and process.poll() is not None:
                break
    while process.poll() is None:
        try:
            process.wait(_remaining(process, deadline, at_most=60))
        except subprocess.TimeoutExpired:
            continue
    return outputs[process.stdout].data(), outputs[process.stderr].data()


class _Output:
    """Bytes as they come, all of them or the end."""

    def __init__(self, keep: int | None) -> None:
        self._keep = keep
        self._pieces: list[bytes] = []
        self._length = 0

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._length += len(piece)
        if self._keep is None:
            if self._length > MAX_DATA_BYTES:
                raise OverflowError
        elif self._length > 2 * self._keep:
            self._pieces = [self.data()]
            self._length = len(self._pieces[0])

    def data(self) -> bytes:
        joined = b"".join(self._pieces)
        return joined if self._keep is None else joined[-self._keep :]


def _remaining(process: subprocess.Popen[bytes], deadline: float | None, at_most: float) -> float:
    if deadline is None:
        return at_most
    left = deadline - time.monotonic()
    if left <= 0:
        raise subprocess.TimeoutExpired(process.args, 0)
    return min(left, at_most)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the process group, politely at first, and close the pipes. ``end_running`` has no more to do with it."""
    for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 60.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    _running.discard(process)


@functools.cache
def no_network() -> tuple[str, ...]:
    """The words that put a command into an empty network namespace. Raises ``UsageError`` where the system does not allow one."""
    as_root = [("unshare", "--net", "--")] if os.geteuid() == 0 else []
    reasons = []
    for words in [*as_root, ("unshare", "--map-current-user", "--net", "--")]:
        try:
            proof = subprocess.run([*words, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as reason:
            reasons.append(Problem(shlex.join(words), f"{reason}."))
            continue
        if proof.returncode == 0:
            return words
        reasons.append(Problem(shlex.join(words), proof.stderr.decode("utf-8", "replace").strip() or f"exit status {proof.returncode}"))
    raise UsageError(
        "this system can't cut a process off the network, and nothing is built with one",
        reasons,
        next_step="Install util-linux 2.38 or newer, and allow user namespaces (sysctl kernel.unprivileged_userns_clone=1) or build as root.",
    )


def _shown(words: Sequence[str]) -> str:
    line = redact(shlex.join(words))
    return line if len(line) <= 300 else line[:297] + "..."
