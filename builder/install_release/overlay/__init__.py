"""The overlay: a mock /etc that can be taken back. docs/overlay.md tells what it does and why.

    rendered | published ─▶ propose ─▶ prepare ─▶ switch ─▶ commit
                                          └──────────┴─▶ restore

Files that the recipe does not copy are only *linked*: the system includes ``<root>/current/etc/…``, and they flip with the release.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..artifact import Artifact
from ..host import Host
from ..manifest import Conflict, Manifest
from .change import Change, Content, OverlayError, Proposal, Verdict
from .render import Rendered, Wanted

__all__ = ["Change", "Content", "OverlayError", "Proposal", "Rendered", "Verdict", "Wanted"]


def rendered(artifact: Artifact, root: str) -> Wanted:
    """The etc/ of an artifact, rendered in memory with the values of the host at ``root`` (which need not exist).

    ``Wanted.problems`` has what is missing or malformed, for the preflight; ``Wanted.files`` goes to ``stage.Staging.etc``.
    """
    raise NotImplementedError


def published(host: Host, release: str) -> Wanted:
    """The etc/ of an installed release, as it was rendered when it was staged."""
    raise NotImplementedError


def propose(host: Host | None, manifest: Manifest, release: str, wanted: Wanted, answers: Sequence[Conflict] = ()) -> Proposal:
    """What making ``release`` live would do to the system's files. Changes nothing. ``host`` is None where there is no root yet.

    ``answers``: what the operator said (--etc); they go before the recipe's ``on_conflict``. Raises ``DamagedError`` for a damaged ledger.
    """
    raise NotImplementedError


def prepare(host: Host, tx: str, changes: Sequence[Change]) -> None:
    """Step 6: keep what is there, write what will be there beside it, all synced. Raises before anything is live; then call ``restore``."""
    raise NotImplementedError


def switch(host: Host, tx: str, changes: Sequence[Change]) -> None:
    """Step 8: each file is looked at once more, then replaced by a rename. Raises ``OverlayError`` or ``OSError``; then call ``restore``."""
    raise NotImplementedError


def restore(host: Host, tx: str, changes: Sequence[Change]) -> tuple[str, ...]:
    """The way back, wherever ``prepare`` or ``switch`` stopped; can be done again and again. What could not be put back, in words:
    a file that somebody else has changed meanwhile stays. Raises ``OSError`` when the disk won't have it."""
    raise NotImplementedError


def commit(host: Host, tx: str, changes: Sequence[Change], release: str, before: str) -> None:
    """Write the ledger, durably, before the journal says idle: ``release`` is laid down, in the place of ``before`` ("" for none).
    Can be done again and again."""
    raise NotImplementedError


def leftovers(host: Host, tx: str = "") -> tuple[str, ...]:
    """What a dead transaction left (any but the live ``tx``), as absolute paths."""
    raise NotImplementedError


def clear(host: Host, tx: str = "") -> tuple[str, ...]:
    """Remove it; what was removed."""
    raise NotImplementedError
