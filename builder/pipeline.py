"""THE FLOW: recipe → target → source → lock → wheelhouse → env → steps → layers → artifact, one line per arrow.

Every stage takes the values of those before it and returns the next. Nothing is written but into the cache, a private
scratch directory that is gone afterwards, and, last of all, the artifact.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from . import artifact, changes, env, facts, layers, steps, target, trees, wheelhouse
from . import lock as locks
from . import source as sources
from .artifact import Built
from .changes import Changes
from .errors import ArtifactError, Problem
from .recipe import Recipe
from .source import Source
from .target import Interpreter

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What the command line decides: the ``cache`` root, where artifacts go (``out``), whether uncommitted changes may be packed, jobs at once."""

    cache: Path
    out: Path
    allow_dirty: bool
    jobs: int


@dataclass(frozen=True)
class Outcome:
    """An artifact, what it has that the last one of its name had not (None: it is the first), and seconds by stage."""

    built: Built
    changes: Changes | None
    seconds: Mapping[str, float]


class Progress(Protocol):
    """Whoever wants to know how far it is."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """The stage ``name`` runs while the block does."""

    def done(self, name: str, value: object) -> None:
        """The stage ``name`` made ``value``."""

    def begin(self, recipe: Recipe, source: Source, interpreter: Interpreter) -> None:
        """What it is about is known."""


@dataclass
class _Stages:
    """Runs one stage after the other, and takes their time."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        begin = time.perf_counter()
        with self.progress.stage(name):
            value = call(*args, **kwargs)
        self.seconds[name] = round(time.perf_counter() - begin, 3)
        self.progress.done(name, value)
        return value


def build(recipe: Recipe, options: Options, progress: Progress) -> Outcome:
    """Make the artifact of ``recipe``. Raises ``BuildError``; then no artifact was written, and none was touched."""
    check_writable(options.out)
    before = changes.last_of(recipe.name, options.out)
    stages = _Stages(progress)
    with workplace() as work:
        interpreter = stages.run("target", target.find, recipe.python)
        source = stages.run("source", sources.export, recipe, work / "source", allow_dirty=options.allow_dirty)
        progress.begin(recipe, source, interpreter)
        lock = stages.run("lock", locks.read, recipe, source, interpreter)
        house = stages.run("wheelhouse", wheelhouse.fetch, lock, recipe, source, interpreter, options.cache)
        environment = stages.run("env", env.trees, recipe, house, interpreter)
        assets = stages.run("assets", steps.run, recipe, source, house, interpreter, work / "steps")
        own = trees.own(source.tree, recipe, interpreter)
        packed = stages.run("layers", layers.pack, [*own, *assets, *environment], options.cache, work, jobs=options.jobs)
        manifest = facts.manifest(recipe, source, interpreter, house, packed)
        built = stages.run("artifact", artifact.write, manifest, packed, options.out)
    return Outcome(built, changes.compare(*before, built.manifest) if before else None, stages.seconds)


def cache_root(environ: Mapping[str, str]) -> Path:
    """Where everything that is keyed by its hash is kept: BUILD_RELEASE_CACHE, else build-release/ in the user's cache directory."""
    if environ.get("BUILD_RELEASE_CACHE"):
        return Path(environ["BUILD_RELEASE_CACHE"]).absolute()
    base = environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "build-release"


@contextmanager
def workplace() -> Iterator[Path]:
    """A private directory for what is made on the way; it is gone afterwards, whatever happens."""
    with tempfile.TemporaryDirectory(prefix="build-release-", ignore_cleanup_errors=True) as name:
        yield Path(name).resolve()


def check_writable(directory: Path) -> None:
    """Notice before the work, and not after it, that the artifact can't be put where it should go. Raises ``ArtifactError``."""
    there = directory.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise ArtifactError("the artifact can't be written", [Problem(str(there), "is not a directory.", "Name another one with -o.")])
    if not os.access(there, os.W_OK | os.X_OK):
        raise ArtifactError("the artifact can't be written", [Problem(str(there), "can't be written to.", "Name another directory with -o.")])
