"""Recovery: what a killed installer or a power cut left is finished, or undone and removed. As often as need be.

It runs at the start of every command that changes something. The others only say that it is due.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from . import durable, flip, history, journal, overlay, serving
from .errors import InstallError, Problem
from .history import Event
from .host import BIN, ENV_TABLES, ENVS, STAGING, STATE, Host
from .prune import environment_users
from .records import NamedTuple


class Leftover(NamedTuple):
    """Something that no finished command leaves: ``name`` in ``directory``, and what it is, in words."""

    directory: str
    name: str
    what: str


class Recovered(NamedTuple):
    """What was done, in words; and what would not follow: services, files that somebody else has changed."""

    done: tuple[str, ...]
    problems: tuple[Problem, ...]


def due(host: Host) -> tuple[str, ...]:
    """What ``recover`` would do, in words; nothing is changed. Raises ``DamagedError`` when the journal can't be trusted."""
    transaction = journal.read(host)
    found = []
    if transaction is not None:
        way = "finish" if transaction.state == "committed" else "undo"
        found.append(f"{way} the activation of {transaction.to} ({transaction.state})")
    found += [f"remove {each.what} {each.directory}/{each.name}" for each in leftovers(host)]
    found += [f"remove the temporary file {path}" for path in overlay.leftovers(host, transaction.tx if transaction else "")]
    return tuple(found)


def recover(host: Host, say: Callable[[str], None] = lambda line: None, *, boot: bool = False) -> Recovered:
    """Do what is due. The caller holds the lock. ``boot``: what runs will be started later, and is left alone.

    Raises ``DamagedError`` before anything is changed when journal or history can't be trusted.
    """
    transaction = journal.read(host)
    history.read(host)
    done = due(host)
    problems: tuple[Problem, ...] = ()
    if transaction is not None and transaction.state == "committed":
        flip.forward(host, transaction)
    elif transaction is not None:
        left, to, changes = serving.side(host, transaction.to), serving.side(host, transaction.before), transaction.changes
        told = transaction.state == "switching" and not boot  # what runs may have been told of it
        revive = partial(serving.revive, host, left, to, changes, say) if told else tuple
        problems = flip.back(host, transaction, "interrupted; undone by recovery", revive)
    for each in leftovers(host):
        with host.directory(each.directory) as directory:
            durable.remove_tree(directory, each.name)
    overlay.clear(host)
    return Recovered(done, problems)


def mend(host: Host, who: str, say: Callable[[str], None]) -> Recovered:
    """Try once more what the last way back could not do: let what runs follow, and ask whether it is well."""
    event = history.past(host).degraded
    if event is None:
        return Recovered((), ())
    live = serving.side(host, host.current() or "")
    problems = serving.revive(host, serving.side(host, event["id"]), live, (), say)
    if not problems:
        try:
            serving.insist(host, live, say)
        except InstallError as error:
            problems = error.problems
    if problems:
        return Recovered((), problems)
    mended: Event = {"time": history.now(), "event": "mended", "id": event["id"], "who": who, "why": "what runs is what is live again"}
    history.append(host, [mended])
    return Recovered((f"what runs follows {live.id} again",), ())


def leftovers(host: Host) -> list[Leftover]:
    """Stages, temporary siblings, and environments that never became complete."""
    found = [Leftover(STAGING, name, "the stage") for name in host.names(STAGING)]
    for directory in ("", BIN, STATE, ENV_TABLES):
        found += [Leftover(directory, name, "the temporary file") for name in host.names(directory) if _is_temporary(directory, name)]
    used = {key for key, releases in environment_users(host).items() if releases}
    for key in host.environments():
        if not host.has_environment(key) and key not in used:  # one that a release needs is damaged, not left over: verify says so
            found.append(Leftover(ENVS, key, "the unfinished environment"))
    for name in host.names(ENV_TABLES):
        key = name[: -len(".json")]
        if name.endswith(".json") and not name.startswith(".") and not durable.exists(host.fd, f"{ENVS}/{key}") and key not in used:
            found.append(Leftover(ENV_TABLES, name, "the table of an environment that is gone"))
    return found


def _is_temporary(directory: str, name: str) -> bool:
    if not (name.startswith(".") and name.endswith(".new")):
        return False
    return directory in (STATE, ENV_TABLES) or name in map(durable.temporary, ("current", "previous", "install-release"))
