"""cron: files that root owns in /etc/cron.d, or a marked block in the deploying user's own table (``user = true``). cron sees a change by itself."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping

from ..declared import Service
from ..errors import Problem
from ..host import STAGING
from . import commands, copies, crontab, staged
from .commands import Clock
from .copies import Folder
from .terms import STOP, Action, Context, Privilege, Say, ServiceError, Staged

_FOLDER = Folder("/etc/cron.d")
_MOST = 1 << 20  # bytes of a user's table
_NAME = re.compile(r"[A-Za-z0-9_-]+")


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """Each line is one of cron's, and starts what it starts through bin/run; a file has a name that cron reads."""
    found = []
    for path, text in staged.mine(service, files).items():
        if not service.user and not _NAME.fullmatch(os.path.basename(path)):
            found.append(Problem(f"etc/{path}", "is not read: in /etc/cron.d, names are of letters, digits, '_' and '-'.", "Rename it."))
        found += crontab.problems(path, text, system=not service.user)
    return tuple(found)


def how(service: Service) -> str:
    """What is asked before the flip."""
    return "the syntax of every line" + ("" if service.user else ", and its user")


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """``lint`` has seen the lines; here, whether their users exist on this host."""
    if service.user:
        return ()
    found = []
    for path, text in staged.mine(service, staged.texts(copy.etc)).items():
        for line in crontab.parse(text, system=True)[0]:
            try:
                pwd.getpwnam(line.user)
            except KeyError:
                found.append(
                    Problem(f"etc/{path}, line {line.number}", f"there is no user {line.user} on this host.", "cron ignores the whole file.")
                )
    return tuple(found)


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """To lay its files into /etc/cron.d, and to remove them."""
    if service.user:
        return ()
    return copies.privileges(
        service.name, context, staged.mine(service, files), _FOLDER, f"{context.user} decides what cron runs, and as whom, root included"
    )


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """cron is here, and may be used; nothing foreign is in the way."""
    if not service.user:
        return copies.problems(context, staged.mine(service, files), _FOLDER)
    if missing := commands.absent("crontab"):
        return missing
    done = commands.ask([commands.find("crontab"), "-l"])
    if done.good and crontab.is_torn(done.output, _block(service, context)):
        return (_torn(service, context),)
    if not done.good and "no crontab" not in done.output:
        return (
            Problem("", f"crontab -l {commands.told(done)}.", f"Let an administrator allow it: /etc/cron.allow, /etc/cron.deny ({context.user})."),
        )
    return ()


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Write what differs. In a user's table, only our block, only when it differs; every other line stays."""
    if not action.service.user:
        return copies.follow(action, context, _FOLDER)
    clock, program = Clock(action.service.deadline), commands.program("crontab")
    block = "" if action.verb == STOP else "".join(staged.mine(action.service, staged.texts(context.etc)).values())
    table = _table(program, clock)
    if crontab.is_torn(table, _block(action.service, context)):
        raise ServiceError("the crontab stays as it is", [_torn(action.service, context)])
    new = crontab.with_block(table, _block(action.service, context), block)
    if new == table:
        return ()
    if not new.strip():
        commands.act([program, "-r"], clock.left)
        return ()
    path = os.path.join(context.root, STAGING, f"crontab-{os.urandom(6).hex()}")
    try:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8", errors="surrogateescape"
        ) as file:
            file.write(new)
        commands.act([program, path], clock.left)
    finally:
        if os.path.exists(path):
            os.unlink(path)
    if _table(program, clock) != new:
        raise ServiceError(
            "a service did not do what it should", [Problem(f"{program} {path}", "did not keep what it was given.", "See crontab -l.")]
        )
    return ()


def _block(service: Service, context: Context) -> str:
    return f"{context.name}/{service.name}"


def _torn(service: Service, context: Context) -> Problem:
    what = f"the block {_block(service, context)} is there without one of the lines that mark it: which lines are in it can't be told."
    return Problem("crontab -l", what, "Take all of it away, with crontab -e: it is written anew.")


def _table(program: str, clock: Clock) -> str:
    """The user's table; "" when there is none. Raises ``ServiceError`` when it can't be read to the last byte: nothing of it may be lost."""
    command = [program, "-l"]
    done = commands.ask(command, clock.left)
    if not done.good and "no crontab" in done.output:
        return ""
    if not done.good:
        raise commands.failure(command, done)
    table = commands.data(command, clock.left, _MOST)
    if len(table.encode()) >= _MOST or "\ufffd" in table:
        what = f"holds bytes that are no UTF-8, or more than {_MOST}: it is not written to."
        raise ServiceError("the crontab stays as it is", [Problem("crontab -l", what, "Correct it: crontab -e")])
    return table
