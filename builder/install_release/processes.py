"""Which living processes run from this root, and from which release: what ``/proc`` says, as far as this user may read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from .bin_run import LEASE
from .host import RELEASES, Host
from .records import NamedTuple

_PROC = "/proc"
_MOST = 4 << 20  # bytes of one file of /proc that are looked at


class Process(NamedTuple):
    """``release`` is the id it runs from, or "" when only its environment ``env`` is known, or only that it belongs to this root."""

    pid: int
    parent: int
    name: str
    release: str
    env: str


class Running(NamedTuple):
    """What was found; ``hidden`` counts processes of other users of which too little can be read to tell."""

    processes: tuple[Process, ...]
    hidden: int


def running(host: Host, users: Mapping[str, tuple[str, ...]]) -> Running:
    """Every process of this root but this one. ``users`` maps an environment's key to the releases that have it."""
    found, hidden = [], 0
    pattern = re.compile(re.escape(os.fsencode(host.root)) + rb"/(?:releases/(\d{14}-[0-9a-f]{12})|envs/([0-9A-Za-z._-]+)|current)(?=[/\0\n]|$)")
    leases = _leases(host)
    for name in os.listdir(_PROC):
        if name.isdigit() and int(name) != os.getpid():
            process, readable = _look(int(name), pattern, users, leases.get(int(name), ""))
            if process is not None:
                found.append(process)
            elif not readable:
                hidden += 1
    by_pid = {process.pid: process for process in found}
    return Running(tuple(_descended(by_pid[pid], by_pid, users) for pid in sorted(by_pid)), hidden)


def _leases(host: Host) -> Mapping[int, str]:
    """The release of each process that took a lease in ``bin/run``, by its number: what the kernel tells everybody, of other users' processes too.

    Only the inode is compared: the device that the kernel names is not the one that stat(2) names on every file system.
    """
    inodes = {}
    for release in host.releases():
        try:
            inodes[b"%d" % os.lstat(host.path(RELEASES, release, LEASE)).st_ino] = release
        except OSError:  # a damaged release: nothing can start from it
            continue
    found = {}
    for line in _read_locks().splitlines():
        words = line.split()  # proc_locks(5): "1: FLOCK ADVISORY READ 816 fe:00:3187181 0 EOF"
        holds = inodes.get(words[5].rpartition(b":")[2]) if len(words) == 8 and words[1] == b"FLOCK" else None
        if holds:
            found[int(words[4])] = holds
    return found


def _descended(process: Process, by_pid: Mapping[int, Process], users: Mapping[str, tuple[str, ...]]) -> Process:
    """The process; where its release can't be told, with that of its nearest ancestor of which it can, if that has the same environment."""
    seen = {process.pid}
    above = process
    while not above.release and above.parent in by_pid and above.parent not in seen:
        above = by_pid[above.parent]
        seen.add(above.pid)
    return process._replace(release=above.release) if above.release in users.get(process.env, ()) else process


def _look(pid: int, pattern: re.Pattern[bytes], users: Mapping[str, tuple[str, ...]], leased: str) -> tuple[Process | None, bool]:
    """The process, if it belongs to the root, and whether enough could be read to say that it doesn't. The kernel's own are of no root.

    ``leased``: the release whose lease it took, if any.
    """
    release = env = ""
    member, readable = bool(leased), True
    for text in _evidence(pid):
        if text is None:
            readable = False
            continue
        for match in pattern.finditer(text):
            member = True
            release = release or (match[1] or b"").decode("ascii")
            env = env or (match[2] or b"").decode("ascii")
        if release:
            break
    if not member:
        return None, readable
    owners = users.get(env, ())
    if not release:
        release = leased or (owners[0] if len(owners) == 1 else "")
    parent, name = _stat(pid)
    return Process(pid, parent, _program(pid) or name, release, env), True


def _evidence(pid: int) -> Iterator[bytes | None]:
    """Texts that may hold a path below the root, the surest first; None for what may not be read. A thread of the kernel's has none."""
    words = _read(pid, "cmdline")
    if words == b"":
        return
    environ = _read(pid, "environ")
    yield None if environ is None else _release_dir(environ)
    try:
        yield os.fsencode(os.readlink(f"{_PROC}/{pid}/cwd"))
    except OSError:
        yield None
    yield words
    yield _read(pid, "maps")


def _read_locks() -> bytes:
    try:
        with open(f"{_PROC}/locks", "rb") as file:
            return file.read(_MOST)
    except OSError:
        return b""


def _read(pid: int, name: str) -> bytes | None:
    """A file of a process; empty when the process is gone, None when this user may not."""
    try:
        with open(f"{_PROC}/{pid}/{name}", "rb") as file:
            return file.read(_MOST)
    except PermissionError:
        return None
    except OSError:
        return b""


def _release_dir(environ: bytes) -> bytes:
    """What ``bin/run`` tells its children: only that counts, for other variables are inherited from who knows where."""
    return next((pair for pair in environ.split(b"\0") if pair.startswith(b"RELEASE_DIR=")), b"")


def _program(pid: int) -> str:
    """Of a Python process, what it runs: the name of its script or module; "" when it is no Python or can't be told."""
    words = (_read(pid, "cmdline") or b"").decode("utf-8", "replace").split("\0")
    if not os.path.basename(words[0]).startswith("python"):
        return ""
    first = next((number for number, word in enumerate(words[1:], 1) if not word.startswith("-") or word in ("-m", "-c")), len(words))
    if words[first : first + 1] == ["-m"]:
        return "".join(words[first + 1 : first + 2])
    return "" if words[first : first + 1] == ["-c"] else os.path.basename("".join(words[first : first + 1]))


def _stat(pid: int) -> tuple[int, str]:
    """The parent of a process, and its name."""
    before, _, after = (_read(pid, "stat") or b"").rpartition(b")")
    try:
        return int(after.split()[1]), before.partition(b"(")[2].decode("utf-8", "replace")
    except (ValueError, IndexError):
        return 0, "?"
