"""The closed set that fills ``@placeholders@``: ``root``, ``name``, and the keys of the host's own ``shared/host.ini``.

    [values]                       ; shown in plans
    server_name = shop.example
    [secrets]                      ; never shown
    db_password = …

One ``key = value`` a line; a value is all that follows, without the spaces at its ends: no quotes, no continuation, no interpolation.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

from ..errors import Problem
from ..host import SHARED
from ..records import NamedTuple

FILE = f"{SHARED}/host.ini"
_MOST = 256 << 10  # bytes
_KEY = re.compile(r"[a-z][a-z0-9_]*")
_SYNTAX = "Lines are key = value, below [values] or [secrets]; a key is of lower-case letters, digits and '_'; comments begin with # or ;."


class Values(NamedTuple):
    """What placeholders stand for here. ``there``: the host has a ``shared/host.ini``."""

    plain: Mapping[str, str] = {}
    secrets: Mapping[str, str] = {}
    there: bool = False


def read(root: str, name: str) -> tuple[Values, tuple[Problem, ...]]:
    """The values of the host at ``root``, for the application ``name``; what is wrong with them. No value is in any problem's words."""
    path, own = os.path.join(root, FILE), {"root": root, "name": name}
    try:
        with open(path, "rb", opener=_opener) as file:
            facts = os.fstat(file.fileno())
            data = file.read(_MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Values(own), ()
    except OSError as error:
        return Values(own, there=True), (Problem(FILE, f"{path} can't be read by this user: {error.strerror}."),)
    if not stat.S_ISREG(facts.st_mode) or len(data) > _MOST:
        return Values(own, there=True), (Problem(FILE, f"{path} is no regular file of at most {_MOST} bytes."),)
    plain, secrets, wrong = parse(data)
    problems = [Problem(FILE, f"{path}, {each}", _SYNTAX) for each in wrong]
    if facts.st_mode & 0o022:
        problems.append(Problem(FILE, f"{path} can be written by others (mode {stat.S_IMODE(facts.st_mode):o}).", f"chmod 640 {path}"))
    elif secrets and facts.st_mode & 0o004:
        problems.append(Problem(FILE, f"{path} holds [secrets], and can be read by everybody.", f"chmod 640 {path}"))
    return Values({**plain, **own}, secrets, there=True), tuple(problems)


def parse(data: bytes) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """The keys of [values], those of [secrets], and what is wrong, by line."""
    sections: dict[str, dict[str, str]] = {"values": {}, "secrets": {}}
    here: dict[str, str] | None = None
    wrong = []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return {}, {}, [f"line {data[: error.start].count(10) + 1}: is not UTF-8."]
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            here = sections.get(line[1:-1].strip()) if line.endswith("]") else None
            if here is None:
                wrong.append(f"line {number}: is no section that there is.")
                here = {}
            continue
        key, equals, value = (part.strip() for part in line.partition("="))
        if here is None:
            wrong.append(f"line {number}: stands before any section.")
        elif not equals or not _KEY.fullmatch(key):
            wrong.append(f"line {number}: is not key = value.")
        elif key in ("root", "name"):
            wrong.append(f"line {number}: {key} is what the installer knows itself.")
        elif key in sections["values"] or key in sections["secrets"]:
            wrong.append(f"line {number}: {key} is there twice.")
        elif not value.replace("\t", " ").isprintable():
            wrong.append(f"line {number}: the value of {key} holds control characters.")
        else:
            here[key] = value
    return sections["values"], sections["secrets"], wrong


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
