"""The cache of distributions: files by their sha256, and short notes about them. Everything in it is published by rename, and checked when used.

``files/<sha256>/<file name>`` beside ``facts.json``; ``notes/<kind>/<key>.json``; ``scratch/`` for what isn't published yet. Two builds may use it
at once; a killed one leaves only scratch, which the next one sweeps. A damaged entry is as good as none, and replaced by a good one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..cache import used
from ..errors import Problem, WheelhouseError
from ..frozen import frozen
from ..install_release.manifest import canonical
from . import wheel

_FORMAT = 1


@frozen
class Stored:
    """A file of the cache. ``facts`` is None for one that is no wheel."""

    path: Path
    sha256: str
    facts: wheel.Facts | None


class WheelCache:
    """The cache below ``root``, which is made when it isn't there."""

    def __init__(self, root: Path) -> None:
        self._cache, self._root = root, root / "distributions"
        for name in ("files", "notes", "scratch"):
            (self._root / name).mkdir(parents=True, exist_ok=True)

    def get(self, sha256: str) -> Stored | None:
        """The file with this hash, if it is here and whole."""
        folder = self._root / "files" / sha256
        if not used(self._cache, folder):
            return None
        try:
            known = json.loads((folder / "facts.json").read_bytes())
            path = folder / known["filename"]
            # The content is read again only if the file was touched since it was published, as a cache that was restored has been.
            if known["format"] == _FORMAT and (known["stamp"] == _stamp(path) or self._unchanged(folder, known, path, sha256)):
                facts: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in known["facts"].items()}
                return Stored(path, sha256, wheel.Facts(**facts) if facts else None)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _unchanged(self, folder: Path, known: dict[str, Any], path: Path, sha256: str) -> bool:
        """Whether the content is still what its hash says; then that need not be asked again."""
        stamp = _stamp(path)
        if file_sha256(path) != sha256:
            return False
        with suppress(OSError), self.scratch() as scratch:
            (scratch / "facts.json").write_bytes(canonical({**known, "stamp": stamp}))
            (scratch / "facts.json").replace(folder / "facts.json")
        return True

    def add(self, path: Path) -> Stored:
        """Move a file in; a wheel is read and checked first. Raises ``WheelhouseError`` when it is a wheel that can't be used."""
        sha256 = file_sha256(path)
        stored = self.get(sha256)
        if stored is not None:
            return stored
        facts = wheel.read(path) if path.name.endswith(".whl") else None
        with self.scratch() as scratch:
            folder = scratch / sha256
            folder.mkdir()
            target = folder / path.name
            shutil.copyfile(path, target)
            target.chmod(0o644)
            with target.open("rb") as file:
                os.fsync(file.fileno())
            known = {"format": _FORMAT, "filename": path.name, "stamp": _stamp(target), "facts": asdict(facts) if facts else {}}
            (folder / "facts.json").write_bytes(canonical(known))
            place = self._root / "files" / sha256
            with suppress(OSError):  # another build was faster
                if place.exists() and self.get(sha256) is None:
                    place.rename(scratch / "damaged")
                folder.rename(place)
        stored = self.get(sha256)
        if stored is None:
            raise WheelhouseError("the cache can't be written", [Problem(str(self._root), "lost what was just put into it.", "Is the disk full?")])
        return stored

    def note(self, kind: str, key: str) -> Any:
        """What was noted under this key, or None."""
        path = self._root / "notes" / kind / f"{key}.json"
        try:
            return json.loads(path.read_bytes()) if used(self._cache, path) else None
        except (OSError, ValueError):
            return None

    def write_note(self, kind: str, key: str, value: Any) -> None:
        """Note ``value`` (JSON) under ``key``."""
        folder = self._root / "notes" / kind
        folder.mkdir(exist_ok=True)
        with self.scratch() as scratch:
            (scratch / "note").write_bytes(canonical(value))
            (scratch / "note").replace(folder / f"{key}.json")

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory on the cache's own file system, for as long as the block lasts.

        Locked while it is in use, so what is not locked was left by a build that was killed: no clock has a say.
        """
        home = self._root / "scratch"
        with open(self._root / "scratch.lock", "ab") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)  # between making a directory and locking it nobody sweeps
            _sweep(home)
            made = Path(tempfile.mkdtemp(dir=home))
            held = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(held, fcntl.LOCK_SH)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
            os.close(held)


def _sweep(home: Path) -> None:
    """Remove the directories in ``home`` that nobody holds."""
    for path in home.iterdir():
        try:
            directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            continue  # its build has just ended, or it is another user's
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # in use
        finally:
            os.close(directory)


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int]:
    """What changes whenever a file's content does."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
