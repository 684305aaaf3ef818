"""The overlay: a mock /etc that can be taken back. docs/overlay.md tells what it does and why.

    rendered | published ─▶ propose ─▶ prepare ─▶ switch ─▶ commit
                                          └──────────┴─▶ restore

Files that the recipe does not copy are only *linked*: the system includes ``<root>/current/etc/…``, and they flip with the release.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ..host import BLOBS, LEDGER, STATE, Host
from ..manifest import Conflict, Manifest
from ..typed import TYPE_CHECKING
from .change import Change, Content, OverlayError, Proposal, Rendered, Verdict, Wanted

if TYPE_CHECKING:
    from ..artifact import Artifact

__all__ = ["Change", "Content", "OverlayError", "Proposal", "Rendered", "Verdict", "Wanted"]

# Whatever most releases have no use for is imported where it is used: each start would pay for it.


def rendered(artifact: Artifact, root: str) -> Wanted:
    """The etc/ of an artifact, rendered in memory with the values of the host at ``root`` (which need not exist).

    ``Wanted.problems`` has what is missing or malformed, for the preflight. Raises ``ArtifactError`` for a damaged layer.
    """
    if not any(layer.kind == "etc" for layer in artifact.manifest.layers):
        return Wanted()
    from . import wanted

    return wanted.rendered(artifact, root)


def published(host: Host, release: str) -> Wanted:
    """The etc/ of an installed release, as it was rendered when it was staged. Raises ``DamagedError`` for what no release has there."""
    from . import wanted

    return wanted.published(host, release)


def propose(host: Host, manifest: Manifest, release: str, wanted: Wanted, answers: Sequence[Conflict] = (), back: bool = False) -> Proposal:
    """What making ``release`` live would do to the system's files. Changes nothing.

    ``answers``: what the operator said (--etc); they go before the recipe's ``on_conflict``. ``back``: it is a rollback, and refuses for no
    conflict: what was there is put back, an edit that gives way is saved beside it. Raises ``DamagedError`` for a damaged ledger.
    """
    if not (manifest.overlay.copied or answers or _used(host)):
        return Proposal()
    from . import ledger, proposal

    kept = frozenset(f"{BLOBS}/{name}" for name in host.names(BLOBS))
    question = proposal.Question(host.root, manifest, release, ledger.read(host), kept, answers, back)
    return proposal.propose(question, wanted)


def survey(root: str, manifest: Manifest, release: str, wanted: Wanted, answers: Sequence[Conflict] = ()) -> Proposal:
    """The same for a preflight, where there may be no root yet."""
    if os.access(os.path.join(root, STATE), os.R_OK | os.X_OK):
        with Host(root) as host:
            return propose(host, manifest, release, wanted, answers)
    if not (manifest.overlay.copied or answers):
        return Proposal()
    from . import ledger, proposal

    return proposal.propose(proposal.Question(os.path.realpath(root), manifest, release, ledger.Ledger(), answers=answers), wanted)


def show(root: str, manifest: Manifest, proposal: Proposal, wanted: Wanted) -> tuple[Verdict, ...]:
    """What ``proposal`` would change, with unified diffs, linked files included; without what is left as it is, and without secrets."""
    from . import showing

    if os.access(os.path.join(root, STATE), os.R_OK | os.X_OK):
        with Host(root) as host:
            return showing.show(host, host.root, manifest, proposal, wanted)
    return showing.show(None, os.path.realpath(root), manifest, proposal, wanted)


def places(manifest: Manifest, wanted: Wanted) -> tuple[str, ...]:
    """The directories of the system that files are copied to, without those below others: the deploying user must be able to write there."""
    from . import proposal

    found = {os.path.dirname(path) for path in proposal.copies(manifest.overlay, wanted.files)}
    return tuple(sorted(path for path in found if not any(path.startswith(f"{other}/") for other in found)))


def laid(changes: Iterable[Change]) -> frozenset[str]:
    """The paths below etc/ of all files of the system that these changes change: not of those that stay, with another version beside them."""
    return frozenset(change.etc for change in changes if change.old != change.new and not change.beside)


def set_aside(changes: Sequence[Change]) -> tuple[str, ...]:
    """What is put beside files by these changes, in words for the log."""
    if not changes:
        return ()
    from . import aside

    new = [change for change in changes if change.beside and change.new is not None and change.old != change.new]
    return tuple(
        f"the edit of {each.beside} is saved as {each.path}"
        if aside.is_saved(each.path, each.beside)
        else f"the release's {each.beside} is put beside it, as {each.path}"
        for each in new
    )


def prepare(host: Host, tx: str, changes: Sequence[Change]) -> None:
    """Step 6: keep what is there, write what will be there beside it, all synced. Raises before anything is live; then call ``restore``."""
    if changes:
        from . import laying

        laying.prepare(host, tx, changes)


def switch(host: Host, tx: str, changes: Sequence[Change]) -> None:
    """Step 8: each file is looked at once more, then replaced by a rename. Raises ``OverlayError`` or ``OSError``; then call ``restore``."""
    if changes:
        from . import laying

        laying.switch(changes, tx)


def restore(host: Host, tx: str, changes: Sequence[Change]) -> tuple[str, ...]:
    """The way back, wherever ``prepare`` or ``switch`` stopped; can be done again and again. What could not be put back, in words:
    a file that somebody else has changed meanwhile stays. Raises ``OSError`` when the disk won't have it, ``InstallError`` when it is damaged."""
    if not changes:
        return ()
    from . import laying

    return laying.restore(host, tx, changes)


def commit(host: Host, tx: str, changes: Sequence[Change], release: str, before: str) -> None:
    """Write the ledger, durably, before the journal says idle: ``release`` is laid down, in the place of ``before`` ("" for none).
    Can be done again and again."""
    if changes or _used(host):
        from . import laying

        laying.commit(host, tx, changes, release, before)


def leftovers(host: Host, tx: str = "") -> tuple[str, ...]:
    """What a dead transaction left (any but the live ``tx``), as absolute paths."""
    if not _used(host):
        return ()
    from . import laying

    return laying.leftovers(host, tx)


def clear(host: Host) -> tuple[str, ...]:
    """Remove it, once no transaction is under way; what was removed."""
    if not _used(host):
        return ()
    from . import laying

    return laying.clear(host)


def _used(host: Host) -> bool:
    """Whether anything was ever laid down from here, or was about to be."""
    return not {LEDGER, os.path.basename(BLOBS)}.isdisjoint(host.names(STATE))
