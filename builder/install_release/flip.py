"""The flip: one link, and what goes with it. Activating a release and rolling back to one are this same function; the way back is its reverse.

Order (docs/host.md): journal prepared → pre hooks → new files beside the old → switching → files, ``previous``, ``current`` → services → post hooks →
health → floor → committed → ledger, history → journal idle. A process that is killed anywhere in it leaves a journal from which ``back`` or
``forward`` goes on, as often as need be. Signals are held, so that it never stops half-way; while hooks, services and health are waited for, one
leads back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from . import durable, history, interrupts, journal, launcher, overlay, serving
from .errors import DegradedError, InstallError, Problem, RolledBackError
from .history import Event
from .host import CURRENT, PREVIOUS, RELEASES, Host
from .journal import Transaction
from .manifest import Hook
from .overlay import Change
from .records import NamedTuple
from .serving import Side
from .typed import TYPE_CHECKING, Any, NoReturn
from .version import older

if TYPE_CHECKING:
    from .floor import Floor

Say = Callable[[str], None]


class Switch(NamedTuple):
    """What shall be live, and what goes into the history about it. ``how`` is activate or rollback; ``marks_bad``: what is left is bad.

    ``changes`` are made to the files of the system. ``hooks``: those that run; without ``once`` not those for one host of several. ``floor``: what
    it is from then on; ``more`` goes into the history. ``parting``: before a rollback the release that is left may run its hooks.
    """

    to: str
    version: str
    how: str
    who: str
    why: str
    marks_bad: bool = False
    changes: tuple[Change, ...] = ()
    hooks: bool = True
    once: bool = True
    floor: Floor | None = None
    more: Mapping[str, Any] = {}
    parting: bool = True


def new_tx() -> str:
    """A name for one transaction."""
    return os.urandom(6).hex()


def flip(host: Host, switch: Switch, say: Say = lambda line: None) -> str:
    """Make a published, verified release live; the id of the one that was ("" for none). The caller holds the lock and has recovered.

    Raises ``RolledBackError`` when it failed and what was live is live, ``DegradedError`` when it stopped in between.
    """
    try:
        before = host.current() or ""
        left, to = serving.side(host, before), serving.side(host, switch.to)
        previous = durable.read_link(host.fd, PREVIOUS) or ""
    except OSError as error:  # no refusal: what shall be live was installed just now, and stays
        problem = Problem("flip", f"{error}.", "Mend that, then run this again.")
        raise RolledBackError("the flip could not begin; what was live is live", [problem]) from None
    transaction = Transaction(new_tx(), "prepared", switch.to, before, previous, switch.who, changes=switch.changes)
    with interrupts.held():
        began = False  # whether anything that runs may have been told of it
        try:
            journal.write(host, transaction)
            with interrupts.let_through():
                _run_hooks(host, "pre", _whose("pre", left, to, switch), switch, say)
            overlay.prepare(host, transaction.tx, transaction.changes)
            transaction = transaction.step("switching")
            journal.write(host, transaction)
            overlay.switch(host, transaction.tx, transaction.changes)
            _point(host, transaction)
            began = True
            with interrupts.let_through():
                serving.follow(host, left, to, transaction.changes, say)
                _run_hooks(host, "post", to, switch, say)
                seen = serving.insist(host, to, say)
            if switch.floor:
                from . import floor  # only now: most hosts have none

                floor.lift(host, switch.floor)
            committed = transaction.step("committed", _events(transaction, switch, left, to, seen))
            journal.write(host, committed)
        except (Exception, interrupts.Interrupted) as error:
            _go_back(host, transaction, _Failure(error, began, left, to), say)
        interrupts.settle()
        try:
            forward(host, committed)
        except (OSError, InstallError) as error:
            what = f"{switch.to} is live, but this could not be recorded: {error}."
            remedy = "Mend that, then run install-release recover."
            raise DegradedError("it is live, and something is unfinished", [Problem("history", what, remedy)]) from None
    return before


def forward(host: Host, transaction: Transaction) -> None:
    """Finish a committed transaction: the links, the ledger, the history, the journal. Can be done again and again."""
    _point(host, transaction)
    overlay.commit(host, transaction.tx, transaction.changes, transaction.to, transaction.before)
    history.append_missing(host, transaction.tx, transaction.events)
    journal.write(host, None)


def back(host: Host, transaction: Transaction, why: str, revive: Callable[[], Sequence[Problem]] = tuple) -> tuple[Problem, ...]:
    """Undo a transaction that is not committed. Can be done again and again. What somebody else has set meanwhile, link or file, stays as it is.

    ``revive`` lets what runs follow, once all of it is back. Returned is what would not, and what else could not be put back. Raises ``OSError`` or
    ``InstallError`` when files or links could not be: the journal then says that it is still to be done.
    """
    found = journal.read(host)
    if found is not None and found.state == "committed":  # its last write failed after the rename: it must not win later
        journal.write(host, transaction)
    elif found is not None and found != transaction:
        with suppress(OSError):  # if this process is killed, whoever recovers knows why: as well as the disk lets it
            journal.write(host, transaction)
    stays = [Problem("etc", f"{words}.", "See install-release config-diff.") for words in overlay.restore(host, transaction.tx, transaction.changes)]
    restore_current(host, transaction.before, transaction.to)
    if durable.read_link(host.fd, PREVIOUS) == _target(transaction.before):
        _set(host, PREVIOUS, transaction.previous)
    here = (host.pointer(CURRENT).id or "") == transaction.before
    lost = tuple(revive()) if here else ()
    about = _about(transaction, serving.side(host, transaction.to))
    events = list(transaction.events or [{**about, "event": "failed", "why": why}])
    if lost:
        events.append({**about, "event": "degraded", "why": str(lost[0]), "back": transaction.before})
    with suppress(OSError):  # on a full disk: the links count
        history.append_missing(host, transaction.tx, events)
    journal.write(host, None)
    with suppress(OSError, InstallError):  # else recovery is due, and does it
        overlay.clear(host)
    return (*stays, *lost)


def restore_current(host: Host, before: str, to: str = "") -> None:
    """``before`` is live again where ``to`` is, or where ``current`` leads to no release at all: not where somebody has chosen another one."""
    current = host.pointer(CURRENT)
    if (current.id == to and to) or current.kind in ("absent", "foreign", "dangling"):
        _set(host, CURRENT, _target(before))


class _Failure(NamedTuple):
    """Why a flip can't go on. ``began``: what runs may have been told of it."""

    error: BaseException
    began: bool
    left: Side
    to: Side

    @property
    def message(self) -> str:
        what = self.error.message if isinstance(self.error, InstallError) else "the flip failed"
        return f"{what}, and all of it was taken back" if self.began or not isinstance(self.error, InstallError) else f"{what}; what was live is live"

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What went wrong, for people."""
        if isinstance(self.error, InstallError) and self.error.problems:
            return self.error.problems
        if isinstance(self.error, interrupts.Interrupted):
            return (Problem("signal", f"{self.error}.", "Run this again when it may take its time."),)
        state = "What was live is live again." if self.began else "Nothing that was live has changed."
        return (Problem("flip", f"{self.error}.", f"{state} Mend that, then run this again."),)

    @property
    def log(self) -> tuple[str, ...]:
        return self.error.log if isinstance(self.error, InstallError) else ()

    def event(self, transaction: Transaction) -> Event:
        """A line of the history. A release is bad when it was itself what failed: a service, a hook or its health."""
        bad, first = self.began and isinstance(self.error, InstallError), self.problems[0]
        why = f"{first.where}: {first.what}" if isinstance(self.error, InstallError) else str(self.error)
        log = {"log": list(self.log)} if self.log else {}
        return {**_about(transaction, self.to), "event": "bad" if bad else "failed", "why": why, **log}


def _about(transaction: Transaction, to: Side) -> Event:
    """What every event of a flip that is taken back says. If code of the release may have run, the data may be as it leaves them."""
    event: Event = {"time": history.now(), "id": transaction.to, "who": transaction.who, "tx": transaction.tx}
    if to.manifest:
        event["version"] = to.manifest.version
        if to.manifest.rollback_safe_to and (transaction.state != "prepared" or to.manifest.hooks):
            event["safe_to"] = to.manifest.rollback_safe_to
    return event


def _go_back(host: Host, transaction: Transaction, failure: _Failure, say: Say) -> NoReturn:
    """Undo it, up to the health of what is live again; then say how that went."""
    problems, log, lost = list(failure.problems), list(failure.log), list[Problem]()
    restored, unfinished = False, False

    def revive() -> Sequence[Problem]:
        nonlocal restored
        restored = True
        if failure.began:
            with interrupts.dropped():  # what could a signal ask for now?
                say(f"going back: {transaction.before or 'nothing'} is live again")
                lost.extend(serving.revive(host, failure.to, failure.left, transaction.changes, say))
                if not lost:
                    try:
                        serving.insist(host, failure.left, say)
                    except Exception as error:  # whatever it was, the way back goes on to its end
                        lost.extend(serving.problems_of(error))
                        log.extend(error.log if isinstance(error, InstallError) else ())
        return lost

    try:
        problems += back(host, transaction.step(transaction.state, (failure.event(transaction),)), "", revive)
    except (OSError, InstallError) as error:
        unfinished = True
        problems.append(Problem("recovery", f"is unfinished: {error}.", "Run install-release recover once that is mended."))
    if not restored:
        remedy = f"{CURRENT} may lead to {transaction.to}: run install-release recover."
        if not unfinished:
            remedy = f"Somebody else has set {CURRENT} meanwhile, and that stays; what runs was not touched again. Activate what shall be live."
        problems[0] = Problem(problems[0].where, problems[0].what, remedy)
    problems += _unsafe(failure)
    interrupts.ignore()  # one that was held would put its own words in the place of these
    if lost or not restored:
        raise DegradedError("the flip failed, and so did the way back", problems, log) from failure.error
    raise RolledBackError(failure.message, problems, log) from failure.error


def _unsafe(failure: _Failure) -> Iterator[Problem]:
    """Going back by itself, a host does not ask whether the data still fit: it says so."""
    left, to = failure.left.manifest, failure.to.manifest
    if left and to and to.rollback_safe_to and (failure.began or to.hooks) and older(left.version, to.rollback_safe_to) is not False:
        what = f"{to.version} says that no version before {to.rollback_safe_to} can run with the data as it leaves them, and {left.version} is live."
        yield Problem("rollback_safe_to", what, "Look at the data.")


def due(left: Side, to: Side, switch: Switch) -> tuple[Hook, ...]:
    """The hooks that a flip runs, in their order."""
    return (*_due("pre", _whose("pre", left, to, switch), switch), *_due("post", to, switch))


def _whose(moment: str, left: Side, to: Side, switch: Switch) -> Side:
    """Before a rollback, the release that is left knows what is to be undone."""
    return left if moment == "pre" and switch.how == "rollback" else to


def _due(moment: str, release: Side, switch: Switch) -> tuple[Hook, ...]:
    when = f"{moment}_{'rollback' if switch.how == 'rollback' else 'flip'}"
    may = switch.hooks and (switch.parting or when != "pre_rollback")
    declared = [hook for hook in (release.manifest.hooks if release.manifest and may else ()) if hook.when == when]
    if not declared:
        return ()
    from . import hooks  # only now: most releases have none

    return hooks.chosen(declared, when, switch.once)


def _run_hooks(host: Host, moment: str, release: Side, switch: Switch, say: Say) -> None:
    wanted = _due(moment, release, switch)
    if wanted:
        from . import hooks, masking  # only now: most releases have none

        masked = masking.mask(host.root, release.manifest.name if release.manifest else "")
        hooks.run(wanted, host.path(RELEASES, release.id, launcher.NAME), say, masked)


def _events(transaction: Transaction, switch: Switch, left: Side, to: Side, seen: Sequence[str]) -> tuple[Event, ...]:
    common = {"time": history.now(), "who": switch.who, "tx": transaction.tx}
    activated = {**common, "event": "activated", "id": switch.to, "version": switch.version, "how": switch.how, "why": switch.why}
    activated.update(switch.more)
    if transaction.before:
        activated["from"] = transaction.before
    if to.manifest and to.manifest.rollback_safe_to:
        activated["safe_to"] = to.manifest.rollback_safe_to
    well: Event = {"why": f"healthy: {seen[-1].rpartition('passed: ')[2]}", "log": list(seen)} if seen else {"why": "committed; it declares no check"}
    good = {**common, "event": "good", "id": switch.to, "version": switch.version, **well}
    aside = overlay.set_aside(transaction.changes)
    told: tuple[Event, ...] = (activated, good)
    if aside:
        told += ({**common, "event": "saved", "id": switch.to, "version": switch.version, "why": "; ".join(aside)},)
    if not (switch.marks_bad and transaction.before):
        return told
    why = f"rolled back to {switch.to}: {switch.why}"
    version = left.manifest.version if left.manifest else ""
    return *told, {**common, "event": "bad", "id": transaction.before, "version": version, "why": why}


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
