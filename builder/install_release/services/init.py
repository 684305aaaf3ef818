"""Init scripts: ``/etc/init.d/<name>`` is a link into ``current/etc``; update-rc.d enables it once, sudo runs it with the few words that are used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, staged, starting, unit
from .commands import Clock
from .terms import STOP, Action, Context, Privilege, Say, Staged

_FOLDER = "/etc/init.d"
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
    """The link, the run levels, and the script's own words."""
    script = f"{_FOLDER}/{service.unit}"
    path = _script(service, staged.mine(service, files))
    words = [Privilege(service.name, "sudo", f"{service.unit} {verb}", (script, verb)) for verb in ("restart", "stop")]
    if not path:
        return tuple(words)
    grants = f"{script} is what the live release says: {context.user} decides what root runs when it starts and stops"
    link = Privilege(service.name, "link", grants, path=script, text=f"{context.root}/current/etc/{path}")
    return (link, Privilege(service.name, "run", f"{service.unit} starts at boot", ("/usr/sbin/update-rc.d", service.unit, "defaults")), *words)


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """The link is checked with the other privileges."""
    return ()


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """``restart``, also the first time: it may run already. A script that is gone from the release is asked to stop by the one that was left."""
    clock, script = Clock(action.service.deadline), f"{_FOLDER}/{action.service.unit}"
    if action.verb == STOP and not os.path.exists(script):
        return (f"{script} leads nowhere now; what it had started is not stopped by it: see install-release status",)
    verb = "stop" if action.verb == STOP else "restart"
    commands.act(commands.as_root(context, (script, verb)), clock.left, f"Run it by hand: {script} {verb}")
    return ()
