"""Files of a release that only root may own: cron, logrotate and init scripts. Laid down and removed by exact sudo lines.

A file that somebody else has put there, or has changed, is never written over: the release is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from ..errors import Problem
from ..records import NamedTuple
from . import commands, staged
from .commands import Clock
from .terms import STOP, Action, Context, Privilege


class Folder(NamedTuple):
    """Where on the system, and the mode that files there have."""

    path: str
    mode: str = "644"

    def target(self, path: str) -> str:
        """Where the file ``path`` of etc/ goes."""
        return os.path.join(self.path, os.path.basename(path))


def privileges(service: str, context: Context, paths: Iterable[str], folder: Folder, grants: str) -> tuple[Privilege, ...]:
    """To lay each file down, and to remove it."""
    found = []
    for path in paths:
        found.append(Privilege(service, "sudo", grants, _install(context, path, folder)))
        found.append(Privilege(service, "sudo", f"{folder.target(path)} is removed", _remove(folder.target(path))))
    return tuple(found)


def problems(context: Context, files: Mapping[str, str], folder: Folder) -> tuple[Problem, ...]:
    """What stands in the place of a file, and is not what the live release laid there."""
    found = []
    for path, text in files.items():
        target = folder.target(path)
        there = staged.read(target)
        laid = staged.read(os.path.join(context.left, path)) if context.left else None
        if there is not None and there not in (laid, text):
            what = f"{target} is there, and is not what a release has laid down."
            found.append(Problem(f"etc/{path}", what, "Compare the two, take over what you need, then move it away."))
        elif there is None and os.path.lexists(target):
            found.append(Problem(f"etc/{path}", f"{target} can't be read, or is no file.", "Move it away."))
    return tuple(found)


def lay(context: Context, files: Mapping[str, str], folder: Folder, clock: Clock) -> None:
    """Lay down what is missing or differs."""
    for path, text in files.items():
        if staged.read(folder.target(path)) != text:
            commands.act(commands.as_root(context, _install(context, path, folder)), clock.left)


def remove(context: Context, files: Mapping[str, str], folder: Folder, clock: Clock) -> tuple[str, ...]:
    """Remove what a release laid down; what was changed on this host stays, and is told."""
    notes = []
    for path, text in files.items():
        target = folder.target(path)
        there = staged.read(target)
        if there is not None and there != text:
            notes.append(f"{target} stays: it was changed on this host")
        elif there is not None:
            commands.act(commands.as_root(context, _remove(target)), clock.left)
    return tuple(notes)


def follow(action: Action, context: Context, folder: Folder) -> tuple[str, ...]:
    """All that a service of nothing but files needs: those of the live release are there, those that only the one before had are not."""
    clock = Clock(action.service.deadline)
    if action.verb == STOP:
        return remove(context, staged.mine(action.service, staged.texts(context.left)), folder, clock)
    lay(context, staged.mine(action.service, staged.texts(context.etc)), folder, clock)
    return remove(context, staged.gone(action.service, context), folder, clock)


def _install(context: Context, path: str, folder: Folder) -> tuple[str, ...]:
    source = f"{context.root}/current/etc/{path}"
    return (commands.program("install"), "-m", folder.mode, "-o", "root", "-g", "root", "-T", source, folder.target(path))


def _remove(target: str) -> tuple[str, ...]:
    return (commands.program("rm"), "-f", target)
