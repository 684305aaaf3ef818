"""Pruning: which releases and environments go is decided purely; then each is renamed away, and removed.

It runs after a deployment is committed, and what fails here never fails a deployment: it is said, and tried again next time.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import durable, history
from .errors import DamagedError, InstallError
from .history import History
from .host import ENV_TABLES, ENVS, PREVIOUS, RELEASES, STAGING, Host
from .processes import running
from .records import NamedTuple


class Facts(NamedTuple):
    """What the decision needs. ``used``: ids of which a process holds the lease, or of which one was seen. ``keep``: good ones, at least 1."""

    history: History
    present: tuple[str, ...]
    current: str
    previous: str
    used: frozenset[str]
    keep: int


class Pruned(NamedTuple):
    """What was removed, and in words what could not be."""

    releases: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Proposal(NamedTuple):
    """What would be removed, and why each release that stays does."""

    releases: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    stays: Mapping[str, str] = {}


def reasons(facts: Facts) -> Mapping[str, str]:
    """Why each release that stays does stay; those that are not in it go.

    The ``keep`` newest good ones stay (newest: the way that led to what is live, then the order of installing); so do the live one, its
    predecessor, pinned ones and ones in use. Others, bad or never active, stay until a release that was installed later is live.
    """
    past = facts.history.of
    live_order = past(facts.current).order
    line = {release: number for number, release in enumerate(facts.history.line)}
    good = [release for release in facts.present if past(release).state == "good"]
    good.sort(key=lambda release: (line.get(release, -1), past(release).order), reverse=True)
    kept: dict[str, str] = dict.fromkeys(good[: facts.keep], "good")
    for release in facts.present:
        if past(release).state != "good" and past(release).order > live_order:
            kept[release] = "newer than the live one"
        if past(release).pinned:
            kept[release] = "pinned"
        if release in facts.used:
            kept[release] = "in use"
    target = history.rollback_target(facts.history, facts.current, facts.present)
    for release, why in ((facts.previous, "previous"), (target or "", "rollback target"), (facts.current, "current")):
        if release in facts.present:
            kept[release] = why
    return kept


def propose(host: Host) -> Proposal:
    """What ``prune`` would do. Changes nothing."""
    current = host.current()
    if current is None:
        return Proposal(stays=dict.fromkeys(host.releases(), "nothing is live"))
    facts = gather(host, current)
    stays = reasons(facts)
    goes = tuple(release for release in facts.present if release not in stays)
    idle = [key for key, releases in environment_users(host).items() if set(releases) <= set(goes)]
    seen = {process.env for process in running(host, {}).processes} if idle else set()
    return Proposal(goes, tuple(key for key in idle if key not in seen), {release: stays[release] for release in facts.present if release in stays})


def prune(host: Host, who: str, keep: int | None = None) -> Pruned:
    """Remove what need not stay. The caller holds the lock and has recovered. ``keep`` defaults to what the live release says.

    Without a live release nothing is removed: nobody can say then what will be wanted. Raises ``DamagedError`` only before any change.
    """
    current = host.current()
    if current is None:
        return Pruned()
    facts = gather(host, current, keep)
    kept = reasons(facts)
    removed: list[str] = []
    problems: list[str] = []
    for release in facts.present:
        if release in kept:
            continue
        try:
            with host.lease(release):  # nothing can start from it any more
                discard_release(host, release)
            event = {"time": history.now(), "event": "pruned", "id": release, "who": who, "version": facts.history.of(release).version}
            removed.append(release)
            history.append(host, [event])
        except (OSError, InstallError) as error:
            problems.append(f"{host.path(RELEASES, release)} could not be removed: {error}")
    gone, more = _prune_environments(host)
    return Pruned(tuple(removed), gone, (*problems, *more))


def gather(host: Host, current: str, keep: int | None = None) -> Facts:
    """The facts for ``reasons``. Processes are looked for only when something would go: that takes a while on a busy host."""
    if keep is None:
        keep = host.manifest(current).keep_releases
    past = history.past(host)
    facts = Facts(past, tuple(host.releases()), current, host.pointer(PREVIOUS).id, frozenset(), keep)
    return facts if set(facts.present) <= set(reasons(facts)) else facts._replace(used=_used(host, facts.present))


def _used(host: Host, present: tuple[str, ...]) -> frozenset[str]:
    """Releases whose lease is held, or from which a process runs, or may run: of one that only shows its environment, all that have it."""
    users = environment_users(host)
    used = {release for release in present if host.leased(release)}
    for process in running(host, users).processes:
        used.update([process.release] if process.release else users.get(process.env, ()))
    return frozenset(used)


def environment_users(host: Host) -> Mapping[str, tuple[str, ...]]:
    """The releases that have each environment. A release whose record can't be read has all of them: its environment must not go."""
    users: dict[str, list[str]] = {key: [] for key in host.environments()}
    for release in host.releases():
        try:
            users.setdefault(str(host.record(release)["env"]), []).append(release)
        except DamagedError:
            for each in users.values():
                each.append(release)
    return {key: tuple(releases) for key, releases in users.items()}


def discard_release(host: Host, release: str) -> None:
    """Take ``releases/<id>`` out of sight in one step, then remove it."""
    _discard(host, RELEASES, release)


def discard_environment(host: Host, key: str) -> None:
    """Take an environment away: its table first, for without that it does not exist."""
    with host.directory(ENV_TABLES) as tables:
        durable.remove_name(tables, f"{key}.json")
    _discard(host, ENVS, key)


def _prune_environments(host: Host) -> tuple[tuple[str, ...], tuple[str, ...]]:
    gone: list[str] = []
    problems: list[str] = []
    unused = [key for key, releases in environment_users(host).items() if not releases]
    seen = {process.env for process in running(host, {}).processes} if unused else set()
    for key in unused:
        if key in seen:
            continue
        try:
            discard_environment(host, key)
            gone.append(key)
        except (OSError, InstallError) as error:
            problems.append(f"{host.path(ENVS, key)} could not be removed: {error}")
    return tuple(gone), tuple(problems)


def _discard(host: Host, directory: str, name: str) -> None:
    with host.directory(directory) as source, host.directory(STAGING) as staging:
        durable.remove_tree(staging, f"gc-{name}")
        if durable.exists(source, name):
            durable.publish(source, name, staging, f"gc-{name}")
        durable.remove_tree(staging, f"gc-{name}")
