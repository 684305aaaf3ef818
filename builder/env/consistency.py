"""Do the wheels go together? What ``pip check`` asks of an environment, asked of a wheelhouse before there is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from packaging.metadata import RawMetadata, parse_email
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from ..errors import Problem
from ..target import Interpreter
from ..wheelhouse import Wheelhouse


def check(house: Wheelhouse, interpreter: Interpreter) -> tuple[Problem, ...]:
    """Every requirement that is not met: by the wheels of ``house``, or by the interpreter (its version, and the wheels' tags)."""
    versions = {canonicalize_name(wheel.name): wheel.version for wheel in house.wheels}
    supported = frozenset(interpreter.supported)
    problems: list[Problem] = []
    for wheel in house.wheels:
        if parse_wheel_filename(wheel.path.name)[3].isdisjoint(supported):
            problems.append(Problem(wheel.path.name, f"is not for this interpreter: CPython {interpreter.version}, {interpreter.platform}."))
        problems += _unmet(f"{wheel.name} {wheel.version}", _metadata(wheel.path), versions, interpreter)
    return tuple(problems)


def _unmet(who: str, metadata: RawMetadata, versions: Mapping[str, str], interpreter: Interpreter) -> Iterator[Problem]:
    try:
        if not SpecifierSet(metadata.get("requires_python", "")).contains(interpreter.version, prereleases=True):
            yield Problem(who, f"requires Python {metadata['requires_python']}, this one is {interpreter.version}.")
    except InvalidSpecifier:
        pass  # pip ignores it too
    for text in metadata.get("requires_dist", []):
        try:
            requirement = Requirement(text)
        except InvalidRequirement as reason:
            yield Problem(who, f"requires {text!r}, which can't be read: {reason}.")
            continue
        if requirement.marker and not requirement.marker.evaluate({**interpreter.environment, "extra": ""}):
            continue
        wanted = f"{requirement.name}{requirement.specifier}"
        version = versions.get(canonicalize_name(requirement.name))
        if version is None:
            yield Problem(who, f"requires {wanted}, which is not among the wheels.")
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Problem(who, f"requires {wanted}, there is {version}.")


def _metadata(path: Path) -> RawMetadata:
    """The wheel's METADATA; empty when there is none to be read: laying the wheel out will say so."""
    try:
        with ZipFile(path) as archive:
            for name in archive.namelist():
                if name.count("/") == 1 and name.endswith(".dist-info/METADATA"):
                    return parse_email(archive.read(name))[0]
    except (BadZipFile, OSError, RuntimeError):
        pass
    return {}
