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

from ..artifact.contents import File
from ..errors import EnvError, Problem
from ..frozen import frozen
from ..install_release.manifest import safe_relative
from ..install_release.pin import NAME as PIN
from ..target import Interpreter
from .bytecode import Compile
from .contents import UNREADABLE, Member, Wheel
from .scripts import entry_point, relocatable

# What the installer makes on the host, and what virtualenv would make. Not every bin/python* or bin/activate*: argcomplete has scripts of such names.
_RESERVED = re.compile(r"pyvenv\.cfg|lib64(/.*)?|bin/pythonw?[0-9.]*t?|bin/(de)?activate(_this\.py|\.\w+)?|.*/" + re.escape(PIN), re.IGNORECASE)


@frozen
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
    """What a wheel's files become, by path; RECORD as pip writes it. ``compile`` makes byte code of sources, which alone are read here."""

    layout: Layout
    distribution: str
    compile: Compile | None
    found: dict[str, File] = field(default_factory=dict)
    _rows: dict[str, tuple[str, str]] = field(default_factory=dict)
    _scripts: dict[str, bytes] = field(default_factory=dict)

    def write_script(self, name: str, module: str, attr: str, section: str) -> RecordEntry:
        """Kept until the end: it takes the place of a file of the same name."""
        self._scripts[self.layout.place("scripts", name, self.distribution)] = entry_point(module, attr)
        return RecordEntry(name, None, None)

    def write_file(self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO | Member, is_executable: bool) -> RecordEntry:
        """What comes later in a wheel takes the place of what came before, as it does for pip."""
        where = self.layout.place(scheme, os.fspath(path), self.distribution)
        if not isinstance(stream, Member):
            self._add(where, stream.read(), is_executable)
            return RecordEntry(os.fspath(path), None, None)
        self.found[where] = File(where, is_executable, stream.length, stream.pieces, stream.sha256)
        self._rows[where] = (stream.digest, stream.size)
        if scheme == "scripts":
            shipped = b"".join(stream.pieces())
            script = relocatable(shipped)
            if script != shipped:
                self._add(where, script, is_executable)
        return RecordEntry(os.fspath(path), None, None)

    def finalize_installation(self, scheme: Scheme, record_file_path: str, records: Iterable[tuple[Scheme, RecordEntry]]) -> None:
        if self.compile:
            made = self.compile(self._read_sources())
            self.found.update((where, File.of(where, code)) for where, code in made.items())
            self._rows.update((where, ("", "")) for where in made)
        for where, text in self._scripts.items():
            self._add(where, text, True)
        record = self.layout.place(scheme, record_file_path, self.distribution)
        self._rows[record] = ("", "")
        base = self.layout.folder(scheme, self.distribution)
        rows = sorted((_relative(path, base), *row) for path, row in self._rows.items())
        lines = io.StringIO(newline="")
        csv.writer(lines).writerows(rows)
        self._add(record, lines.getvalue().encode(), False)
        self._refuse_files_as_folders()

    def _read_sources(self) -> dict[str, bytes]:
        """What is to be compiled. From here on it is in memory, so that it is not inflated twice."""
        sources = {}
        for where, file in self.found.items():
            if where.endswith(".py") and where not in self._scripts:
                sources[where] = b"".join(file.read())
                self.found[where] = File.of(where, sources[where], file.executable, file.sha256)
        return sources

    def _add(self, where: str, data: bytes, executable: bool) -> None:
        digest = hashlib.sha256(data)
        self.found[where] = File.of(where, data, executable, digest.hexdigest())
        self._rows[where] = (f"sha256={base64.urlsafe_b64encode(digest.digest()).rstrip(b'=').decode()}", str(len(data)))

    def _refuse_files_as_folders(self) -> None:
        folders: set[str] = set()
        for where in self.found:
            while (where := where.rpartition("/")[0]) and where not in folders:
                folders.add(where)
        problems = [Problem(where, "is both a file and a directory.") for where in sorted(folders & self.found.keys())]
        if problems:
            raise EnvError(f"a wheel of {self.distribution} can't be installed", problems)


def _relative(path: str, base: str) -> str:
    return path[len(base) + 1 :] if path.startswith(f"{base}/") else posixpath.relpath(path, base)


@dataclass
class Claims(WheelDestination):
    """Writes nothing, reads no file of the wheel: lists what it would write."""

    wheel: str
    layout: Layout
    distribution: str
    claims: dict[str, str] = field(default_factory=dict)

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
        self.claims[self.layout.place(scheme, path, self.distribution)] = repr(content)


def lay_out(wheel: Path, layout: Layout, compile: Compile | None) -> Iterable[File]:
    """What ``pip install --no-index --no-deps`` would make of ``wheel``, relative to the environment. Raises ``EnvError``; so does reading a file."""
    metadata = {"INSTALLER": b"pip\n", "REQUESTED": b""}  # what pip writes for whatever a lock names; tools look at the first
    made: list[Files] = []

    def destination(source: Wheel) -> WheelDestination:
        made.append(Files(layout, source.distribution, compile))
        return made[-1]

    _install(wheel, layout, destination, metadata)
    return made[0].found.values()


def claims(wheel: Path, layout: Layout) -> dict[str, str]:
    """The paths that ``wheel`` would take, each with a text that is equal where the file is. Raises ``EnvError`` for a wheel that is not valid."""
    made: list[Claims] = []

    def destination(source: Wheel) -> WheelDestination:
        made.append(Claims(source.filename, layout, source.distribution))
        return made[-1]

    _install(wheel, layout, destination, {})
    return made[0].claims


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
