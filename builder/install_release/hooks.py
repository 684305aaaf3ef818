"""Hooks: commands of a release's own, run at the moments of a flip that its recipe names, as the user who deploys, through its ``bin/run``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable

from . import child
from .declared import Hook
from .errors import Problem, RolledBackError
from .who import printable

_MOST_SHOWN = 256 << 10  # bytes of one hook's output that are passed on as they come
_TAIL, _WIDTH = 20, 300  # lines of it that an error repeats, and characters of each


class HookError(RolledBackError):
    """A hook failed. ``log`` is the end of what it said."""


def chosen(hooks: Iterable[Hook], when: str, once: bool) -> tuple[Hook, ...]:
    """Those that are due at a moment; those that shall run on one host of several only with ``once``."""
    return tuple(hook for hook in hooks if hook.when == when and (once or not hook.once))


def run(hooks: Iterable[Hook], launcher: str, tell: Callable[[str], None], masked: Callable[[str], str] = printable) -> None:
    """Run them one after the other; ``tell`` gets each line of what they say, ``masked``. Raises ``HookError`` for the first that fails.

    What a hook started ends with it: it is the place for a migration, not for a daemon.
    """
    for hook in hooks:
        words = printable(shlex.join(hook.run))
        tell(f"{hook.when}: {words}")
        lines = _Lines(tell, masked)
        try:
            done = child.run([launcher, *hook.run], deadline=hook.deadline, environment=child.personal(), hear=lines.hear)
        except OSError as error:
            problem = Problem(hook.when, f"{launcher} can't be run: {error.strerror or error}.", "See install-release verify.")
            raise HookError("a hook failed", [problem]) from None
        lines.end()
        if not done.good:
            log = tuple(masked(line)[:_WIDTH] for line in done.output.rstrip().splitlines()[-_TAIL:])
            late = f" (deadline {hook.deadline} s)" if done.status is None else ""
            what = f"{words} {masked(done.reason)[:_WIDTH]}{late}."
            raise HookError("a hook failed", [Problem(hook.when, what, "Mend that, then run this again.")], log)


class _Lines:
    """Passes output on in whole lines, up to a limit."""

    def __init__(self, tell: Callable[[str], None], masked: Callable[[str], str]) -> None:
        self.tell, self.masked = tell, masked
        self.part = b""
        self.room = _MOST_SHOWN

    def hear(self, piece: bytes) -> None:
        if self.room <= 0:
            return
        self.room -= len(piece)
        *lines, self.part = (self.part + piece).split(b"\n")
        for line in lines:
            self._pass(line)
        if self.room <= 0:
            self.part = b""
            self.tell("    … more than is shown")

    def end(self) -> None:
        if self.part:
            self._pass(self.part)

    def _pass(self, line: bytes) -> None:
        self.tell(f"    {self.masked(line.decode('utf-8', 'replace').rstrip())}")


def described(hook: Hook) -> str:
    """For the plan."""
    return f"{hook.when}: {printable(shlex.join(hook.run))} (deadline {hook.deadline} s{', on one host of several' if hook.once else ''})"
