"""What serves: whatever runs follows a flip, forward and back, and is asked whether it is well."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

from . import overlay
from .errors import DamagedError, InstallError, Problem, RolledBackError
from .host import RELEASES, Host
from .manifest import Manifest
from .overlay import Change, Wanted
from .records import NamedTuple
from .typed import TYPE_CHECKING
from .who import account

if TYPE_CHECKING:  # most releases have none, and each start would pay for all kinds of them
    from .services import Action, Context

Say = Callable[[str], None]


class Side(NamedTuple):
    """One end of a flip: a release, what it declares, its rendered etc/, its environment. "" is no release; a damaged one has no manifest."""

    id: str
    manifest: Manifest | None = None
    etc: Wanted = Wanted()
    env: str = ""

    @property
    def services(self) -> bool:
        return self.manifest is not None and bool(self.manifest.services)


class UnhealthyError(RolledBackError):
    """A release did not answer as it should. ``log`` is what the check saw."""


def side(host: Host, release: str) -> Side:
    """The release ``release`` of this host ("" for none)."""
    found = Side(release)
    with suppress(DamagedError):
        if release:
            found = found._replace(manifest=host.manifest(release))
            found = found._replace(etc=overlay.published(host, release))
            found = found._replace(env=str(host.record(release)["env"]))
    return found


def actions(left: Side, to: Side, changes: Iterable[Change]) -> tuple[Action, ...]:
    """What is to be done about which service once ``to`` is live instead of ``left``. Raises ``DamagedError`` when that can't be told."""
    if not (left.services or to.services):
        return ()
    from . import services

    if to.manifest is None and to.id:
        what = f"{to.id} is damaged: which services it has can't be told."
        raise DamagedError("a release is damaged", [Problem("services", what, "Look at what runs; install that release again.")])
    wanted = to.manifest
    if wanted is None:
        assert left.manifest is not None  # else neither had services
        wanted = left.manifest._replace(services=())
    copied = [each.path for manifest in (left.manifest, to.manifest) if manifest for each in manifest.overlay.copied]
    changed = services.changed_config(left.etc, to.etc, copied, overlay.laid(changes))
    return services.decide(left.manifest, wanted, changed, left.env != to.env)


def follow(host: Host, left: Side, to: Side, changes: Sequence[Change], say: Say) -> None:
    """Let every service follow, one after the other. Raises ``ServiceError`` for the first that won't."""
    due = actions(left, to, changes)
    if due:
        from . import services

        for action in due:
            for note in services.apply(action, context(host.root, left, to), say):
                say(note)


def insist(host: Host, release: Side, say: Say) -> tuple[str, ...]:
    """Ask the live release whether it is well; what the check saw, nothing when none is declared. Raises ``UnhealthyError``."""
    if release.manifest is None or not release.manifest.health.declared:
        return ()
    from . import health, masking

    check = release.manifest.health
    say(f"health: {health.described(check)}")
    directory, masked = host.path(RELEASES, release.id), masking.mask(host.root, release.manifest.name)
    verdict = health.watch(check, directory, say, masked, partial(_hopeless, host, release))
    if not verdict.good:
        what = f"{release.id} did not pass: {verdict.log[-2 if len(verdict.log) > 1 else -1].partition('s  ')[2]}."
        logs = [
            f"journalctl {'--user ' if each.user else ''}-u {each.unit}" for each in release.manifest.services if each.unit and each.kind != "init"
        ]
        more = f"the release's own log says more{': ' if logs else ''}{', '.join(logs)}"
        raise UnhealthyError("the health check failed", [Problem("health", what, f"See what it saw, below; {more}.")], verdict.log)
    return verdict.log


def _hopeless(host: Host, release: Side) -> str:
    """Which service of the live release has failed for good, in words: what asks whether it is well need not wait for it."""
    if not release.services or release.manifest is None:
        return ""
    from . import services

    return services.hopeless(release.manifest, context(host.root, release, release))


def problems(root: str, left: Side, to: Side) -> tuple[Problem, ...]:
    """What is missing on this host for what ``to`` declares, as far as it can be known before that is unpacked."""
    if to.manifest is None or not (to.services or left.services):
        return ()
    from . import services

    return services.problems(to.manifest, context(root, left, to), to.etc, (left.manifest, left.etc) if left.manifest else None)


def checks(root: str, left: Side, to: Side, say: Say) -> tuple[Problem, ...]:
    """Let every service look at the configuration of ``to``, which is here and not yet live; what they say against it."""
    if to.manifest is None or not to.manifest.services:
        return ()
    from . import services

    return services.run_checks(to.manifest, context(root, left, to), say)


def revive(host: Host, left: Side, to: Side, changes: Sequence[Change], say: Say) -> tuple[Problem, ...]:
    """The way back: every service follows to ``to``, whatever another one does, and whatever goes wrong. What would not, in words."""
    try:
        due = actions(left, to, changes)
    except Exception as error:
        return problems_of(error)
    problems: list[Problem] = []
    for action in due:
        from . import services

        try:
            for note in services.apply(action, context(host.root, left, to), say):
                say(note)
        except Exception as error:
            problems += problems_of(error)
    return tuple(problems)


def context(root: str, left: Side, to: Side) -> Context:
    """What a kind of service may know of a flip."""
    from .services import Context

    manifest = to.manifest or left.manifest
    user = account(os.geteuid())[0]
    return Context(root, to.id, left.id, manifest.name if manifest else "", user, os.geteuid())


def problems_of(error: Exception) -> tuple[Problem, ...]:
    """Why a service would not follow."""
    if isinstance(error, InstallError) and error.problems:
        return error.problems
    what = str(error) if isinstance(error, (OSError, InstallError)) else f"unexpected {type(error).__name__}: {error}"
    return (Problem("services", f"{what}.", "Look at what runs."),)
