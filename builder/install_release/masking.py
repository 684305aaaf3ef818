"""What is told of what a release runs holds no secret: programs quote lines of their configuration, and say what they could not connect to.

The secrets of a host are those of ``shared/host.ini``, which has filled some of those lines, and the values of ``shared/env``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator

from .bin_run import EnvironmentFileError, parse_environment
from .errors import Problem
from .host import SHARED
from .overlay import values
from .who import printable

_SHORT = 3  # characters: in the place of values no longer than that, a mask would make nonsense of everything
_PLAIN = 5  # the same for values of shared/env, of which not each is a secret
_PASSWORD = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")


def mask(root: str, name: str) -> Callable[[str], str]:
    """What puts its key in the place of each secret of the host at ``root``, longest first, and leaves nothing that a terminal would take for an
    order. ``name`` is the application's."""
    pairs = [(value, f"@{key}@") for key, value in values.read(root, name)[0].secrets.items() if len(value) > _SHORT]
    pairs = sorted((*pairs, *_variables(root)), key=lambda pair: -len(pair[0]))

    def masked(text: str) -> str:
        for value, key in pairs:
            text = text.replace(value, key)
        return printable(text)

    return masked


def _variables(root: str) -> Iterator[tuple[str, str]]:
    """Values of ``shared/env`` that may be secrets, the password of an address on its own too; a path that is there is none."""
    try:
        with open(os.path.join(root, SHARED, "env"), "rb") as file:
            variables = parse_environment(file.read())
    except (OSError, EnvironmentFileError):  # the preflight tells of it
        return
    for key, value in variables.items():
        if not os.path.lexists(value):
            yield from ((each, f"${key}") for each in (value, *_PASSWORD.findall(value)) if len(each) > _PLAIN)


def mask_all(problems: Iterable[Problem], masked: Callable[[str], str]) -> tuple[Problem, ...]:
    """The same for problems."""
    return tuple(Problem(masked(each.where), masked(each.what), masked(each.remedy)) for each in problems)
