"""An etc/ as a release wants it: out of an artifact, rendered for this host in memory; or of an installed release, as it was rendered then."""

from __future__ import annotations

import os
import stat

from ..artifact import Artifact
from ..errors import DamagedError, Problem
from ..host import RELEASES, Host
from ..table import Entry
from ..unpack import groups
from .change import Rendered, Wanted

_MOST_IN_ALL = 8 << 20  # bytes: a configuration, held in memory, more than once
_MOST_BESIDE = 4 << 20  # bytes of headers and padding in one run of segments


def rendered(artifact: Artifact, root: str) -> Wanted:
    """The etc/ of an artifact, rendered with the values of the host at ``root``. Raises ``ArtifactError`` for a damaged layer."""
    layers = [layer for layer in artifact.manifest.layers if layer.kind == "etc"]
    if not layers:
        return Wanted()
    from . import values  # only now, and here: most releases have no etc/
    from .render import MOST, render

    problems: list[Problem] = []
    known, wrong = values.read(os.path.realpath(root), artifact.manifest.name)
    files: dict[str, Rendered] = {}
    links: set[str] = set()

    def place(entry: Entry) -> None:
        if entry.type == "link":
            links.add(entry.path.partition("/")[2])

    for layer in layers:
        size = 0
        for group in groups(artifact, layer, place):
            size += sum(entry.size for entry in group.files)
            if size > _MOST_IN_ALL or sum(segment.size for segment in group.segments) > _MOST_IN_ALL + _MOST_BESIDE:
                what = f"etc/ holds more than {_MOST_IN_ALL} bytes."
                return Wanted(problems=(Problem("etc", what, "It is for configuration: put what else there is into the source, or into assets."),))
            position, plain = group.offset, bytearray()
            for segment in group.segments:
                plain += artifact.segment(segment, position, layer.name)
                position += segment.bytes
            for entry in group.files:
                path, data = entry.path.partition("/")[2], bytes(plain[entry.offset : entry.offset + entry.size])
                files[path], missing = render(path, data, entry.mode, known) if entry.size <= MOST else (Rendered(data, entry.mode, data), [])
                problems += missing
    return Wanted(files, frozenset(links), (*wrong, *problems))


def published(host: Host, release: str) -> Wanted:
    """The etc/ of an installed release. Raises ``DamagedError`` for what no release has there."""
    files: dict[str, Rendered] = {}
    links: set[str] = set()
    try:
        with host.directory(RELEASES, release, "etc") as top:
            for above, directories, names, here in os.fwalk(".", follow_symlinks=False, dir_fd=top):
                for name in [*directories, *names]:
                    path = os.path.normpath(os.path.join(above, name))
                    facts = os.stat(name, dir_fd=here, follow_symlinks=False)
                    if stat.S_ISLNK(facts.st_mode):
                        links.add(path)
                    elif stat.S_ISREG(facts.st_mode):
                        data = host.read(RELEASES, release, "etc", path, most=_MOST_IN_ALL) or b""
                        files[path] = Rendered(data, f"{stat.S_IMODE(facts.st_mode):o}")
    except (FileNotFoundError, NotADirectoryError):
        return Wanted()
    except OSError as error:
        where = host.path(RELEASES, release, "etc")
        raise DamagedError("a release can't be read", [Problem(where, f"{error.strerror}.", f"See install-release verify {release}.")]) from None
    return Wanted(files, frozenset(links))
