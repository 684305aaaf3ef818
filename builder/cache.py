"""The build cache as a whole: where it is, what is in it, and what goes when it is larger than its bound.

Everything in it is keyed by the hash of what went in, and published by rename by the stage that knows what it is. Here stands only what all
stages share: an entry that is used gets the present time (``used``), a build that runs says so (``in_use``), and what was used least recently
goes first (``prune``). An entry that is gone costs time, never bytes: the next build makes it again.

Beside running builds: an entry is held if it was used since the oldest of them began. That is asked again for each entry before it goes, under a
lock that excludes a build's begin and every use. Locks are the kernel's, so a kill leaves none.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import Problem, UsageError
from .frozen import frozen

DEFAULT_BOUND = 10 * 1000**3  # bytes
EVERYTHING = -1  # the bound that not even an entry of no bytes fits in
LEFTOVERS = "leftovers"  # of builds and prunes that were killed
_PLACES = (
    *(("layers", "layers/*"), ("distributions", "distributions/files/*"), ("notes", "distributions/notes/*/*"), ("git", "git/*.git")),
    *(("installers", "installers/*"), ("interpreters", "interpreters/*"), ("byte code", "bytecode/*"), ("claims", "claims/*")),
    *((LEFTOVERS, "git/*.new"), (LEFTOVERS, "distributions/scratch/*"), (LEFTOVERS, ".room.json.*")),
)
_LOOK_AGAIN = 24 * 3600  # seconds after which a build measures the whole cache, whatever the builds since then have added
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,6})?)\s*(?:([kmgt])(i?)b?|b)?", re.IGNORECASE)


@frozen
class Entry:
    """One file or directory of the cache: ``bytes`` of all files in it, ``used`` last at this time in ns since 1970."""

    kind: str
    path: Path
    bytes: int
    used: int


@frozen
class Pruned:
    """What went and what stayed; ``held`` of the latter had to, for builds that run."""

    bound: int
    removed: tuple[Entry, ...] = ()
    kept: tuple[Entry, ...] = ()
    held: tuple[Entry, ...] = ()


def choose(entries: Iterable[Entry], bound: int, *, held_since: int | None = None) -> tuple[Entry, ...]:
    """What goes, in this order: all leftovers, then what was used least recently, until at most ``bound`` bytes stay.

    Nothing that was used at or after ``held_since`` (ns since 1970; None: no build runs) is among it, even if too much stays then.
    """
    every = tuple(entries)
    over = sum(entry.bytes for entry in every) - bound
    victims = []
    for entry in sorted(every, key=lambda entry: (entry.kind != LEFTOVERS, entry.used, str(entry.path))):
        if held_since is not None and entry.used >= held_since:
            continue
        if over > 0 or entry.kind == LEFTOVERS:
            victims.append(entry)
            over -= entry.bytes
    return tuple(victims)


def read(root: Path) -> tuple[Entry, ...]:
    """Everything that is in the cache now."""
    return tuple(found for kind, places in _PLACES for path in sorted(root.glob(places)) if (found := _entry(kind, path)))


def used(root: Path, path: Path) -> bool:
    """Whether the entry ``path`` is there; then it was used now, and stays while this build runs (another user's may go: the time is theirs)."""
    try:
        with _gate(root, fcntl.LOCK_SH):
            os.utime(path)
    except PermissionError:
        return path.exists()
    except OSError:
        return False
    return True


def load(root: Path, path: Path) -> bytes | None:
    """What ``save`` wrote to the entry ``path``, or None when it is not there, or a bit of it has changed: then it is made again."""
    if not used(root, path):
        return None
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[32:] if hashlib.sha256(data[32:]).digest() == data[:32] else None


def save(path: Path, data: bytes) -> None:
    """Publish the entry ``path``, with a checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(descriptor, "wb") as file:
        file.write(hashlib.sha256(data).digest() + data)
    os.replace(scratch, path)


@contextmanager
def in_use(root: Path) -> Iterator[None]:
    """A build runs while the block does: what it uses or makes is not pruned."""
    running = root / "running"
    running.mkdir(parents=True, exist_ok=True)
    with _gate(root, fcntl.LOCK_EX):  # between making the file and locking it nobody takes it for a dead build's
        descriptor, name = tempfile.mkstemp(dir=running)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(name)
        os.close(descriptor)


def prune(root: Path, bound: int) -> Pruned:
    """Remove what ``choose`` chooses. May be killed at any moment, and run beside builds and other prunes."""
    if not root.is_dir():
        return Pruned(bound)
    entries = read(root)  # first: what a build makes from now on is not listed
    with _gate(root, fcntl.LOCK_EX):
        held_since = _oldest_running(root / "running")
    removed = tuple(entry for entry in choose(entries, bound, held_since=held_since) if _remove(root, entry))
    kept = read(root)
    return Pruned(bound, removed, kept, tuple(entry for entry in kept if held_since is not None and entry.used >= held_since))


def trim(root: Path, bound: int, added: int) -> Pruned:
    """``prune`` after a build that added about ``added`` bytes; the cache is measured once a day, or when it may have grown over its bound."""
    stamp = root / "room.json"
    now = time.time()
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(stamp.read_bytes())
        room = known["room"] - added
        if known["bound"] == bound and room >= 0 and 0 <= now - known["measured"] < _LOOK_AGAIN:
            if added:
                _write(stamp, {**known, "room": room})
            return Pruned(bound)
    done = prune(root, bound)
    with suppress(OSError):  # then the next build measures again
        _write(stamp, {"bound": bound, "measured": now, "room": bound - sum(entry.bytes for entry in done.kept)})
    return done


def cache_root(environ: Mapping[str, str]) -> Path:
    """Where everything that is keyed by its hash is kept: BUILD_RELEASE_CACHE, else build-release/ in the user's cache directory."""
    if environ.get("BUILD_RELEASE_CACHE"):
        return Path(environ["BUILD_RELEASE_CACHE"]).absolute()
    base = environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "build-release"
    except RuntimeError:  # a user without a home, as in a container
        problem = Problem("HOME", "is not set, and this user has no entry that names one.", "Name a directory in BUILD_RELEASE_CACHE.")
        raise UsageError("there is no place for the cache", [problem]) from None


def cache_bound(environ: Mapping[str, str]) -> int:
    """How many bytes builds leave in the cache: BUILD_RELEASE_CACHE_MAX, else 10 GB. Raises ``UsageError``."""
    text = environ.get("BUILD_RELEASE_CACHE_MAX")
    try:
        return parse_size(text) if text else DEFAULT_BOUND
    except ValueError as error:
        raise UsageError("the bound of the cache can't be read", [Problem("BUILD_RELEASE_CACHE_MAX", f"{text!r} {error}.")]) from None


def parse_size(text: str) -> int:
    """Bytes from ``20G``, ``1.5 GB``, ``512MiB`` or ``1000``. Raises ``ValueError``."""
    match = _SIZE.fullmatch(text.strip())
    if not match:
        raise ValueError("is no size like 20G, 500M or 512MiB")
    number, unit, binary = match.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" kmgt".index(unit.lower()) if unit else 0))


def _entry(kind: str, path: Path) -> Entry | None:
    """None: it has gone since it was listed."""
    try:
        facts = path.lstat()
        size = sum(_sizes(path)) if path.is_dir() and not path.is_symlink() else facts.st_size
    except FileNotFoundError:
        return None
    return Entry(LEFTOVERS if path.name.startswith(".") else kind, path, size, facts.st_mtime_ns)


def _sizes(directory: Path) -> Iterator[int]:
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                yield os.lstat(os.path.join(folder, name)).st_size


def _oldest_running(running: Path) -> int | None:
    """When the oldest build that runs began, in ns since 1970. What dead ones left is removed."""
    began = []
    for path in running.glob("*"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # it has just ended
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            began.append(os.fstat(descriptor).st_mtime_ns)
        finally:
            os.close(descriptor)
    return min(began, default=None)


def _remove(root: Path, entry: Entry) -> bool:
    """Whether it went: one that was used since it was chosen stays. A directory goes by a rename, so that nobody ever sees half of one."""
    with _gate(root, fcntl.LOCK_EX):
        try:
            last = entry.path.lstat().st_mtime_ns
            held_since = _oldest_running(root / "running")
            if last != entry.used or (held_since is not None and last >= held_since):
                return False
            if not entry.path.is_dir() or entry.path.is_symlink():
                entry.path.unlink()
                return True
            going = Path(tempfile.mkdtemp(dir=entry.path.parent, prefix=".removed-"))
            entry.path.rename(going)
        except FileNotFoundError:
            return False
    shutil.rmtree(going, ignore_errors=True)
    return True


@contextmanager
def _gate(root: Path, how: int) -> Iterator[None]:
    """Uses of entries exclude removals of some, and these each other. Held for microseconds."""
    descriptor = os.open(root / ".gate", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, value: object) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(value))
    os.replace(scratch, path)
