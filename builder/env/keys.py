"""Keys of trees: what goes in, as one hash. This package's own code and its tools go in too, so nobody has to remember a version number."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..install_release.manifest import canonical

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse


def key(*went_in: str, tools: tuple[str, ...] = ()) -> str:
    """The hash of ``went_in``, of the versions of the distributions ``tools``, and of the code that makes trees."""
    return hashlib.sha256(canonical([_code(), *map(_version, tools), *went_in])).hexdigest()


def wheels(house: Wheelhouse) -> str:
    """The hash of a wheelhouse: names and contents of its wheels."""
    return hashlib.sha256(canonical(sorted([wheel.filename, wheel.sha256] for wheel in house.wheels))).hexdigest()


@functools.cache
def _version(tool: str) -> str:
    """Of an installed distribution, by the name of its folder: ``importlib.metadata`` takes 10 ms to import, a fortieth of a rebuild."""
    folders = {found.name for place in sys.path if place for found in Path(place).glob(f"{tool}-*.dist-info")}
    if len(folders) != 1:
        from importlib.metadata import version

        return f"{tool} {version(tool)}"
    return folders.pop().removesuffix(".dist-info").replace("-", " ")


@functools.cache
def _code() -> str:
    here = Path(__file__).parent
    digest = hashlib.sha256()
    others = (
        "artifact/contents.py",
        "artifact/layers.py",
        "artifact/tar.py",
        "install_release/pin.py",
        "install_release/table.py",
        "steps.py",
        "trees.py",
    )
    for path in [*sorted(here.glob("*.py")), *(here.parent / name for name in others)]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
