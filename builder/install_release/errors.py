"""The one error family of the install half. Facts as attributes; only ``cli`` prints them and exits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from .records import NamedTuple


class Problem(NamedTuple):
    """One reason for a refusal: where it is, what is wrong, and what to do about it."""

    where: str
    what: str
    remedy: str = ""

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do about it."""
        end = "" if self.what.endswith((".", "!", "?")) else "."
        return f"{self.what}{end} {self.remedy}" if self.remedy else self.what

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"


def told(problems: Sequence[Problem], width: int) -> list[str]:
    """One line for each, its place in ``width`` columns. A remedy that three or more in a row have in common stands once, below them."""
    lines = []
    for remedy, group in groupby(problems, lambda problem: problem.remedy):
        several = list(group)
        if remedy and len(several) > 2:
            lines += [f"  {each.where:<{width}}  {each.what}" for each in several]
            lines.append(f"  {'':<{width}}  These {len(several)}: {remedy}")
        else:
            lines += [f"  {each.where:<{width}}  {each.sentence}" for each in several]
    return lines


def visible(line: str) -> str:
    """``line`` for a terminal: what it would take for an order, or a person would not see, is spelled out (``\\x1b``). Names come from artifacts."""
    if line.isprintable():
        return line
    return "".join(each if each.isprintable() or each == "\t" else each.encode("unicode_escape").decode("ascii") for each in line)


class InstallError(Exception):
    """Base of the family. ``status`` is the exit status; ``problems`` are all reasons found by one check; ``log`` is what was seen, in lines."""

    status = 1

    def __init__(self, message: str, problems: Iterable[Problem] = (), log: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.problems = tuple(problems)
        self.log = tuple(log)


class UsageError(InstallError):
    """The command line makes no sense."""

    status = 2


class RefusedError(InstallError):
    """Refused before anything was changed."""

    status = 3


class ArtifactError(RefusedError):
    """The artifact is damaged, hostile, or of a format this installer does not read."""


class RolledBackError(InstallError):
    """It failed half-way, and what was there before is there again."""

    status = 4


class DegradedError(InstallError):
    """It failed, and the way back failed too: nothing more is touched."""

    status = 5


class BusyError(InstallError):
    """Another installer holds the lock."""

    status = 6


class DamagedError(InstallError):
    """The state below the root contradicts itself: an operator has to look."""

    status = 7
