"""What a wheel holds, for the ``installer`` library: as strict as its ``validate_record``, and otherwise as patient as pip.

``installer`` stops, where pip goes on, at a script that is also an entry point, a shipped INSTALLER or REQUESTED, a name that is twice in
the archive, and comments or repeated names in entry_points.txt. All of these are smoothed out here, before it looks.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import mmap
import posixpath
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import field
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any, BinaryIO, cast
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from installer.sources import WheelContentElement, WheelSource
from packaging.utils import canonicalize_name, parse_wheel_filename
from zlib_ng import zlib_ng

from ..errors import EnvError, Problem
from ..frozen import frozen
from .scripts import parse_entry_point

_CHUNK = 1 << 20
_ENCRYPTED = 0x1  # a bit of flag_bits
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, lengths of the name and of the extra field, which precede the contents
_Damaged = cast("type[Exception]", zlib_ng.error)  # its stub calls it a value
UNREADABLE = (BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, struct.error, zlib.error, _Damaged)
_DIGEST = re.compile(r"(md5|sha1|sha224|sha256|sha384|sha512)=[A-Za-z0-9_-]+=*")  # weak ones too: the wheel as a whole was checked with the lock's
_OURS = ("INSTALLER", "REQUESTED", "RECORD")  # files of .dist-info that whoever installs a wheel writes
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")  # the files that RECORD need not list


@frozen
class Member:
    """One file of a wheel, not read yet, and what RECORD says of it (empty where it says nothing). ``data`` is the wheel's."""

    wheel: Path
    data: mmap.mmap = field(repr=False)
    info: ZipInfo
    digest: str
    size: str

    @property
    def executable(self) -> bool:
        mode = self.info.external_attr >> 16
        return stat.S_ISREG(mode) and bool(mode & 0o111)

    @property
    def length(self) -> int:
        return self.info.file_size

    @property
    def sha256(self) -> str:
        """RECORD's digest in hexadecimal, empty when it is of another kind. Whoever reads all ``pieces`` has compared it."""
        name, _, digest = self.digest.partition("=")
        try:
            return base64.urlsafe_b64decode(digest + "=" * (-len(digest) % 4)).hex() if name == "sha256" else ""
        except ValueError:
            return ""

    def pieces(self) -> Iterator[bytes]:
        """The contents. Raises ``EnvError`` at their end when they are not what RECORD says."""
        name, _, expected = self.digest.partition("=")
        digest = hashlib.new(name, usedforsecurity=False) if expected else None
        size = 0
        for piece in self._inflated():
            if digest is not None:
                digest.update(piece)
            size += len(piece)
            yield piece
        if digest is not None and base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode() != expected.rstrip("="):
            raise _refused(self.wheel, [Problem(self.info.filename, "has another hash than its RECORD says.")])
        if self.size and int(self.size) != size:
            raise _refused(self.wheel, [Problem(self.info.filename, f"is {size} bytes long, its RECORD says {self.size}.")])

    def _inflated(self) -> Iterator[bytes]:
        info = self.info
        try:
            if info.compress_type != ZIP_DEFLATED or info.flag_bits & _ENCRYPTED:
                with ZipFile(self.wheel) as archive, archive.open(info) as file:
                    while piece := file.read(_CHUNK):
                        yield piece
                return
            # Past zipfile, for speed: it takes as long for its own work as zlib for its, and zlib-ng inflates twice as fast.
            signature, name, extra = _LOCAL_HEADER.unpack_from(self.data, info.header_offset)
            begin = info.header_offset + _LOCAL_HEADER.size + name + extra
            left = self.data[begin : begin + info.compress_size]
            unzip = zlib_ng.decompressobj(-15)
            crc = size = 0
            while not unzip.eof and (piece := unzip.decompress(left, _CHUNK)):
                crc, size, left = zlib_ng.crc32(piece, crc), size + len(piece), unzip.unconsumed_tail
                yield piece
            if (signature, crc, size) != (b"PK\3\4", info.CRC, info.file_size):
                raise BadZipFile("it differs from its checksum")
        except UNREADABLE as reason:
            raise _refused(self.wheel, [Problem(info.filename, f"can't be read: {reason}.")]) from None


class Wheel(WheelSource):
    """A wheel file, to be installed for ``python`` (like ``3.11``). Raises ``EnvError`` for one that is not valid, with all that is wrong with it."""

    validation_error = cast("type[Exception]", EnvError)

    def __init__(self, archive: ZipFile, python: str) -> None:
        self.archive = archive
        self.path = Path(str(archive.filename))
        self.filename = self.path.name
        try:
            name, version, _, _ = parse_wheel_filename(self.filename)
        except ValueError as reason:
            raise _refused(self.path, [Problem("its name", f"is not that of a wheel: {reason}.")]) from None
        super().__init__(str(name), str(version))
        # A name may be there twice: the last one counts, as it does for pip and for whatever reads zip files by their directory.
        self._members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
        self._dist_info = self._find_dist_info()
        self._rows = self._read_rows()
        self.validate_record()
        self._scripts = self._read_scripts(python)

    @property
    def dist_info_dir(self) -> str:
        return self._dist_info

    @property
    def dist_info_filenames(self) -> list[str]:
        prefix = f"{self._dist_info}/"
        return [name.removeprefix(prefix) for name in self._members if name.startswith(prefix)]

    def read_dist_info(self, filename: str) -> str:
        """A file of .dist-info as text. ``entry_points.txt`` is written anew: the scripts alone, each once."""
        if filename == "entry_points.txt":
            return "".join(
                f"[{group}]\n" + "".join(f"{name} = {module}:{function}\n" for name, (module, function) in scripts.items())
                for group, scripts in self._scripts.items()
            )
        path = f"{self._dist_info}/{filename}"
        if path not in self._members:
            raise _refused(self.path, [Problem(path, "is missing.")])
        return self._read(path)

    def _read(self, path: str) -> str:
        try:
            return self.archive.read(self._members[path]).decode()
        except UNREADABLE as reason:
            raise _refused(self.path, [Problem(path, f"can't be read: {reason}.")]) from None

    def validate_record(self) -> None:
        """Every file must stand in RECORD with a hash that can be computed, and a size. Contents are compared when they are read."""
        problems = []
        for name in self._members:
            folder, _, last = name.rpartition("/")
            if folder == self._dist_info and last in (*_SIGNATURES, "RECORD"):
                continue
            digest, size = self._rows.get(name, ("", ""))
            if name not in self._rows:
                problems.append(Problem(name, "is not listed in RECORD."))
            elif not _DIGEST.fullmatch(digest) or not re.fullmatch("[0-9]+", size):
                problems.append(Problem(name, f"has no usable hash and size in RECORD: {digest!r}, {size!r}."))
        if problems:
            raise _refused(self.path, problems)

    def get_contents(self) -> Iterator[WheelContentElement]:
        """Every file that is installed as it is, as ``installer`` wants it; the "stream" is a ``Member``, for our own destinations.

        Byte code that travels is left out: it would run instead of the source that people read. In the order in which pip writes: what is
        below ``.data/`` after the rest, scripts last, so that the same file is the one that stays.
        """
        with self.path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # lives as long as the members do
        for name, path in sorted(self._paths().items(), key=lambda item: self._turn(item[1])):
            member = Member(self.path, data, self._members[name], *self._rows.get(name, ("", "")))
            yield (path, member.digest, ""), cast(BinaryIO, member), member.executable

    def _paths(self) -> dict[str, str]:
        """Name in the archive → where ``installer`` is to think that it is."""
        found, problems = {}, []
        for name in self._members:
            path = posixpath.normpath(name)
            if path.startswith(("/", "../")) or path in ("..", "."):
                problems.append(Problem(name, "leads out of the environment."))
            first, _, rest = path.partition("/")
            if first.endswith(".data"):
                if "/" not in rest or rest.partition("/")[0] not in ("purelib", "platlib", "headers", "scripts", "data"):
                    problems.append(Problem(name, "is in no folder that a wheel's .data can have."))
                path = f"{self.data_dir}/{rest}"
            if not self._left_out(path):
                found[name] = path
        if problems:
            raise _refused(self.path, problems)
        return found

    def _left_out(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if path.startswith(f"{self.data_dir}/scripts/"):
            # What setuptools once made beside the entry point of the same name.
            name = re.sub(r"(\.exe|-script\.py|\.pya)$", "", name, flags=re.IGNORECASE)
            return any(name in scripts for scripts in self._scripts.values())
        return (folder == self._dist_info and name in _OURS) or "__pycache__" in folder.split("/")

    def _turn(self, path: str) -> int:
        return 0 if not path.startswith(f"{self.data_dir}/") else 2 if path.startswith(f"{self.data_dir}/scripts/") else 1

    def _find_dist_info(self) -> str:
        found = sorted({name.partition("/")[0] for name in self._members if name.partition("/")[0].endswith(".dist-info")})
        if len(found) != 1 or not canonicalize_name(found[0]).startswith(self.distribution):
            names = ", ".join(found) or "none"
            raise _refused(self.path, [Problem("*.dist-info", f"must be there once and be named after the wheel; there is {names}.")])
        return found[0]

    def _read_rows(self) -> dict[str, tuple[str, str]]:
        """RECORD: path → hash, size, as it spells them."""
        try:
            rows = [[*row, "", ""] for row in csv.reader(self.read_dist_info("RECORD").splitlines()) if row]
        except csv.Error as reason:
            raise _refused(self.path, [Problem(f"{self._dist_info}/RECORD", f"can't be read: {reason}.")]) from None
        return {row[0]: (row[1], row[2]) for row in rows}

    def _read_scripts(self, python: str) -> dict[str, dict[str, tuple[str, str]]]:
        """Group → name → module and function, as pip reads them."""
        groups: dict[str, dict[str, tuple[str, str]]] = {"console_scripts": {}, "gui_scripts": {}}
        problems = []
        text = self._read(f"{self._dist_info}/entry_points.txt") if "entry_points.txt" in self.dist_info_filenames else ""
        try:
            entries = _EntryPoints(text).entry_points
        except (TypeError, ValueError) as reason:
            raise _refused(self.path, [Problem("entry_points.txt", f"can't be read: {reason}.")]) from None
        for entry in entries:
            if entry.group not in groups:
                continue
            parsed = parse_entry_point(entry.name, entry.value)
            if parsed is None:
                problems.append(Problem("entry_points.txt", f"{entry.name} = {entry.value} can't be made into a script."))
            else:
                groups[entry.group][entry.name] = parsed
        if problems:
            raise _refused(self.path, problems)
        console = groups["console_scripts"]
        for tool, (old, versioned) in _VERSIONED.items():
            if tool in console:
                function = console[tool]
                groups["console_scripts"] = console = {name: value for name, value in console.items() if not re.fullmatch(old, name)}
                console.update({name.format(python=python, major=python.partition(".")[0]): function for name in versioned})
        return groups


# The tools whose scripts are named after the Python that they are installed for, whatever the wheel says; pip's own rule.
_VERSIONED = {
    "pip": (r"pip(\d+(\.\d+)?)?", ("pip", "pip{major}", "pip{python}")),
    "easy_install": (r"easy_install(-\d+\.\d+)?", ("easy_install", "easy_install-{python}")),
}


class _EntryPoints(Distribution):
    """Just enough of a distribution for importlib.metadata, which is what pip reads entry points with."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "entry_points.txt" else None

    def locate_file(self, path: Any) -> Path:
        return Path(path)


def _refused(wheel: Path, problems: list[Problem]) -> EnvError:
    return EnvError(f"{wheel.name} is no wheel that can be installed", problems, next_step="lock another version of it, or report it to its authors")
