"""What a hostile artifact is: a name, what is to be said of it, and how it is made. The corpora themselves are ``hostile_*``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .forge import Forged

REFUSED, ACCEPTED = (3,), (0,)


@dataclass(frozen=True)
class Case:
    """One artifact. ``says``: words that the refusal must hold, so that it is refused for what is wrong with it, and not for a slip of the forger.

    ``statuses``: how ``install`` may end; 0 stands for: it is taken, and does no harm. ``heavy``: takes seconds to make. ``verified``: the words of
    ``build-release verify`` where those are asked for too; ``hosts``: only a host can tell that it is not for it.
    """

    group: str
    name: str
    says: str
    make: Callable[[], bytes] = field(repr=False)
    statuses: tuple[int, ...] = REFUSED
    heavy: bool = False
    verified: str = ""
    hosts: bool = False

    @classmethod
    def of(cls, group: str, name: str, says: str, forged: Forged, **more: object) -> Case:
        return cls(group, name, says, forged.artifact, **more)  # type: ignore[arg-type]
