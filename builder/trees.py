"""The layers that come from the application itself: its source, and its system configuration. Those of the environment come from ``env``."""

from __future__ import annotations

import shutil
from pathlib import Path

from .artifact.layers import Tree
from .env.bytecode import compile_tree
from .env.keys import key
from .errors import Problem, RecipeError, SourceError
from .fingerprint import fingerprint
from .recipe import RECIPE_PREFIX, Recipe
from .source import credentials
from .target import Interpreter


def own(tree: Path, recipe: Recipe, interpreter: Interpreter) -> tuple[Tree, ...]:
    """``src``, and ``etc`` where the recipe has one. Raises ``RecipeError`` when that is not there."""
    etc = configuration(tree, recipe)
    return (source(tree, recipe, interpreter), *([etc] if etc else []))


def source(tree: Path, recipe: Recipe, interpreter: Interpreter) -> Tree:
    """The layer ``src``: the exported ``tree`` as it is, and byte code that notices when an operator edits a file."""

    def make(root: Path) -> None:
        copy(tree, root / "src")
        if recipe.env.byte_code:
            compile_tree(interpreter, root / "src", "checked-hash")

    return Tree("src", "src", key(fingerprint(tree), interpreter.identity if recipe.env.byte_code else ""), make)


def configuration(tree: Path, recipe: Recipe) -> Tree | None:
    """The layer ``etc``, or None when the recipe has none.

    Raises ``RecipeError`` when it is not there, ``SourceError`` when it holds credentials.
    """
    if recipe.etc is None:
        return None
    path = recipe.locate(recipe.etc, tree)
    if not path.is_dir():
        raise RecipeError("the recipe names a directory that is not there", [Problem("etc", f'"{recipe.etc}" is no directory of the source.')])
    # That of the source was looked at with the rest of it.
    found = credentials.scan(path, recipe.secrets_allowed) if recipe.etc.startswith(RECIPE_PREFIX) else ()
    if found:
        raise SourceError(f'the system configuration, "{recipe.etc}", holds what must not be packed', found)
    return Tree("etc", "etc", key(fingerprint(path)), lambda root: copy(path, root / "etc"))


def copy(tree: Path, into: Path) -> None:
    """Copy a tree, links as links. Times and owners are nothing that a layer records."""
    shutil.copytree(tree, into, symlinks=True, copy_function=shutil.copy)
