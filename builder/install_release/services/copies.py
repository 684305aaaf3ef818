"""Files of a release that only root may own: cron and logrotate read no others. Laid down and removed by exact sudo lines.

A file that somebody else has put there, or has changed, is never written over: the release is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, staged
from .commands import Clock
from .terms import STOP, Action, Context, Privilege


def privileges(service: Service, context: Context, files: Mapping[str, str], folder: str, grants: str) -> tuple[Privilege, ...]:
    """To lay each file into ``folder``, and to remove it."""
    found = []
    for path in staged.mine(service, files):
        target = os.path.join(folder, os.path.basename(path))
        found.append(Privilege(service.name, "sudo", grants, _install(context, path, target)))
        found.append(Privilege(service.name, "sudo", f"{target} is removed", _remove(target)))
    return tuple(found)


def problems(service: Service, context: Context, files: Mapping[str, str], folder: str) -> tuple[Problem, ...]:
    """What stands in the place of a file, and is not what the live release laid there."""
    found = []
    for path, text in staged.mine(service, files).items():
        target = os.path.join(folder, os.path.basename(path))
        there = staged.read(target)
        laid = staged.read(os.path.join(context.left, path)) if context.left else None
        if there is not None and there not in (laid, text):
            what = f"{target} is there, and is not what a release has laid down."
            found.append(Problem(f"etc/{path}", what, "Compare the two, take over what you need, then move it away."))
        elif there is None and os.path.lexists(target):
            found.append(Problem(f"etc/{path}", f"{target} can't be read, or is no file.", "Move it away."))
    return tuple(found)


def apply(action: Action, context: Context, folder: str) -> tuple[str, ...]:
    """Lay down what is missing or differs; remove what the release that was left had and the live one has not."""
    clock = Clock(action.service.deadline)
    wanted = {} if action.verb == STOP else _wanted(action.service, context.etc)
    notes = []
    for path, text in wanted.items():
        target = os.path.join(folder, os.path.basename(path))
        if staged.read(target) != text:
            commands.act(commands.as_root(context, _install(context, path, target)), clock.left)
    for path, text in (_wanted(action.service, context.left) if context.left else {}).items():
        target = os.path.join(folder, os.path.basename(path))
        if path in wanted or staged.read(target) is None:
            continue
        if staged.read(target) != text:
            notes.append(f"{target} stays: it was changed on this host")
        else:
            commands.act(commands.as_root(context, _remove(target)), clock.left)
    return tuple(notes)


def _wanted(service: Service, etc: str) -> dict[str, str]:
    return staged.mine(service, staged.texts(etc))


def _install(context: Context, path: str, target: str) -> tuple[str, ...]:
    source = f"{context.root}/current/etc/{path}"
    return (commands.program("install"), "-m", "644", "-o", "root", "-g", "root", "-T", source, target)


def _remove(target: str) -> tuple[str, ...]:
    return (commands.program("rm"), "-f", target)
