"""What serves: whatever runs follows a flip, forward and back, and is asked whether it is well."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .errors import DamagedError, InstallError, Problem, RolledBackError
from .host import RELEASES, Host
from .manifest import Manifest
from .overlay import Change
from .who import account

if TYPE_CHECKING:  # most releases have none, and each start would pay for all kinds of them
    from .services import Action, Context

Say = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """One end of a flip: a release, and what it declares. "" is no release; one that is damaged has no manifest."""

    id: str
    manifest: Manifest | None = None


class UnhealthyError(RolledBackError):
    """A release did not answer as it should. ``log`` is what the check saw."""


def side(host: Host, release: str) -> Side:
    """The release ``release`` of this host ("" for none)."""
    try:
        return Side(release, host.manifest(release) if release else None)
    except DamagedError:
        return Side(release)


def actions(host: Host, left: Side, to: Side, changes: Iterable[Change]) -> tuple[Action, ...]:
    """What is to be done about which service once ``to`` is live instead of ``left``."""
    if not any(each.manifest and each.manifest.services for each in (left, to)):
        return ()
    from . import services

    wanted = to.manifest or replace(left.manifest or _damaged(host, to), services=())
    laid = {change.etc for change in changes if change.old != change.new}
    changed = services.changed_config(host, left.id if left.manifest else "", to.id, laid)
    return services.decide(left.manifest, wanted, changed, _environment(host, left) != _environment(host, to))


def follow(host: Host, left: Side, to: Side, changes: Sequence[Change], say: Say) -> None:
    """Let every service follow, one after the other. Raises ``ServiceError`` for the first that won't."""
    due = actions(host, left, to, changes)
    if due:
        from . import services

        for action in due:
            for note in services.apply(action, context(host.root, left, to), say):
                say(note)


def insist(host: Host, release: Side, say: Say) -> tuple[str, ...]:
    """Ask the live release whether it is well; what the check saw, nothing when none is declared. Raises ``UnhealthyError``."""
    if release.manifest is None or not release.manifest.health.declared:
        return ()
    from . import health

    check = release.manifest.health
    say(f"health: {health.described(check)}")
    verdict = health.watch(check, host.path(RELEASES, release.id), say)
    if not verdict.good:
        what = f"{release.id} did not pass: {verdict.log[-2 if len(verdict.log) > 1 else -1].partition('s  ')[2]}."
        raise UnhealthyError(
            "the health check failed", [Problem("health", what, "See what it saw, below; the release's own log says more.")], verdict.log
        )
    return verdict.log


def problems(root: str, left: Side, to: Side) -> tuple[Problem, ...]:
    """What is missing on this host for what ``to`` declares, as far as it can be known before that is unpacked."""
    if to.manifest is None:
        return ()
    found: list[Problem] = []
    if to.manifest.health.declared:
        from . import health

        found += health.problems(to.manifest.health)
    if to.manifest.services:
        from . import services

        found += services.problems(to.manifest, context(root, left, to))
    return tuple(found)


def checks(root: str, left: Side, to: Side, say: Say) -> tuple[Problem, ...]:
    """Let every service look at the configuration of ``to``, which is here and not yet live; what they say against it."""
    if to.manifest is None or not to.manifest.services:
        return ()
    from . import services

    return services.run_checks(to.manifest, context(root, left, to), say)


def revive(host: Host, left: Side, to: Side, changes: Sequence[Change], say: Say) -> tuple[Problem, ...]:
    """The way back: every service follows to ``to``, whatever another one does. What would not, in words."""
    try:
        due = actions(host, left, to, changes)
    except (OSError, InstallError) as error:
        return _problems(error)
    problems: list[Problem] = []
    for action in due:
        from . import services

        try:
            for note in services.apply(action, context(host.root, left, to), say):
                say(note)
        except (OSError, InstallError) as error:
            problems += _problems(error)
    return tuple(problems)


def context(root: str, left: Side, to: Side) -> Context:
    """What a kind of service may know of a flip."""
    from .services import Context

    manifest = to.manifest or left.manifest
    user = account(os.geteuid())[0]
    return Context(root, to.id, left.id, manifest.name if manifest else "", user, os.geteuid())


def _environment(host: Host, release: Side) -> str:
    try:
        return str(host.record(release.id)["env"]) if release.id else ""
    except DamagedError:
        return ""


def _damaged(host: Host, release: Side) -> Manifest:
    what = f"{host.path(RELEASES, release.id)} is damaged: which services it has can't be told."
    raise DamagedError("a release is damaged", [Problem("services", what, "Look at them; install that release again.")])


def _problems(error: Exception) -> tuple[Problem, ...]:
    found = error.problems if isinstance(error, InstallError) else ()
    return found or (Problem("services", f"{error}.", "Look at what runs."),)
