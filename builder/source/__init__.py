"""A recipe's source → one exact commit → a plain tree.

The tree's bytes are those of the commit's objects, whatever attributes, filters or settings a checkout would obey (git.py), its modes
755 where git records an executable and 644 elsewhere, its times that of the commit. The same commit and recipe give the same tree anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..errors import Problem, SourceError
from ..frozen import frozen
from ..recipe import RECIPE_PREFIX, Recipe
from . import checkout, credentials, git, listing, mirror, version
from .git import Repository

_REPOSITORY = "source.repository"
_SHOWN = 50  # changed files that are listed; the rest is counted


@frozen
class Revision:
    """Which commit a recipe means: ``time`` in seconds since 1970 (UTC). ``changed``: the paths that are not as HEAD has them, when it is HEAD."""

    commit: str
    time: int
    version: str
    changed: tuple[str, ...]


@frozen
class Source:
    """An exported commit in the directory ``tree``. ``dirty``: it holds changes that are in no commit, and ``version`` says so."""

    commit: str
    time: int
    version: str
    dirty: bool
    tree: Path


def resolve(recipe: Recipe, *, cache: Path) -> Revision:
    """Which commit and version a build would be of, without exporting anything. Raises ``SourceError``."""
    with _opened(recipe, cache) as (repository, commit):
        return _revision(recipe, repository, commit)


def export(recipe: Recipe, into: Path, *, cache: Path, allow_dirty: bool = False) -> Source:
    """Lay the recipe's source into ``into``/tree, which must not be there. ``cache`` keeps mirrors of repositories that are named by URL.

    ``allow_dirty``: what differs from HEAD in the working tree (but ignored files) is taken from there. Raises ``SourceError`` for what can't be
    found and, all together, for what must not be packed; what lies in ``into`` then is the caller's to remove.
    """
    with _opened(recipe, cache) as (repository, commit), ExitStack() as stack:
        revision = _revision(recipe, repository, commit)
        dirty = bool(revision.changed)
        if dirty and not allow_dirty:
            raise _refuse_dirty(revision.changed)
        selected = listing.Listing(recipe.source, cache, stack)
        selected.add(repository, commit, recipe.source.subdirectory, "", dirty)
        selected.check()
        tree = into / "tree"
        try:
            tree.mkdir(parents=True)
            problems = checkout.lay(selected.entries.values(), tree, revision.time, lfs_policy=recipe.source.lfs)
            problems += credentials.scan(tree, recipe.secrets_allowed)
        except OSError as error:
            raise SourceError("the source can't be exported", [Problem(str(error.filename or tree), f"{error.strerror}.")]) from error
    listing.refuse("the source holds what must not be packed", problems)
    return Source(commit, revision.time, version.dirty(revision.version) if dirty else revision.version, dirty, tree)


@contextmanager
def _opened(recipe: Recipe, cache: Path) -> Iterator[tuple[Repository, str]]:
    """The recipe's repository, and the full name of its commit."""
    spec = recipe.source
    if spec.repository and mirror.is_url(spec.repository):
        with mirror.opened(spec.repository, spec.ref, cache, _REPOSITORY) as found:
            yield found
        return
    place = recipe.directory / os.path.expanduser(spec.repository or "")  # a user nobody knows stays as it is: no such directory
    repository = git.find(place, _REPOSITORY)
    top = repository.top or repository.directory
    if spec.repository and top != place.resolve():
        inner = os.path.relpath(place.resolve(), top)
        remedy = f'Name that one, with source.subdirectory = "{inner}".'
        raise SourceError("the source is a part of a repository", [Problem(_REPOSITORY, f"{place} lies in the repository {top}.", remedy)])
    yield repository, git.commit_of(repository, spec.ref, "source.ref")


def _revision(recipe: Recipe, repository: Repository, commit: str) -> Revision:
    with ThreadPoolExecutor(2) as pool:  # git thinks about each of these for 5 to 15 ms
        changed = pool.submit(_changed, recipe, repository)
        time = pool.submit(git.time_of, repository, commit)
        told = recipe.version or _version(recipe.name, repository, commit)
        return Revision(commit, time.result(), told, changed.result())


def _version(application: str, repository: Repository, commit: str) -> str:
    tags = version.read(git.tags_of(repository, commit), application)
    nearest = next((tag for tag in tags if tag.commit == commit), tags[0] if tags else None)
    if repository.shallow and not (nearest and nearest.commit == commit):
        problem = Problem("version", "can't be told from a shallow clone, which lacks tags or commits.", "Set one in the recipe.")
        raise SourceError("the version is unknown", [problem], next_step="git fetch --unshallow --tags")
    return version.after(nearest, git.distance(repository, commit, nearest.commit if nearest else None), commit)


def _changed(recipe: Recipe, repository: Repository) -> tuple[str, ...]:
    """Paths, from the repository's top, of what makes the artifact and isn't as HEAD has it: selected files, the recipe, the files it names."""
    if recipe.source.ref != "HEAD" or repository.top is None:
        return ()
    below = recipe.source.subdirectory
    selected = listing.selection(recipe.source)
    own = _recipe_files(recipe, repository.top)
    found = []
    for letters, raw in git.changes(repository, [below or ".", *own]):
        path = os.fsdecode(raw)
        # Ignored files are no change, but a recipe that git ignores is in no commit.
        is_own = any(f"{path}/".startswith(f"{name}/") or (letters == "!!" and f"{name}/".startswith(f"{path.rstrip('/')}/")) for name in own)
        in_tree = letters != "!!" and (not below or path.startswith(f"{below}/"))
        if is_own or (in_tree and selected(path.removeprefix(f"{below}/").rstrip("/"))):
            found.append(raw.decode("utf-8", "backslashreplace"))
    return tuple(sorted(found))


def _recipe_files(recipe: Recipe, top: Path) -> list[str]:
    """The recipe and what it names with ``recipe:``, as far as it lies in the working tree ``top``; paths from there."""
    deps = recipe.dependencies
    named = [*deps.requirements, *deps.constraints, deps.pyproject, deps.lock, deps.build_lock, recipe.etc]
    files = [recipe.path.name, *(name.removeprefix(RECIPE_PREFIX) for name in named if name and name.startswith(RECIPE_PREFIX))]
    folder = recipe.directory.resolve()
    return [str((folder / name).relative_to(top)) for name in files] if folder.is_relative_to(top) else []


def _refuse_dirty(changed: tuple[str, ...]) -> SourceError:
    problems = [Problem(path, "is not as the commit has it.") for path in changed[:_SHOWN]]
    if len(changed) > _SHOWN:
        problems.append(Problem(f"{len(changed) - _SHOWN} more files", "are not as the commit has them."))
    next_step = "commit or stash it, or build with --allow-dirty: the version then says so"
    return SourceError("the working tree is not what is committed", problems, next_step=next_step)
