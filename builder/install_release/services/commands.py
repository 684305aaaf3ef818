"""How services are spoken to: by commands with absolute paths, as this user or, where an administrator has allowed exactly that, as root."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from .. import child
from ..errors import Problem
from ..typed import Any
from .terms import Context, ServiceError

PLACES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_SUDO = "/usr/bin/sudo"
_LINES = 6  # of what a command said are repeated


def find(name: str) -> str:
    """The absolute path of a program of the system's; "" when it is not there."""
    return next((path for place in PLACES if os.access(path := f"{place}/{name}", os.X_OK)), "")


def program(name: str) -> str:
    """The same, and where it would be: a host's administrator may be told of it before it is installed."""
    return find(name) or f"/usr/bin/{name}"


def absent(name: str) -> tuple[Problem, ...]:
    """The refusal where a program is not there."""
    return () if find(name) else (Problem("", f"{name} is not on this host.", "Install it."),)


def as_root(context: Context, command: Sequence[str]) -> tuple[str, ...]:
    """The words that run ``command`` as root: by sudo, which asks for nothing, unless this is root."""
    return tuple(command) if context.uid == 0 else (_SUDO, "-n", "--", *command)


class Clock:
    """What is left of a deadline, in seconds."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())


def ask(command: Sequence[str], seconds: float = 20.0, **environment: str) -> child.Done:
    """Run ``command`` and see what it says. One that can't be started has status 127."""
    return _run(command, seconds, environment)


def data(command: Sequence[str], seconds: float, most: int) -> str:
    """The last ``most`` bytes of what a command writes, without what it says beside."""
    return _run(command, seconds, {}, keep=most, errors=False).output


def act(command: Sequence[str], seconds: float, remedy: str = "", **environment: str) -> str:
    """Run ``command``, which changes something; what it said. Raises ``ServiceError`` with all of that."""
    done = _run(command, seconds, environment, leaves=True)  # which may be a daemon that is just leaving its session
    if not done.good:
        raise failure(command, done, remedy)
    return done.output


def _run(command: Sequence[str], seconds: float, environment: Mapping[str, str], **how: Any) -> child.Done:
    try:
        return child.run(command, deadline=seconds, environment=child.personal(**environment), **how)
    except OSError as error:
        return child.Done(127, f"{command[0]}: {error.strerror}")


def failure(command: Sequence[str], done: child.Done, remedy: str = "") -> ServiceError:
    """What an operator needs to know of a command that failed."""
    words = " ".join(command)
    if words.startswith(_SUDO) and "password is required" in done.output:
        remedy = "sudo does not allow that: let an administrator run what install-release bootstrap --print ARTIFACT says."
    return ServiceError("a service did not do what it should", [Problem(words, f"{told(done)}.", remedy)])


def told(done: child.Done) -> str:
    """How it ended, with the end of what it said on one line."""
    said = [line.strip() for line in done.output.splitlines() if line.strip()][-_LINES:]
    return ": ".join([done.reason.partition(":")[0], *([" | ".join(said)] if said else [])]).rstrip(".")
