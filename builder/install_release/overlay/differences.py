"""What changes in the system's configuration, shown to people: a unified diff for each file, without secrets.

A secret of ``shared/host.ini`` is shown as its placeholder. In a file that not everybody may read, only what is known to hold none is shown: lines
that the release's own text says, with its placeholders; of all others it is only told that they are there.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from ..records import NamedTuple

_MOST_LINES, _MOST_SHOWN = 5000, 400
_HIDDEN = "(a line that is not shown)"


class Text(NamedTuple):
    """One side of a comparison: ``name`` for the head of the diff. ``known``: every secret in ``data`` is masked. ``private``: not all may read."""

    name: str
    data: bytes
    private: bool = False
    known: bool = False


def unified(old: Text, new: Text, secrets: Mapping[str, str]) -> tuple[str, ...]:
    """The lines of a diff; none when both say the same."""
    if old.data == new.data and old.name and new.name:
        return ()
    head = (f"--- {old.name or '/dev/null'}", f"+++ {new.name or '/dev/null'}")
    if b"\0" in old.data or b"\0" in new.data:
        return (*head, f"(binary: {len(old.data)} → {len(new.data)} bytes)")
    before, after = _lines(old, secrets), _lines(new, secrets)
    if max(len(before), len(after)) > _MOST_LINES:
        return (*head, f"(too long to compare: {len(before)} → {len(after)} lines)")
    if (new.private and not new.known) or (old.private and not new.data):
        return (*head, f"(not shown, because not everybody may read it: {len(before)} → {len(after)} lines)")
    shown = [_clean(line) for line in _hidden(difflib.unified_diff(before, after, lineterm="", n=3), old.private)]
    more = len(shown) - 2 - _MOST_SHOWN
    return (*head, *shown[2 : 2 + _MOST_SHOWN], *([f"(and {more} more lines)"] if more > 0 else ()))


def _hidden(lines: Iterator[str], private: bool) -> Iterator[str]:
    """What is only on the old side of a private file may be a secret of before."""
    for number, line in enumerate(lines):
        yield f"-{_HIDDEN}" if private and number > 1 and line.startswith("-") else line


def _lines(text: Text, secrets: Mapping[str, str]) -> list[str]:
    decoded = text.data.decode("utf-8", "backslashreplace")
    for key, value in sorted(secrets.items(), key=lambda item: -len(item[1])):
        if len(value) > 3:  # a shorter one would make nonsense of everything, and is in files that are private anyway
            decoded = decoded.replace(value, f"@{key}@")
    lines = decoded.split("\n")
    if lines[-1]:
        lines[-1] += "  (without a line feed at its end)"
    else:
        lines.pop()
    return lines


def _clean(line: str) -> str:
    """Nothing that a terminal would take for an order."""
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in line)
