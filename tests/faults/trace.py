"""A run of the installer as the changes that it asked the kernel for: recorded by strace, replayed on a ``volatile.Disk``.

Everything that changes a file, and every sync, of the installer and of all that it starts. A call that is not known here is an error, and what the
replay ends with must be what is on the real disk: a recording that misses something can't pass for one.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .volatile import Disk, Node, Tree, scan

CALLS = (
    *("open", "openat", "creat", "write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "truncate", "fallocate", "copy_file_range"),
    *("sendfile", "splice", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "symlink", "symlinkat", "link"),
    *("linkat", "mknod", "mknodat", "chmod", "fchmod", "fchmodat", "chown", "fchown", "fchownat", "lchown", "fsync", "fdatasync", "syncfs", "sync"),
    *("sync_file_range", "setxattr", "fsetxattr", "io_uring_setup"),
)
_CALL = re.compile(rb"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)")
_UNFINISHED = re.compile(rb"(\d+) +(\w+\(.*?),? *<unfinished \.\.\.>")
_RESUMED = re.compile(rb"(\d+) +<\.\.\. \w+ resumed>,? ?(.*)")
_ARGUMENT = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?|(AT_FDCWD|-?\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?|([^,"<\s][^,"<]*)')


class Call(NamedTuple):
    """One system call that succeeded. ``paths``: absolute, of the descriptors and names that it was given, in their order; None: deleted by then."""

    name: str
    paths: tuple[str | None, ...]
    data: bytes
    numbers: tuple[int, ...]
    flags: str
    result: int
    descriptor: int  # the first one given; -1: none


@dataclass(frozen=True)
class Recording:
    """``before`` is what was below ``top``; ``status`` how it ended. ``said``: after how many calls the last word went to standard output,
    or it ended without one."""

    top: Path
    before: Tree
    after: Tree
    calls: tuple[Call, ...]
    said: int
    status: int
    output: str

    def replay(self, at: Callable[[Disk, int], None]) -> None:
        """Run it on a disk; ``at`` is called before the first call and after each, with the number of calls made."""
        disk = Disk(self.before)
        at(disk, 0)
        for number, call in enumerate(self.calls, 1):
            _apply(disk, call, str(self.top))
            at(disk, number)
        if disk.live.tree() != dict(self.after):
            differ = sorted(path for path in {*disk.live.tree(), *self.after} if disk.live.tree().get(path) != self.after.get(path))
            raise AssertionError(f"the recording is not what happened: {differ}")


class OutsideError(AssertionError):
    """Something was changed that is none of the installer's business (I9)."""


def record(words: Sequence[str | Path], top: Path, log: Path, cwd: Path, home: Path, inject: str = "") -> Recording:
    """Run a command and record what it and its children change below ``top``. ``inject``: as of strace, what shall fail."""
    before = scan(top)
    strace = [
        "strace",
        "-f",
        "-qq",
        "-y",
        "-xx",
        "-s",
        str(64 << 20),
        "-o",
        str(log),
        "-e",
        f"trace={','.join(CALLS)}",
        *(["-e", f"inject={inject}"] if inject else []),
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(home)}
    done = subprocess.run([*strace, *map(str, words)], capture_output=True, text=True, env=environment, cwd=cwd, timeout=120)
    calls, said = [], 0
    for call in _parse(log.read_bytes()):
        if call.name == "write" and call.descriptor == 1 and (call.paths[0] or "").startswith("pipe:"):
            said = len(calls)
        elif _within(call, str(top)):
            calls.append(call)
    log.unlink()
    return Recording(top, before, scan(top), tuple(calls), said or len(calls), done.returncode, done.stdout + done.stderr)


def _parse(log: bytes) -> Iterator[Call]:
    begun: dict[bytes, bytes] = {}
    for line in log.splitlines():
        if match := _UNFINISHED.fullmatch(line):
            begun[match[1]] = match[2]
            continue
        if (match := _RESUMED.fullmatch(line)) and match[1] in begun:
            line = match[1] + b" " + begun.pop(match[1]) + match[2]
        match = _CALL.match(line)
        if match is None or match[4] == b"?" or int(match[4]) < 0:
            continue  # a signal, an end, or a call that failed and changed nothing
        yield _call(match[2].decode(), match[3], int(match[4]))


def _call(name: str, text: bytes, result: int) -> Call:
    paths: list[str | None] = []
    data, numbers, flags, descriptor, above = b"", [], "", -1, None
    for string, cut, number, where, deleted, other in _ARGUMENT.findall(text):
        if number:
            if descriptor < 0 and number != b"AT_FDCWD":
                descriptor = int(number)
            above = None if deleted else os.fsdecode(_plain(where))
            if not name.endswith(("at", "at2")):
                paths.append(above)
        elif other:
            word = other.strip().decode()
            if re.fullmatch(r"-?\d+", word):
                numbers.append(int(word, 8) if len(word) > 1 and word[0] == "0" else int(word))
            else:
                flags += word
        else:
            if cut:
                raise AssertionError(f"strace cut the argument of a {name}")
            bytes_ = _plain(string)
            if name in ("write", "pwrite64") or (name in ("symlink", "symlinkat") and not data):
                data = bytes_
            else:
                paths.append(_join(name, above, os.fsdecode(bytes_)))
    return Call(name, tuple(paths), data, tuple(numbers), flags, result, descriptor)


def _plain(text: bytes) -> bytes:
    return bytes.fromhex(text.replace(b"\\x", b"").decode("ascii"))


def _join(call: str, above: str | None, name: str) -> str | None:
    if above is None and not name.startswith("/"):
        if call.endswith(("at", "at2")):
            return None  # in a directory that is deleted
        raise AssertionError(f"{call} of {name}, relative to nobody knows what")
    return os.path.normpath(os.path.join(above or "/", name))


def _within(call: Call, top: str) -> bool:
    """Whether a call changes what is below ``top``. Raises ``OutsideError`` for a change of a file elsewhere."""
    if call.name in ("open", "openat", "creat") and not _changes(call):
        return False
    if call.name == "sync":
        return True
    known = [path for path in call.paths if path is not None]
    if any(path == top or path.startswith(f"{top}/") for path in known):
        return True
    if any(path.startswith("/") and not path.startswith(("/dev/", "/proc/")) for path in known):
        raise OutsideError(f"{call.name} of {', '.join(known)}")
    return False  # a pipe, a socket, a terminal, or a file that has no name any more


def _changes(call: Call) -> bool:
    return call.name == "creat" or "O_CREAT" in call.flags or "O_TRUNC" in call.flags


def _apply(disk: Disk, call: Call, top: str) -> None:
    places = [path[len(top) + 1 :] if path is not None and path.startswith(f"{top}/") else "" if path == top else None for path in call.paths]
    first = places[0] if places else None
    if first is None and call.name not in ("sync", "syncfs"):
        return  # deleted, but still open
    name = call.name
    if name in ("open", "openat", "creat"):
        _opened(disk, call, first or "")
    elif name in ("write", "pwrite64"):
        inode = _inode(disk, first)
        end = len(disk.live.nodes[inode].content)  # nothing here writes elsewhere without saying where: the replay's end would show it
        disk.write(inode, call.numbers[-1] if name == "pwrite64" else end, call.data[: call.result])
    elif name in ("ftruncate", "truncate"):
        disk.resize(_inode(disk, first), call.numbers[-1])
    elif name in ("fchmod", "chmod", "fchmodat"):
        disk.chmod(_inode(disk, first), call.numbers[-1])
    elif name in ("fchown", "chown", "fchownat", "lchown"):
        pass
    elif name in ("rename", "renameat", "renameat2"):
        second = places[1]
        if call.flags or second is None or first is None:
            raise AssertionError(f"{call} is not known here")
        disk.rename(first, second)
    elif name in ("unlink", "unlinkat", "rmdir"):
        disk.remove(first or "")
    elif name in ("mkdir", "mkdirat"):
        disk.make(first or "", Node("dir", call.numbers[-1] & ~_umask(), b""))
    elif name in ("symlink", "symlinkat"):
        disk.make(first or "", Node("link", 0o777, call.data))
    elif name in ("fsync", "fdatasync"):
        disk.sync(_inode(disk, first))
    elif name in ("sync", "syncfs"):
        disk.sync(None)
    else:
        raise AssertionError(f"{call} is not known here")


def _opened(disk: Disk, call: Call, path: str) -> None:
    inode = disk.find(path)
    if inode is None:
        disk.make(path, Node("file", call.numbers[-1] & ~_umask(), b""))
    elif "O_TRUNC" in call.flags and disk.live.nodes[inode].content:
        disk.resize(inode, 0)


def _inode(disk: Disk, path: str | None) -> int:
    inode = disk.find(path or "")
    if inode is None:
        raise AssertionError(f"{path} is not there")
    return inode


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
