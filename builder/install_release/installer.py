"""``bin/install-release`` below the root: the newest installer that was accepted here, for the next time and for the way back."""

from __future__ import annotations

import os
import re
import stat

from . import durable
from .artifact import Artifact, inflate, member, padded
from .errors import ArtifactError, DamagedError, Problem
from .host import BIN, CURRENT, Host
from .manifest import Range

NAME = "install-release"
_PATH = f"release/{NAME}"
_VERSION = re.compile(rb"^__version__ = \"(\d{1,9}(?:\.\d{1,9}){0,3})\"$", re.MULTILINE)  # the modules lie uncompressed in the zip


def accept(host: Host, artifact: Artifact) -> bool:
    """Keep the artifact's installer unless a newer one is here already. Whether it was written. Raises ``ArtifactError`` or ``OSError``."""
    packed = artifact.read(artifact.manifest.installer, where=NAME)
    if _known(host, artifact):
        return False
    data = unpacked(packed, artifact.manifest.installer)
    there = host.read(BIN, NAME, most=len(data) + (16 << 20))
    if there == data or (there is not None and version_of(there) > version_of(data)):
        return False
    with host.directory(BIN) as directory:
        durable.write_file(directory, NAME, data, 0o755)
    return True


def _known(host: Host, artifact: Artifact) -> bool:
    """Whether the live release brought the same one, and what is here was not changed since that went live, and is as long: it was accepted then, and
    need not be inflated to be compared."""
    span = artifact.manifest.installer
    try:
        live = host.pointer(CURRENT)
        known = live.kind == "release" and host.manifest(live.id).installer.sha256 == span.sha256
        facts = os.stat(f"{BIN}/{NAME}", dir_fd=host.fd, follow_symlinks=False)
        flipped = os.stat(CURRENT, dir_fd=host.fd, follow_symlinks=False).st_ctime_ns
    except (OSError, DamagedError):
        return False
    whole = stat.S_ISREG(facts.st_mode) and stat.S_IMODE(facts.st_mode) == 0o755 and 512 + padded(facts.st_size) == span.size
    return known and whole and facts.st_ctime_ns < flipped


def version_of(installer: bytes) -> tuple[int, ...]:
    """The version that an installer's bytes state; () when they state none."""
    found = _VERSION.search(installer)
    return tuple(map(int, found[1].split(b"."))) if found else ()


def unpacked(packed: bytes, span: Range) -> bytes:
    """The installer out of its segment. Raises ``ArtifactError``."""
    plain = inflate(packed, span.size, NAME)
    try:
        size = int(plain[124:135], 8)
    except ValueError:
        size = 0
    data = plain[512 : 512 + size]
    if not size or member(_PATH, data, 0o755) != plain:
        raise ArtifactError("the artifact is not valid", [Problem(NAME, "is not where the manifest says.", "Build it again.")])
    return data
