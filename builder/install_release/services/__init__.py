"""Services: what is restarted, reloaded, enabled or taken away by a flip. docs/services.md tells what each kind knows.

    changed_config ─▶ decide ─▶ apply            before the flip: problems, checks, run_checks; for an administrator: privileges

One module a kind, each a ``terms.Kind``. ``decide`` is pure; what a kind does, it does by commands, through ``commands``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from ..declared import Service
from ..errors import Problem
from ..manifest import Manifest
from ..masking import mask, mask_all
from ..overlay import Wanted
from . import apache, command, cron, gunicorn, init, logrotate, nginx, staged, supervisord, systemd
from .decide import decide
from .staged import texts
from .terms import Action, Check, Context, Kind, Privilege, Say, ServiceError

__all__ = [
    "Action",
    "Check",
    "Context",
    "Privilege",
    "ServiceError",
    "apply",
    "changed_config",
    "checks",
    "decide",
    "hopeless",
    "lint",
    "privileged",
    "problems",
    "run_checks",
    "texts",
]

_KINDS: Mapping[str, Kind] = {
    "systemd": systemd,
    "supervisord": supervisord,
    "gunicorn": gunicorn,
    "nginx": nginx,
    "apache": apache,
    "cron": cron,
    "logrotate": logrotate,
    "init": init,
    "command": command,
}
_HOPELESS: Mapping[str, Callable[[Service, Context], str]] = {"systemd": systemd.hopeless, "supervisord": supervisord.hopeless}


def changed_config(before: Wanted, to: Wanted, copied: Collection[str], laid: Collection[str]) -> frozenset[str]:
    """Paths below etc/ of which bytes or modes differ between two releases, added and removed ones too. Pure.

    ``copied``: paths that either release copies; of those only the ones change that the overlay changes on the system: ``laid``.
    """
    old, new = ({path: (file.mode, file.data) for path, file in each.files.items()} for each in (before, to))
    differ = {path for path in old.keys() | new.keys() if old.get(path) != new.get(path)}
    return frozenset({path for path in differ if not any(f"{path}/".startswith(f"{each}/") for each in copied)} | set(laid))


def checks(manifest: Manifest, context: Context) -> tuple[Check, ...]:
    """What ``run_checks`` would do, for the plan."""
    return tuple(Check(service.name, _KINDS[service.kind].how(service)) for service in manifest.services)


def run_checks(manifest: Manifest, context: Context, say: Say) -> tuple[Problem, ...]:
    """Let every service look at the configuration of the published ``context.release``; all that they say against it. Nothing is live yet."""
    if not manifest.services:
        return ()
    files, masked = texts(context.etc), mask(context.root, context.name)
    found = [problem for service in manifest.services for problem in lint(service, files)]
    if found:
        return mask_all(found, masked)
    with staged.copy(manifest, context) as copy:
        for service in manifest.services:
            say(f"checking {service.name}: {_KINDS[service.kind].how(service)}")
            found += [_about(service, each) for each in _KINDS[service.kind].check(service, context, copy, lambda line: say(masked(line)))]
    return mask_all(found, masked)


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """What is wrong with a service's configuration by its letters alone; ``files``: all texts below etc/, by path. Pure."""
    return tuple(_about(service, problem) for problem in _KINDS[service.kind].lint(service, files))


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Do it; what is worth a note. Raises ``ServiceError``. Can be done again; the way back is the same call for the older release."""
    say(str(action))
    try:
        return tuple(f"{action.service.name}: {note}" for note in _KINDS[action.service.kind].apply(action, context, say))
    except ServiceError as error:
        raise ServiceError(error.message, mask_all(error.problems, mask(context.root, context.name))) from None


def hopeless(manifest: Manifest, context: Context) -> str:
    """The first service of the live release that has failed, so that its manager does not start it again, in words; "" where none is known to."""
    with suppress(ServiceError, OSError):  # then nobody can say, and it is waited for
        return next(filter(None, (_HOPELESS[each.kind](each, context) for each in manifest.services if each.kind in _HOPELESS)), "")
    return ""


def privileged(manifest: Manifest, context: Context, wanted: Wanted) -> tuple[Privilege, ...]:
    """What an administrator must have set up for a manifest's services, each thing once. ``wanted``: its etc/, rendered for this host."""
    files = _texts(wanted)
    found = (privilege for service in manifest.services for privilege in _KINDS[service.kind].privileges(service, context, files))
    return tuple({(each.way, each.command, each.path, each.text): each for each in reversed(list(found))}.values())[::-1]


def problems(manifest: Manifest, context: Context, wanted: Wanted, left: tuple[Manifest, Wanted] | None = None) -> tuple[Problem, ...]:
    """What speaks against a manifest's services on this host, before anything of the release is here: the preflight's part.

    ``left`` is the release that is live: to stop what only that one has, and to come back to it, takes what it needs.
    """
    from . import privileges

    files = _texts(wanted)
    found = [problem for service in manifest.services for problem in lint(service, files)]
    for service in manifest.services:
        found += [_about(service, problem) for problem in _KINDS[service.kind].problems(service, context, files)]
    needed = privileged(manifest, context, wanted)
    if left:
        needed += tuple(each for each in privileged(left[0], context, left[1]) if each.way == "sudo" and each not in needed)
    return mask_all((*found, *privileges.missing(needed, context)), mask(context.root, context.name))


def _texts(wanted: Wanted) -> Mapping[str, str]:
    return {path: file.data.decode("utf-8", "replace") for path, file in wanted.files.items()}


def _about(service: Service, problem: Problem) -> Problem:
    where = f"services.{service.name}"
    return Problem(f"{where}: {problem.where}" if problem.where else where, problem.what, problem.remedy)
