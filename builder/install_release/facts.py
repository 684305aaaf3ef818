"""What a preflight looks at: the facts about a host, gathered without changing anything. Nothing here decides."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping

from . import bin_run, environment, host, interpreter
from .errors import DamagedError, Problem
from .interpreter import Search
from .manifest import Manifest
from .records import NamedTuple
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from .donors import Lender

_ADMIN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # where a daemon's command is that an ordinary user's PATH misses
_PARTS = (host.RELEASES, host.ENVS, host.STATE, host.STAGING, host.ENV_TABLES, host.BIN)


class Directory(NamedTuple):
    """A directory on the way to the root: who owns it, and its mode, sticky bit included."""

    path: str
    owner: int
    mode: int


class Facts(NamedTuple):
    """One host, looked at for one release. ``root`` is physical, and need not exist.

    ``private``: the directory that keeps other users from the interpreter, or empty. ``ancestors``: all that exist, the root included;
    ``trusted``: the users who may own them. ``unwritable``, ``not_directories``, ``foreign`` (on another file system): paths. ``pointers``: what
    is wrong with ``current``, or with what it leads to. ``free_inodes`` is None where there is no limit. ``env_key``: of the environment that the
    release will have, ``env_here``: it is there. ``shared``: path → file, dir, other. ``variables``: those of ``shared/env``, None when there is
    none. ``commands``: those of the required ones that were found. ``lacking``: layers that a thin artifact leaves out and that are not here, each
    with what is wrong with the one that is ("": there is none).
    """

    search: Search
    private: str
    root: str
    ancestors: tuple[Directory, ...]
    trusted: frozenset[int]
    unwritable: tuple[str, ...]
    not_directories: tuple[str, ...]
    foreign: tuple[str, ...]
    filesystem: str
    pointers: tuple[Problem, ...]
    free_bytes: int
    free_inodes: int | None
    env_key: str
    env_here: bool
    release_here: bool
    shared: Mapping[str, str]
    variables: Mapping[str, str] | None
    variables_mode: int
    variables_problem: str
    commands: frozenset[str]
    lacking: tuple[tuple[str, str], ...] = ()


def gather(manifest: Manifest, release: str, root: str, python: str | None = None, lender: Lender | None = None) -> Facts:
    """Look at this host, for the release with the id ``release``, to be installed in ``root``. Changes nothing; runs interpreters.

    ``lender``: of what a thin artifact leaves out.
    """
    search = interpreter.find(manifest.target, python)
    root = os.path.realpath(root)
    standing = next(path for path in _upwards(root) if os.path.isdir(path))  # the root, or what it will be made in
    parts = [path for part in _PARTS if os.path.lexists(path := os.path.join(root, part))]
    key = environment.key(manifest, search.interpreter, release) if search.interpreter else ""
    env_here, release_here = False, False
    pointers: tuple[Problem, ...] = ()
    if standing == root:
        with host.Host(root) as opened:
            if search.interpreter:
                key = environment.place(manifest, opened, search.interpreter, release)
            env_here, release_here = bool(key) and opened.has_environment(key), opened.has_release(release)
            pointers = (*_pointers(opened), *_other_name(opened, manifest.name))
    room, mounts = os.statvfs(standing), _mounts()
    variables, mode, problem = _variables(os.path.join(root, host.SHARED, "env"))
    return Facts(
        search=search,
        private=interpreter.private_ancestor(search.interpreter.executable) if search.interpreter else "",
        root=root,
        ancestors=ancestors(standing),
        trusted=trusted(),
        unwritable=_unwritable([standing]) or _unwritable(parts),
        not_directories=tuple(path for path in [*_files_above(root, standing), *parts] if os.path.islink(path) or not os.path.isdir(path)),
        foreign=tuple(path for path in parts if path in mounts or (os.path.isdir(path) and os.stat(path).st_dev != os.stat(standing).st_dev)),
        filesystem=_filesystem(standing, mounts),
        pointers=pointers,
        free_bytes=room.f_bavail * room.f_frsize,
        free_inodes=room.f_favail if room.f_files else None,
        env_key=key,
        env_here=env_here,
        release_here=release_here,
        shared=_kinds(os.path.join(root, host.SHARED), [*manifest.requires.linked_files, *manifest.requires.linked_dirs]),
        variables=variables,
        variables_mode=mode,
        variables_problem=problem,
        commands=frozenset(filter(_on_path, manifest.requires.commands)),
        lacking=lender.lacking(manifest, env_here, release_here) if lender else (),
    )


def _unwritable(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path for path in paths if os.path.isdir(path) and not os.access(path, os.W_OK | os.X_OK))


def ancestors(path: str) -> tuple[Directory, ...]:
    """A directory and all above it, from ``/`` on."""
    return tuple(_directory(each) for each in reversed(list(_upwards(path))))


def _upwards(path: str) -> Iterable[str]:
    """``/a/b``, ``/a``, ``/``."""
    yield path
    while path != "/":
        path = os.path.dirname(path)
        yield path


def _files_above(root: str, standing: str) -> list[str]:
    """What stands in the way of making ``root`` below ``standing``: something there that is no directory."""
    return [path for path in _upwards(root) if path.startswith(standing) and path != standing and os.path.lexists(path)]


def _directory(path: str) -> Directory:
    facts = os.stat(path)
    return Directory(path, facts.st_uid, stat.S_IMODE(facts.st_mode))


def trusted() -> frozenset[int]:
    """root, this user, and in a user namespace the user that stands for all who have no number there."""
    users = {0, os.geteuid()}
    try:
        with open("/proc/self/uid_map") as mapped, open("/proc/sys/kernel/overflowuid") as overflow:
            if mapped.read().split() != ["0", "0", "4294967295"]:
                users.add(int(overflow.read()))
    except (OSError, ValueError):
        pass
    return frozenset(users)


def _mounts() -> dict[str, str]:
    """The points where something is mounted, each with the type of its file system, like ``ext4``; none when that can't be told."""
    found = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                before, _, after = line.partition(" - ")
                point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split()[4])  # a space is written \040
                found[point] = after.split()[0]  # a later mount on the same point hides the earlier one
    except (OSError, IndexError, ValueError):
        return {}
    return found


def _filesystem(path: str, mounts: Mapping[str, str]) -> str:
    """The type of the file system that ``path`` (physical) is on; empty when that can't be told."""
    return next((mounts[above] for above in _upwards(path) if above in mounts), "")


def _pointers(opened: host.Host) -> tuple[Problem, ...]:
    pointer, problems = opened.pointer(host.CURRENT), []
    if pointer.kind not in ("absent", "release"):
        problems.append(host.pointer_problem(opened, pointer))
    if opened.pointer(host.PREVIOUS).kind == "other":  # any link is replaced: it is a hint for people
        problems.append(host.pointer_problem(opened, opened.pointer(host.PREVIOUS), host.PREVIOUS))
    return tuple(problems)


def _other_name(opened: host.Host, name: str) -> Iterable[Problem]:
    """A root is one application's: what would be made live in the place of another was meant for elsewhere."""
    try:
        pointer = opened.pointer(host.CURRENT)
        live = opened.manifest(pointer.id).name if pointer.kind == "release" else name
    except (OSError, DamagedError):
        return
    if live != name:
        yield Problem("root", f"{opened.root} holds {live}; this is {name}.", "Name its own root with --root.")


def _kinds(shared: str, paths: Iterable[str]) -> dict[str, str]:
    found = {}
    for path in paths:
        full = os.path.join(shared, path)
        if os.path.isfile(full):
            found[path] = "file"
        elif os.path.isdir(full):
            found[path] = "dir"
        elif os.path.lexists(full):
            found[path] = "other"
    return found


def _variables(path: str) -> tuple[dict[str, str] | None, int, str]:
    """The variables of ``shared/env`` (None: no such file), its mode, and what is wrong with it."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            return bin_run.parse_environment(file.read()), mode, ""
    except (FileNotFoundError, NotADirectoryError):
        return None, 0, ""
    except OSError as error:
        return None, 0, f"{path} can't be read by this user: {error.strerror}."
    except bin_run.EnvironmentFileError as error:
        return None, 0, f"{path}, {error}."


def _on_path(command: str) -> bool:
    import shutil  # only now: each start would pay for it

    return shutil.which(command) is not None or shutil.which(command, path=_ADMIN_PATH) is not None
