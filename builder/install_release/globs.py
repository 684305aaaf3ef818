"""Patterns of paths below ``etc/``: ``*``, ``?`` and ``[…]`` stop at a slash, ``**`` stands for any directories.

What matches a directory matches all below it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase


def matches(pattern: str, path: str) -> bool:
    """Whether ``pattern`` matches ``path`` from its beginning. Takes time in proportion to their lengths, whatever the pattern."""
    patterns, parts = pattern.split("/"), path.split("/")
    here, at, star, mark = 0, 0, -1, 0
    while at < len(parts):
        if here == len(patterns):
            return True
        if patterns[here] == "**":
            star, mark, here = here, at, here + 1
        elif fnmatchcase(parts[at], patterns[here]):
            here, at = here + 1, at + 1
        elif star < 0:
            return False
        else:  # the last ** takes one directory more
            mark += 1
            here, at = star + 1, mark
    return here == len(patterns)
