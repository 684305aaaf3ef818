"""What is told of a service holds no secret: programs quote lines of their configuration, and ``shared/host.ini`` has filled some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..errors import Problem
from ..overlay import values
from ..who import printable
from .terms import Context


def mask(context: Context) -> Callable[[str], str]:
    """What puts its key in the place of each secret of this host, longest first, and leaves nothing that a terminal would take for an order."""
    known = values.read(context.root, context.name)[0].secrets
    # A shorter one would make nonsense of everything.
    pairs = sorted(((value, f"@{key}@") for key, value in known.items() if len(value) > 3), key=lambda pair: -len(pair[0]))

    def masked(text: str) -> str:
        for value, key in pairs:
            text = text.replace(value, key)
        return printable(text)

    return masked


def mask_all(problems: Iterable[Problem], masked: Callable[[str], str]) -> tuple[Problem, ...]:
    """The same for problems."""
    return tuple(Problem(masked(each.where), masked(each.what), masked(each.remedy)) for each in problems)
