"""One wheel file: is it whole, is it what its name says, and what does it ask for?"""

from __future__ import annotations

import mmap
import zipfile
import zlib
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from ..errors import Problem, WheelhouseError
from ..frozen import frozen
from ..target import wheel_tags

_CHUNK = 1 << 20
_REPORT = "Lock another version of it, or report it to its authors: not every installer would install the same."
_UNREADABLE = (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error)


@frozen
class Facts:
    """What a wheel's METADATA says. ``requires`` are PEP 508 texts; ``requires_python`` may be empty; ``name`` is normalised."""

    name: str
    version: str
    requires: tuple[str, ...]
    requires_python: str
    extras: tuple[str, ...]


def read(path: Path) -> Facts:
    """Read every byte of the wheel at ``path`` once. Raises ``WheelhouseError`` when it is damaged or not what its name says."""
    from packaging.metadata import parse_email  # what is in the cache was read before

    try:
        name, version, _, _ = parse_wheel_filename(path.name)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise _refused(path, f"has no name that a wheel can have: {error}.") from None
    try:
        with zipfile.ZipFile(path) as archive:
            # Reading to the end makes zipfile check the CRC, and that the local header names the same file as the directory.
            for member in archive.infolist():
                with archive.open(member) as file:
                    while file.read(_CHUNK):
                        pass
            _insist_on_one_meaning(path)
            candidates = [each for each in archive.namelist() if each.count("/") == 1 and each.endswith(".dist-info/METADATA")]
            ours = [each for each in candidates if _is_of(each, name, version)]
            if not ours:
                raise _refused(path, f"has no METADATA of {name} {version}" + (f", but {candidates[0]}." if candidates else "."))
            raw, _ = parse_email(archive.read(ours[0]))
    except _UNREADABLE as error:
        raise _refused(path, f"is damaged: {error}.") from None
    if canonicalize_name(raw.get("name", "")) != name or not _same_version(raw.get("version", ""), version):
        raise _refused(path, f"says in its METADATA that it is {raw.get('name')} {raw.get('version')}.")
    return Facts(
        name=name,
        version=str(version),
        requires=tuple(raw.get("requires_dist", ())),
        requires_python=raw.get("requires_python", ""),
        extras=tuple(sorted(canonicalize_name(extra) for extra in raw.get("provides_extra", ()))),
    )


def _insist_on_one_meaning(path: Path) -> None:
    from .zipped import contradictions  # what is in the cache was looked at before

    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    found = list(contradictions(memoryview(data)))
    if found:
        raise WheelhouseError(f"{path.name} says two things", [Problem(path.name, f"{what}.", _REPORT) for what in found])


def fits(filename: str, tags: frozenset[str]) -> bool:
    """Whether a wheel of this name can be installed where ``tags`` are supported."""
    return not wheel_tags(filename).isdisjoint(tags)


def _is_of(metadata: str, name: str, version: Version) -> bool:
    folder = metadata.partition(".dist-info/")[0]
    stem, _, number = folder.rpartition("-")
    return canonicalize_name(stem) == name and _same_version(number, version)


def _same_version(text: str, version: Version) -> bool:
    try:
        return Version(text) == version
    except InvalidVersion:
        return False


def _refused(path: Path, what: str) -> WheelhouseError:
    return WheelhouseError(f"{path.name} can't be used", [Problem(path.name, what)])
