"""A host's release root: the names below it, what lies there, and the lock. docs/host.md draws the picture.

Everything is opened relative to one descriptor of the root, following no link, so that two ways to spell the root are one
root with one lock. Nothing here decides anything.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import durable
from . import manifest as contract
from .errors import BusyError, DamagedError, InstallError, Problem, RefusedError
from .manifest import RELEASE_ID, Manifest
from .records import NamedTuple
from .typed import Any

RELEASES, ENVS, SHARED, BIN, STATE = "releases", "envs", "shared", "bin", ".install"
STAGING, ENV_TABLES = f"{STATE}/staging", f"{STATE}/envs"
CURRENT, PREVIOUS, REVISIONS = "current", "previous", "revisions.log"
JOURNAL, HISTORY, LOCK = "journal.json", "history.jsonl", "lock"
LEDGER, BLOBS = "ledger.json", f"{STATE}/overlay"
LEASE, TABLES, RELEASE_JSON, INSTALL_JSON = ".lease", ".tables", "release.json", "install.json"
_MOST_BYTES = 8 << 20  # of a file that is read whole
_SCAFFOLD = ((RELEASES, 0o755), (ENVS, 0o755), (SHARED, 0o755), (BIN, 0o755), (STATE, 0o750), (STAGING, 0o700), (ENV_TABLES, 0o750))
_ENV_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{3,127}")


class Pointer(NamedTuple):
    """What ``current`` or ``previous`` is. ``kind``: absent, release (``id``), foreign (a link elsewhere), dangling, or other (no link)."""

    kind: str
    id: str = ""
    target: str = ""


class Host:
    """An open root. ``root`` is its physical path, ``fd`` its descriptor; use as a context manager."""

    def __init__(self, root: str) -> None:
        """Open a root that exists. Raises ``RefusedError``."""
        self.root = os.path.realpath(root)
        try:
            self.fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise RefusedError(
                "there is no release root",
                [Problem("root", f"{self.root}: {error.strerror}.", "Name it with --root, or install a release there first.")],
            ) from None

    @classmethod
    def create(cls, root: str) -> Host:
        """Open a root, making it and the directories that every root has where they are missing."""
        path = os.path.realpath(root)
        try:
            _make_path(path)
            host = cls(path)
            try:
                for name, mode in _SCAFFOLD:
                    with host.directory(os.path.dirname(name)) as parent:
                        durable.make_dir(parent, os.path.basename(name), mode)
            except BaseException:
                host.close()
                raise
        except OSError as error:
            where = f"{path}/{error.filename}" if error.filename and not os.path.isabs(error.filename) else (error.filename or path)
            raise RefusedError(
                "the release root can't be prepared",
                [Problem("root", f"{where}: {error.strerror}", "Make a directory that this user owns, or name another with --root.")],
            ) from None
        return host

    @property
    def prepared(self) -> bool:
        """Whether a release was ever meant to be here: the state directory exists."""
        return durable.exists(self.fd, STATE)

    @contextmanager
    def directory(self, *parts: str) -> Iterator[int]:
        """A descriptor of a directory below the root ("" is the root itself), closed at the end."""
        path = "/".join(part for part in parts if part)
        fd = durable.open_dir(self.fd, path) if path else os.dup(self.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def path(self, *parts: str) -> str:
        """The absolute path of something below the root."""
        return os.path.join(self.root, *parts)

    def read(self, *parts: str, most: int = _MOST_BYTES) -> bytes | None:
        """The bytes of one regular file below the root; None when it is absent. Raises ``DamagedError`` for anything else there."""
        *above, name = "/".join(parts).split("/")
        try:
            with self.directory(*above) as directory:
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise _damaged(self.path(*parts), "is a link, or lies behind one") from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise _damaged(self.path(*parts), "is not a regular file")
        with os.fdopen(file, "rb") as stream:
            data = stream.read(most + 1)
        if len(data) > most:
            raise _damaged(self.path(*parts), f"is longer than {most} bytes")
        return data

    def pointer(self, name: str) -> Pointer:
        """What ``current`` or ``previous`` is, read by its letters and then looked up. Raises ``OSError`` where that can't be told."""
        target = durable.read_link(self.fd, name)
        if target is None:
            return Pointer("other" if durable.exists(self.fd, name) else "absent")
        parent, _, release = target.partition("/")
        if parent != RELEASES or not RELEASE_ID.fullmatch(release):
            return Pointer("foreign", target=target)
        return Pointer("release" if self.has_release(release) else "dangling", release, target)

    def current(self) -> str | None:
        """The id of the live release; None when there is none. Raises ``DamagedError`` when ``current`` is anything else."""
        pointer = self.pointer(CURRENT)
        if pointer.kind == "absent":
            return None
        if pointer.kind != "release":
            raise DamagedError("current does not lead to a release", [pointer_problem(self, pointer)])
        return pointer.id

    def has_release(self, release: str) -> bool:
        """Whether ``releases/<id>`` is a directory."""
        return _is_dir(self.fd, f"{RELEASES}/{release}")

    def releases(self) -> list[str]:
        """The ids of all releases that are here, sorted (by commit time, which is no order of events)."""
        return [name for name in self.names(RELEASES) if RELEASE_ID.fullmatch(name) and self.has_release(name)]

    def environments(self) -> list[str]:
        """The keys of all directories in ``envs/``."""
        return [name for name in self.names(ENVS) if _ENV_KEY.fullmatch(name)]

    def has_environment(self, key: str) -> bool:
        """Whether an environment is complete: its table, written last, is there, and so is its directory. No, for a user who can't see that."""
        try:
            return durable.exists(self.fd, f"{ENV_TABLES}/{key}.json") and _is_dir(self.fd, f"{ENVS}/{key}")
        except PermissionError:
            return False

    def names(self, directory: str) -> list[str]:
        try:
            with self.directory(directory) as fd:
                return sorted(os.listdir(fd))
        except (FileNotFoundError, NotADirectoryError):  # what stands there instead is for the preflight to tell
            return []

    def manifest(self, release: str) -> Manifest:
        """The manifest of an installed release, proven by the release's id. Raises ``DamagedError``."""
        data = self.read(RELEASES, release, RELEASE_JSON)
        where = self.path(RELEASES, release, RELEASE_JSON)
        if data is None:
            raise _damaged(where, "is missing")
        if hashlib.sha256(data).hexdigest()[:12] != release[-12:]:
            raise _damaged(where, "is not the manifest that this release's id stands for")
        return contract.parse(data)

    def version(self, release: str) -> str:
        """The version of a release, for people: "" when it is not here, or damaged."""
        try:
            return self.manifest(release).version
        except (OSError, InstallError):
            return ""

    def record(self, release: str) -> dict[str, Any]:
        """``install.json`` of a release: what the host itself made in it. Raises ``DamagedError``."""
        where = self.path(RELEASES, release, INSTALL_JSON)
        data = self.read(RELEASES, release, INSTALL_JSON)
        try:
            value = json.loads(data) if data is not None else None
        except (ValueError, RecursionError):
            value = None
        whole = isinstance(value, dict) and isinstance(value.get("made"), list) and isinstance(value.get("env"), str)
        if not isinstance(value, dict) or not whole or value.get("id") != release:
            raise _damaged(where, "is missing" if data is None else "can't be read")
        return value

    def leased(self, release: str) -> bool:
        """Whether a process holds the lease of a release: it was started through its ``bin/run`` and still lives. Yes, where that can't be told."""
        try:
            with self.lease(release):
                return False
        except OSError:
            return True

    @contextmanager
    def lease(self, release: str) -> Iterator[None]:
        """Hold a release's lease alone, so that nothing starts from it. Raises ``BlockingIOError`` when a process has it."""
        with self.directory(RELEASES, release) as directory:
            try:
                file = os.open(LEASE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            except FileNotFoundError:  # a damaged release: nothing can start through its launcher
                yield
                return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(file)

    @contextmanager
    def lock(self, command: str, deadline: float) -> Iterator[None]:
        """Be the only one that changes this root. Waits ``deadline`` seconds, then raises ``BusyError`` that names the holder.

        The file is never removed, so that all lock one inode; the kernel frees it when its holder dies, however that happens.
        """
        try:
            with self.directory(STATE) as state:
                owner = os.fstat(state).st_uid
                if owner != os.geteuid():  # root could; its journal would then shut the owner out
                    raise _not_ours(f"{self.root} belongs to user {owner}, this is user {os.geteuid()}.")
                file = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640, dir_fd=state)
        except OSError as error:
            raise _not_ours(f"{self.path(STATE, LOCK)} can't be opened for writing: {error.strerror}.") from None
        try:
            _acquire(file, self.root, deadline)
            since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
            holder = json.dumps({"pid": os.getpid(), "command": command, "since": since}).encode() + b"\n"
            with suppress(OSError):  # on a full disk the lock still locks: it only can't say for whom
                os.ftruncate(file, 0)
                os.pwrite(file, holder, 0)
            try:
                yield
            finally:
                with suppress(OSError):
                    os.ftruncate(file, 0)
        finally:
            with suppress(OSError):  # an error here would take the place of the one that tells what became of the host
                os.close(file)

    def holder(self) -> str:
        """Who holds the lock, in words; "" when it is free or that can't be seen."""
        try:
            with self.directory(STATE) as state:
                file = os.open(LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=state)
        except OSError:
            return ""
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return ""
        except BlockingIOError:
            return _holder(file)
        finally:
            os.close(file)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            with suppress(OSError):  # as with the lock: nothing is written through it
                os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def pointer_problem(host: Host, pointer: Pointer, name: str = CURRENT) -> Problem:
    """Why an installer won't touch a ``current`` or ``previous`` that it did not make, and the way out."""
    what, remedy = {
        "other": ("is not a link", "Move it away; what it holds was not put there by install-release."),
        "foreign": (f"points to {pointer.target}, outside {RELEASES}/", "Remove the link if nothing needs it, then run this again."),
        "dangling": (f"points to {pointer.target}, which is not there", "Remove the link, then activate a release that is here (see status)."),
    }[pointer.kind]
    return Problem(name, f"{host.path(name)} {what}.", remedy)


def _make_path(path: str) -> None:
    """Make a root and the directories above it, each 755 whatever the umask."""
    missing = []
    while path != "/" and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        parent = os.open(os.path.dirname(each), durable.DIRECTORY)
        try:
            durable.make_dir(parent, os.path.basename(each))
        finally:
            os.close(parent)


def _acquire(file: int, root: str, deadline: float) -> None:
    end = time.monotonic() + deadline
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                held = _holder(file) or "another process"
                problem = Problem("lock", f"{root} is held by {held}.", "Wait for it, or say --wait SECONDS.")
                raise BusyError("another installer is at work here", [problem]) from None
            time.sleep(0.05)


def _holder(file: int) -> str:
    try:
        value = json.loads(os.pread(file, 4096, 0))
        return f"pid {value['pid']} ({value['command']}) since {value['since']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "a process that has not said who it is"


def _is_dir(directory: int, path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path, dir_fd=directory, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _not_ours(what: str) -> RefusedError:
    return RefusedError("this root can't be changed", [Problem("root", what, "Run this as the user that the root belongs to.")])


def _damaged(where: str, what: str) -> DamagedError:
    remedy = "Look at it; install-release verify says what else is wrong."
    return DamagedError("the state below the root is damaged", [Problem(where, f"{what}.", remedy)])
