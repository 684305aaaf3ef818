"""What a command of ``build-release`` is, and what one gives back."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .frozen import frozen

if TYPE_CHECKING:
    from .report import Progress


@frozen
class Answer:
    """What a command found or made: for programs, and for people. ``status`` is the exit status."""

    value: Mapping[str, Any]
    lines: Iterable[str]
    status: int = 0


@frozen
class Command:
    """A first word, what it does in one sentence, its arguments, and the function that does it. ``resumes``: when it is ended, it goes on later.
    ``statuses``: what its help says of them, where it has others than most."""

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Progress], Answer]
    resumes: bool = False
    statuses: str = ""
