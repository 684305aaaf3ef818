"""What a flip does to which service, and why. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ..declared import Service, matching
from ..manifest import Manifest
from .terms import RELOAD, RESTART, START, STOP, UPDATE, Action

_READERS = ("nginx", "apache")  # read their configuration again while they serve
_FILES = ("cron", "logrotate")  # are nothing but files that something else reads


def decide(before: Manifest | None, to: Manifest, changed: frozenset[str], env_changed: bool) -> tuple[Action, ...]:
    """What is to be done once ``to`` is live instead of ``before``; nothing where nothing changed.

    ``changed``: paths below etc/ of which bytes or modes differ; ``env_changed``: the environment does. What stops comes first: it may hold a port.
    """
    old = {service.name: service for service in before.services} if before else {}
    new = {service.name: service for service in to.services}
    stops = [
        Action(service, STOP, "this release has it no longer" if name not in new else "it is another kind of service now", _of(service, changed))
        for name, service in old.items()
        if name not in new or _identity(new[name]) != _identity(service)
    ]
    reasons = {"release": before != to, "env": env_changed}
    actions = (_action(service, old.get(service.name), before, reasons, changed) for service in to.services)
    return (*reversed(stops), *(action for action in actions if action))


def _action(service: Service, old: Service | None, before: Manifest | None, reasons: Mapping[str, bool], changed: frozenset[str]) -> Action | None:
    mine = _of(service, changed)
    if old is None or _identity(old) != _identity(service):
        return Action(service, START, "it is new in this release" if before else "it is new here", mine)
    given = {**reasons, "config": bool(mine) or _declaration(old) != _declaration(service)}
    due = [trigger for trigger in service.restart_on if given[trigger]]
    if not due:
        return None
    return Action(service, _verb(service, due, reasons["release"]), ", ".join(map(_WORDS.__getitem__, due)), mine)


def _verb(service: Service, due: list[str], new_release: bool) -> str:
    only_config = due == ["config"]
    if service.kind in _READERS:
        return RELOAD
    if service.kind in _FILES or (service.kind == "supervisord" and only_config):
        return UPDATE
    if service.kind == "gunicorn":  # a HUP keeps the code of the release that it was started from: only within one release
        return RELOAD if only_config and not new_release else RESTART
    if service.kind == "command" and service.reload and (only_config or not service.restart):
        return RELOAD
    return RESTART


_WORDS = {"release": "another release", "env": "its environment changed", "config": "its configuration changed"}


def _of(service: Service, changed: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({path for pattern in service.config for path in matching(changed, pattern)}))


def _identity(service: Service) -> tuple[object, ...]:
    """What tells one thing that runs from another; one that is nothing but files is its files."""
    return service.kind, service.unit, service.program, service.user, service.config if service.kind in _FILES else ()


def _declaration(service: Service) -> tuple[object, ...]:
    """What of a recipe's words is configuration: a file that is no longer named is one that changed."""
    return service.config, service.modules
