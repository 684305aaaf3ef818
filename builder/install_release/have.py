"""What this host has, so that it need not be sent again: the layers that it can make the files of, by their tables' digests. Changes nothing.

Layers of complete environments and of releases whose files are all there; of an environment that the host made of a pex or of wheels, which is
used as it is or not at all, the layers only where a release that shares it would get the same one.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress

from . import donors, environment, installer, interpreter
from .errors import InstallError
from .host import BIN, CURRENT, Host
from .manifest import Layer
from .records import NamedTuple
from .typed import Any

FORMAT = 1
_MOST_INSTALLER = 16 << 20


class Have(NamedTuple):
    """``name`` and ``current``: of what is live, "" where nothing is. ``version`` and ``sha256``: of ``bin/install-release`` below the root, "" where
    there is none. ``layers``: sorted by digest."""

    name: str
    root: str
    version: str
    sha256: str
    current: str
    layers: tuple[Layer, ...]


def gather(root: str) -> Have:
    """Look at the host at ``root``, which need not exist."""
    if not os.path.isdir(root):
        return Have("", os.path.realpath(root), "", "", "", ())
    with Host(root) as host:
        pointer = host.pointer(CURRENT)
        current, name, program = pointer.id if pointer.kind == "release" else "", "", b""
        with suppress(InstallError):  # what is damaged, verify tells
            name = host.manifest(current).name if current else ""
        with suppress(InstallError):
            program = host.read(BIN, installer.NAME, most=_MOST_INSTALLER) or b""
        version = ".".join(map(str, installer.version_of(program)))
        layers: dict[str, Layer] = {}
        for donor in (*donors.environments(host), *donors.releases(host)):
            if donor.layer.digest not in layers and not donors.trouble(host, donor):
                layers[donor.layer.digest] = donor.layer
        layers.update((layer.digest, layer) for layer in _made_as_a_whole(host))
        digest = hashlib.sha256(program).hexdigest() if program else ""
        return Have(name, host.root, version, digest, current, tuple(layers[each] for each in sorted(layers)))


def _made_as_a_whole(host: Host) -> Iterator[Layer]:
    """The layers of environments that aren't unpacked but made: where the next release with the same layers would get the same environment."""
    seen: set[str] = set()
    for release in host.releases():
        with suppress(OSError, InstallError):
            manifest, env = host.manifest(release), str(host.record(release)["env"])
            if manifest.env.kind == "venv" or not manifest.env.share or env in seen or not host.has_environment(env):
                continue
            seen.add(env)
            found = interpreter.find(manifest.target).interpreter
            if found and environment.place(manifest, host, found, release) == env:
                yield from environment.env_layers(manifest)


def to_json(have: Have) -> dict[str, Any]:
    """For ``build-release thin`` and ``deploy``."""
    return {
        "format": FORMAT,
        "installer": {"version": have.version, "sha256": have.sha256},
        "name": have.name,
        "root": have.root,
        "layers": [layer.digest for layer in have.layers],
        "current": have.current,
    }


def to_text(have: Have) -> list[str]:
    """For people: what there is, by name."""
    count = len(have.layers)
    first = f"{have.name or 'nothing'} is live at {have.root}: {count} layer{'' if count == 1 else 's'} need not be sent again"
    return [first, *sorted(f"  {layer.digest[:12]}  {layer.name}" for layer in have.layers)]
