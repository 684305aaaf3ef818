"""What a recipe selects of a commit: its files and links, those of its submodules, and what a working tree changed of them.

What can't be packed (names, modes, submodules nobody asked for) is collected while listing, and refused together.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import Problem, SourceError
from ..frozen import frozen
from ..install_release.manifest import safe_relative
from ..recipe import SourceSpec
from . import git, mirror
from .git import Repository
from .patterns import matcher, may_match_below

_MODES = {"100644": "644", "100664": "644", "100755": "755", "120000": "link"}
_SUBMODULE = "160000"
_WHERE_SUBDIRECTORY = "source.subdirectory"


@frozen
class Entry:
    """A file (``mode`` 644 or 755) or a link of the tree. Its bytes are the blob ``id``, or those of ``file`` in a working tree."""

    path: str
    mode: str
    repository: Repository
    commit: str
    id: str
    file: Path | None = None


@dataclass
class Listing:
    """What the recipe selects of a commit, its submodules, and a changed working tree. ``add`` fills it, ``check`` raises what is wrong."""

    spec: SourceSpec
    cache: Path
    stack: ExitStack  # holds the mirrors of submodules open
    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _seen: list[str] = field(default_factory=list)  # every path, selected or not

    def add(self, repository: Repository, commit: str, below: str, prefix: str, changed: bool) -> None:
        """Add ``commit`` below its directory ``below`` as ``prefix`` of the tree; ``changed``: as the working tree has it now."""
        selected = selection(self.spec)
        submodules = []
        for item in git.list_tree(repository, commit, below, _WHERE_SUBDIRECTORY):
            path = self._name(prefix, item.path)
            if path is None:
                continue
            if item.mode == _SUBMODULE:
                submodules.append((path, item.id))
            elif item.mode not in _MODES:
                self.problems.append(Problem(path, f"has mode {item.mode}, which is no file's, link's or submodule's."))
            elif path in self.entries:
                self.problems.append(Problem(path, "is there twice in its directory."))
            elif selected(path):
                self.entries[path] = Entry(path, _MODES[item.mode], repository, commit, item.id)
        modified = self._overlay(repository, commit, below, prefix) if changed else {}
        described = git.submodules_of(repository, commit) if submodules and self.spec.submodules == "include" else {}
        for path, recorded in submodules:
            if path in modified:
                continue  # comes from the working tree
            inner = _join(below, path.removeprefix(f"{prefix}/") if prefix else path)
            self._submodule(repository, inner, path, recorded, described.get(inner))
        for path, place in modified.items():
            if place is not None:
                self._changed_submodule(path, place)

    def check(self) -> None:
        """Raise ``SourceError`` with all that was found."""
        for pattern in self.spec.include:
            if not pattern.startswith("!") and not any(map(matcher([pattern]), self._seen)):
                self.problems.append(Problem("source.include", f"{pattern} matches no file.", "Correct it, or take it out."))
        if not self.entries and not self.problems:
            self.problems.append(Problem("source", "holds no file.", "Look at source.subdirectory, include and exclude."))
        refuse("the commit can't be exported", self.problems)

    def _name(self, prefix: str, raw: bytes) -> str | None:
        """The path in the tree of one that git records, None when it can't have one."""
        shown = raw.decode("utf-8", "backslashreplace")
        path = _join(prefix, shown)
        self._seen.append(path)
        try:
            raw.decode("utf-8")
        except UnicodeDecodeError:
            self.problems.append(Problem(path, "is no UTF-8.", "Rename it."))
            return None
        if any(part.lower() == ".git" for part in path.split("/")):
            self.problems.append(Problem(path, "is named like git's own directory.", "Remove it from the commit."))
        elif not safe_relative(path):
            self.problems.append(Problem(repr(path), "holds a character that can't be printed, or is too long or unsafe as a path.", "Rename it."))
        else:
            return path
        return None

    def _submodule(self, repository: Repository, inner: str, path: str, commit: str, described: tuple[str, str] | None) -> None:
        """Add the submodule at ``inner`` of ``repository`` as ``path``, or say why not."""
        if not _may_hold(self.spec, path):
            return
        if self.spec.submodules == "refuse":
            remedy = 'Say source.submodules = "include", or name it in source.exclude.'
            self.problems.append(Problem(path, f"is a submodule (at {commit[:12]}), whose files are in another repository.", remedy))
        elif described is None:
            self.problems.append(Problem(path, "is a submodule that .gitmodules does not describe.", "Remove it, or name it in source.exclude."))
        else:
            found = _local_submodule(repository, inner, described[0], commit)
            if found is None:
                found = self._remote_submodule(repository, described[1], path, commit)
            if found is not None:
                self.add(found, commit, "", path, False)

    def _remote_submodule(self, repository: Repository, url: str, path: str, commit: str) -> Repository | None:
        base = git.setting(repository, "remote.origin.url") or str(repository.top or repository.directory)
        url = join_url(base, url)
        is_local = not mirror.is_url(url) or url.startswith("file:")
        if is_local and mirror.is_url(base) and not base.startswith("file:"):
            # Someone else's repository must not be able to name files of this machine.
            self.problems.append(Problem(path, "is a submodule that comes from a path of this machine, in a repository that does not."))
            return None
        if not mirror.is_url(url):
            found = git.find(Path(url), path)
            git.commit_of(found, commit, path)
            return found
        return self.stack.enter_context(mirror.opened(url, commit, self.cache, path))[0]

    def _overlay(self, repository: Repository, commit: str, below: str, prefix: str) -> dict[str, Path | None]:
        """Put what the working tree changed in place of what HEAD has. Returns where changed submodules are, None for what is gone."""
        assert repository.top is not None
        selected = selection(self.spec)
        keeps_modes = git.setting(repository, "core.filemode") != "false"
        submodules: dict[str, Path | None] = {}
        for letters, raw in git.changes(repository, [below or "."]):
            start = f"{below}/".encode() if below else b""
            if letters == "!!" or not raw.startswith(start):
                continue
            path = self._name(prefix, raw.removeprefix(start).rstrip(b"/"))
            file = repository.top / os.fsdecode(raw)
            if path is None:
                continue
            before = self.entries.pop(path, None)
            if file.is_dir() and not file.is_symlink():
                if raw.endswith(b"/") and selected(f"{path}/x"):
                    self.problems.append(Problem(path, "is another repository, and no submodule.", "Move it, or name it in source.exclude."))
                elif (file / ".git").exists() and _may_hold(self.spec, path):
                    submodules[path] = file
            elif not os.path.lexists(file):
                submodules[path] = None
            elif selected(path):
                mode = before.mode if before and before.mode != "link" and not keeps_modes and not file.is_symlink() else _mode_of(file)
                if mode:
                    self.entries[path] = Entry(path, mode, repository, commit, "", file)
                else:
                    self.problems.append(Problem(path, "is neither a file, a directory nor a link.", "Remove it, or let .gitignore name it."))
        return submodules

    def _changed_submodule(self, path: str, place: Path) -> None:
        repository = git.find(place, path)
        if self.spec.submodules == "refuse":
            self._submodule(repository, "", path, git.commit_of(repository, "HEAD", path), None)
        else:
            self.add(repository, git.commit_of(repository, "HEAD", path), "", path, True)


def selection(spec: SourceSpec) -> Callable[[str], bool]:
    """Whether a recipe's include and exclude leave a path of the tree in."""
    included, excluded = matcher(spec.include), matcher(spec.exclude)
    return lambda path: (not spec.include or included(path)) and not excluded(path)


def refuse(message: str, problems: Sequence[Problem]) -> None:
    """Raise ``SourceError`` with all of ``problems``, when there are any."""
    if problems:
        raise SourceError(message, problems)


def join_url(base: str, url: str) -> str:
    """The URL of a submodule; one that begins with ``./`` or ``../`` is relative to that of its superproject, as git has it."""
    if not url.startswith(("./", "../")):
        return url
    base, joint, rest = base.rstrip("/"), "/", url
    while rest.startswith(("./", "../")):
        if rest.startswith("../"):
            at = max(base.rfind("/"), base.rfind(":"))
            if at < 1:
                raise SourceError("the URL of a submodule makes no sense", [Problem(url, f"leads above the repository's own, {base}.")])
            base, joint = base[:at], base[at]
        rest = rest.partition("/")[2]
    return f"{base}{joint}{rest}"


def _may_hold(spec: SourceSpec, directory: str) -> bool:
    """Whether something below ``directory`` could be selected."""
    excluded = matcher(spec.exclude)
    return not excluded(f"{directory}/x") and (not spec.include or any(may_match_below(pattern, directory) for pattern in spec.include))


def _local_submodule(repository: Repository, inner: str, name: str, commit: str) -> Repository | None:
    """Where a clone with its submodules keeps this one, when it has the commit."""
    if repository.top and (repository.top / inner / ".git").exists():
        found = git.find(repository.top / inner, inner)
        if git.has(found, commit):
            return found
    for base in (repository.directory, repository.common):
        if safe_relative(name) and (base / "modules" / name / "HEAD").is_file():
            found = git.inside_of(base / "modules" / name)
            if git.has(found, commit):
                return found
    return None


def _mode_of(file: Path) -> str:
    mode = file.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link"
    return ("755" if mode & 0o100 else "644") if stat.S_ISREG(mode) else ""


def _join(prefix: str, path: str) -> str:
    return f"{prefix}/{path}" if prefix and path else prefix or path
