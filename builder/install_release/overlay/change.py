"""The words of the overlay: what a file is, how it changes, what was decided about it and why."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InstallError, Problem
from ..records import NamedTuple, as_dict
from ..typed import Any


class Content(NamedTuple):
    """What a file is: ``sha256`` of its bytes, ``mode`` like ``644``. Its ``group`` is kept, but makes no difference (-1: not known)."""

    sha256: str
    mode: str
    group: int = -1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:  # a tuple has its own
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:2])


class Change(NamedTuple):
    """One file of the system, before and after a flip. None stands for: not there.

    ``path`` is absolute, ``etc`` the path below ``etc/`` that it comes from. ``old`` is what is live, ``new`` what will be; both the same: the file
    stays, and only the ledger changes. ``source``: where the bytes of ``new`` are, relative to the root. ``laid``: what the release lays down
    there (not what is live, where an edit was kept); None: the path is given up. ``before``: what was there before any release came.
    ``edited``: ``old`` is not what was laid down last. ``beside``: the path that this one was put beside, for a second version of it.
    ``directories``: those above it that have to be made, outermost first. ``alone``: it is no file that we may touch, and was not looked at.
    """

    path: str
    etc: str
    old: Content | None
    new: Content | None
    source: str = ""
    laid: Content | None = None
    before: Content | None = None
    edited: bool = False
    beside: str = ""
    directories: tuple[str, ...] = ()
    alone: bool = False

    def to_json(self) -> dict[str, Any]:
        """For the journal."""
        return as_dict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Change:
        """The reverse. Raises ``ValueError``, ``KeyError`` or ``TypeError`` for anything else."""
        contents = {name: content_from_json(value[name]) for name in ("old", "new", "laid", "before")}
        return cls(**{**value, **contents, "directories": tuple(value["directories"])})


MARKS: Mapping[str, str] = {
    "untouched": " ",
    "new": "+",
    "changed": "M",
    "restored": "M",
    "removed": "-",
    "kept": "=",
    "saved": "~",
    "beside": "~",
    "conflict": "!",
}


class Verdict(NamedTuple):
    """What was decided about one file, for people. ``path`` is absolute, ``etc`` below ``etc/``; ``words`` say why, and what to do.

    ``kind``: untouched, new, changed, removed, restored (what was there comes back), kept (an edit of this host), saved (an edit, beside the new
    file), beside (the new file, beside the edit), conflict (refused). ``linked``: the file is only linked, and flips with the release. ``lost``: what
    was there when the release was left is not kept any more.
    """

    path: str
    etc: str
    kind: str
    words: str = ""
    linked: bool = False
    diff: tuple[str, ...] = ()
    lost: bool = False

    @property
    def line(self) -> str:
        """``M /etc/nginx/sites-available/shop.conf``, and why."""
        where = f"{self.etc} (linked)" if self.linked else self.path
        return f"{MARKS[self.kind]} {where}" + (f"   {self.words}" if self.words else "")


class Proposal(NamedTuple):
    """All that a flip would do to the system's files. With ``refusals`` it may not be done."""

    changes: tuple[Change, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    refusals: tuple[Problem, ...] = ()


class Rendered(NamedTuple):
    """A file of etc/ as it shall be: its bytes, its mode (644; 755 where it is executable; 640 and 750 where it holds a secret).

    ``masked``: the same with each secret as its placeholder, for people; None where that can't be known.
    """

    data: bytes
    mode: str
    masked: bytes | None = None


class Wanted(NamedTuple):
    """An etc/ by its paths; ``links`` are those that are links; ``problems``: why it can't be rendered here."""

    files: Mapping[str, Rendered] = {}
    links: frozenset[str] = frozenset()
    problems: tuple[Problem, ...] = ()


class OverlayError(InstallError):
    """A file of the system is not what it was when this was decided, or not what the installer may touch."""

    status = 4


class ShutOutError(OverlayError):
    """A file of the system that this user can't get at: for a decision a reason against it, for the way back something that is still to be done."""


def content_from_json(value: Any) -> Content | None:
    """None for None. Raises ``ValueError`` or ``TypeError`` for what is no content."""
    if value is None:
        return None
    made = Content(**value)
    if not all(type(part) is str for part in (made.sha256, made.mode)) or type(made.group) is not int or len(made.sha256) != 64:
        raise ValueError("this is no content of a file")
    int(made.sha256, 16), int(made.mode, 8)
    return made
