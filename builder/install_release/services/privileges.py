"""Whether what an administrator must have set up is there: links, files, lines of configuration, and what sudo allows."""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterable, Iterator, Sequence

from ..errors import Problem
from . import commands, staged
from .terms import Context, Privilege

_SUDO = "/usr/bin/sudo"
_GRANT = re.compile(r"^\s+\([^)]*\)\s+(.*)$")
_TAGS = re.compile(r"^(?:[A-Z_]+:\s*)+")
_REMEDY = "Let an administrator run what install-release bootstrap --print ARTIFACT says."


def missing(wanted: Iterable[Privilege], context: Context) -> tuple[Problem, ...]:
    """What of ``wanted`` is not there, as far as this user can see; all of it. What is run once (``run``) its kind looks for."""
    wanted = list(wanted)
    return (*_missing_places(wanted), *(_missing_lines(wanted, context) if context.uid else ()))


def _missing_places(wanted: Iterable[Privilege]) -> Iterator[Problem]:
    for each in wanted:
        where = f"services.{each.service}"
        if each.way == "link" and (not os.path.islink(each.path) or os.readlink(each.path) != each.text):
            there = os.path.lexists(each.path)
            what = f"{each.path} does not lead to {each.text}." if there else f"{each.path} is missing; it leads to {each.text}."
            yield Problem(where, what, _REMEDY)
        elif each.way == "file" and staged.read(each.path) != each.text:
            what = f"{each.path} is not what it should be." if os.path.exists(each.path) else f"{each.path} is missing."
            yield Problem(where, what, _REMEDY)
        elif each.way == "line" and each.text not in _value(each).split():
            yield Problem(where, f"{each.path} lacks {each.text} in {each.key} of [{each.section}].", _REMEDY)


def _value(wanted: Privilege) -> str:
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(staged.read(wanted.path) or "")
        return parser.get(wanted.section, wanted.key, fallback="")
    except configparser.Error:
        return ""


def _missing_lines(wanted: Iterable[Privilege], context: Context) -> Iterator[Problem]:
    """sudo itself says whether it would run a command, without running it."""
    lines = [each for each in wanted if each.way == "sudo"]
    if lines and not commands.find("sudo"):
        yield Problem("services", f"sudo is not on this host; {len(lines)} commands need it.", "Install it, or use user = true services.")
        return
    other = context.user if os.geteuid() == 0 else ""  # root may ask for somebody else
    allowed = granted(other) if lines else ()
    for each in lines:  # what is allowed by a wider line, sudo knows; of a program that is yet to be laid down it knows nothing
        if spelled(each.command) not in allowed and not commands.ask([*_list(other), "--", *each.command]).good:
            yield Problem(f"services.{each.service}", f"sudo does not let {context.user} run: {' '.join(each.command)}", _REMEDY)


def spelled(command: Sequence[str]) -> str:
    """A command as sudo lists it: one without arguments has quotes in their place, or else any would do."""
    return " ".join(command) if len(command) > 1 else f'{command[0]} ""'


def granted(user: str = "") -> tuple[str, ...]:
    """The commands that sudo lets this user run (or another one, if this is root) as it lists them, without escapes; none where it won't say."""
    done = commands.ask(_list(user))
    return tuple(listed(done.output)) if done.good else ()


def _list(user: str) -> list[str]:
    return [_SUDO, "-n", "-l", *(["-U", user] if user else [])]


def listed(text: str) -> Iterator[str]:
    """The commands in what ``sudo -l`` says. Pure."""
    for line in text.splitlines():
        grant = _GRANT.match(line)
        if grant:
            for command in re.split(r"(?<!\\), ", grant[1]):
                yield re.sub(r"\\(.)", r"\1", _TAGS.sub("", command.strip()))
