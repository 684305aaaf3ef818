"""What happens to a file of the system when another release becomes live: three ways, decided per file. Pure.

``base`` is what was laid down there last, ``live`` what is there, ``claim`` what the release lays down (or, where it lays nothing, what was there
before any release came). None stands for: not there.

    base == claim            nothing changes between the releases: what is there stays, an edit included
    live == target           it is there already
    live == base             untouched here: it is replaced by the target
    else                     edited here and changed by the release: a conflict

The ``target`` is the claim; for a release that was live before, it is what was there when that release was left.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..declared import Conflict, matching
from ..records import NamedTuple
from .change import Content

REFUSE, KEEP, TAKE, BESIDE = "refuse", "keep-local", "take-new", "beside"


class Case(NamedTuple):
    """One file, three ways, and what shall be there."""

    base: Content | None
    live: Content | None
    claim: Content | None
    target: Content | None


class Decision(NamedTuple):
    """``put``: what will be there. ``save``: what is there is an edit, and is saved beside. ``beside``: the claim is put beside what is there.

    ``kind`` is that of the ``Verdict``.
    """

    kind: str
    put: Content | None
    save: bool = False
    beside: bool = False


def decide(case: Case, policy: str) -> Decision:
    """What happens to one file; ``policy`` decides a conflict."""
    if case.base == case.claim:
        return Decision("untouched" if case.live == case.base else "kept", case.live)
    if case.live == case.target:
        return Decision("untouched" if case.live == case.claim else "kept", case.live)
    if case.live == case.base:
        return Decision(_replacing(case), case.target)
    if policy == TAKE:
        return Decision(_replacing(case), case.target, save=case.live is not None)
    if policy == BESIDE and case.claim is not None:
        return Decision("beside", case.live, beside=True)
    if policy in (KEEP, BESIDE):
        return Decision("kept", case.live)
    return Decision("conflict", case.live)


def _replacing(case: Case) -> str:
    if case.target is None:
        return "removed"
    if case.target != case.claim:
        return "restored"
    return "new" if case.live is None else "changed"


def policy(etc: str, path: str, declared: Iterable[Conflict], answers: Iterable[Conflict], back: bool) -> str:
    """What decides a conflict over the file ``etc`` (below etc/), which is copied to ``path``.

    What the operator says goes first, then what the recipe declares; of several, the longest that matches. The way back never asks: what was there
    is put back, and an edit is saved beside it.
    """
    said = _longest(answers, etc, path)
    return said or (TAKE if back else _longest(declared, etc, path) or REFUSE)


def _longest(rules: Iterable[Conflict], etc: str, path: str) -> str:
    found = [rule for rule in rules if matches(rule, etc, path)]
    return max(found, key=lambda rule: len(rule.path)).verdict if found else ""


def matches(rule: Conflict, etc: str, path: str) -> bool:
    """Whether a rule is about this file: a pattern of paths below etc/, or, said by an operator, the absolute path itself."""
    return path == rule.path if rule.path.startswith("/") else bool(matching((etc,), rule.path))
