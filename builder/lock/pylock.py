"""A ``pylock.toml`` (PEP 751), read for one target, and written. Apart from ``lockfile``, since a lock of the other form has no need of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packaging.markers import Environment
from packaging.pylock import (
    Package,
    PackageArchive,
    PackageDirectory,
    PackageSdist,
    PackageVcs,
    PackageWheel,
    Pylock,
    PylockSelectError,
    PylockValidationError,
)
from packaging.utils import canonicalize_name

from ..errors import LockError, Problem
from ..run import without_credentials
from ..target import Interpreter
from .lockfile import COMMIT, TOOL, Locked, filename


def select(
    table: Mapping[str, Any], name: str, interpreter: Interpreter, extras: Sequence[str] = (), groups: Sequence[str] = ()
) -> tuple[Locked, ...]:
    """What a pylock.toml, read as ``table``, holds for the target, sorted by name. Raises ``LockError``."""
    lock = _pylock(table, name)
    known = set(lock.dependency_groups or ())
    chosen = None if not known else set(lock.default_groups or ()) | {group for group in known if canonicalize_name(group) in groups}
    marks: Any = dict(interpreter.environment)
    environment: Environment = marks
    try:
        found = list(lock.select(environment=environment, tags=interpreter.supported, extras=extras, dependency_groups=chosen))
    except PylockSelectError as error:
        problem = Problem(name, f"does not cover Python {interpreter.version} on {interpreter.platform}: {error}.")
        next_step = "lock again for this target, with build-release lock or the tool that made it; or correct python.version"
        raise LockError("the lock is for another target", [problem], next_step=next_step) from None
    problems: list[Problem] = []
    entries = [_entry(package, chosen_source, name, problems) for package, chosen_source in found]
    if problems:
        raise LockError("the lock can't be used", problems)
    return tuple(sorted((entry for entry in entries if entry is not None), key=lambda entry: entry.name))


def text(packages: Sequence[Mapping[str, Any]], made_for: str, made_from: Mapping[str, Sequence[str]]) -> str:
    """A pylock.toml of ``packages`` (tables as PEP 751 describes them)."""
    import tomli_w

    inputs = {where: list(lines) for where, lines in sorted(made_from.items())}
    table = {"lock-version": "1.0", "created-by": TOOL, "packages": list(packages), "tool": {TOOL: {"target": made_for, "inputs": inputs}}}
    return tomli_w.dumps(table, multiline_strings=False)


def _pylock(table: Mapping[str, Any], name: str) -> Pylock:
    try:
        return Pylock.from_dict(table)
    except PylockValidationError as error:
        raise LockError("the lock can't be read", [Problem(name, f"is not a valid pylock.toml: {error}.")]) from None


def _entry(
    package: Package, chosen: PackageVcs | PackageDirectory | PackageArchive | PackageWheel | PackageSdist, lock: str, problems: list[Problem]
) -> Locked | None:
    """One package of a pylock.toml, or None after a problem was noted."""
    name, version = str(package.name), str(package.version or "")
    if isinstance(chosen, PackageVcs):
        if chosen.type != "git" or not COMMIT.fullmatch(chosen.commit_id):
            problems.append(Problem(f"{lock}: {name}", f"comes from {chosen.type}, at {chosen.commit_id!r}.", "Only commits of git are supported."))
            return None
        url = without_credentials(chosen.url or "") or (chosen.path or "")
        return Locked(name, version, "vcs", url=url, commit=chosen.commit_id, subdirectory=chosen.subdirectory or "")
    if isinstance(chosen, PackageDirectory):
        path = "/".join(part for part in (chosen.path, chosen.subdirectory) if part)
        return Locked(name, version, "directory", path=path)
    sha256 = chosen.hashes.get("sha256")
    if sha256 is None:
        problems.append(Problem(f"{lock}: {name}", f"has only {', '.join(chosen.hashes)} hashes.", "Make the lock with sha256."))
        return None
    url = without_credentials(chosen.url or "")
    if isinstance(chosen, PackageArchive):
        place, inside = (chosen.path or "") if not url else "", chosen.subdirectory or ""
        return Locked(name, version, "file", (sha256.lower(),), filename(url or place), url, path=place, subdirectory=inside, direct=True)
    return Locked(name, version, "file", (sha256.lower(),), chosen.filename, url)
