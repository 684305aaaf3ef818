"""Which living processes run from this root, and from which release: what ``/proc`` says, as far as this user may read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .host import Host

_PROC = "/proc"
_MOST = 4 << 20  # bytes of one file of /proc that are looked at


@dataclass(frozen=True)
class Process:
    """``release`` is the id it runs from, or "" when only its environment ``env`` is known, or only that it belongs to this root."""

    pid: int
    parent: int
    name: str
    release: str
    env: str


@dataclass(frozen=True)
class Running:
    """What was found; ``hidden`` counts processes of other users of which too little can be read to tell."""

    processes: tuple[Process, ...]
    hidden: int


def running(host: Host, users: Mapping[str, tuple[str, ...]]) -> Running:
    """Every process of this root but this one. ``users`` maps an environment's key to the releases that have it."""
    found, hidden = [], 0
    pattern = re.compile(re.escape(os.fsencode(host.root)) + rb"/(?:releases/(\d{14}-[0-9a-f]{12})|envs/([0-9A-Za-z._-]+)|current)(?=[/\0\n]|$)")
    for name in os.listdir(_PROC):
        if name.isdigit() and int(name) != os.getpid():
            process, readable = _look(int(name), pattern, users)
            if process is not None:
                found.append(process)
            elif not readable:
                hidden += 1
    return Running(tuple(sorted(found, key=lambda process: process.pid)), hidden)


def _look(pid: int, pattern: re.Pattern[bytes], users: Mapping[str, tuple[str, ...]]) -> tuple[Process | None, bool]:
    """The process, if it belongs to the root, and whether enough could be read to say that it doesn't."""
    release = env = ""
    member, readable = False, True
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
    if not release and len(owners) == 1:
        release = owners[0]
    parent, name = _stat(pid)
    return Process(pid, parent, name, release, env), True


def _evidence(pid: int) -> Iterator[bytes | None]:
    """Texts that may hold a path below the root, the surest first; None for what may not be read. A process that has ended has none."""
    for name in ("environ", "cwd", "cmdline", "maps"):
        path = f"{_PROC}/{pid}/{name}"
        try:
            if name == "cwd":
                yield os.fsencode(os.readlink(path))
                continue
            with open(path, "rb") as file:
                text = file.read(_MOST)
        except PermissionError:
            yield None
        except OSError:
            return
        else:
            yield _release_dir(text) if name == "environ" else text


def _release_dir(environ: bytes) -> bytes:
    """What ``bin/run`` tells its children: only that counts, for other variables are inherited from who knows where."""
    return next((pair for pair in environ.split(b"\0") if pair.startswith(b"RELEASE_DIR=")), b"")


def _stat(pid: int) -> tuple[int, str]:
    """The parent of a process, and its name."""
    try:
        with open(f"{_PROC}/{pid}/stat", "rb") as file:
            before, _, after = file.read(4096).rpartition(b")")
        return int(after.split()[1]), before.partition(b"(")[2].decode("utf-8", "replace")
    except (OSError, ValueError, IndexError):
        return 0, "?"
