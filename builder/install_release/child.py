"""The only place of the install half that starts a program: with a deadline, a scrubbed environment and an end for all of it.

A child gets a session of its own, and a mark in its environment. When it ends, or its time is up, whatever it started and left is killed: in
that session, or by the mark in one of its own. What it says goes through a pipe that is read while it runs and kept up to a limit, so that
neither a flood nor a silence hangs the installer.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from . import interrupts
from .records import NamedTuple
from .typed import TYPE_CHECKING
from .who import account

if TYPE_CHECKING:
    import subprocess

_GRACE = 5.0  # seconds that a killed process may take to be gone
_MARK = "INSTALL_RELEASE_CHILD"  # names, in a child's environment, who started it: what leaves its session is known by that
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class Done(NamedTuple):
    """How a child ended: ``status`` (negative: the signal that ended it; None: it was out of time), the end of what it said."""

    status: int | None
    output: str

    @property
    def good(self) -> bool:
        return self.status == 0

    @property
    def reason(self) -> str:
        """In words, with the last line it said."""
        if self.status is None:
            how = "did not end in time and was killed"
        elif self.status < 0:
            how = f"was ended by signal {-self.status}"
        else:
            how = f"ended with status {self.status}"
        said = self.output.strip().splitlines()
        return f"{how}: {said[-1].strip()}" if said else how


def scrubbed(**more: str) -> dict[str, str]:
    """The environment of a child: nothing of ours but a plain PATH and locale, and what is given. (Without SHELL, bash asks name services for it.)"""
    return {"PATH": _SYSTEM_PATH, "SHELL": "/bin/sh", "LC_ALL": "C.UTF-8", "LANG": "C.UTF-8", "TZ": "UTC", **more}


def personal(**more: str) -> dict[str, str]:
    """The same, and who this user is, for commands that an application brings."""
    name, home = account(os.geteuid())
    home = home or os.environ.get("HOME", "")
    return scrubbed(USER=name, LOGNAME=name, **({"HOME": home} if home else {}), **more)


def run(
    command: Sequence[str],
    *,
    deadline: float,
    environment: Mapping[str, str] | None = None,
    cwd: str = "/",
    keep: int = 64 << 10,
    hear: Callable[[bytes], None] = lambda piece: None,
    leaves: bool = False,
    errors: bool = True,
    stdin: int | None = None,
    files: Sequence[int] = (),
) -> Done:
    """Run ``command`` for at most ``deadline`` seconds; of its two outputs, the last ``keep`` bytes are kept. ``hear`` gets all, as it comes.

    ``leaves``: it may start a daemon, so what it leaves in its session when it ends by itself goes on. ``errors``: its standard error counts as
    said. ``stdin``: the descriptor that it reads (None: nothing); it has ``files`` too. One that may not be killed (root's, by sudo) is not waited
    for once its time is up. Raises ``OSError`` if it can't start.
    """
    import subprocess  # only now: each start would pay for it

    process, ended = None, False
    mark = f"{os.environ.get(_MARK, '')}{os.urandom(8).hex()}"
    try:
        with interrupts.put_off():  # no signal comes between its start and the note of it, or it would go on unseen
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
                env={**(scrubbed() if environment is None else environment), _MARK: mark},
                cwd=cwd,
                pass_fds=files,
                start_new_session=True,
            )
        assert process.stdout is not None
        said, ended = _listen(process, process.stdout.fileno(), time.monotonic() + deadline, keep, hear)
    finally:
        if process is not None:
            _end(process, "" if leaves and ended else mark)
    return Done(process.returncode if ended else None, said.decode("utf-8", "replace"))


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Nothing of it goes on, unless it may: it has no ``mark`` then; it is not waited for much longer."""
    import subprocess

    if mark:
        with suppress(ProcessLookupError, PermissionError):  # nothing of it is left, or it gave up its rights
            os.killpg(process.pid, signal.SIGKILL)
        end = time.monotonic() + _GRACE
        while (strays := _marked(f"{_MARK}={mark}".encode("ascii"))) and time.monotonic() < end:  # again: one may have forked meanwhile
            for pid in strays:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE)
    assert process.stdout is not None
    process.stdout.close()


def _marked(mark: bytes) -> list[int]:
    """The processes whose environment began with ``mark`` and that are not dead, of those that this user may look at."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if any(variable.startswith(mark) for variable in file.read(4 << 20).split(b"\0")):
                    found.append(int(name))
    return found


def _listen(process: subprocess.Popen[bytes], pipe: int, end: float, keep: int, hear: Callable[[bytes], None]) -> tuple[bytes, bool]:
    """What the child says, and whether it ended by itself. Its end counts, not that of the pipe: a grandchild may hold that open."""
    import subprocess

    said, open_ = b"", True
    while True:
        ended = process.poll() is not None
        wait = 0 if ended else min(0.05, max(0.0, end - time.monotonic()))
        if open_ and select.select([pipe], [], [], wait)[0]:
            piece = os.read(pipe, 64 << 10)
            open_ = bool(piece)
            said = (said + piece)[-keep:]
            hear(piece)
        elif ended:
            return said, True
        elif not open_:
            with suppress(subprocess.TimeoutExpired):
                process.wait(wait)
        if time.monotonic() >= end:
            return said, process.poll() is not None
