"""Whose a file is that the host trusts: only root or this user may be able to change it, or what is on the way to it. (sshd's StrictModes.)"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from .errors import Problem, RefusedError
from .facts import trusted
from .typed import NoReturn

_MAX_LINKS = 40


def read(path: str, most: int) -> bytes:
    """The bytes of a regular file that nobody else can change. Raises ``RefusedError`` with every reason against it."""
    try:
        steps, users = list(_steps(path)), trusted()
        problems = [problem for step, found in steps for problem in _wrong(step, found, users)]
        if problems:
            raise RefusedError(f"{path} can't be trusted", problems)
        file = os.open(steps[-1][0], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        _refuse(path, f"can't be read: {error.strerror or error}.", "Put it there, so that this user can read it.")
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode):
        os.close(file)
        _refuse(path, "is not a regular file.", "Put one in its place.")
    with os.fdopen(file, "rb") as stream:
        if problems := list(_wrong(path, found, users)):
            raise RefusedError(f"{path} can't be trusted", problems)
        try:
            data = stream.read(most + 1)
        except OSError as error:
            _refuse(path, f"can't be read: {error.strerror or error}.", "Mend that.")
    if len(data) > most:
        _refuse(path, f"is longer than {most} bytes.", "Shorten it.")
    return data


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Everything that is passed on the way to ``path``, links and what they lead to included; the file itself last. Raises ``OSError``."""
    here, links = "/", 0
    yield here, os.lstat(here)
    parts = path.split("/")[::-1]
    while parts:
        part = parts.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, part)
        found = os.lstat(step)
        yield step, found
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(step)
        here = "/" if target.startswith("/") else here
        parts += target.split("/")[::-1]


def _wrong(path: str, found: os.stat_result, users: frozenset[int]) -> Iterator[Problem]:
    """Why somebody else could change it, or put something else in its place."""
    mode = stat.S_IMODE(found.st_mode)
    sticky = stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX  # whose names there only their owners can change
    if found.st_uid not in users:
        yield Problem(path, f"belongs to user {found.st_uid}, who could change what this host trusts.", f"chown root {path}")
    elif mode & 0o022 and not sticky and not stat.S_ISLNK(found.st_mode):
        who = "everybody" if mode & 0o002 else "its group"
        yield Problem(path, f"can be written by {who} (mode {mode:o}).", f"chmod go-w {path}")


def _refuse(path: str, what: str, remedy: str) -> NoReturn:
    raise RefusedError(f"{path} can't be trusted", [Problem(path, what, remedy)])
