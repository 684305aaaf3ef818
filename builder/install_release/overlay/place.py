"""A file of the system, reached from ``/`` directory by directory, through no link; what is there, and whether an installer may touch it.

Whoever can write a directory on the way could put something else there: each must belong to root or to this user, and be written by nobody else
(a sticky one, like /tmp, will do). What is there must be a plain file of this user's own, under one name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Problem
from ..facts import trusted
from ..records import NamedTuple
from .change import Content, OverlayError, ShutOutError

MOST = 4 << 20  # bytes: a configuration, held in memory
_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC  # not every directory that may be passed may be read
_ITS_STATE = (errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENOTDIR)  # any other error says nothing of what is there: of the disk, or of this process
_REFUSED = "a file of the system can't be touched"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Seen(NamedTuple):
    """What is at a path: its content (None: nothing), when it was last written (UTC, ``2026-11-22``), the directories above it that are missing,
    outermost first; ``writable``: files can be put there."""

    content: Content | None
    modified: str = ""
    missing: tuple[str, ...] = ()
    writable: bool = True


def look(path: str, root: str) -> Seen:
    """What is at ``path``. Raises ``OverlayError`` for what an installer, whose root is ``root``, may not touch."""
    if path == root or path.startswith(f"{root}/"):
        raise _refused(path, f"lies in the release root {root}, where everything is the installer's.", "Copy it to another place.")
    missing: list[str] = []
    with _above(path, missing) as (directory, name):
        writable = os.access(".", os.W_OK | os.X_OK, dir_fd=directory)
        if missing:
            return Seen(None, missing=tuple(reversed(missing)), writable=writable)
        found = _read(directory, name, path)
    if found is None:
        return Seen(None, writable=writable)
    import time  # only for what is there

    data, facts = found
    return Seen(_content(data, facts), time.strftime("%Y-%m-%d", time.gmtime(facts.st_mtime)), writable=writable)


def read(path: str) -> tuple[bytes, Content] | None:
    """The bytes of the file at ``path`` and what it is; None when nothing is there. Raises ``OverlayError``."""
    missing: list[str] = []
    with _above(path, missing) as (directory, name):
        found = None if missing else _read(directory, name, path)
    return None if found is None else (found[0], _content(*found))


def read_in(directory: int, name: str, path: str) -> tuple[bytes, Content] | None:
    """The same, where the directory is open already."""
    found = _read(directory, name, path)
    return None if found is None else (found[0], _content(*found))


@contextmanager
def directory_of(path: str) -> Iterator[tuple[int, str]]:
    """The descriptor of the directory of ``path``, readable, and the name in it. Raises ``OverlayError``, ``FileNotFoundError``."""
    missing: list[str] = []
    with _above(path, missing) as (above, name):
        if missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.path.dirname(path))
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=above)
    try:
        yield directory, name
    finally:
        os.close(directory)


@contextmanager
def _above(path: str, missing: list[str]) -> Iterator[tuple[int, str]]:
    """The innermost directory above ``path`` that is there, and the name in it; those that are not are added to ``missing``, innermost first."""
    *parts, name = path[1:].split("/")
    users, here = trusted(), os.open("/", _STEP)
    try:
        _check_directory(here, "/", users)
        for number, part in enumerate(parts):
            where = "/" + "/".join(parts[: number + 1])
            try:
                below = os.open(part, _STEP, dir_fd=here)
            except FileNotFoundError:
                missing += ["/" + "/".join(parts[:end]) for end in range(len(parts), number, -1)]
                break
            except OSError as error:
                if error.errno not in _ITS_STATE:
                    raise
                raise _no_directory(here, part, where, error) from None
            os.close(here)
            here = below
            _check_directory(here, where, users)
        yield here, name
    finally:
        os.close(here)


def _no_directory(above: int, part: str, where: str, error: OSError) -> OverlayError:
    if error.errno not in (errno.ELOOP, errno.ENOTDIR):
        return _shut_out(where, f"can't be entered by this user: {error.strerror}.", "Let this user pass, or copy to another place.")
    link = stat.S_ISLNK(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode)
    what = "is a link, and nothing is written through links." if link else "is not a directory."
    return _refused(where, what, "Name the place that it leads to in the recipe (overlay.copied)." if link else "Move it away.")


def _check_directory(directory: int, path: str, users: frozenset[int]) -> None:
    facts = os.fstat(directory)
    mode = stat.S_IMODE(facts.st_mode)
    if facts.st_uid not in users:
        what = f"belongs to user {facts.st_uid}, who could put something else in the place of what is below it."
        raise _refused(path, what, f"Give it to root, or to this user: chown root {path}")
    if mode & 0o022 and not mode & stat.S_ISVTX:
        who = "everybody" if mode & 0o002 else "its group"
        raise _refused(path, f"can be written by {who} (mode {mode:o}).", f"chmod go-w {path}")


def _read(directory: int, name: str, path: str) -> tuple[bytes, os.stat_result] | None:
    try:
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
        kind = there.st_mode
        if not stat.S_ISREG(kind):
            what = "is a link." if stat.S_ISLNK(kind) else "is a directory." if stat.S_ISDIR(kind) else "is no regular file."
            raise _refused(path, what, "Move it away; a release lays down plain files, and only over plain files.")
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise _shut_out(path, f"can't be seen by this user: {error.strerror}.", "Let this user pass, or copy to another place.") from None
    try:
        file = os.open(name, _READ, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno not in _ITS_STATE:
            raise
        made = _shut_out if there.st_uid == os.geteuid() else _refused  # that of another user is not what was laid down
        raise made(path, f"can't be read by this user: {error.strerror}.", "Give it to this user, or copy to another place.") from None
    with os.fdopen(file, "rb") as stream:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(path, "is no regular file.", "Move it away.")
        if facts.st_uid != os.geteuid():
            what = f"belongs to user {facts.st_uid}; this is user {os.geteuid()}, and replaces no other's files."
            raise _refused(path, what, "Give it to this user, move it away, or copy to another place.")
        if facts.st_nlink > 1:
            raise _refused(path, f"is one of {facts.st_nlink} hard links to one file.", "Make it a file of its own: cp it, mv the copy over it.")
        data = stream.read(MOST + 1)
    if len(data) > MOST:
        raise _refused(path, f"is longer than {MOST} bytes: that is no configuration.", "Move it away.")
    return data, facts


def _content(data: bytes, facts: os.stat_result) -> Content:
    return Content(hashlib.sha256(data).hexdigest(), f"{stat.S_IMODE(facts.st_mode):o}", facts.st_gid)


def _shut_out(path: str, what: str, remedy: str) -> OverlayError:
    return ShutOutError(_REFUSED, [Problem("etc", f"{path} {what}", remedy)])


def _refused(path: str, what: str, remedy: str) -> OverlayError:
    return OverlayError(_REFUSED, [Problem("etc", f"{path} {what}", remedy)])
