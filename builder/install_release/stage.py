"""A release in the making: unpacked and completed in ``.install/staging/<tx>``, synced, and published as ``releases/<id>`` by one rename.

What an artifact does not hold and the host adds (links, ``bin/run``, ``REVISION``, …) is listed with its hash in ``install.json``. The
tables of the release's layers stay with it, compressed as they came, so that ``verify`` can prove every file from the release's id.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from . import __version__, durable, inventory, kept, launcher
from .artifact import Artifact
from .errors import Problem, RefusedError
from .host import INSTALL_JSON, LEASE, RELEASE_JSON, RELEASES, SHARED, STAGING, Host
from .interpreter import Interpreter
from .manifest import ENV_LAYERS, Layer, Manifest, canonical
from .overlay import Rendered
from .records import NamedTuple, as_dict
from .table import Entry, Segment
from .trust import By
from .unpack import Destination, unpack

_PLACEHOLDERS = (".gitkeep", ".keep", ".gitignore")  # files that only say: there shall be a directory here


def release_layers(manifest: Manifest) -> tuple[Layer, ...]:
    """The layers that a release's own directory is made from."""
    return tuple(layer for layer in manifest.layers if layer.kind not in ENV_LAYERS)


def linked_paths(manifest: Manifest) -> tuple[str, ...]:
    """What of a release is a link into ``shared/``, relative to ``src/``."""
    return (*manifest.requires.linked_dirs, *manifest.requires.linked_files)


def conflicts(artifact: Artifact) -> tuple[Problem, ...]:
    """Linked paths that can't be: the source tracks something there, or one lies within another. Pure, but for reading the tables."""
    linked = [f"src/{path}" for path in linked_paths(artifact.manifest)]
    problems = [
        Problem("shared", f"{path} is to be a link into {SHARED}/, and so is {above}, which holds it.", "Declare one of the two.")
        for path in linked
        for above in linked
        if path.startswith(f"{above}/")
    ]
    twice = sorted({path for path in linked if linked.count(path) > 1})
    problems += [Problem("shared", f"{path} is declared twice.", "Declare it once.") for path in twice]
    for layer in release_layers(artifact.manifest):
        if layer.kind == "src" and linked and artifact.has_table(layer):  # of one that is lacking the preflight tells
            entries = (line for line in artifact.table(layer) if not isinstance(line, Segment))
            problems += _tracked(entries, linked)
    return tuple(problems)


def _tracked(entries: Iterator[Entry], linked: Sequence[str]) -> Iterator[Problem]:
    remedy = "Take it out of the source, or out of linked_dirs and linked_files."
    ends, holders = set(linked), {above: path for path in linked for above in _above(path)}
    for entry in entries:
        if entry.type == "dir":
            continue
        path = next((each for each in (entry.path, *_above(entry.path)) if each in ends), "")
        placeholder = path != entry.path and os.path.basename(entry.path) in _PLACEHOLDERS
        if path and not placeholder:
            yield Problem("shared", f"{path} is to be a link into {SHARED}/, but the source has {entry.path}.", remedy)
        elif entry.path in holders:
            yield Problem("shared", f"{holders[entry.path]} is to be a link into {SHARED}/, but {entry.path} is no directory.", remedy)


def _above(path: str) -> Iterator[str]:
    """``a/b/c`` as ``a/b``, ``a``."""
    while path := path.rpartition("/")[0]:
        yield path


class Staging(NamedTuple):
    """What a release's directory is made of, beside the artifact: the transaction, its environment, interpreter, rendered etc/ and signers."""

    tx: str
    env: str
    interpreter: Interpreter
    etc: Mapping[str, Rendered] = {}
    signers: tuple[By, ...] = ()


def publish(host: Host, artifact: Artifact, staging: Staging) -> str:
    """Make ``releases/<id>``, complete and durable; the sha256 of its ``install.json``. On an error nothing of it is left."""
    with host.directory(STAGING) as stages:
        durable.make_dir(stages, staging.tx)
        try:
            with host.directory(STAGING, staging.tx) as stage:
                record = _fill(stage, artifact, staging, host)
                durable.sync_tree(stage)
            with host.directory(RELEASES) as releases:
                durable.publish(stages, staging.tx, releases, artifact.id)
        except BaseException:
            durable.remove_tree(stages, staging.tx)
            raise
    return record


def make_shared(host: Host, manifest: Manifest) -> None:
    """Make the linked directories that are missing below ``shared/``. One that leads elsewhere through a link is the operator's: it must be there."""
    for path in manifest.requires.linked_dirs:
        if os.path.isdir(host.path(SHARED, path)):
            continue
        done = SHARED
        for part in path.split("/"):
            try:
                with host.directory(done) as above:
                    durable.make_dir(above, part)
            except OSError as error:
                what = f"{host.path(SHARED, path)} can't be made: {error.strerror}."
                raise RefusedError("a shared directory is missing", [Problem("shared", what, "Make it, then run this again.")]) from None
            done = f"{done}/{part}"


def _readers(host: Host) -> int:
    """The group that may read what secrets were filled into: that of ``shared/host.ini``; -1, this user's own, where it can't be given."""
    try:
        group = os.lstat(host.path(SHARED, "host.ini")).st_gid
    except OSError:
        return -1
    return group if group in os.getgroups() else -1


def _unpack(stage: int, artifact: Artifact, host: Host) -> None:
    layers = release_layers(artifact.manifest)
    if artifact.lender is None:
        unpack(artifact, layers, Destination(stage))
        return
    from . import donors  # only now: each start would pay for it

    with donors.opened(host, artifact.lender.chosen(layers)) as there:
        unpack(artifact, layers, Destination(stage), donors=there)


def _fill(stage: int, artifact: Artifact, staging: Staging, host: Host) -> str:
    manifest, readers = artifact.manifest, _readers(host)
    _unpack(stage, artifact, host)
    made = _Made(stage)
    made.file(RELEASE_JSON, artifact.manifest_bytes)
    made.file("REVISION", f"{manifest.commit}\n".encode("ascii"))
    made.file(LEASE, b"")
    made.link("venv", f"../../envs/{staging.env}")
    made.file(launcher.NAME, launcher.render(staging.interpreter.executable, manifest.version), 0o755)
    made.entries += kept.keep(stage, artifact, release_layers(manifest))
    for path, rendered in sorted(staging.etc.items()):
        made.render(f"etc/{path}", rendered, readers)
    made.directory("src")
    for path in linked_paths(manifest):
        ups = "../" * (path.count("/") + 3)  # from the link's directory: out of src/, <id>/ and releases/
        made.link(f"src/{path}", f"{ups}{SHARED}/{path}")
    record = canonical(
        {
            "id": artifact.id,
            "name": manifest.name,
            "version": manifest.version,
            "installer": __version__,
            "env": staging.env,
            "interpreter": {"executable": staging.interpreter.executable, "version": staging.interpreter.version},
            "signed": [as_dict(each) for each in staging.signers],
            "made": [inventory.to_json(entry) for entry in sorted(made.entries, key=lambda entry: entry.path)],
        }
    )
    durable.create_file(stage, INSTALL_JSON, record)
    return hashlib.sha256(record).hexdigest()


class _Made:
    """What the host makes in a stage, and the entries that say so."""

    def __init__(self, stage: int) -> None:
        self.stage = stage
        self.entries: list[Entry] = []

    def file(self, path: str, data: bytes, mode: int = 0o644) -> None:
        with self._above(path) as (directory, name):
            durable.create_file(directory, name, data, mode)
        self.entries.append(Entry(path, "file", f"{mode:o}", len(data), hashlib.sha256(data).hexdigest()))

    def render(self, path: str, rendered: Rendered, readers: int) -> None:
        """A file in the place of the one that the artifact brought, unless that says the same. ``readers``: the group of one that is not for all."""
        with self._above(path) as (directory, name):
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            with os.fdopen(file, "rb") as stream:
                same = stream.read() == rendered.data and stat.S_IMODE(os.fstat(file).st_mode) == int(rendered.mode, 8)
            if same:
                return
            os.unlink(name, dir_fd=directory)
            mode = int(rendered.mode, 8)
            durable.create_file(directory, name, rendered.data, mode, -1 if mode & stat.S_IROTH else readers)
        self.entries.append(Entry(path, "file", rendered.mode, len(rendered.data), hashlib.sha256(rendered.data).hexdigest()))

    def link(self, path: str, target: str) -> None:
        """A link, in the place of the placeholder or empty directory that may be there."""
        with self._above(path) as (directory, name):
            durable.remove_tree(directory, name)
            os.symlink(target, name, dir_fd=directory)
        self.entries.append(Entry(path, "link", "777", target=target))

    def directory(self, path: str) -> None:
        """A directory, unless the artifact brought it."""
        with self._above(path) as (directory, name):
            if durable.exists(directory, name):
                return
            durable.make_dir(directory, name)
        self.entries.append(Entry(path, "dir", "755"))

    @contextmanager
    def _above(self, path: str) -> Iterator[tuple[int, str]]:
        parent, _, name = path.rpartition("/")
        if parent:
            self.directory(parent)
        directory = durable.open_dir(self.stage, parent) if parent else os.dup(self.stage)
        try:
            yield directory, name
        finally:
            os.close(directory)
