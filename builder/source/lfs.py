"""Git LFS: telling a pointer from a file, and finding what it points to. ``git-lfs`` itself is asked only for what isn't here."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import Problem, SourceError
from ..frozen import frozen
from .git import Repository, ask, setting

MAX_POINTER = 1024  # bytes
_POINTER = re.compile(
    rb"version https://(?:git-lfs|hawser)\.github\.com/spec/v1\r?\n(?:ext-\S+ \S+\r?\n)*"
    rb"oid sha256:(?P<oid>[0-9a-f]{64})\r?\nsize (?P<size>\d{1,15})\r?\n?"
)


@frozen
class Pointer:
    """What a pointer says of the file that it stands for."""

    sha256: str
    size: int


def pointer(data: bytes) -> Pointer | None:
    """What ``data`` points to, when it is a pointer."""
    match = _POINTER.fullmatch(data) if len(data) <= MAX_POINTER else None
    return Pointer(match["oid"].decode(), int(match["size"])) if match else None


def stored(repository: Repository, wanted: Pointer) -> Path | None:
    """Where the local LFS storage of ``repository`` has the object; its bytes are checked when they are read."""
    base = repository.common / (setting(repository, "lfs.storage") or "lfs")
    path = base / "objects" / wanted.sha256[:2] / wanted.sha256[2:4] / wanted.sha256
    return path if path.is_file() else None


def fetch(repository: Repository, commit: str) -> str:
    """Let ``git lfs`` fetch the objects of ``commit``; "" or why it could not."""
    if ask(repository, "lfs", "version", what="looking for git-lfs", check=False).returncode:
        return "git-lfs, which could fetch it, is not installed"
    said = ask(repository, "lfs", "fetch", "origin", commit, what="fetching LFS objects", check=False)
    lines = said.log.strip().splitlines()
    return "" if said.returncode == 0 else f"git lfs fetch said: {lines[-1] if lines else said.returncode}"


def read(path: Path, wanted: Pointer, where: str) -> Iterator[bytes]:
    """The object at ``path`` in pieces. Raises ``SourceError`` after the last when it isn't what the pointer says."""
    digest, size = hashlib.sha256(), 0
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
            yield piece
    if digest.hexdigest() != wanted.sha256 or size != wanted.size:
        problem = Problem(where, f"the LFS object {wanted.sha256[:12]}… is damaged in the local storage.", "Run 'git lfs fsck', then fetch again.")
        raise SourceError("an LFS object is not what its pointer says", [problem])
