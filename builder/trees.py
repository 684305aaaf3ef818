"""The layers that come from the application itself: its source, and its system configuration. Those of the environment come from ``env``."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from .artifact.contents import File, read
from .artifact.layers import Tree
from .env.bytecode import compile_sources
from .env.keys import key
from .errors import Problem, RecipeError, SourceError
from .fingerprint import fingerprint
from .install_release.declared import matching
from .recipe import RECIPE_PREFIX, Recipe, did_you_mean
from .source import credentials
from .target import Interpreter

_PLACEHOLDER = re.compile(r"@[a-z][a-z0-9_]*@")


def own(tree: Path, recipe: Recipe, interpreter: Interpreter, cache: Path) -> tuple[Tree, ...]:
    """``src``, and ``etc`` where the recipe has one. Raises ``RecipeError`` when that is not there."""
    etc = configuration(tree, recipe)
    return (source(tree, recipe, interpreter, cache), *([etc] if etc else []))


def source(tree: Path, recipe: Recipe, interpreter: Interpreter, cache: Path) -> Tree:
    """The layer ``src``: the exported ``tree`` as it is, and byte code that notices when an operator edits a file. ``cache`` keeps byte code."""

    def make(root: Path) -> list[File]:
        files, sources = _files(tree, root / "src")
        compiled = compile_sources(interpreter, sources, "checked-hash", cache=cache) if recipe.env.byte_code else {}
        return [*files, *(File.of(f"src/{path}", code) for path, code in compiled.items())]

    return Tree("src", "src", key(fingerprint(tree), interpreter.identity if recipe.env.byte_code else ""), make)


def _files(tree: Path, top: Path) -> tuple[list[File], dict[str, bytes]]:
    """Every file below ``tree`` as one of the layer, and its modules by path, in memory, since they are compiled too.

    What a ``File`` can't be, links and empty directories, is laid at ``top``.
    """
    files: list[File] = []
    sources: dict[str, bytes] = {}
    for directory, folders, names in os.walk(tree):
        below = directory[len(str(tree)) + 1 :]
        if not folders and not names:
            (top / below).mkdir(parents=True, exist_ok=True)
        for name in (*folders, *names):
            place, path = f"{directory}/{name}", f"{below}/{name}" if below else name
            facts = os.lstat(place)
            if stat.S_ISLNK(facts.st_mode):
                (top / below).mkdir(parents=True, exist_ok=True)
                os.symlink(os.readlink(place), top / path)
            elif stat.S_ISREG(facts.st_mode):
                executable = bool(facts.st_mode & stat.S_IXUSR)
                if name.endswith(".py") and "__pycache__" not in below.split("/"):
                    sources[path] = Path(place).read_bytes()
                    files.append(File.of(f"src/{path}", sources[path], executable))
                else:
                    files.append(File(f"src/{path}", executable, facts.st_size, partial(read, Path(place))))
    return files, sources


def configuration(tree: Path, recipe: Recipe) -> Tree | None:
    """The layer ``etc``, or None when the recipe has none.

    Raises ``RecipeError`` when it is not there, ``SourceError`` when it holds credentials.
    """
    if recipe.etc is None:
        return None
    path = recipe.locate(recipe.etc, tree)
    if not path.is_dir():
        raise RecipeError("the recipe names a directory that is not there", [Problem("etc", f'"{recipe.etc}" is no directory of the source.')])
    if missing := tuple(_missing(path, recipe)):
        raise RecipeError(f'the recipe names configuration that "{recipe.etc}" does not hold', missing)
    if faults := tuple(_faults(path, recipe)):
        raise RecipeError(f'"{recipe.etc}" holds configuration that no host would run', faults)
    # That of the source was looked at with the rest of it.
    found = credentials.scan(path, recipe.secrets_allowed) if recipe.etc.startswith(RECIPE_PREFIX) else ()
    if found:
        raise SourceError(f'the system configuration, "{recipe.etc}", holds what must not be packed', found)
    return Tree("etc", "etc", key(fingerprint(path)), lambda root: copy(path, root / "etc"))


def _missing(etc: Path, recipe: Recipe) -> Iterator[Problem]:
    """What the recipe says of paths below ``etc`` that none of them is, with the one that may have been meant."""
    files = sorted(path.relative_to(etc).as_posix() for path in etc.rglob("*") if not path.is_dir())
    folders = {parent.as_posix() for name in files for parent in PurePosixPath(name).parents}
    for copied in recipe.overlay.copied:
        if copied.path not in folders and copied.path not in files:
            yield Problem("overlay.copied", f'"{copied.path}" is no file or directory of it.', did_you_mean(copied.path, [*files, *folders]))
    for conflict in recipe.overlay.on_conflict:
        if not matching(files, conflict.path):
            yield Problem("overlay.on_conflict", f'"{conflict.path}" matches no file of it.', did_you_mean(conflict.path, files))
    for service in recipe.services:
        for pattern in service.config:
            if not matching(files, pattern):
                yield Problem(f"services.{service.name}.config", f'"{pattern}" matches no file of it.', did_you_mean(pattern, files))


def _faults(etc: Path, recipe: Recipe) -> Iterator[Problem]:
    """What the services' kinds have against it, as far as that can be told before a host has filled in its values."""
    if not recipe.services:
        return
    from .install_release import services

    known = {"@root@": recipe.root, "@name@": recipe.name}
    texts = {path: _PLACEHOLDER.sub(lambda found: known.get(found[0], found[0]), text) for path, text in services.texts(str(etc)).items()}
    for service in recipe.services:
        # A value may be any word: a line of cron's can't be judged without it, elsewhere a number will do.
        usable = {path: text for path, text in texts.items() if service.kind != "cron" or not _PLACEHOLDER.search(text)}
        yield from services.lint(service, {path: _PLACEHOLDER.sub("1", text) for path, text in usable.items()})


def copy(tree: Path, into: Path) -> None:
    """Copy a tree, links as links. Times and owners are nothing that a layer records."""
    shutil.copytree(tree, into, symlinks=True, copy_function=shutil.copy)
