"""What a layer will hold: every path, and where the contents of its files are. In a directory, or as ``File``s that were never written to one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from ..errors import ArtifactError, Problem
from ..frozen import frozen
from ..install_release.manifest import safe_relative
from ..install_release.table import Entry, inside

CHUNK = 1 << 20
Read = Callable[[], Iterable[bytes]]


@frozen
class File:
    """A file that lies in no directory. ``read`` gives its ``size`` bytes in pieces; where it checks them itself, ``sha256`` is their digest."""

    path: str
    executable: bool
    size: int
    read: Read
    sha256: str = ""

    @classmethod
    def of(cls, path: str, data: bytes, executable: bool = False, sha256: str = "") -> File:
        """One in memory."""
        return cls(path, executable, len(data), lambda: (data,), sha256)


def gather(root: Path, files: Iterable[File], top: str, layer: str) -> list[tuple[Entry, Read]]:
    """All that is below ``root``, all ``files``, and the directories that they need, sorted by path. Places and most digests are still missing.

    Raises ``ArtifactError`` naming every path that no layer can hold.
    """
    problems: list[Problem] = []
    found: dict[str, tuple[Entry, Read]] = {path: (entry, partial(read, root / path)) for path, entry in _scan(root, top, problems)}
    for file in files:
        if not safe_relative(file.path):
            problems.append(_unsafe(file.path))
        found[file.path] = (Entry(file.path, "file", "755" if file.executable else "644", file.size, file.sha256), file.read)
        folder = file.path.rpartition("/")[0]
        while folder and folder not in found:
            found[folder] = (Entry(folder, "dir", "755"), tuple)
            folder = folder.rpartition("/")[0]
        if folder and found[folder][0].type != "dir":
            problems.append(Problem(folder, f"is no directory, and {file.path} is to be in it"))
    if problems:
        raise ArtifactError(f"the layer {layer} can't be packed", sorted(problems, key=str))
    return [found[path] for path in sorted(found, key=str.encode)]


def write(files: Iterable[File], root: Path) -> None:
    """Write ``files`` below ``root``, their modes set and not inherited. What is there already gives way."""
    known: set[str] = set()
    for file in files:
        path = f"{root}/{file.path}"
        folder = os.path.dirname(path)
        if folder not in known:
            os.makedirs(folder, exist_ok=True)
            known.add(folder)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o755 if file.executable else 0o644)
        with os.fdopen(fd, "wb") as out:
            out.writelines(file.read())


def _scan(root: Path, top: str, problems: list[Problem]) -> Iterator[tuple[str, Entry]]:
    waiting = [""]
    while waiting:
        directory = waiting.pop()
        with os.scandir(os.path.join(root, directory)) as children:
            for child in children:
                path = f"{directory}/{child.name}" if directory else child.name
                if not safe_relative(path):
                    problems.append(_unsafe(path))
                elif child.is_symlink():
                    target = os.readlink(child.path)
                    if not inside(path, target, top):
                        problems.append(Problem(path, f"is a link that leaves {top}/: {target!r}", "Make it relative, to something inside."))
                    yield path, Entry(path, "link", "777", target=target)
                elif child.is_dir():
                    yield path, Entry(path, "dir", "755")
                    waiting.append(path)
                elif child.is_file():
                    facts = child.stat(follow_symlinks=False)
                    yield path, Entry(path, "file", "755" if facts.st_mode & stat.S_IXUSR else "644", facts.st_size)
                else:
                    problems.append(Problem(path, "is neither a file, a directory nor a link"))


def _unsafe(path: str) -> Problem:
    return Problem(ascii(path), "has a name that no layer can hold (not printable, no UTF-8, or too long)", "Rename it.")


def read(path: Path) -> Iterator[bytes]:
    """A file's contents, in pieces."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(CHUNK):
            yield piece
