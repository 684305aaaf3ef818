"""The preflight: what a release needs and what a host has, compared before the first byte is written. All refusals at once.

``facts`` looks; ``refusals`` and ``warnings`` decide, and are pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import __version__
from .artifact import REMEDY
from .errors import Problem
from .facts import Directory, Facts
from .interpreter import mismatches
from .manifest import ENV_LAYERS, FORMAT, Manifest

RESERVE_BYTES, RESERVE_INODES = 16 << 20, 256  # what a host keeps for itself, its journal and its logs
_BLOCK = 4096  # what a small file takes on most file systems
_LONGEST_PEX_ROOT = 80  # with envs/<key>/bin/python3.11 it must fit into the 127 bytes that a kernel reads of a script's first line
_REMOTE = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "afs", "fuse", "fuseblk"}


def refusals(facts: Facts, manifest: Manifest) -> tuple[Problem, ...]:
    """Every reason not to install ``manifest``'s release here, each with what to do about it. Empty: go ahead."""
    return (
        *_installer(manifest),
        *_interpreter(facts, manifest),
        *_libc(facts, manifest),
        *_root(facts),
        *_place(facts, manifest),
        *untrusted(facts.ancestors, facts.trusted),
        *facts.pointers,
        *_room(facts, manifest),
        *left_out(facts.lacking),
        *_shared(facts, manifest),
        *_variables(facts, manifest),
        *(
            Problem("commands", f"{command} is not on PATH.", "Install it.")
            for command in manifest.requires.commands
            if command not in facts.commands
        ),
    )


def left_out(lacking: Iterable[tuple[str, str]]) -> tuple[Problem, ...]:
    """What to say of layers (names, each with what is wrong with what is here of it) that a thin artifact leaves out, and that this host lacks."""
    return tuple(Problem(name, f"was left out of this thin artifact, and {why or 'nothing here has it.'}", REMEDY) for name, why in lacking)


def warnings(facts: Facts, manifest: Manifest) -> tuple[Problem, ...]:
    """What is no reason to refuse, but will surprise somebody."""
    found = []
    if facts.private and facts.search.interpreter:
        what = f"{facts.search.interpreter.executable} lies below {facts.private}, which other users can't pass."
        found.append(Problem("python", what, "Install Python where all can reach it, or let the service run as this user."))
    if facts.variables_mode & 0o004:
        found.append(Problem("shared/env", f"{facts.root}/shared/env can be read by everybody.", f"chmod 640 {facts.root}/shared/env"))
    if facts.root != manifest.root:
        found.append(Problem("root", f"the recipe says {manifest.root}; this goes to {facts.root}."))
    return tuple(found)


def needs(facts: Facts, manifest: Manifest) -> tuple[int, int]:
    """Bytes and inodes that installing takes: of the layers that are not here yet, with a tenth on top."""
    if facts.release_here:
        return 0, 0
    layers = [layer for layer in manifest.layers if not (facts.env_here and layer.kind in ENV_LAYERS)]
    size, files = sum(layer.size + layer.files * _BLOCK // 2 for layer in layers), sum(layer.files for layer in layers)
    if not facts.env_here:  # the builder knows best what the host makes of a pex or a wheelhouse
        size, files = max(size, manifest.requires.bytes), max(files, manifest.requires.inodes)
    return size * 11 // 10, files * 11 // 10


def _installer(manifest: Manifest) -> list[Problem]:
    if manifest.format != FORMAT or _numbers(manifest.minimum_installer) > _numbers(__version__):
        what = f"the release needs install-release {manifest.minimum_installer}; this is {__version__}."
        return [Problem("installer", what, "Use the one that travels in it: tar xzf release.tgz --occurrence=1 release/install-release")]
    return []


def _interpreter(facts: Facts, manifest: Manifest) -> list[Problem]:
    found, target = facts.search.interpreter, manifest.target
    if found is not None:
        return list(mismatches(target, found))
    looked = f" Tried: {'; '.join(facts.search.tried)}." if facts.search.tried else ""
    what = f"needs Python {target.python} with ABI {target.abi}; none was found.{looked}"
    return [Problem("python", what, f"Install python{target.python}, or name one with --python.")]


def _libc(facts: Facts, manifest: Manifest) -> list[Problem]:
    found, libc = facts.search.interpreter, manifest.target.libc
    if found is None or not libc.minimum or found.libc != libc.name or _numbers(found.libc_version) >= _numbers(libc.minimum):
        return []
    has = found.libc_version or "an unknown version"
    return [Problem("libc", f"needs {libc.name} ≥ {libc.minimum}; this host has {has}.", "Use a newer system, or build it on one as old as this.")]


def _root(facts: Facts) -> list[Problem]:
    problems = [Problem("root", f"{path} is not a directory.", "Move it away, or name another root with --root.") for path in facts.not_directories]
    for path in facts.unwritable:
        remedy = "Give it to this user (chown), mount it for writing, or name another root with --root."
        if facts.root.startswith(f"{path.rstrip('/')}/"):  # the root itself is not there yet: what is above it stays whose it is
            remedy = f"Let an administrator make {facts.root} for it, as install-release bootstrap --print says, or name another root with --root."
        problems.append(Problem("root", f"{path} can't be written by this user.", remedy))
    for path in facts.foreign:
        what = f"{path} is on another file system than {facts.root}: nothing can be moved there in one step."
        problems.append(Problem("root", what, "Put the whole root on one file system; only shared/ may lie elsewhere."))
    kind = facts.filesystem
    if kind in _REMOTE or kind.startswith("fuse."):
        what = f"{facts.root} is on {kind}, where neither locks nor renames can be relied on."
        problems.append(Problem("root", what, "Name a root on a local disk with --root; shared/ may lie there."))
    return problems


def _place(facts: Facts, manifest: Manifest) -> list[Problem]:
    if manifest.env.kind == "pex" and (len(facts.root) > _LONGEST_PEX_ROOT or any(character.isspace() for character in facts.root)):
        what = f"{facts.root} holds a space or is longer than {_LONGEST_PEX_ROOT} characters: scripts that pex makes can't start from there."
        return [Problem("root", what, 'Name another with --root, or build with env.kind = "venv".')]
    return []


def untrusted(ancestors: Iterable[Directory], trusted: frozenset[int]) -> list[Problem]:
    """Directories on the way to a root that somebody else could put another one in the place of."""
    problems = []
    for directory in ancestors:
        if directory.owner not in trusted:
            what = f"{directory.path} belongs to user {directory.owner}, who could put something else in the place of the root."
            problems.append(Problem("root", what, f"Run this as that user, chown root {directory.path}, or name another root with --root."))
        elif directory.mode & 0o022 and not directory.mode & 0o1000:
            who = "everybody" if directory.mode & 0o002 else "its group"
            problems.append(Problem("root", f"{directory.path} can be written by {who} (mode {directory.mode:o}).", f"chmod go-w {directory.path}"))
    return problems


def _room(facts: Facts, manifest: Manifest) -> list[Problem]:
    size, files = needs(facts, manifest)
    problems = []
    if size and facts.free_bytes < size + RESERVE_BYTES:
        what = f"needs {megabytes(size + RESERVE_BYTES)} on the disk of {facts.root}; {megabytes(facts.free_bytes)} are free."
        problems.append(Problem("disk", what, "Make room: install-release prune, or remove what else is there."))
    if files and facts.free_inodes is not None and facts.free_inodes < files + RESERVE_INODES:
        what = f"needs {files + RESERVE_INODES} inodes on the disk of {facts.root}; {facts.free_inodes} are free."
        problems.append(Problem("disk", what, "Make room: install-release prune, or remove what else is there."))
    return problems


def _shared(facts: Facts, manifest: Manifest) -> list[Problem]:
    problems = []
    for path in manifest.requires.linked_files:
        kind, there = facts.shared.get(path, "absent"), f"{facts.root}/shared/{path}"
        if kind == "absent":
            problems.append(Problem("shared", f"{there} is missing; the release links it in.", "Create it, mode 600 or 640, then run this again."))
        elif kind != "file":
            problems.append(Problem("shared", f"{there} is not a file.", "Move it away and create the file."))
    for path in manifest.requires.linked_dirs:
        if facts.shared.get(path, "absent") not in ("absent", "dir"):
            problems.append(Problem("shared", f"{facts.root}/shared/{path} is not a directory.", "Move it away; a missing one is made."))
    return problems


def _variables(facts: Facts, manifest: Manifest) -> list[Problem]:
    there, wanted = f"{facts.root}/shared/env", manifest.requires.env
    if facts.variables_problem:
        return [Problem("shared/env", facts.variables_problem, "Correct it; the syntax is that of systemd's EnvironmentFile.")]
    problems = []
    if facts.variables is None and wanted:
        what = f"{there} is missing; the release needs {_listed(wanted)} from it."
        problems.append(Problem("shared/env", what, "Create it, one NAME=value a line, mode 640, then run this again."))
    elif missing := [name for name in wanted if name not in (facts.variables or {})]:
        problems.append(Problem("shared/env", f"{there} lacks {_listed(missing)}.", "Add what is missing, one NAME=value a line."))
    if facts.variables_mode & 0o022:
        problems.append(Problem("shared/env", f"{there} can be written by others (mode {facts.variables_mode:o}).", f"chmod 640 {there}"))
    if f"{facts.root}/current" in (facts.variables or {}).get("PYTHONPATH", ""):
        what = f"PYTHONPATH in {there} leads through current: after a flip it would serve the new source under the old environment."
        problems.append(Problem("shared/env", what, "Take it out: bin/run puts the release's own src there."))
    return problems


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _numbers(version: str) -> tuple[int, ...]:
    """``2.28`` as (2, 28). What isn't a number counts as 0."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def megabytes(count: int) -> str:
    """``119.9 MB``: millions of bytes."""
    return f"{count / 1e6:.1f} MB"
