"""The lock: every distribution of the environment, pinned by hashes, a commit, or a directory of the source.

A lock that ``build-release lock`` made remembers what it was made from: it is stale when that changed. Any other one is held against what the
project declares. Beside it stands the build lock: what is needed to build the distributions that come as source.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ..errors import LockError, Problem
from ..frozen import frozen
from ..install_release.manifest import canonical
from ..recipe import RECIPE_PREFIX, Recipe
from ..run import redact
from ..source import Source
from ..target import Interpreter
from . import lockfile, requirements
from .lockfile import Content, Locked

__all__ = ["Lock", "Locked", "read"]

PROJECT = "the project"  # what the build lock calls it


@frozen
class Lock:
    """What goes into the environment, sorted by name, and ``build``: the lock of what builds the distributions that come as source.

    ``base`` is what directories are relative to. ``declared`` are the project's requirements that hold for the target; ``index_options`` the lines
    of a hashed requirements file that say where to look.
    """

    path: Path | None
    base: Path
    entries: tuple[Locked, ...] = ()
    declared: tuple[Requirement, ...] = ()
    index_options: tuple[str, ...] = ()
    build: Lock | None = None

    @property
    def digest(self) -> str:
        """A hash of the entries: what is locked, not how it is written down."""
        return hashlib.sha256(canonical([asdict(entry) for entry in self.entries])).hexdigest()


def read(recipe: Recipe, source: Source, interpreter: Interpreter) -> Lock:
    """The recipe's lock, for this target. Raises ``LockError`` when it is missing, unreadable, stale, or does not cover the target."""
    deps, tree = recipe.dependencies, source.tree
    if not deps.lock:
        return Lock(None, tree, build=_read_build_lock(recipe, tree, interpreter, ()))
    declared = requirements.gather(recipe, tree)
    wanted = declared.requirements(interpreter.environment)
    path, content = _parse(recipe, deps.lock, tree, interpreter)
    if content.made_from is not None:
        problems = [*_other_target(content, interpreter), *_differences(content.made_from, declared.inputs)]
    else:
        problems = _unsatisfied(content.entries, wanted, declared.requirements(interpreter.environment, constraints=True))
    if problems:
        raise LockError(f"{deps.lock} is stale", problems, next_step=refresh(recipe))
    base = lock_base(recipe, path, tree)
    entries = others(content.entries, base, tree)
    away = [entry for entry in entries if entry.path and not (base / entry.path).resolve().is_relative_to(tree.resolve())]
    if away:
        raise LockError("the lock can't be used", [Problem(f"{deps.lock}: {entry.name}", f"is {entry.path}, outside the source.") for entry in away])
    build = _read_build_lock(recipe, tree, interpreter, entries)
    return Lock(path, base, entries, wanted, content.index_options, build)


def others(entries: Sequence[Locked], base: Path, tree: Path) -> tuple[Locked, ...]:
    """All but the project itself, which is the recipe's affair (env.project) even if a lock lists it."""
    return tuple(entry for entry in entries if not (entry.kind == "directory" and (base / entry.path).resolve() == tree.resolve()))


def lock_base(recipe: Recipe, path: Path, tree: Path) -> Path:
    """What directories in the lock at ``path`` are relative to: its own, as PEP 751 says; the source tree where it stands beside the recipe."""
    return tree if recipe.dependencies.lock.startswith(RECIPE_PREFIX) else path.parent


def refresh(recipe: Recipe) -> str:
    """The command that makes the lock again."""
    path = recipe.path
    return f"build-release lock {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}"


def describe_target(interpreter: Interpreter) -> str:
    """The target in a lock's words: ``cpython 3.11 linux_x86_64``."""
    return f"{interpreter.implementation} {interpreter.python} {interpreter.platform}"


def build_lock_name(recipe: Recipe) -> str:
    """The declared path of the build lock: the recipe's own, else one beside the lock (beside the recipe when there is none)."""
    deps = recipe.dependencies
    if deps.build_lock is not None:
        return deps.build_lock
    lock = deps.lock or f"{RECIPE_PREFIX}pylock.{recipe.name.replace('.', '-')}.toml"
    if lock.endswith(".txt"):
        return lock.removesuffix(".txt") + "-build.txt"
    # pylock.NAME.toml allows no further dot.
    return f"{lock.removesuffix('.toml')}{'.build' if lock.endswith('pylock.toml') else '-build'}.toml"


def project_build_requires(tree: Path) -> tuple[str, ...]:
    """What the project's own pyproject.toml says is needed to build it."""
    pyproject = tree / "pyproject.toml"
    return requirements.build_requires(pyproject.read_bytes() if pyproject.exists() else None)


def _parse(recipe: Recipe, name: str, tree: Path, interpreter: Interpreter) -> tuple[Path, Content]:
    path = recipe.locate(name, tree)
    if not path.exists():
        raise LockError("there is no lock", [Problem(name, "is missing.")], next_step=refresh(recipe))
    return path, lockfile.parse(path, name, interpreter, recipe.dependencies.extras, recipe.dependencies.groups)


def _read_build_lock(recipe: Recipe, tree: Path, interpreter: Interpreter, entries: Sequence[Locked]) -> Lock | None:
    """The build lock, if there is one. It must be there, and fit, for the project and for what the recipe lets be built."""
    name = build_lock_name(recipe)
    needed = {str(entry): () for entry in entries if entry.from_source and entry.name in recipe.dependencies.sdists}
    if not recipe.locate(name, tree).exists() and not needed and not recipe.env.project:
        return None
    path, content = _parse(recipe, name, tree, interpreter)
    if content.made_from is not None:
        problems = _other_target(content, interpreter)
        problems += [Problem(name, f"says nothing of {entry}, which has to be built.") for entry in needed if entry not in content.made_from]
        if recipe.env.project:
            problems += _differences({PROJECT: content.made_from.get(PROJECT, ())}, {PROJECT: project_build_requires(tree)})
        if problems:
            raise LockError(f"{name} is stale", problems, next_step=refresh(recipe))
    return Lock(path, tree, content.entries, index_options=content.index_options)


def _other_target(content: Content, interpreter: Interpreter) -> list[Problem]:
    target = describe_target(interpreter)
    return [] if content.made_for == target else [Problem("target", f"{content.made_for} → {target}")]


def _differences(before: Mapping[str, Sequence[str]], now: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """``django>=6.1 → django>=6.2``, file by file; a line is known by the name it begins with."""
    for where in sorted({*before, *now}):
        old, new = before.get(where, ()), now.get(where, ())
        gone = {_about(line): line for line in old if line not in new}
        come = {_about(line): line for line in new if line not in old}
        for about in sorted({*gone, *come}):
            yield Problem(where, f"{gone.get(about, '(nothing)')} → {come.get(about, '(nothing)')}")


def _about(line: str) -> str:
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
    return canonicalize_name(match[0]) if match else line


def _unsatisfied(entries: Sequence[Locked], wanted: Sequence[Requirement], constraints: Sequence[Requirement]) -> list[Problem]:
    """What is declared, and is not in a lock that somebody else made."""
    locked = {entry.name: entry for entry in entries}
    problems = []
    for requirement in wanted:
        entry = locked.get(canonicalize_name(requirement.name))
        if entry is None:
            problems.append(Problem(str(requirement), "is declared, and the lock does not hold it."))
        elif requirement.url:
            if entry.url and entry.url.rstrip("/") not in redact(requirement.url):
                problems.append(Problem(str(entry), f"is locked from {entry.url}, declared is {redact(requirement.url)}."))
        elif not _accepts(requirement, entry.version):
            problems.append(Problem(str(requirement), f"is declared, the lock holds {entry}."))
    for constraint in constraints:
        entry = locked.get(canonicalize_name(constraint.name))
        if entry is not None and not _accepts(constraint, entry.version):
            problems.append(Problem(str(constraint), f"is a declared constraint, the lock holds {entry}."))
    return problems


def _accepts(requirement: Requirement, version: str) -> bool:
    if not version:
        return True
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
