"""What a command line names: hosts, and a release that is a file, or lies in a store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..errors import Problem, UsageError
from ..frozen import frozen


@frozen
class InStore:
    """``STORE#NAME[@ID|@CHANNEL]``: a store's address, and a release as ``pull`` takes it."""

    store: str
    release: str


def release(text: str) -> Path | InStore:
    """A file that is there is an artifact, whatever its name. Raises ``UsageError``."""
    if os.path.lexists(text) and not os.path.isdir(text):
        return Path(text)
    store, mark, name = text.rpartition("#")
    if mark and store and name:
        return InStore(store, name)
    what = "is no file, and names no release of a store."
    problem = Problem(text, what, "Name an artifact, or STORE#NAME@CHANNEL, like s3://releases#shop@production.")
    raise UsageError("it is not clear what is to be deployed", [problem])


def hosts(given: Sequence[str]) -> tuple[str, ...]:
    """As they were given. Raises ``UsageError`` for what is no host, and for one that is named twice."""
    problems = [Problem(repr(each), "is no host.", "Name it as ssh does: HOST, USER@HOST, USER@HOST:PORT.") for each in given if not _is_host(each)]
    problems += [Problem(each, "is named twice.", "Name each host once.") for each in dict.fromkeys(given) if given.count(each) > 1]
    if problems:
        raise UsageError("the hosts are not clear", problems)
    return tuple(given)


def _is_host(text: str) -> bool:
    return (
        bool(text) and not text.startswith("-") and text.isprintable() and not any(each.isspace() for each in text) and not text.endswith(("@", ":"))
    )
