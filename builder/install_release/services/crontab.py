"""Lines of cron: what cron itself would make of them, and a marked block in a user's table. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..errors import Problem
from ..records import NamedTuple
from . import starting, unit

_NICKNAMES = ("@reboot", "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, Sequence[str]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_MARKS = ("# BEGIN ", "# END ")  # of blocks in a user's table
_VARIABLE = re.compile(r"""\s*(?:"[^"]*"|'[^']*'|[A-Za-z_][\w]*)\s*=""")
_USER = re.compile(r"[a-z_][a-z0-9_-]*\$?", re.IGNORECASE)


class Line(NamedTuple):
    """One line that starts something. ``user`` is "" in a user's own table."""

    number: int
    user: str
    command: str
    text: str


def parse(text: str, system: bool) -> tuple[tuple[Line, ...], tuple[str, ...], tuple[tuple[int, str], ...]]:
    """Its lines, the names of the variables that it sets, and what is wrong by line. ``system``: a sixth field says who."""
    lines, variables, wrong = [], [], []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip(" \t")
        if not bare or bare.startswith("#"):
            continue
        if _VARIABLE.match(line):
            variables.append(line.partition("=")[0].strip(" \t\"'"))
            continue
        rest, why = _time(bare)
        user = ""
        if system and not why:
            user, _, rest = rest.partition(" ") if " " in rest else (rest, "", "")
            rest = rest.lstrip(" \t")
            if not _USER.fullmatch(user):
                why = f"{user!r} is no user: in /etc/cron.d the user stands before the command"
        if not why and not rest:
            why = "names no command" + (": in /etc/cron.d the user stands before it" if system else "")
        if why:
            wrong.append((number, why))
        else:
            lines.append(Line(number, user, rest, line))
    if "\ufffd" in text:
        wrong.append((text[: text.index("\ufffd")].count("\n") + 1, "is not UTF-8"))
    if text and not text.endswith("\n"):
        wrong.append((text.count("\n") + 1, "has no line feed at its end: cron ignores such a line"))
    return tuple(lines), tuple(variables), tuple(wrong)


def _time(line: str) -> tuple[str, str]:
    """What follows the time, tabs before it as one space; and what is wrong with the time."""
    if line.startswith("@"):
        word, _, rest = re.sub(r"[ \t]+", " ", line, count=1).partition(" ")
        return _spaced(rest), "" if word.lower() in _NICKNAMES else f"{word} is not one of {', '.join(_NICKNAMES)}"
    words = re.split(r"[ \t]+", line, maxsplit=len(_FIELDS))
    if len(words) <= len(_FIELDS):
        return "", "has fewer than the five fields of a time, and a command"
    for word, field in zip(words, _FIELDS):
        if not all(_item(item, *field[1:]) for item in word.split(",")):
            return "", f"{word!r} is no {field[0]}"
    return _spaced(words[-1]), ""


def _spaced(rest: str) -> str:
    return re.sub(r"^(\S+)[ \t]+", r"\1 ", rest.strip(" \t"))


def _item(item: str, least: int, most: int, names: Sequence[str]) -> bool:
    """``*``, ``5``, ``mon``, ``1-5``, ``*/10``, ``1-30/2``."""
    found = re.fullmatch(r"(\*|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", item)
    if not found or (found[4] and int(found[4]) == 0):
        return False
    if found[1] == "*":
        return True
    numbers = [_number(word, least, names) for word in (found[2], found[3] or found[2])]
    return all(least <= number <= most for number in numbers) and numbers[0] <= numbers[1]


def _number(word: str, least: int, names: Sequence[str]) -> int:
    if word.isdigit() and len(word) < 5:
        return int(word)
    return names.index(word.lower()) + (1 if least else 0) if word.lower() in names else -1


def problems(path: str, text: str, system: bool) -> Iterator[Problem]:
    """What cron would not run, and what it would not run through bin/run."""
    lines, variables, wrong = parse(text, system)
    for number, why in wrong:
        yield Problem(f"etc/{path}, line {number}", f"{why}.")
    for line in lines:
        command = re.sub(r"(?<!\\)%.*", "", line.command)
        yield from starting.command_problems(f"etc/{path}, line {line.number}", unit.split(command), command)
    for number, written in enumerate([] if system else text.split("\n"), 1):
        if written.startswith(_MARKS):
            yield Problem(f"etc/{path}, line {number}", "begins like a mark of a block in a user's table.", "Write the comment differently.")
    if not system and variables:
        what = f"sets {', '.join(variables)}, which would hold for the lines of the user's own that follow."
        yield Problem(f"etc/{path}", what, "Set it in the command, or in shared/env.")


def with_block(table: str, name: str, block: str) -> str:
    """A user's table with the marked block ``name`` as it shall be ("" takes it away); every other line stays as it is."""
    begin, end, marked = f"# BEGIN {name} (install-release; what is changed between these lines is lost)", f"# END {name}", _block(name)
    new = f"{begin}\n{block.rstrip(chr(10))}\n{end}\n" if block.strip() else ""
    if marked.search(table):
        return marked.sub(lambda _: new, table, count=1)
    return f"{table}{'' if not table or table.endswith(chr(10)) else chr(10)}{new}" if new else table


def is_torn(table: str, name: str) -> bool:
    """Whether a line that marks the block is there without the other one: where the block ends can't be told, and lines of others may be in it."""
    rest = _block(name).sub("", table, count=1)
    return bool(re.search(rf"^# (?:BEGIN {re.escape(name)} \(|END {re.escape(name)}$)", rest, re.MULTILINE))


def _block(name: str) -> re.Pattern[str]:
    return re.compile(rf"^# BEGIN {re.escape(name)} \([^\n]*\n(?:(?!# BEGIN |# END )[^\n]*\n)*# END {re.escape(name)}$\n?", re.MULTILINE)
