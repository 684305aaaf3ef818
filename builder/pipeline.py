"""THE FLOW: recipe → target → source → lock → wheelhouse → env → steps → layers → artifact, one line per arrow.

Every stage takes the values of those before it and returns the next. Nothing is written but into the cache, a private
scratch directory that is gone afterwards, and, last of all, the artifact.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from . import artifact, cache, changes, env, steps, target, trees, zipapp
from . import source as sources
from .artifact import Built, layers
from .artifact.layers import PackedLayer, Tree
from .cache import DEFAULT_BOUND, Pruned
from .changes import Changes
from .errors import ArtifactError, DamagedLayerError, Problem
from .frozen import frozen
from .install_release.manifest import ENV_LAYERS
from .recipe import Recipe
from .source import Source
from .target import Interpreter

if TYPE_CHECKING:
    from .develop import Developed
    from .lock import Lock, Locked
    from .wheelhouse import Wheelhouse

P = ParamSpec("P")
T = TypeVar("T")


@frozen
class Options:
    """What the command line decides: the ``cache`` root, where artifacts go (``out``), whether uncommitted changes may be packed, jobs at once,
    the bytes that a build leaves in the cache, and the keys that sign what it makes."""

    cache: Path
    out: Path
    allow_dirty: bool
    jobs: int
    bound: int = DEFAULT_BOUND
    sign: tuple[Path, ...] = ()


@frozen
class Outcome:
    """An artifact, what it has that the last one of its name had not (None: it is the first), seconds by stage, and the files that several of
    its wheels hold alike (told when the wheels are new together); what went from the cache, which had grown over its bound."""

    built: Built
    changes: Changes | None
    seconds: Mapping[str, float]
    shared: tuple[Problem, ...] = ()
    pruned: Pruned | None = None


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

    def __call__(self, name: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        begin = time.perf_counter()
        with self.progress.stage(name):
            value = call(*args, **kwargs)
        self.seconds[name] = round(time.perf_counter() - begin, 3)
        self.progress.done(name, value)
        return value


@frozen
class Plan:
    """What a build would do, and of what. ``missing`` are the locked files that are not in the cache; the artifact would go to ``out``."""

    recipe: Recipe
    source: Source
    interpreter: Interpreter
    lock: Lock
    missing: tuple[Locked, ...]
    out: Path


def build(recipe: Recipe, options: Options, progress: Progress) -> Outcome:
    """Make the artifact of ``recipe``. Raises ``BuildError``; then no artifact was written, and none was touched."""
    check_writable(options.out, "the artifact", "Name another directory with -o.")
    sign = _signer(options.sign)
    with ThreadPoolExecutor(1) as beside:
        last = beside.submit(changes.last_of, recipe.name, options.out)  # while git thinks
        with _begun(recipe, options, progress) as (run, work, source, interpreter):
            from . import facts, wheelhouse
            from . import lock as locks

            own = trees.own(source.tree, recipe, interpreter, options.cache)
            program = beside.submit(zipapp.for_target, interpreter, options.cache)
            lock = run("lock", locks.read, recipe, source, interpreter)
            house = run("wheelhouse", wheelhouse.fetch, lock, recipe, source, interpreter, options.cache)
            layout = run("env", env.trees, recipe, house, interpreter, options.cache)
            assets = run("assets", steps.run, recipe, source, house, interpreter, work / "steps")
            every = (*own, *assets, *layout)
            packed = run("layers", layers.pack, every, options.cache, work, jobs=options.jobs)
            installer = run("installer", program.result)
            before = last.result()

            def write(packed: tuple[PackedLayer, ...]) -> Built:
                manifest = facts.manifest(recipe, source, interpreter, house, packed)
                return run("artifact", artifact.write, manifest, packed, installer, options.out, sign)

            def again(damaged: Tree) -> tuple[PackedLayer, ...]:
                return run("healed", layers.pack, [damaged], options.cache, work, jobs=options.jobs)

            built = _written(every, packed, write, again)
            new_together = any(layer.kind in ENV_LAYERS and layer.kind != "wheel" and not layer.cached for layer in packed)
            shared = env.shared_files(house, interpreter, options.cache) if new_together else ()
    pruned = _trim(options, sum(layer.bytes for layer in built.layers if not layer.cached))
    return Outcome(built, changes.compare(*before, built.manifest) if before else None, run.seconds, shared, pruned)


def _written(
    trees: tuple[Tree, ...],
    packed: tuple[PackedLayer, ...],
    write: Callable[[tuple[PackedLayer, ...]], Built],
    again: Callable[[Tree], tuple[PackedLayer, ...]],
) -> Built:
    """What ``write`` makes of ``packed``; a layer of the cache that turns out damaged is made again first, each once."""
    while True:
        try:
            return write(packed)
        except DamagedLayerError as damaged:
            if not damaged.cached:
                raise
            (healed,) = again(next(tree for tree in trees if tree.name == damaged.layer))
            packed = tuple(healed if layer.name == healed.name else layer for layer in packed)


def plan(recipe: Recipe, options: Options, progress: Progress) -> Plan:
    """What ``build`` would do. The source is exported, into a directory that is gone afterwards, since the lock may be part of it."""
    check_writable(options.out, "the artifact", "Name another directory with -o.")
    with _begun(recipe, options, progress) as (run, _, source, interpreter):
        from . import lock as locks
        from .wheelhouse import download
        from .wheelhouse.wheel_cache import WheelCache

        lock = run("lock", locks.read, recipe, source, interpreter)
        files = [entry for entry in lock.entries if entry.kind == "file"]
        return Plan(recipe, source, interpreter, lock, download.missing(files, interpreter, WheelCache(options.cache)), options.out)


def lock(recipe: Recipe, options: Options, progress: Progress, upgrade: frozenset[str] | None = frozenset()) -> tuple[Path, ...]:
    """Make the lock of ``recipe`` again, with newer versions of ``upgrade`` (None: of all); the files written, the lock first."""
    from .lock import resolution

    with _begun(recipe, options, progress) as (run, _, source, interpreter):
        return run("resolve", resolution.make, recipe, source, interpreter, options.cache, upgrade)


def fetch(recipe: Recipe, options: Options, progress: Progress) -> Wheelhouse:
    """Have everything that the lock names in the cache, built where it has to be."""
    with _begun(recipe, options, progress) as (run, _, source, interpreter):
        from . import lock as locks
        from . import wheelhouse

        lock = run("lock", locks.read, recipe, source, interpreter)
        return run("wheelhouse", wheelhouse.fetch, lock, recipe, source, interpreter, options.cache)


def environment(recipe: Recipe, options: Options, directory: Path, progress: Progress) -> Developed:
    """Make the virtual environment ``directory`` from the lock, for development."""
    from . import develop, wheelhouse
    from . import lock as locks

    with _begun(recipe, options, progress) as (run, _, source, interpreter):
        lock = run("lock", locks.read, recipe, source, interpreter)
        house = run("wheelhouse", wheelhouse.fetch, lock, recipe, source, interpreter, options.cache)
        return run("env", develop.make, recipe, house, interpreter, directory)


@contextmanager
def _begun(recipe: Recipe, options: Options, progress: Progress) -> Iterator[tuple[_Stages, Path, Source, Interpreter]]:
    """What every flow begins with: a private directory that is gone afterwards, whatever happens; in it the source; and the target."""
    check_writable(options.cache, "the cache", "Name another directory in BUILD_RELEASE_CACHE.")
    run = _Stages(progress)
    with cache.in_use(options.cache), tempfile.TemporaryDirectory(prefix="build-release-", ignore_cleanup_errors=True) as name:
        work = Path(name).resolve()
        with ThreadPoolExecutor(2) as beside:  # meanwhile git thinks
            asked = beside.submit(target.find, recipe.python, options.cache)
            imported = beside.submit(_import)
            source = run("source", sources.export, recipe, work / "source", cache=options.cache, allow_dirty=options.allow_dirty)
            interpreter = run("target", asked.result)
            imported.result()
        progress.begin(recipe, source, interpreter)
        yield run, work, source, interpreter


def _import() -> None:
    """What the stages behind the source need: with ``packaging``, a sixth of the time that all imports take."""
    from . import facts, lock, wheelhouse  # noqa: F401


def _signer(keys: tuple[Path, ...]) -> artifact.Sign:
    """What signs a manifest. Raises ``SigningError``."""
    if not keys:
        return lambda name, manifest: ()
    from . import signing

    signing.check(keys)
    return partial(signing.make, keys)


def _trim(options: Options, added: int) -> Pruned | None:
    """The artifact is written: what the cache says now is no reason to fail."""
    try:
        return cache.trim(options.cache, options.bound, added)
    except OSError:
        return None


def check_writable(directory: Path, what: str, remedy: str) -> None:
    """Notice before the work, and not after it, that its result can't be put where it should go. Raises ``ArtifactError``."""
    there = directory.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise ArtifactError(f"{what} can't be written", [Problem(str(there), "is not a directory.", remedy)])
    if not os.access(there, os.W_OK | os.X_OK):
        raise ArtifactError(f"{what} can't be written", [Problem(str(there), "can't be written to.", remedy)])
