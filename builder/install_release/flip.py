"""The flip: one link. Activating a release and rolling back to one are this same function; so is the way back when it fails.

Order (docs/host.md): journal prepared → switching → ``previous``, ``current`` → committed → history → journal idle. A process
that is killed anywhere in it leaves a journal from which ``back`` or ``forward`` goes on, as often as need be.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from . import durable, history, interrupts, journal
from .errors import DegradedError, InstallError, Problem, RolledBackError
from .history import Event
from .host import CURRENT, PREVIOUS, RELEASES, Host
from .journal import Transaction


@dataclass(frozen=True)
class Switch:
    """What shall be live, and what goes into the history about it. ``how`` is activate or rollback; ``marks_bad``: what is left is bad."""

    to: str
    version: str
    how: str
    who: str
    why: str
    marks_bad: bool = False


def new_tx() -> str:
    """A name for one transaction."""
    return os.urandom(6).hex()


def flip(host: Host, switch: Switch) -> str:
    """Make a published, verified release live; the id of the one that was ("" for none). The caller holds the lock and has recovered.

    Raises ``RolledBackError`` when it failed and what was live is live, ``DegradedError`` when it stopped in between.
    """
    before = host.current() or ""
    transaction = Transaction(new_tx(), "prepared", switch.to, before, durable.read_link(host.fd, PREVIOUS) or "", switch.who)
    with interrupts.held():
        try:
            journal.write(host, transaction)
            transaction = transaction.step("switching")
            journal.write(host, transaction)
            _point(host, transaction)
            committed = transaction.step("committed", _events(host, transaction, switch))
            journal.write(host, committed)
        except Exception as error:
            _go_back(host, transaction, error)
        interrupts.settle()
        try:
            forward(host, committed)
        except (OSError, InstallError) as error:
            what = f"{switch.to} is live, but this could not be recorded: {error}."
            remedy = "Mend that, then run install-release recover."
            raise DegradedError("it is live, and something is unfinished", [Problem("history", what, remedy)]) from None
    return before


def forward(host: Host, transaction: Transaction) -> None:
    """Finish a committed transaction: the links, the history, the journal. Can be done again and again."""
    _point(host, transaction)
    history.append_missing(host, transaction.tx, transaction.events)
    journal.write(host, None)


def back(host: Host, transaction: Transaction, why: str) -> None:
    """Undo a transaction that is not committed. Can be done again and again. A ``current`` that somebody else set stays as it is."""
    found = journal.read(host)
    if found is not None and found.state == "committed":  # its last write failed after the rename: it must not win later
        journal.write(host, transaction.step("switching"))
    if durable.read_link(host.fd, CURRENT) == _target(transaction.to):
        _set(host, CURRENT, _target(transaction.before))
    if durable.read_link(host.fd, PREVIOUS) == _target(transaction.before):
        _set(host, PREVIOUS, transaction.previous)
    about = {"id": transaction.to, "version": host.version(transaction.to), "who": transaction.who, "tx": transaction.tx}
    event = {"time": history.now(), "event": "failed", "why": why, **about}
    with suppress(OSError):  # on a full disk: the links count
        history.append_missing(host, transaction.tx, [event])
    journal.write(host, None)


def _go_back(host: Host, transaction: Transaction, error: Exception) -> NoReturn:
    problems = [Problem("flip", f"{error}.", "Nothing that was live has changed. Mend that, then run this again.")]
    try:
        back(host, transaction, str(error))
    except (OSError, InstallError) as failure:
        problems.append(Problem("recovery", f"is unfinished: {failure}.", "Run install-release recover once that is mended."))
    if (host.pointer(CURRENT).id or "") != transaction.before:
        problems[0] = Problem("flip", f"{error}.", f"{CURRENT} leads to {transaction.to}: run install-release recover.")
        raise DegradedError("the flip failed, and so did the way back", problems) from error
    raise RolledBackError("the flip failed and was rolled back", problems) from error


def _events(host: Host, transaction: Transaction, switch: Switch) -> tuple[Event, ...]:
    common = {"time": history.now(), "who": switch.who, "tx": transaction.tx}
    activated = {**common, "event": "activated", "id": switch.to, "version": switch.version, "how": switch.how, "why": switch.why}
    if transaction.before:
        activated["from"] = transaction.before
    good = {**common, "event": "good", "id": switch.to, "version": switch.version, "why": "committed; it declares no check"}
    if not (switch.marks_bad and transaction.before):
        return activated, good
    version, why = host.version(transaction.before), f"rolled back to {switch.to}: {switch.why}"
    return activated, good, {**common, "event": "bad", "id": transaction.before, "version": version, "why": why}


def _point(host: Host, transaction: Transaction) -> None:
    if transaction.before:
        _set(host, PREVIOUS, _target(transaction.before))
    _set(host, CURRENT, _target(transaction.to))


def _set(host: Host, name: str, target: str) -> None:
    if not target:
        durable.remove_name(host.fd, name)
    elif durable.read_link(host.fd, name) != target:
        durable.replace_link(host.fd, name, target)


def _target(release: str) -> str:
    return f"{RELEASES}/{release}" if release else ""
