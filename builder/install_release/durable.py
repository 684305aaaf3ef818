"""Durable changes, all by directory descriptor. This is the only module that renames, syncs or removes below the root.

The pattern, always: temporary sibling → write → sync → rename → sync the directory. A sync that failed is never tried again
on the same file: the kernel may have dropped the pages, and the second call would say that all is well. An error of a rename
decides nothing by itself (a lost reply on a network file system): what is there now decides.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def temporary(name: str) -> str:
    """The temporary sibling of ``name``: one fixed name, so that what a killed process left is found and replaced."""
    return f".{name}.new"


def open_dir(directory: int, path: str) -> int:
    """A descriptor of the directory ``path`` below ``directory``; no part of it may be a link."""
    here = os.dup(directory)
    try:
        for part in path.split("/"):
            below = os.open(part, DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def make_dir(directory: int, name: str, mode: int = 0o755) -> None:
    """Make the directory ``name`` durably, with exactly ``mode``; one that is there already stays as it is."""
    try:
        os.mkdir(name, mode, dir_fd=directory)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name) from None
        return
    made = open_dir(directory, name)
    try:
        os.fchmod(made, mode)
        os.fsync(made)
    finally:
        os.close(made)
    os.fsync(directory)


def create_file(directory: int, name: str, data: bytes, mode: int = 0o644, group: int = -1) -> None:
    """A new file inside a stage, with exactly ``mode`` and, if one is given, ``group``. Not synced: ``sync_tree`` does that for the whole stage."""
    file = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        _write_all(file, data)
        if group != -1:
            os.fchown(file, -1, group)
        os.fchmod(file, mode)
    finally:
        os.close(file)


def write_file(directory: int, name: str, data: bytes, mode: int = 0o644) -> None:
    """Put ``data`` at ``name``, durably: readers see the old bytes or the new ones, never a part."""
    new = temporary(name)
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    file = os.open(new, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        try:
            _write_all(file, data)
            os.fchmod(file, mode)
            os.fsync(file)
            identity = os.fstat(file)
        finally:
            os.close(file)
        _rename(new, directory, name, directory, lambda: _is_same(directory, name, identity))
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=directory)
        raise
    os.fsync(directory)


def create_synced(directory: int, name: str, data: bytes, mode: int, group: int = -1) -> None:
    """A new file, synced, with exactly ``mode`` and, if one is given, ``group``; in the place of one that a killed process left there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    file = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
    try:
        _write_all(file, data)
        if group not in (-1, os.fstat(file).st_gid):
            os.fchown(file, -1, group)
        os.fchmod(file, mode)
        os.fsync(file)
    finally:
        os.close(file)


def replace(directory: int, name: str, published: str) -> None:
    """Put the synced file ``name`` in the place of ``published``, whatever was there. The caller syncs the directory, once for several."""
    identity = os.stat(name, dir_fd=directory, follow_symlinks=False)
    _rename(name, directory, published, directory, lambda: _is_same(directory, published, identity))


def publish(source: int, name: str, target: int, published: str) -> None:
    """Move the synced tree ``name`` from the directory ``source`` to ``published`` in ``target``, where nothing may be."""
    if exists(target, published):  # a rename onto an empty directory would succeed
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), published)
    identity = os.stat(name, dir_fd=source, follow_symlinks=False)
    _rename(name, source, published, target, lambda: _is_same(target, published, identity))
    os.fsync(target)
    os.fsync(source)


def replace_link(directory: int, name: str, target: str) -> None:
    """Make ``name`` a link to ``target`` in one step, whatever it was before (but a directory), and read it back."""
    new = temporary(name)
    with suppress(FileNotFoundError):
        os.unlink(new, dir_fd=directory)
    try:
        os.symlink(target, new, dir_fd=directory)
        if os.readlink(new, dir_fd=directory) != target:
            raise OSError(errno.EIO, "the link does not read back as it was written", new)
        _rename(new, directory, name, directory, lambda: read_link(directory, name) == target)
    except BaseException:
        with suppress(OSError):
            os.unlink(new, dir_fd=directory)
        raise
    os.fsync(directory)
    if read_link(directory, name) != target:
        raise OSError(errno.EIO, "the link does not read back as it was written", name)


def read_link(directory: int, name: str) -> str | None:
    """What the link ``name`` says; None when it is absent or no link."""
    try:
        return os.readlink(name, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def remove_name(directory: int, name: str) -> None:
    """Remove one file or link durably; an absent one is fine."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
        os.fsync(directory)


def remove_directory(directory: int, name: str) -> bool:
    """Remove an empty directory durably; False when something is in it, True when it is gone, or was."""
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR):
            return False
        raise
    os.fsync(directory)
    return True


def append_lines(directory: int, name: str, data: bytes, mode: int = 0o640) -> None:
    """Add whole lines to ``name`` durably. A line that a power cut tore before is taken away first: nobody was told of it."""
    file = os.open(name, _APPEND, 0o600, dir_fd=directory)
    try:
        size = os.fstat(file).st_size
        whole = _end_of_last_line(file, size)
        if whole != size:
            os.ftruncate(file, whole)
        try:
            _write_all(file, data)
            os.fchmod(file, mode)
            os.fsync(file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file, whole)
            raise
    finally:
        os.close(file)
    os.fsync(directory)


def sync_tree(directory: int) -> None:
    """Make all below ``directory`` durable: ``syncfs`` where it reports errors, else every file, then directories, children first."""
    if _syncfs(directory):
        return
    for _, _, files, here in os.fwalk(".", topdown=False, follow_symlinks=False, dir_fd=directory):
        for name in files:
            if stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
                file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                try:
                    os.fsync(file)
                finally:
                    os.close(file)
        os.fsync(here)


def remove_tree(directory: int, name: str) -> None:
    """Remove ``name`` and all below it, following no link, however deep it is; an absent one is fine.

    One descriptor at a time, and the way back up by ``..``: neither a path's length nor the limit of open files matters.
    """
    try:
        os.unlink(name, dir_fd=directory)
        return
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError):
        pass
    here = _open_any(directory, name)
    trail = [(name, os.fstat(here), _remove_files(here))]
    try:
        while True:
            child, _identity, below = trail[-1]
            if below:
                deeper = _open_any(here, below[-1])
                os.close(here)
                here = deeper
                trail.append((below.pop(), os.fstat(here), _remove_files(here)))
                continue
            trail.pop()
            if not trail:
                break
            above = os.open("..", DIRECTORY, dir_fd=here)
            os.close(here)
            here = above
            if not os.path.samestat(os.fstat(here), trail[-1][1]):
                raise OSError(errno.EAGAIN, "moved while it was being removed", child)
            os.rmdir(child, dir_fd=here)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=directory)


def exists(directory: int, name: str) -> bool:
    """Whether anything at all is called ``name``, a dangling link included."""
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _rename(name: str, source: int, published: str, target: int, done: Callable[[], bool]) -> None:
    try:
        os.rename(name, published, src_dir_fd=source, dst_dir_fd=target)
    except OSError:
        if not done():
            raise


def _is_same(directory: int, name: str, identity: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(name, dir_fd=directory, follow_symlinks=False), identity)
    except FileNotFoundError:
        return False


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _read_all(file: int, start: int, end: int) -> bytes:
    """What is from ``start`` up to ``end``: one read may give less, and what lies behind that would be taken for no line."""
    data = b""
    while start + len(data) < end:
        piece = os.pread(file, end - start - len(data), start + len(data))
        if not piece:
            raise OSError(errno.EIO, "became shorter while it was read")
        data += piece
    return data


def _end_of_last_line(file: int, size: int) -> int:
    """The length of ``file`` up to and with its last line feed."""
    position = size
    while position:
        start = max(0, position - 4096)
        found = _read_all(file, start, position).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        position = start
    return 0


def _open_any(directory: int, name: str) -> int:
    """Open a directory that is about to be removed, whatever its mode."""
    try:
        found = open_dir(directory, name)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=directory)
        found = open_dir(directory, name)
    if stat.S_IMODE(os.fstat(found).st_mode) & 0o700 != 0o700:
        os.fchmod(found, 0o700)
    return found


def _remove_files(directory: int) -> list[str]:
    """Remove all but directories from ``directory``; the names of those."""
    below = []
    with os.scandir(directory) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_dir in names:
        if is_dir:
            below.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return below


def _syncfs(directory: int) -> bool:
    """Sync the whole file system of ``directory``. False where that can't be done, or wouldn't report an error (before Linux 5.8)."""
    try:
        release = tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2])
        if release < (5, 8):
            return False
        import ctypes  # a Python built without it is legal: fsync serves

        call = ctypes.CDLL(None, use_errno=True).syncfs
    except (ImportError, AttributeError, OSError, ValueError):
        return False
    if call(directory) != 0:
        number = ctypes.get_errno()
        if number == errno.ENOSYS:
            return False
        raise OSError(number, os.strerror(number))
    return True
