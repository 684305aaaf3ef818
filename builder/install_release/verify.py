"""Whether a release and its environment are exactly what was installed: every path, type, mode, target and byte.

The release's id proves its manifest, the manifest the tables of its layers, the tables every file; what the host itself made is in
``install.json``, whose digest is in the history. The environment is compared with its table.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

from . import environment, history, inventory, kept
from .errors import DamagedError, InstallError, Problem
from .host import ENVS, INSTALL_JSON, RELEASES, Host
from .inventory import Difference
from .manifest import Layer, Manifest
from .records import NamedTuple
from .stage import linked_paths, release_layers
from .table import Entry


class Verdict(NamedTuple):
    """What was compared, and every difference. Paths are relative to the root. ``paths`` counts what should be there."""

    release: str
    env: str
    paths: int
    differences: tuple[Difference, ...]

    @property
    def good(self) -> bool:
        return not self.differences


def verify(host: Host, release: str) -> Verdict:
    """Read a release and its environment again. A table or record that can't be trusted is a difference like any other."""
    expected, differences, env = _release(host, release)
    there, table = _compare(host, f"{RELEASES}/{release}", expected) if expected else ([], 0)
    if env:
        try:
            found, count = _compare(host, f"{ENVS}/{env}", environment.expected(host, environment.read(host, env)))
            differences, table = [*differences, *found], table + count
        except InstallError as error:
            differences += _unreadable(error)
    return Verdict(release, env, table, (*there, *differences))


def insist(host: Host, release: str) -> None:
    """Raise ``DamagedError`` unless ``verify`` finds no difference."""
    verdict = verify(host, release)
    if not verdict.good:
        first, more = verdict.differences[0], len(verdict.differences) - 1
        what = f"{first.path} {first.kind}" + (f", and {more} more." if more else ".")
        remedy = f"Nothing was changed. See install-release verify {release}; installing its artifact again makes it anew."
        raise DamagedError(f"{release} is not what was installed", [Problem(host.path(RELEASES, release), what, remedy)])


def _release(host: Host, release: str) -> tuple[dict[str, Entry], list[Difference], str]:
    """What should be in the release's directory, what is wrong with the records themselves, and the key of its environment."""
    try:
        manifest = host.manifest(release)
        record = host.record(release)
        made = [inventory.from_json(value) for value in record["made"]]
        python = str(record["interpreter"]["executable"])
    except InstallError as error:
        return {}, _unreadable(error), ""
    except (ValueError, KeyError, TypeError) as error:
        return {}, [Difference(f"{RELEASES}/{release}/{INSTALL_JSON}", "edited", f"can't be read: {error}")], ""
    differences = []
    data = host.read(RELEASES, release, INSTALL_JSON) or b""
    digest = hashlib.sha256(data).hexdigest()
    recorded = history.past(host).of(release).record
    if recorded and recorded != digest:
        differences.append(Difference(f"{RELEASES}/{release}/{INSTALL_JSON}", "edited", "its digest is not the one in the history"))
    if not _there(python):
        differences.append(Difference(python, "removed", "the interpreter of this release"))
    expected = {INSTALL_JSON: Entry(INSTALL_JSON, "file", "644", len(data), digest)}
    for layer in release_layers(manifest):
        try:
            expected.update((entry.path, entry) for entry in _layer(host, release, layer, manifest))
        except InstallError as error:
            return {}, [*differences, *_unreadable(error)], str(record["env"])
    expected.update((entry.path, entry) for entry in made)
    return expected, differences, str(record["env"])


def _layer(host: Host, release: str, layer: Layer, manifest: Manifest) -> Iterator[Entry]:
    """The entries of a layer by its own table, which the manifest proves; not those that links into ``shared/`` replaced."""
    linked = tuple(f"src/{path}" for path in linked_paths(manifest))
    for entry in kept.entries(host, f"{RELEASES}/{release}", layer):
        if not any(entry.path == path or entry.path.startswith(f"{path}/") for path in linked):
            yield entry


def _there(path: str) -> bool:
    """Whether something is there, as far as this user can tell."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _compare(host: Host, directory: str, expected: dict[str, Entry]) -> tuple[list[Difference], int]:
    try:
        with host.directory(directory) as fd:
            found = inventory.compare(expected.values(), inventory.scan(fd))
            return [Difference(f"{directory}/{each.path}", each.kind, each.detail) for each in found], len(expected)
    except OSError as error:
        return [Difference(directory, "removed", error.strerror or str(error))], len(expected)


def _unreadable(error: InstallError) -> list[Difference]:
    problems = error.problems or (Problem("", error.message),)
    return [Difference(problem.where, "damaged", problem.what) for problem in problems]
