"""Making the lock: ``pip lock`` for the target, from what is declared; and for what comes as source, the lock of what builds it.

This is the one stage in which versions are chosen. It needs the network, and runs the back ends of source distributions with it, as every resolver
has to: on a developer's machine, on purpose, with a difference to review at its end.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from ..errors import LockError, Problem
from ..frozen import frozen
from ..pip import OLDEST_OWN, command, environment, explain, yanked
from ..recipe import RECIPE_PREFIX, Recipe
from ..run import Completed, run, without_credentials
from ..source import Source, git
from ..target import Interpreter
from ..wheelhouse import backend, download, guard
from ..wheelhouse.download import Wanted
from ..wheelhouse.vcs import check_out
from ..wheelhouse.wheel_cache import WheelCache
from . import PROJECT, build_lock_name, describe_target, lock_base, lockfile, others, project_build_requires, pylock, requirements
from .lockfile import Locked

Packages = Sequence[Mapping[str, Any]]
_BEGIN = 'lock-version = "'
# How pip names an old version that it could not keep: as a constraint that contradicts something, or one that nothing meets.
_IN_THE_WAY = re.compile(r"(?:\(constraint\)|No matching distribution found for) ([A-Za-z0-9][A-Za-z0-9._-]*)")


@frozen
class _Question:
    """What pip is asked: requirements files, requirements, constraint files. Paths in them are relative to ``tree``, in the lock to ``base``."""

    files: Sequence[Path]
    loose: Sequence[str]
    constraints: Sequence[Path]
    tree: Path
    base: Path


def make(recipe: Recipe, source: Source, interpreter: Interpreter, cache: Path, upgrade: frozenset[str] | None = frozenset()) -> tuple[Path, ...]:
    """Write the recipe's lock and, if anything comes as source, its build lock. Versions of the old locks that still fit are kept.

    ``upgrade`` are normalised names of which they are not; None: of none. Returns the paths that were written, the lock's first.
    Raises ``LockError``; then no file was changed.
    """
    deps = recipe.dependencies
    _refuse_old(interpreter)
    name, build_name = deps.lock, build_lock_name(recipe)
    if not name:
        raise LockError("there is nothing to lock", [Problem("dependencies", "declares nothing.", "Name requirements, packages or a pyproject.")])
    declared = requirements.gather(recipe, source.tree)
    home, build_home = _home(recipe, name), _home(recipe, build_name)
    base = lock_base(recipe, recipe.locate(name, source.tree), source.tree)
    pins, build_pins = _pins(home, name, interpreter), _pins(build_home, build_name, interpreter)
    _refuse_unlocked(upgrade or (), {**pins, **build_pins}, name)
    question = _Question(declared.files, declared.loose, declared.constraint_files, source.tree, base)
    packages = _resolve(question, _without(pins, upgrade), interpreter)
    entries = others(_select(packages, name, interpreter), base, source.tree)
    text = _text(name, packages, entries, interpreter, declared.inputs)
    needs = _build_requirements(recipe, source, entries, interpreter, WheelCache(cache), base)
    if needs:
        wanted = sorted({each for listed in needs.values() for each in listed})
        builders = _resolve(_Question((), wanted, (), source.tree, base), _without(build_pins, upgrade), interpreter)
        tools = _select(builders, build_name, interpreter)
        _refuse_source(tools, ())
        inputs = {who: listed if who != PROJECT else project_build_requires(source.tree) for who, listed in needs.items()}
        _write(build_home, _text(build_name, builders, tools, interpreter, inputs))
    else:
        build_home.unlink(missing_ok=True)
    _write(home, text)
    return (home, build_home) if needs else (home,)


def _select(packages: Packages, name: str, interpreter: Interpreter) -> tuple[Locked, ...]:
    return pylock.select({"lock-version": "1.0", "created-by": "pip", "packages": packages}, name, interpreter)


def _refuse_old(interpreter: Interpreter) -> None:
    if tuple(int(part) for part in interpreter.python.split(".")) < OLDEST_OWN:
        problem = Problem(
            f"Python {interpreter.python}",
            "is older than pip can lock for: 3.10.",
            "Commit a requirements file with hashes (pip-compile --generate-hashes makes one) and name it in dependencies.lock.",
        )
        raise LockError("no lock can be made for this target", [problem])


def _home(recipe: Recipe, name: str) -> Path:
    """Where a lock is kept: in the recipe's folder, or in the working copy that the source is taken from."""
    if name.startswith(RECIPE_PREFIX):
        return recipe.directory / name.removeprefix(RECIPE_PREFIX)
    repository = recipe.source.repository
    if repository is not None and not (recipe.directory / repository).is_dir():
        remedy = f'Write "{RECIPE_PREFIX}{name}", to keep it beside the recipe.'
        raise LockError("the lock can't be written", [Problem(name, "is part of a repository that is elsewhere.", remedy)])
    folder = recipe.directory / (repository or ".")
    top = git.find(folder, "source.repository").top
    if top is None:
        remedy = f'Write "{RECIPE_PREFIX}{name}", to keep it beside the recipe.'
        raise LockError("the lock can't be written", [Problem(name, "is part of a repository without a working tree.", remedy)])
    return top / recipe.source.subdirectory / name


def _pins(home: Path, name: str, interpreter: Interpreter) -> dict[str, str]:
    """name → version of the lock that is there, if it can be read."""
    try:
        return {entry.name: entry.version for entry in lockfile.parse(home, name, interpreter).entries if entry.kind == "file" and entry.version}
    except (LockError, OSError):
        return {}


def _without(pins: Mapping[str, str], upgrade: frozenset[str] | None) -> dict[str, str]:
    return {} if upgrade is None else {name: version for name, version in pins.items() if name not in upgrade}


def _refuse_unlocked(upgrade: Iterable[str], pins: Mapping[str, str], lock: str) -> None:
    """A name to upgrade that is in no lock is a mistyped one."""
    if unknown := sorted(set(upgrade) - set(pins)):
        problems = []
        for name in unknown:
            close = difflib.get_close_matches(name, pins, 1)
            problems.append(Problem(name, f"is not in {lock}.", f"Did you mean {close[0]}?" if close else ""))
        raise LockError("there is nothing to upgrade", problems)


def _resolve(question: _Question, pins: Mapping[str, str], interpreter: Interpreter) -> Packages:
    """What pip chooses, as tables of a pylock.toml, sorted by name. Old versions (``pins``) are let go only where they stand in the way."""
    if not question.files and not question.loose:
        return ()
    kept = dict(pins)
    with tempfile.TemporaryDirectory(prefix="build-release-lock-") as folder:
        scratch = Path(folder).resolve()
        while True:  # every further turn lets go of a version at least
            completed = _ask(question, kept, interpreter, scratch)
            taken_back = yanked(completed.log)
            in_the_way = {canonicalize_name(name) for name in _IN_THE_WAY.findall(completed.log)} if completed.returncode != 0 else set()
            in_the_way |= {canonicalize_name(problem.where.split()[0]) for problem in taken_back}
            if in_the_way & set(kept):
                kept = {name: version for name, version in kept.items() if name not in in_the_way}
                continue
            if completed.returncode != 0:
                raise explain(completed, "locking", LockError, next_step="change what is declared, and lock again")
            if taken_back:
                raise LockError("what is declared can only be met by a release that was yanked", taken_back)
            packages = tomllib.loads(completed.text[completed.text.index(_BEGIN) :]).get("packages", [])
            return tuple(_portable(package, question) for package in sorted(packages, key=lambda package: str(package["name"])))


def _ask(question: _Question, pins: Mapping[str, str], interpreter: Interpreter, scratch: Path) -> Completed:
    """Run ``pip lock``; what it chose stands at the end of its standard output. (A file it would write must lie above every locked directory.)"""
    loose, kept = scratch / "loose.txt", scratch / "kept.txt"
    loose.write_text("".join(f"{text}\n" for text in question.loose), encoding="utf-8")
    kept.write_text("".join(f"{name}=={version}\n" for name, version in sorted(pins.items())), encoding="utf-8")
    files = [word for path in question.files for word in ("-r", str(path))]
    limits = [word for path in (*question.constraints, kept) for word in ("-c", str(path))]
    python = guard.make(interpreter, Path(tempfile.mkdtemp(dir=scratch)))
    argv = [*command(interpreter, python), "lock", *files, "-r", str(loose), *limits, "--output", "-"]
    return run(argv, what="locking", error=LockError, cwd=question.tree.resolve(), env=environment(), check=False)


def _portable(package: Mapping[str, Any], question: _Question) -> dict[str, Any]:
    """The same table without what holds for this machine alone: credentials, and paths of directories where pip looks for files."""
    kept = dict(package)
    if "wheels" in kept:
        kept["wheels"] = [_portable_file(each) for each in kept["wheels"]]
    if "sdist" in kept:
        kept["sdist"] = _portable_file(kept["sdist"])
    if "archive" in kept:
        url = without_credentials(str(kept["archive"]["url"]))
        kept["archive"] = {**kept["archive"], "url": url}
        if url.startswith("file:"):
            del kept["archive"]["url"]
            kept["archive"]["path"] = _inside(str(package["name"]), Path(unquote(urlsplit(url).path)), question)
    if "vcs" in kept:
        kept["vcs"] = {**kept["vcs"], "url": without_credentials(kept["vcs"]["url"])}
    if "directory" in kept:
        path = question.tree.resolve() / kept["directory"]["path"]
        kept["directory"] = {**kept["directory"], "path": _inside(str(package["name"]), path, question)}
    return kept


def _inside(name: str, path: Path, question: _Question) -> str:
    """A path of the source as the lock has it. Raises ``LockError`` when it is none of the source."""
    if not path.resolve().is_relative_to(question.tree.resolve()):
        raise LockError("what is outside the source can't be locked", [Problem(name, f"is {path}.", "Put it into the repository.")])
    return os.path.relpath(path.resolve(), question.base.resolve())


def _portable_file(file: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in file.items() if key != "path"}
    url = without_credentials(str(kept.get("url", "")))
    if url.startswith(("http://", "https://")):
        return {**kept, "url": url}
    # A file of a directory that pip was told of. The form wants a place: the file's own name, as if it lay beside the lock.
    kept.pop("url", None)
    return {**kept, "path": str(kept.get("name") or unquote(url.rpartition("/")[2]))}


def _build_requirements(
    recipe: Recipe, source: Source, entries: Sequence[Locked], interpreter: Interpreter, cache: WheelCache, base: Path
) -> dict[str, tuple[str, ...]]:
    """What each distribution that comes as source, and the project if it is to be a wheel, needs to be built."""
    sources = [entry for entry in entries if entry.from_source]
    _refuse_source([entry for entry in sources if entry.kind != "directory"], recipe.dependencies.sdists)
    needs = {}
    for entry in sources:
        with cache.scratch() as scratch:
            tree = scratch / "source"
            tree.mkdir()
            if entry.kind == "directory":
                tree = base / entry.path
            elif entry.kind == "vcs":
                check_out(entry, tree)
            else:
                if entry.path:
                    cache.add(base / entry.path)
                stored = download.fetch(Wanted((entry,), sdists=recipe.dependencies.sdists), interpreter, cache)
                backend.unpack_sdist(stored[entry.name].path, tree)
            needs[str(entry)] = _needed(str(entry), tree / entry.subdirectory, interpreter, scratch)
    if recipe.env.project:
        with cache.scratch() as scratch:
            shutil.copytree(source.tree, scratch / "source", symlinks=True)
            needs[PROJECT] = _needed(PROJECT, scratch / "source", interpreter, scratch)
    return needs


def _needed(who: str, tree: Path, interpreter: Interpreter, scratch: Path) -> tuple[str, ...]:
    pyproject = tree / "pyproject.toml"
    static = requirements.build_requires(pyproject.read_bytes() if pyproject.exists() else None)
    return tuple(sorted({*static, *backend.requires(f"asking what builds {who}", tree, interpreter, scratch)}))


def _refuse_source(entries: Iterable[Locked], allowed: Sequence[str]) -> None:
    remedy = "Name it in dependencies.sdists to have it built, or constrain it to a version that has a wheel."
    refused = [entry for entry in entries if entry.from_source and entry.name not in allowed]
    problems = [Problem(str(entry), "comes from git." if entry.kind == "vcs" else "comes as source, not as a wheel.", remedy) for entry in refused]
    if problems:
        raise LockError("the recipe does not let these be built", problems)


def _text(name: str, packages: Packages, entries: Sequence[Locked], interpreter: Interpreter, inputs: Mapping[str, Sequence[str]]) -> str:
    made_for = describe_target(interpreter)
    if name.endswith(".txt"):
        return lockfile.requirements_text(entries, made_for, inputs)
    return pylock.text(packages, made_for, inputs)


def _write(path: Path, text: str) -> None:
    """Replace a file at once: a reader sees the old lock or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
