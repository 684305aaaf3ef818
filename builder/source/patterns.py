"""Patterns of paths as a ``.gitignore`` spells them, for paths that are relative and joined by slashes.

A pattern without a slash (but at its end) matches at any depth, others from the top. ``*`` and ``?`` stop at a slash, ``**`` does not.
A slash at the end means: only what is below such a directory. What matches a directory matches all below it. The last pattern that
matches decides, and one that begins with ``!`` decides against; unlike git's, it can take back a file below a matched directory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """A function that says whether a file's path matches ``patterns``."""
    rules = [(not pattern.startswith("!"), re.compile(_expression(pattern.removeprefix("!")))) for pattern in patterns]
    rules.reverse()

    def matches(path: str) -> bool:
        return next((verdict for verdict, expression in rules if expression.fullmatch(path)), False)

    return matches


def may_match_below(pattern: str, directory: str) -> bool:
    """Whether ``pattern`` could match some file below ``directory``, whose files nobody knows yet."""
    if not _anchored(pattern):
        return True
    for part, name in zip(pattern.strip("/").split("/"), directory.split("/"), strict=False):
        if part == "**":
            return True
        if not re.fullmatch(_glob(part), name):
            return False
    return True


def _anchored(pattern: str) -> bool:
    return "/" in pattern.rstrip("/")


def _expression(pattern: str) -> str:
    below = "/.*" if pattern.endswith("/") else "(?:/.*)?"
    start = "" if _anchored(pattern) else "(?:.*/)?"
    return f"(?s:{start}{_glob(pattern.strip('/'))}{below})"


_PIECES = re.compile(
    r"""(?P<dirs>(?:(?<=/)|^)\*\*/)     # **/ stands for any directories, or none
      | (?P<all>(?<=/)\*\*$|^\*\*$)     # /** at the end: everything below
      | (?P<star>\*+)
      | (?P<one>\?)
      | \[(?P<not>[!^]?)(?P<set>\]?[^]/]*)\]
      | \\(?P<literal>.)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def _glob(pattern: str) -> str:
    def translate(piece: re.Match[str]) -> str:
        if piece["set"]:
            members = re.sub(r"([\\\[\]^&~|])", r"\\\1", piece["set"])
            return f"[{'^/' if piece['not'] else ''}{members}]"
        kinds = {"dirs": "(?:.*/)?", "all": ".+", "star": "[^/]*", "one": "[^/]"}
        return kinds.get(piece.lastgroup or "") or re.escape(piece["literal"] or piece["other"] or piece[0])

    return _PIECES.sub(translate, pattern)
