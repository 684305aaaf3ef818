"""A directory as a store: a disk of this machine, or a share that several mount.

Every promise rests on one thing that NFS, SMB and every local file system keep, locks or no locks: a hard link to a name that is taken fails. An
object is written beside its place, synced, and linked to its name. A pointer is a directory of numbered files, of which the last one counts:
``swap`` makes the next number, and only one can. Nothing has to be unlocked or mended after a kill.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ..errors import AbsentError, ChecksumError, DeniedError, NoStoreError, Problem, StoreError
from . import Found, Listed, Moved, Source, Span

_CHUNK = 4 << 20
_SCRATCH = ".new-"  # the beginning of a name that no reader looks at
_KEPT_VERSIONS = 8  # of a pointer; older ones are emptied, and stay, since their numbers must never be free again
_UNLINKABLE = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class DirectoryStore:
    """All below one directory, which must be there: a share that is not mounted is not mistaken for an empty store."""

    copies = False

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = Path(url)
        if not self._root.is_dir():
            problem = Problem(url, "is no directory that is there", "Make it, mount it, or name the one that was meant.")
            raise NoStoreError("there is no such store", [problem])

    def get(self, key: str, most: int) -> bytes | None:
        with self._refusing(key):
            try:
                with self._path(key).open("rb") as file:
                    data = file.read(most + 1)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None
        if len(data) > most:
            raise ChecksumError("the store holds something else than a release", [Problem(self._shown(key), f"is longer than {most} bytes")])
        return data

    def create(self, key: str, data: bytes) -> bool:
        def contents(file: int) -> None:
            _write_all(file, data)

        return self._publish(key, contents)

    def pointer(self, key: str) -> Found | None:
        with self._refusing(key):
            for _ in range(100):  # a version that is emptied while it is read has been followed by others
                number = max(self._versions(key), default=0)
                if not number:
                    return None
                data = (self._path(key) / str(number)).read_bytes()
                if data:
                    return Found(data, str(number))
        raise ChecksumError("the store holds an empty pointer", [Problem(self._shown(key), "has a last version without contents")])

    def swap(self, key: str, data: bytes, tag: str | None) -> bool:
        number = int(tag or 0) + 1
        if tag and not (self._path(key) / tag).exists():
            return False
        won = self.create(f"{key}/{number}", data)
        if won:
            with self._refusing(key):
                self._empty_old(key, number)
        return won

    def _versions(self, key: str) -> list[int]:
        try:
            return [int(name) for name in os.listdir(self._path(key)) if name.isdecimal()]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _empty_old(self, key: str, newest: int) -> None:
        old = self._path(key) / str(newest - _KEPT_VERSIONS)
        if newest > _KEPT_VERSIONS and old.exists() and old.stat().st_size:
            scratch = old.with_name(f"{_SCRATCH}{secrets.token_hex(8)}")
            scratch.touch(exist_ok=False)
            os.replace(scratch, old)

    def listing(self, prefix: str) -> Iterator[Listed]:
        with self._refusing(prefix):
            top = self._path(prefix)
            for folder, folders, names in os.walk(top, onerror=_unless_gone):
                folders.sort()
                for name in sorted(names):
                    path = Path(folder, name)
                    with suppress(FileNotFoundError):
                        facts = path.stat()
                        if not name.startswith("."):
                            key = path.relative_to(self._root).as_posix()
                            yield Listed(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def folders(self, prefix: str) -> tuple[str, ...]:
        with self._refusing(prefix):
            try:
                return tuple(sorted(each.name for each in os.scandir(self._path(prefix)) if each.is_dir() and not each.name.startswith(".")))
            except (FileNotFoundError, NotADirectoryError):
                return ()

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        with self._refusing(key):
            try:
                file = os.open(self._path(key), os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                raise AbsentError("the store does not hold that any more", [Problem(self._shown(key), "is not there")]) from None
            try:
                while length:
                    piece = os.pread(file, min(length, _CHUNK), offset)
                    if not piece:
                        raise ChecksumError("an object of the store is cut off", [Problem(self._shown(key), f"ends {length} bytes too early")])
                    yield piece
                    offset, length = offset + len(piece), length - len(piece)
            finally:
                os.close(file)

    def estimate(self, spans: Sequence[Span]) -> tuple[int, int]:
        return sum(span.length for span in spans), 0

    def write(self, key: str, source: Source, spans: Sequence[Span], sound: Callable[[], None], moved: Moved) -> bool:
        """All of it is sent: to read on a share what is there already, for comparing, would move as much."""

        def contents(file: int) -> None:
            for offset in range(0, source.size, _CHUNK):
                piece = source.read(offset, min(_CHUNK, source.size - offset))
                _write_all(file, piece)
                moved("sent", len(piece))
            sound()

        return self._publish(key, contents)

    def remove(self, key: str) -> None:
        with self._refusing(key):
            path = self._path(key)
            with suppress(FileNotFoundError):
                path.unlink()
                _sync(path.parent)  # a prune takes first what makes a release one: after a power cut too
            for folder in path.parents:  # an empty one is no folder of a bucket either
                if folder == self._root:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def remove_stale(self, prefix: str, before: datetime, *, act: bool) -> int:
        count = 0
        with self._refusing(prefix):
            for folder, _, names in os.walk(self._path(prefix), onerror=_unless_gone):
                for path in (Path(folder, name) for name in names if name.startswith(_SCRATCH)):
                    with suppress(FileNotFoundError):
                        if path.stat().st_mtime < before.timestamp():
                            if act:
                                path.unlink()
                            count += 1
        return count

    def address(self, key: str, seconds: int) -> str:
        return self._path(key).absolute().as_uri()

    def _publish(self, key: str, contents: Callable[[int], None]) -> bool:
        """A new object by way of a file beside its place. False: its name is taken."""
        path = self._path(key)
        scratch = path.with_name(f"{_SCRATCH}{secrets.token_hex(8)}")
        with self._refusing(key):
            if path.exists():
                return False
            file = self._begin(scratch)
            try:
                try:
                    contents(file)
                    os.fsync(file)
                finally:
                    os.close(file)
                try:
                    os.link(scratch, path)
                except FileExistsError:
                    if not os.path.samefile(scratch, path):  # the same: a reply was lost, and the call made again
                        return False
                _sync(path.parent)
            finally:
                with suppress(FileNotFoundError):
                    scratch.unlink()
        return True

    def _begin(self, scratch: Path) -> int:
        """Open a new file, and make its directories; again when another one's ``remove`` has just taken them away."""
        for _ in range(100):
            made = [folder for folder in (scratch.parent, *scratch.parents) if not folder.exists()]
            scratch.parent.mkdir(parents=True, exist_ok=True)
            for folder in made:
                with suppress(FileNotFoundError):
                    _sync(folder.parent)
            try:
                return os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                continue
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(scratch.parent))

    def _path(self, key: str) -> Path:
        return self._root / key

    def _shown(self, key: str) -> str:
        return str(self._root / key)

    @contextmanager
    def _refusing(self, key: str) -> Iterator[None]:
        """What the system says no to, in the store's words."""
        try:
            yield
        except OSError as error:
            if not self._root.is_dir():
                problem = Problem(self.url, "is not there any more", "Mount it again.")
                raise NoStoreError("the store has gone", [problem]) from None
            where, what = str(error.filename or self._shown(key)), error.strerror or str(error)
            if error.errno in _UNLINKABLE and error.filename2:
                remedy = "A store needs a file system that has them (a local disk, NFS, SMB), or a bucket."
                raise StoreError("the store's file system has no hard links", [Problem(self.url, what, remedy)]) from None
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise DeniedError(
                    "the store does not allow that", [Problem(where, what, "Give this user the right to it, or work as another.")]
                ) from None
            raise StoreError("the store says no", [Problem(where, what, "Make room or mend it, then try again.")]) from None


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def _sync(directory: Path) -> None:
    """Where a file system has no such thing (SMB, some of FUSE) it says so, and makes names durable by itself or not at all."""
    file = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(file)


def _unless_gone(error: OSError) -> None:
    """A directory that can't be read is not one that is empty: a prune would not see a channel in it."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
