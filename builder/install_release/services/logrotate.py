"""logrotate: files that root owns in /etc/logrotate.d. With ``user = true``, the user's own, run by a line of a crontab: only checked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, copies, staged
from .copies import Folder
from .terms import Action, Context, Privilege, Say, Staged

_FOLDER = Folder("/etc/logrotate.d")
_ERROR = re.compile(r"error: (\S+?):(\d+) (.*)")
_IGNORED = (
    ".bak",
    ".cfsaved",
    ".disabled",
    ".dpkg-",
    ".old",
    ".orig",
    ".rhn-cfg-tmp-",
    ".rpmnew",
    ".rpmorig",
    ".rpmsave",
    ".swp",
    ".ucf-",
    "~",
    ",v",
)


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """Braces match (logrotate itself lets that pass), and a file has a name that logrotate reads."""
    found = []
    for path, text in staged.mine(service, files).items():
        bare = re.sub(r"(?m)^\s*#.*$|\b(?:pre|post|first|last)(?:rotate|action)\b.*?\bendscript\b", "", text, flags=re.DOTALL | re.MULTILINE)
        if bare.count("{") != bare.count("}"):
            found.append(Problem(f"etc/{path}", f"has {bare.count('{')} opening and {bare.count('}')} closing braces."))
        if not service.user and any(part in os.path.basename(path) for part in _IGNORED):
            found.append(Problem(f"etc/{path}", "is not read: logrotate ignores such names.", "Rename it."))
    return tuple(found)


def how(service: Service) -> str:
    """What is asked before the flip."""
    return "logrotate --debug"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """``logrotate --debug`` changes nothing. Its status tells of logs that are not there yet; its errors that name a line are about the file."""
    program = commands.find("logrotate")
    if not program:
        return commands.absent("logrotate")
    found = []
    for path in staged.mine(service, staged.texts(copy.etc)):
        file = os.path.join(copy.etc, path)
        os.chmod(file, 0o600)  # one that others could write would be ignored
        done = commands.ask([program, "--debug", "--state", f"{copy.work}/state", file], service.deadline)
        for line in done.output.splitlines():
            error = _ERROR.match(line)
            if error and error[1] == file:
                found.append(Problem(f"etc/{path}, line {error[2]}", f"logrotate says: {error[3].strip()}."))
    return tuple(found)


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """To lay its files into /etc/logrotate.d, and to remove them."""
    if service.user:
        return ()
    grants = f"{context.user} decides what logrotate moves, and what its scripts run, as root"
    return copies.privileges(service.name, context, staged.mine(service, files), _FOLDER, grants)


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """logrotate is here, and nothing foreign is in the way."""
    return commands.absent("logrotate") or (() if service.user else copies.problems(context, staged.mine(service, files), _FOLDER))


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Write what differs; logrotate reads it when it runs next."""
    return () if action.service.user else copies.follow(action, context, _FOLDER)
