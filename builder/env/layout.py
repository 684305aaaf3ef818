"""Where the files of a wheel go in an environment, and the two things done with that: writing them, and listing who claims what."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import posixpath
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from zipfile import ZipFile

import installer
from installer.destinations import WheelDestination
from installer.exceptions import InstallerError
from installer.records import RecordEntry
from installer.utils import Scheme

from ..errors import EnvError, Problem
from ..install_release.manifest import safe_relative
from ..install_release.pin import NAME as PIN
from ..target import Interpreter
from .contents import UNREADABLE, Member, Wheel
from .scripts import entry_point, relocatable

# What the installer makes on the host, and what virtualenv would make. Not every bin/python* or bin/activate*: argcomplete has scripts of such names.
_RESERVED = re.compile(r"pyvenv\.cfg|lib64(/.*)?|bin/pythonw?[0-9.]*t?|bin/(de)?activate(_this\.py|\.\w+)?|.*/" + re.escape(PIN), re.IGNORECASE)
Compile = Callable[[Path, Iterable[str]], tuple[str, ...]]


@dataclass(frozen=True)
class Layout:
    """An environment's folders, relative to it, for one interpreter. ``python`` is like ``3.11``."""

    python: str
    purelib: str
    platlib: str

    @classmethod
    def of(cls, interpreter: Interpreter) -> Layout:
        return cls(interpreter.python, interpreter.paths["purelib"], interpreter.paths["platlib"])

    def folder(self, scheme: str, distribution: str) -> str:
        """The folder of one of a wheel's schemes; "" is the environment itself."""
        headers = f"include/site/python{self.python}/{distribution}"
        return {"purelib": self.purelib, "platlib": self.platlib, "headers": headers, "scripts": "bin", "data": ""}[scheme]

    def place(self, scheme: str, path: str, distribution: str) -> str:
        """The place of a file, relative to the environment. Raises ``EnvError`` for one that is not a wheel's to claim."""
        where = posixpath.join(self.folder(scheme, distribution), path)
        if not safe_relative(where):
            problem = Problem(ascii(path), "has a name that no layer can hold (control characters, no UTF-8, or too long).")
            raise EnvError(f"a wheel of {distribution} can't be installed", [problem])
        if _RESERVED.fullmatch(where):
            raise EnvError(f"a wheel of {distribution} claims what is not its own", [Problem(where, "belongs to the environment itself.")])
        return where


@dataclass
class Files(WheelDestination):
    """Writes a wheel's files below ``root``: modes set, not inherited; RECORD as pip writes it. ``compile`` makes byte code of sources."""

    root: Path
    layout: Layout
    distribution: str
    compile: Compile | None
    _rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    _sources: set[str] = field(default_factory=set)
    _scripts: dict[str, bytes] = field(default_factory=dict)
    _folders: set[str] = field(default_factory=set)

    def write_script(self, name: str, module: str, attr: str, section: str) -> RecordEntry:
        """Kept until the end: it takes the place of a file of the same name."""
        self._scripts[self.layout.place("scripts", name, self.distribution)] = entry_point(module, attr)
        return RecordEntry(name, None, None)

    def write_file(self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO | Member, is_executable: bool) -> RecordEntry:
        where = self.layout.place(scheme, os.fspath(path), self.distribution)
        if not isinstance(stream, Member):
            self._write(where, stream.read(), is_executable)
        elif scheme == "scripts":
            content = io.BytesIO()
            stream.copy(content.write)
            script = relocatable(content.getvalue())
            self._write(where, script, is_executable)
            if script == content.getvalue():
                self._rows[where] = (stream.digest, stream.size)
        else:
            with self._open(where, is_executable) as out:
                stream.copy(out.write)
            self._rows[where] = (stream.digest, stream.size)
        if where.endswith(".py"):
            self._sources.add(where)
        return RecordEntry(os.fspath(path), None, None)

    def finalize_installation(self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]) -> None:
        for where, text in self._scripts.items():
            self._write(where, text, True)
            self._sources.discard(where)
        for where in self.compile(self.root, self._sources) if self.compile else ():
            self._rows[where] = ("", "")
        record = self.layout.place(scheme, record_file_path, self.distribution)
        self._rows[record] = ("", "")
        base = self.layout.folder(scheme, self.distribution)
        rows = sorted((posixpath.relpath(path, base), *row) for path, row in self._rows.items())
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows(rows)
        self._write(record, lines.getvalue().encode(), False)
        self._rows.clear()

    def _write(self, where: str, data: bytes, executable: bool) -> None:
        with self._open(where, executable) as out:
            out.write(data)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self._rows[where] = (f"sha256={digest}", str(len(data)))

    def _open(self, where: str, executable: bool) -> BinaryIO:
        path = f"{self.root}/{where}"
        folder = posixpath.dirname(path)
        try:
            if folder not in self._folders:
                os.makedirs(folder, exist_ok=True)
                self._folders.add(folder)
            # What comes later in a wheel takes the place of what came before, as it does for pip.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise EnvError(f"a wheel of {self.distribution} can't be installed", [Problem(where, "is both a file and a directory.")]) from None
        os.fchmod(fd, 0o755 if executable else 0o644)
        return os.fdopen(fd, "wb")


@dataclass(frozen=True)
class Claim:
    """That a wheel (its file's name) wants ``path``; two claims on a path are alike when their ``content`` is equal."""

    wheel: str
    path: str
    content: tuple[Any, ...]


@dataclass
class Claims(WheelDestination):
    """Writes nothing, reads no file of the wheel: lists what it would write."""

    wheel: str
    layout: Layout
    distribution: str
    claims: dict[str, Claim] = field(default_factory=dict)

    def write_script(self, name: str, module: str, attr: str, section: str) -> RecordEntry:
        self._add("scripts", name, (module, attr))
        return RecordEntry(name, None, None)

    def write_file(self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO | Member, is_executable: bool) -> RecordEntry:
        if isinstance(stream, Member):  # else it is ours, in a folder of the distribution's own
            self._add(scheme, os.fspath(path), (stream.digest, is_executable))
        return RecordEntry(os.fspath(path), None, None)

    def finalize_installation(self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]) -> None:
        self._add(scheme, record_file_path, (self.wheel,))

    def _add(self, scheme: str, path: str, content: tuple[Any, ...]) -> None:
        where = self.layout.place(scheme, path, self.distribution)
        self.claims[where] = Claim(self.wheel, where, content)


def lay_out(wheel: Path, root: Path, layout: Layout, compile: Compile | None) -> None:
    """Install ``wheel`` below ``root``, as ``pip install --no-index --no-deps`` would into an environment there. Raises ``EnvError``."""
    metadata = {"INSTALLER": b"pip\n", "REQUESTED": b""}  # what pip writes for whatever a lock names; tools look at the first
    _install(wheel, layout, lambda source: Files(root, layout, source.distribution, compile), metadata)


def claims(wheel: Path, layout: Layout) -> tuple[Claim, ...]:
    """The paths that ``wheel`` would take. Raises ``EnvError`` for a wheel that is not valid."""
    made: list[Claims] = []

    def destination(source: Wheel) -> WheelDestination:
        made.append(Claims(source.filename, layout, source.distribution))
        return made[-1]

    _install(wheel, layout, destination, {})
    return tuple(made[0].claims.values())


def _install(wheel: Path, layout: Layout, destination: Callable[[Wheel], WheelDestination], metadata: dict[str, bytes]) -> None:
    try:
        archive = ZipFile(wheel)
    except UNREADABLE as reason:
        raise _no_wheel(wheel, reason) from None
    with archive:
        try:
            source = Wheel(archive, layout.python)
            installer.install(source, destination(source), metadata)
        except InstallerError as reason:
            raise _no_wheel(wheel, reason) from None


def _no_wheel(wheel: Path, reason: Exception) -> EnvError:
    return EnvError(f"{wheel.name} is no wheel that can be installed", [Problem(wheel.name, f"{reason}.")])
