"""Rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import Problem


@dataclass(frozen=True)
class Rendered:
    """A file of etc/ as it shall be: its bytes, its mode (644; 755 where it is executable; 640 and 750 where it holds a secret).

    ``masked``: the same with each secret as its placeholder, for people; None where that can't be known.
    """

    data: bytes
    mode: str
    masked: bytes | None = None


@dataclass(frozen=True)
class Wanted:
    """An etc/ by its paths; ``links`` are those that are links; ``problems``: why it can't be rendered here."""

    files: Mapping[str, Rendered] = field(default_factory=dict)
    links: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()
