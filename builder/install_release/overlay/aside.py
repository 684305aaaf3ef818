"""Names for what lies beside a file of the system: hidden, and ending in ``~``.

What reads whole directories (nginx, cron, logrotate, sudo, apache) must not take such a file for one more configuration: a leading dot keeps
it out of ``*``, the ending out of what looks at hidden files too. The name holds a digest, so that none ever replaces another.
"""

from __future__ import annotations

import os
import re

LONGEST_NAME = 200  # bytes of a file's name, so that all of this fits into 255
_TEMPORARY = re.compile(r"\..+\.rel-tmp\.[0-9a-f]{12}~")


def temporary(path: str, tx: str) -> str:
    """What will be at ``path``, until it is renamed over it."""
    return _beside(path, "tmp", tx)


def saved(path: str, digest: str) -> str:
    """An edit of this host, that a release's file took the place of."""
    return _beside(path, "old", digest[:12])


def offered(path: str, digest: str) -> str:
    """A release's file, beside the edit that stays."""
    return _beside(path, "new", digest[:12])


def is_saved(path: str, main: str) -> bool:
    """Whether ``path``, which lies beside ``main``, holds an edit of this host."""
    return os.path.basename(path).startswith(f".{os.path.basename(main)}.rel-old.")


def is_temporary(name: str, tx: str) -> bool:
    """Whether a file's name is that of a temporary one of any transaction but ``tx``."""
    return bool(_TEMPORARY.fullmatch(name)) and not name.endswith(f".{tx}~")


def _beside(path: str, kind: str, end: str) -> str:
    directory, _, name = path.rpartition("/")
    return f"{directory}/.{name}.rel-{kind}.{end}~"
