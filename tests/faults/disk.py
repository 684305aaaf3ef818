"""A disk that remembers in which order it was written to: one file, served through /dev/fuse, below a loop device; and file systems on it.

The kernel's own protocol is spoken (fuse.h), no library: the file system is a single regular file, mounted over one. Each write is logged before it
is answered, and so is each flush. What a power cut leaves is everything up to a flush, and any of the writes since.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SECTOR, BLOCK = 512, 4096
"""Bytes. A write is torn between two blocks: no file system here outlives half a superblock, whatever is installed on it."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_NAMESPACE, _PRIVATE, _RECURSIVE, _DETACH = 0x20000, 1 << 18, 1 << 14, 2
_GETATTR, _SETATTR, _OPEN, _READ, _WRITE, _STATFS, _RELEASE, _FSYNC, _FLUSH, _INIT, _DESTROY = 3, 4, 14, 15, 16, 17, 18, 20, 25, 26, 38
_UNANSWERED = (2, 36, 42)  # forget, interrupt, batch_forget
_MOST = 128 << 10  # bytes of one write


class FileSystem(NamedTuple):
    """One set-up: how it is made, and mounted."""

    name: str
    kind: str
    size: int  # MiB
    make: tuple[str, ...]
    options: str


FILE_SYSTEMS = (
    FileSystem("ext4", "ext4", 32, ("mkfs.ext4", "-qF", "-E", "lazy_itable_init=0,nodiscard"), "data=ordered"),
    FileSystem("ext4 writeback", "ext4", 32, ("mkfs.ext4", "-qF", "-E", "lazy_itable_init=0,nodiscard"), "data=writeback,noauto_da_alloc"),
    FileSystem("ext4 fast_commit", "ext4", 32, ("mkfs.ext4", "-qF", "-O", "fast_commit", "-E", "lazy_itable_init=0,nodiscard"), "noauto_da_alloc"),
    FileSystem("xfs", "xfs", 320, ("mkfs.xfs", "-qfK"), "nodiscard"),
    FileSystem("btrfs", "btrfs", 160, ("mkfs.btrfs", "-qfK"), "nodiscard"),
)


class Event(NamedTuple):
    """A write, or a flush, whose ``data`` is None."""

    offset: int
    data: bytes | None


class Cut(NamedTuple):
    """A power cut when ``at`` events had reached the disk: of the writes since the last flush before it, those in ``landed``; the last one torn."""

    at: int
    landed: tuple[int, ...]
    torn: bool = False


def usable() -> str:
    """Why there can be no such disk here; "" if there can."""
    if os.geteuid() != 0:
        return "only root can mount"
    for path in ("/dev/fuse", "/dev/loop-control"):
        try:
            os.close(os.open(path, os.O_RDWR))
        except OSError as error:
            return f"{path}: {error.strerror}"
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    return done.stderr.strip()


def tool(name: str) -> str:
    """Where a program of the system is, that not everybody's PATH leads to; "" where it is not."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") or ""


def private() -> None:
    """From now on what this process mounts is its own, and goes when it ends, however that happens."""
    _check(_LIBC.unshare(_NEW_NAMESPACE))
    _check(_LIBC.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None))


def make(system: FileSystem, image: Path) -> None:
    """An empty file system in a new sparse file."""
    with open(image, "wb") as file:
        file.truncate(system.size << 20)
    program, *options = system.make
    subprocess.run([tool(program) or program, *options, image], check=True, capture_output=True)


@contextmanager
def mounted(system: FileSystem, image: Path, top: Path) -> Iterator[None]:
    """The file system of ``image`` at ``top``, which replays its journal. Raises ``CalledProcessError``. The loop device goes with the mount."""
    command = ["mount", "-t", system.kind, "-o", f"loop,{system.options}", str(image), str(top)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    try:
        yield
    finally:
        for _ in range(100):
            if _LIBC.umount2(os.fsencode(top), 0) == 0:
                break
            time.sleep(0.02)
        else:
            _LIBC.umount2(os.fsencode(top), _DETACH)


@contextmanager
def remembering(image: Path, log: Path, point: Path) -> Iterator[None]:
    """Serve ``image``, which is changed, as the file ``point``; ``events`` reads from ``log`` what was done to it."""
    point.touch()
    log.touch()
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=100600,user_id=0,group_id=0,max_read={_MOST}".encode()
    try:
        _check(_LIBC.mount(b"remembering", os.fsencode(point), b"fuse", 0, options))
        server = os.fork()  # only now: before the mount there is nothing to read
        if server == 0:
            _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with whoever wanted it
            try:
                _serve(device, image, log)
            finally:
                os._exit(0)
    finally:
        os.close(device)  # the server's is the only one: should it end, nobody waits for an answer
    try:
        yield
    finally:
        _LIBC.umount2(os.fsencode(point), _DETACH)
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)


def events(log: Path) -> list[Event]:
    """What was logged so far, oldest first."""
    data, found, position = log.read_bytes(), list[Event](), 0
    while position < len(data):
        offset, length = struct.unpack_from("<qI", data, position)
        position += 12
        found.append(Event(offset, None if offset < 0 else data[position : position + length]))
        position += length
    return found


def cuts(done: Sequence[Event], chance: random.Random, most: int) -> list[Cut]:
    """At most ``most`` cuts: with all that was written until then, with any part of it, and with a last write that is torn; the end always."""
    found: dict[Cut, None] = {}
    flushed = 0
    for at, event in enumerate(done, 1):
        if event.data is None:
            flushed = at
            found[Cut(at, ())] = None
            continue
        waiting = tuple(range(flushed, at))
        found[Cut(at, waiting)] = None
        found[Cut(at, waiting[:-1])] = None
        found[Cut(at, waiting[-1:])] = None
        if len(event.data) > BLOCK:
            found[Cut(at, waiting, torn=True)] = None
        for _ in range(2):
            found[Cut(at, tuple(each for each in waiting if chance.random() < 0.5))] = None
    last = [Cut(len(done), ()), Cut(len(done), tuple(range(flushed, len(done))))]
    others = [cut for cut in found if cut not in last]
    return sorted({*last, *chance.sample(others, min(len(others), most - len(last)))})


def lay(base: Path, done: Sequence[Event], cut: Cut, image: Path) -> None:
    """The disk as a cut left it."""
    subprocess.run(["cp", "--sparse=always", base, image], check=True)
    flushed = max((number for number, event in enumerate(done[: cut.at], 1) if event.data is None), default=0)
    with open(image, "r+b") as file:
        for number in [*range(flushed), *cut.landed]:
            offset, data = done[number]
            if data is not None:
                file.seek(offset)
                file.write(data[: -(-len(data) // 2 // BLOCK) * BLOCK] if cut.torn and number == cut.landed[-1] else data)


def _serve(device: int, image: Path, log: Path) -> None:
    disk = os.open(image, os.O_RDWR)
    size = os.fstat(disk).st_size
    attributes = struct.pack("<QII6Q10I", 3600, 0, 0, 1, size, size // SECTOR, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0)
    with open(log, "ab", buffering=0) as remembered:
        while True:
            try:
                request = os.read(device, _MOST + (1 << 16))
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return
            _, operation, unique = struct.unpack_from("<IIQ", request)
            if operation in _UNANSWERED:
                continue
            body, answer, status = request[40:], b"", 0
            if operation == _INIT:
                _, _, ahead, _ = struct.unpack_from("<4I", body)
                answer = struct.pack("<4IHHIIHHI7I", 7, 31, ahead, 1 << 5 | 1 << 22, 16, 12, _MOST, 1, _MOST // 4096, 0, 0, *[0] * 7)
            elif operation in (_GETATTR, _SETATTR):
                answer = attributes
            elif operation == _OPEN:
                answer = struct.pack("<QII", 1, 1, 0)  # direct: every write of the loop device comes here, when it is made
            elif operation == _READ:
                _, offset, length = struct.unpack_from("<QQI", body)
                answer = os.pread(disk, length, offset)
            elif operation == _WRITE:
                _, offset, length = struct.unpack_from("<QQI", body)
                data = body[40 : 40 + length]
                remembered.write(struct.pack("<qI", offset, length) + data)
                os.pwrite(disk, data, offset)
                answer = struct.pack("<II", length, 0)
            elif operation == _FSYNC:
                remembered.write(struct.pack("<qI", -1, 0))
            elif operation == _STATFS:
                answer = struct.pack("<5Q10I", 1 << 20, 1 << 19, 1 << 19, 1, 1, 4096, 255, 4096, *[0] * 7)
            elif operation not in (_RELEASE, _FLUSH, _DESTROY):
                status = -errno.ENOSYS
            os.write(device, struct.pack("<IiQ", 16 + len(answer), status, unique) + answer)


def _check(status: int) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
