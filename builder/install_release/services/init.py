"""Init scripts: root's copy in /etc/init.d, enabled by update-rc.d, run with the few words that are used; all by exact sudo lines.

A copy, since a script that is gone from the release must still be there to stop what it started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, copies, staged, starting, unit
from .commands import Clock
from .copies import Folder
from .terms import START, STOP, Action, Context, Privilege, Say, Staged

_FOLDER = Folder("/etc/init.d", "755")
_NEEDED = ("Provides", "Required-Start", "Required-Stop", "Default-Start", "Default-Stop")


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """The script is among its files, has an interpreter and an LSB header, and starts through bin/run."""
    mine = staged.mine(service, files)
    path = _script(service, mine)
    if mine and not path:
        return (Problem("config", f"none of its files is called {service.unit}.", "Name the script in config, or leave config out."),)
    if not path:
        return ()
    text, where, found = mine[path], f"etc/{path}", []
    if not text.startswith("#!"):
        found.append(Problem(where, "does not begin with the line of its interpreter.", "Write: #!/bin/sh"))
    header = re.search(r"(?ms)^### BEGIN INIT INFO\s*$(.*?)^### END INIT INFO\s*$", text)
    missing = [key for key in _NEEDED if header is None or not re.search(rf"(?m)^#\s*{key}:", header[1])]
    if missing:
        found.append(Problem(where, f"has no LSB header with {', '.join(missing)}: update-rc.d can't order it.", "See insserv(8)."))
    for line in text.splitlines():
        bare = line.strip()
        if not bare.startswith("#"):
            value = re.sub(r"^\w+=[\"']?", "", bare).rstrip("\"'")
            found += starting.command_problems(where, unit.split(value), bare)
    return tuple(found)


def _script(service: Service, mine: Mapping[str, str]) -> str:
    return next((path for path in mine if os.path.basename(path) == service.unit), "")


def how(service: Service) -> str:
    """What is asked before the flip."""
    return "sh -n" if service.config else "nothing: the script is the administrator's"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """Its interpreter reads it without running it; it may be run."""
    path = _script(service, staged.mine(service, staged.texts(copy.etc)))
    if not path:
        return ()
    file = os.path.join(copy.etc, path)
    found = []
    if not os.access(os.path.join(context.etc, path), os.X_OK):
        found.append(Problem(f"etc/{path}", "is not executable.", "git update-index --chmod=+x, then commit it."))
    interpreter = (staged.read(file) or "")[2:].partition("\n")[0].split()
    if interpreter and os.path.basename(interpreter[0]) in ("sh", "bash", "dash"):
        done = commands.ask([interpreter[0], "-n", file], service.deadline)
        if not done.good:
            found.append(Problem(f"etc/{path}", f"{interpreter[0]} says: {commands.told(done).replace(copy.etc, 'etc')}."))
    return tuple(found)


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """To lay the script down and remove it, to enable it, and the words that it is run with."""
    script, update = _FOLDER.target(service.unit), "/usr/sbin/update-rc.d"
    words = [Privilege(service.name, "sudo", f"{service.unit} {verb}", (script, verb)) for verb in ("restart", "stop")]
    if not service.config:
        return tuple(words)
    grants = f"{script} is what the live release says: {context.user} decides what root runs when it starts and stops"
    path = _script(service, staged.mine(service, files))
    enable = [
        Privilege(service.name, "sudo", f"{service.unit} starts at boot", (update, service.unit, "defaults")),
        Privilege(service.name, "sudo", f"{service.unit} does not any more", (update, service.unit, "remove")),
    ]
    return (*copies.privileges(service.name, context, [path], _FOLDER, grants), *enable, *words)


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """Nothing foreign is in the way; a script that no release brings is there."""
    if service.config:
        mine = staged.mine(service, files)
        return copies.problems(context, {path: mine[path] for path in mine if path == _script(service, mine)}, _FOLDER)
    script = _FOLDER.target(service.unit)
    return () if os.path.exists(script) else (Problem("unit", f"{script} is not on this host.", "Install it, or name the release's own in config."),)


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Lay it down where it differs, enable it when it is new, ``restart`` it, also the first time: it may run already."""
    service, clock = action.service, Clock(action.service.deadline)
    script, update = _FOLDER.target(service.unit), commands.find("update-rc.d")
    mine = staged.mine(service, staged.texts(context.left if action.verb == STOP else context.etc))
    own = {path: text for path, text in mine.items() if path == _script(service, mine)}
    if action.verb == STOP:
        if os.path.exists(script):
            commands.act(commands.as_root(context, (script, "stop")), clock.left, f"Run it by hand: {script} stop")
        notes = copies.remove(context, own, _FOLDER, clock)
        if own and update and not notes:
            commands.act(commands.as_root(context, (update, service.unit, "remove")), clock.left)
        return notes
    copies.lay(context, own, _FOLDER, clock)
    if own and update and action.verb == START:
        commands.act(commands.as_root(context, (update, service.unit, "defaults")), clock.left)
    commands.act(commands.as_root(context, (script, "restart")), clock.left, f"Run it by hand: {script} restart")
    return ()
