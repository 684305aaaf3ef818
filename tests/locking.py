"""Recipes, sources and locks for the tests of lock and wheelhouse: a directory is the source, an index on 127.0.0.1 the world."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from builder import lock, recipe, wheelhouse
from builder.errors import BuildError
from builder.lock import resolution
from builder.recipe import Dependencies, EnvSpec, PythonSpec, Recipe
from builder.source import Source
from builder.target import Interpreter, ask
from builder.wheelhouse import Wheelhouse

HERE = ask(sys.executable)
COMMIT_TIME = 1_700_000_000


@dataclass(frozen=True)
class Bench:
    """A source tree, a recipe beside it, a cache, and what is done with them."""

    root: Path
    dependencies: Dependencies = field(default_factory=lambda: Dependencies(lock="recipe:pylock.toml"))
    env: EnvSpec = field(default_factory=EnvSpec)
    interpreter: Interpreter = HERE

    @cached_property
    def tree(self) -> Path:
        (self.root / "source").mkdir(parents=True, exist_ok=True)
        return self.root / "source"

    @property
    def recipe(self) -> Recipe:
        python = PythonSpec(version=self.interpreter.python)
        return Recipe(path=self.root / "shop.toml", name="shop", python=python, dependencies=self.dependencies, env=self.env)

    @property
    def source(self) -> Source:
        return Source("0" * 40, COMMIT_TIME, "1.5", False, self.tree)

    def declares(self, **keys: object) -> Bench:
        return replace(self, dependencies=replace(self.dependencies, **keys))

    def write(self, name: str, text: str) -> Path:
        path = recipe.Recipe.locate(self.recipe, name, self.tree)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def make(self, upgrade: frozenset[str] | None = frozenset()) -> Path:
        return resolution.make(self.recipe, self.source, self.interpreter, self.root / "cache", upgrade)[0]

    def read(self) -> lock.Lock:
        return lock.read(self.recipe, self.source, self.interpreter)

    def fetch(self) -> Wheelhouse:
        return wheelhouse.fetch(self.read(), self.recipe, self.source, self.interpreter, self.root / "cache")

    def scratch(self) -> list[Path]:
        """What was left behind."""
        return sorted(self.root.glob("cache/distributions/scratch/*"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def pinned(*files: Path) -> str:
    """A hashed requirements file that locks these distributions."""
    lines = []
    for path in files:
        name, version = path.name.removesuffix(".tar.gz").split("-")[:2]
        lines.append(f"{name}=={version} --hash=sha256:{sha256(path)}\n")
    return "".join(lines)


def problems(error: BuildError) -> str:
    """All that an error says, as one text."""
    return "\n".join([error.message, *map(str, error.problems), error.next_step])


def names(entries: Sequence[lock.Locked]) -> list[str]:
    return [str(entry) for entry in entries]
