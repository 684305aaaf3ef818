"""The wheelhouse: every distribution of the lock as a wheel, in the cache, with where it came from.

Only what is missing is downloaded, by pip, with hashes demanded; nothing is run when all is there. What comes as source is built, where the
recipe names it, from build requirements that were fetched before, without network.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EnvError, Problem, WheelhouseError
from ..fingerprint import fingerprint
from ..frozen import frozen
from ..install_release import __version__
from ..install_release.manifest import canonical
from ..lock import Lock, build_lock_name, refresh
from ..lock.lockfile import Locked, requirements_text
from ..recipe import Recipe
from ..source import Source
from ..target import Interpreter
from . import conflicts, download
from .download import Wanted
from .wheel import Facts, fits
from .wheel_cache import Stored, WheelCache, file_sha256

if TYPE_CHECKING:
    from .backend import Build, Lay, Tools


@frozen
class Origin:
    """Where a wheel came from. ``kind``: wheel, sdist, vcs, directory or project; ``id``: the sha256 of the file or tree, or the commit."""

    kind: str
    id: str


@frozen
class Wheel:
    """One distribution of the environment: ``path`` is in the cache, ``sha256`` the wheel's own. ``differing`` are the files of a wheel
    built here that a second build, in another directory, made differently: empty when it reproduces."""

    path: Path
    sha256: str
    facts: Facts
    origin: Origin
    differing: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def version(self) -> str:
        return self.facts.version

    @property
    def filename(self) -> str:
        return self.path.name

    @property
    def built(self) -> bool:
        """Whether it was built here."""
        return self.origin.kind != "wheel"

    @property
    def reproducible(self) -> bool:
        return not self.differing


@frozen
class Wheelhouse:
    """The wheels of one environment, sorted by name."""

    wheels: tuple[Wheel, ...]


def fetch(lock: Lock, recipe: Recipe, source: Source, interpreter: Interpreter, cache: Path) -> Wheelhouse:
    """Every wheel of ``lock``, and the project's own if the recipe wants it: from the cache, the index, or built.

    Raises ``WheelhouseError`` for what can't be had, built or trusted, ``EnvError`` for distributions that contradict each other.
    """
    with ExitStack() as leaving:
        return _Work(lock, recipe, source, interpreter, WheelCache(cache), leaving).wheelhouse()


@frozen
class _Work:
    """The values that every step of this stage needs. ``leaving`` ends what must not outlive it."""

    lock: Lock
    recipe: Recipe
    source: Source
    interpreter: Interpreter
    cache: WheelCache
    leaving: ExitStack = field(repr=False)

    def wheelhouse(self) -> Wheelhouse:
        files = tuple(entry for entry in self.lock.entries if entry.kind == "file")
        self._refuse_unnamed([entry for entry in self.lock.entries if entry.kind == "vcs" or (entry.kind == "file" and entry.from_source)])
        wanted = Wanted(files, self.lock.index_options, self.recipe.dependencies.sdists, lambda: self.tools.pins if self.tools else None)
        self._take_in([entry for entry in files if entry.path])
        stored = download.fetch(wanted, self.interpreter, self.cache)
        self._refuse_unnamed([entry for entry in files if stored[entry.name].facts is None])
        wheels = [self._wheel(entry, stored.get(entry.name)) for entry in self.lock.entries]
        if self.recipe.env.project:
            wheels.append(self._project())
        self._refuse_foreign(wheels)
        wheels.sort(key=lambda wheel: wheel.name)
        twice = [Problem(one.name, "is there twice.", "Take it out of the lock.") for one, other in pairwise(wheels) if one.name == other.name]
        if twice:
            raise EnvError("the lock holds the project itself", twice)
        problems = self._conflicts([wheel.facts for wheel in wheels])
        if problems:
            next_step = f"change what is declared, then {refresh(self.recipe)}"
            raise EnvError("the locked distributions contradict each other", problems, next_step=next_step)
        return Wheelhouse(tuple(wheels))

    def _conflicts(self, distributions: Sequence[Facts]) -> list[Problem]:
        """What ``conflicts`` finds; that it finds nothing is known when the same was asked before."""
        environment = self.interpreter.environment
        went_in = [*map(asdict, distributions), *map(str, self.lock.declared), environment, conflicts.code()]
        key = hashlib.sha256(canonical(went_in)).hexdigest()
        if self.cache.note("agree", key):
            return []
        problems = conflicts.find(distributions, self.lock.declared, environment)
        if not problems:
            self.cache.write_note("agree", key, True)
        return problems

    @cached_property
    def tools(self) -> Tools | None:
        """What is built with, fetched when the first thing is built; None when there is no build lock."""
        lock = self.lock.build
        if lock is None:
            return None
        from .backend import Tools

        remedy = "Build requirements have to be wheels."
        odd = [Problem(str(entry), "is no file with a hash.", remedy) for entry in lock.entries if entry.kind != "file"]
        if odd:
            raise WheelhouseError(f"{build_lock_name(self.recipe)} can't be used", odd)
        scratch = self.leaving.enter_context(self.cache.scratch())
        pins, folder = scratch / "pins.txt", scratch / "wheels"
        folder.mkdir()
        pins.write_text(requirements_text(lock.entries))
        for stored in download.fetch(Wanted(lock.entries, lock.index_options), self.interpreter, self.cache).values():
            shutil.copy(stored.path, folder)
        return Tools(folder, pins)

    def _take_in(self, entries: Sequence[Locked]) -> None:
        """Archives that are part of the source need no download."""
        for entry in entries:
            path = self.lock.base / entry.path
            if not path.is_file() or file_sha256(path) not in entry.hashes:
                what = "is not the file that the lock names." if path.is_file() else "is not in the source."
                raise WheelhouseError("a locked part of the source is missing", [Problem(entry.path, what, f"{entry.name} is locked to it.")])
            self.cache.add(path)

    def _wheel(self, entry: Locked, stored: Stored | None) -> Wheel:
        if stored is not None and stored.facts is not None:
            return Wheel(stored.path, stored.sha256, stored.facts, Origin("wheel", stored.sha256))
        from . import backend  # slow to import, and seldom wanted

        what = f"building {entry}"
        build = backend.pip_wheel(what, self.interpreter, lambda: self.tools)
        if stored is not None:
            archive = stored.path
            return self._built(what, Origin("sdist", stored.sha256), lambda into: backend.unpack_sdist(archive, into), build, entry.subdirectory)
        if entry.kind == "vcs":
            from . import vcs

            return self._built(what, Origin("vcs", entry.commit), lambda into: vcs.check_out(entry, into), build, entry.subdirectory)
        tree = self.lock.base / entry.path
        if not tree.is_dir():
            problem = Problem(entry.path, "is not in the source.", f"{entry.name} is locked to it.")
            raise WheelhouseError("a locked part of the source is missing", [problem])
        return self._built(what, Origin("directory", fingerprint(tree)), self._copied(tree), build, "")

    def _project(self) -> Wheel:
        from . import backend

        what = f"building {self.recipe.name} as a wheel"
        # The exported tree has no git history: back ends that ask it for the version are told.
        told = {"SETUPTOOLS_SCM_PRETEND_VERSION": self.source.version, "PBR_VERSION": self.source.version}
        build = backend.build_project(what, self.interpreter, lambda: self.tools, told)
        tree = self.source.tree
        origin = Origin("project", hashlib.sha256(canonical([fingerprint(tree), self.source.version, self.source.time])).hexdigest())
        return self._built(what, origin, self._copied(tree), build, "")

    def _copied(self, tree: Path) -> Lay:
        def lay(into: Path) -> int:
            shutil.copytree(tree, into, symlinks=True, dirs_exist_ok=True)
            return self.source.time

        return lay

    def _built(self, what: str, origin: Origin, lay: Lay, build: Build, subdirectory: str) -> Wheel:
        """The wheel built from ``origin``, if it was built before with the same tools for the same target; else built now."""
        from importlib.metadata import version

        from . import backend

        tools = self.lock.build.digest if self.lock.build else ""
        made_by = [__version__, *(f"{name} {version(name)}" for name in ("pip", "build", "virtualenv"))]
        key = hashlib.sha256(canonical([origin.kind, origin.id, subdirectory, tools, self.interpreter.identity, made_by])).hexdigest()
        note = self.cache.note("built", key)
        stored = self.cache.get(note["sha256"]) if note else None
        if note is None or stored is None:
            with self.cache.scratch() as scratch:
                made = backend.make_wheel(what, lay, _below(subdirectory, build), scratch)
                stored = self.cache.add(made.path)
            note = {"sha256": stored.sha256, "differing": list(made.differing)}
            self.cache.write_note("built", key, note)
        assert stored.facts is not None, "only wheels are built"
        return Wheel(stored.path, stored.sha256, stored.facts, origin, tuple(note["differing"]))

    def _refuse_unnamed(self, entries: Sequence[Locked]) -> None:
        """Building runs code of others: only of those that the recipe names."""
        unnamed = [entry for entry in entries if entry.name not in self.recipe.dependencies.sdists]
        if unnamed:
            remedy = "Name it in dependencies.sdists to have it built, or lock a version that has a wheel."
            as_what = {"vcs": "comes from git.", "file": "comes as source, not as a wheel."}
            problems = [Problem(str(entry), as_what[entry.kind], remedy) for entry in unnamed]
            raise WheelhouseError("the recipe does not let these be built", problems, next_step=refresh(self.recipe))

    def _refuse_foreign(self, wheels: Sequence[Wheel]) -> None:
        tags = frozenset(self.interpreter.tags)
        problems = [
            Problem(wheel.filename, f"is not for Python {self.interpreter.python} on {self.interpreter.platform}.", "Lock again for this target.")
            for wheel in wheels
            if not fits(wheel.filename, tags)
        ]
        if problems:
            raise WheelhouseError("wheels for another platform", problems, next_step=refresh(self.recipe))


def _below(subdirectory: str, build: Build) -> Build:
    """``build``, in a directory of the source tree."""
    return build if not subdirectory else lambda source, out, env: build(source / subdirectory, out, env)
