"""What this host can make the files of a layer from again: the complete environments and the releases that are here, by the digests of their layers.

Whatever is taken from one is hashed while it is copied. Nothing here changes anything.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from . import host, kept
from . import manifest as contract
from .errors import InstallError
from .host import Host
from .manifest import ENV_LAYERS, Layer, Manifest
from .records import NamedTuple
from .thin import NEVER

_HEAD_BYTES = 8 << 20  # of an environment's table: what it says of its layers
_STEP = 1 << 20


class Donor(NamedTuple):
    """A layer, unpacked below ``directory`` (relative to the root): in an environment without their first part, which is ``venv/`` for all of them.

    ``since``: when the record of that directory was written, the last of it, in nanoseconds since 1970.
    """

    layer: Layer
    directory: str
    since: int

    @property
    def strip(self) -> bool:
        return self.layer.kind in ENV_LAYERS


def environments(root: Host) -> Iterator[Donor]:
    """The layers of all complete environments, whole or not."""
    for name in filter(root.has_environment, root.environments()):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError, InstallError):  # a damaged one helps nobody, and verify tells
            with root.directory(host.ENV_TABLES) as tables:
                table = os.open(f"{name}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=tables)
            with os.fdopen(table, "rb") as file:
                since = os.fstat(table).st_mtime_ns
                layers = json.loads(file.readline(_HEAD_BYTES) + b"]}")["layers"]
            for layer in map(contract.layer, layers):
                yield Donor(layer, f"{host.ENVS}/{name}", since)


def releases(root: Host) -> Iterator[Donor]:
    """The layers of all releases that are here, whole or not."""
    for release in root.releases():
        with suppress(OSError, InstallError):
            record = os.stat(f"{host.RELEASES}/{release}/{host.INSTALL_JSON}", dir_fd=root.fd, follow_symlinks=False)
            for layer in root.manifest(release).layers:
                if layer.kind not in (*ENV_LAYERS, *NEVER):
                    yield Donor(layer, f"{host.RELEASES}/{release}", record.st_mtime_ns)


def trouble(root: Host, donor: Donor) -> str:
    """Why the layer's files can't be made from this donor again; "": they can.

    Each must be there, and as long as it was. One that was changed since its environment or release was complete is read and hashed. (What only a
    disk has changed, copying finds out.)
    """
    skip = len(donor.layer.top) + 1 if donor.strip else 0
    try:
        with root.directory(donor.directory) as top:
            for entry in kept.entries(root, donor.directory, donor.layer):
                if entry.type == "link" or not entry.path[skip:]:
                    continue
                facts = os.stat(entry.path[skip:], dir_fd=top, follow_symlinks=False)
                good = stat.S_ISDIR(facts.st_mode)
                if entry.type == "file":
                    good = stat.S_ISREG(facts.st_mode) and facts.st_size == entry.size
                    good = good and (facts.st_ctime_ns <= donor.since or _digest(top, entry.path[skip:]) == entry.sha256)
                if not good:
                    return f"{root.path(donor.directory, entry.path[skip:])} is not what was unpacked there."
    except OSError as error:
        return f"{root.path(donor.directory, str(error.filename or ''))}: {error.strerror or error}."
    except InstallError as error:
        return str(error.problems[0]) if error.problems else f"{error}."
    return ""


def _digest(top: int, path: str) -> str:
    digest = hashlib.sha256()
    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=top)
    with os.fdopen(file, "rb", buffering=0) as stream:
        while piece := stream.read(_STEP):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def opened(root: Host, donors: Iterable[Donor]) -> Iterator[dict[str, int]]:
    """The directories of ``donors``, open, by the digest of the layer that each has. Those that have gone are not among them."""
    with ExitStack() as stack:
        found: dict[str, int] = {}
        directories: dict[str, int] = {}
        for donor in donors:
            with suppress(OSError):
                if donor.directory not in directories:
                    directories[donor.directory] = stack.enter_context(root.directory(donor.directory))
                found[donor.layer.digest] = directories[donor.directory]
        yield found


class Lender:
    """The layers that a thin artifact leaves out, as the host at ``root`` has them. There may be no root yet: then it has none."""

    def __init__(self, root: str, left_out: frozenset[str]) -> None:
        self._root, self._left_out = root, left_out
        self._chosen: dict[tuple[str, bool], Donor] = {}  # by digest, and whether it is an environment's

    def lacking(self, manifest: Manifest, env_here: bool, release_here: bool) -> tuple[tuple[str, str], ...]:
        """The layers that an installation needs and this host does not have, each with what is wrong with the one that it has ("": it has none)."""
        left_out = [layer for layer in manifest.layers if layer.digest in self._left_out]
        needed = [layer for layer in left_out if not (env_here if layer.kind in ENV_LAYERS else release_here)]
        if not needed:
            return ()
        if not os.path.isdir(self._root):
            return tuple((layer.name, "") for layer in needed)
        with Host(self._root) as root:
            self._chosen = {key: donor for key, donor in self._chosen.items() if _is_there(root, donor)}
            missing = [layer for layer in needed if _key(layer) not in self._chosen]
            alone = [layer for layer in missing if layer.kind in ENV_LAYERS and manifest.env.kind != "venv"]
            wrong = self._choose(root, (layer for layer in missing if layer not in alone)) if missing else {}
            wrong.update((_key(layer), f"an environment of kind {manifest.env.kind} is used as it is, and that one is not here.") for layer in alone)
        return tuple((layer.name, wrong.get(_key(layer), "")) for layer in needed if _key(layer) not in self._chosen)

    def _choose(self, root: Host, needed: Iterable[Layer]) -> dict[tuple[str, bool], str]:
        """Choose a whole donor for each layer; what is wrong with those that would be one otherwise."""
        wrong: dict[tuple[str, bool], str] = {}
        wanted = {_key(layer) for layer in needed}
        for donor in (*environments(root), *releases(root)):
            key = _key(donor.layer)
            if key in wanted and key not in self._chosen:
                wrong[key] = trouble(root, donor)
                if not wrong[key]:
                    self._chosen[key] = donor
        return wrong

    def table(self, layer: Layer) -> bytes | None:
        """The compressed table of a layer, as it was kept here; None where it was not."""
        if not os.path.isdir(self._root):
            return None
        with Host(self._root) as root:
            chosen = self._chosen.get(_key(layer))
            for donor in [chosen] if chosen else (*environments(root), *releases(root)):
                if _key(donor.layer) == _key(layer):
                    with suppress(OSError, InstallError):
                        return kept.packed(root, donor.directory, donor.layer)
        return None

    def chosen(self, layers: Iterable[Layer]) -> list[Donor]:
        """The donors of those of ``layers`` that were left out, as ``lacking`` has chosen them."""
        return [self._chosen[_key(layer)] for layer in layers if _key(layer) in self._chosen]


def _key(layer: Layer) -> tuple[str, bool]:
    return layer.digest, layer.kind in ENV_LAYERS


def _is_there(root: Host, donor: Donor) -> bool:
    parent, _, name = donor.directory.partition("/")
    return root.has_environment(name) if parent == host.ENVS else root.has_release(name)
