"""The manifest but for what lies in the file: what the recipe, the commit, the target and the layers say of a release."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from .artifact import MINIMUM_INSTALLER
from .artifact.layers import PackedLayer
from .install_release.manifest import FORMAT, Env, Manifest, Range, Requires, Tail
from .recipe import Recipe
from .source import Source
from .target import Interpreter, minimum_libc
from .wheelhouse import Wheelhouse

_BLOCK = 4096
_PIP_WRITES = 4  # small files for each wheel: INSTALLER, REQUESTED, a script or two
_NO_RANGE = Range(0, 0, 0, "")


def manifest(recipe: Recipe, source: Source, interpreter: Interpreter, house: Wheelhouse, packed: Iterable[PackedLayer]) -> Manifest:
    """Everything known before the file is written. ``artifact.write`` fills in layers, ranges and tail."""
    wheels = [wheel.path for wheel in house.wheels]
    room, inodes = _room(packed)
    if recipe.env.kind != "venv":
        more = _made_there(wheels)
        room, inodes = room + more[0], inodes + more[1]
    host = recipe.host
    return Manifest(
        format=FORMAT,
        minimum_installer=MINIMUM_INSTALLER,
        name=recipe.name,
        version=source.version,
        commit=source.commit,
        commit_time=source.time,
        root=recipe.root,
        keep_releases=recipe.keep_releases,
        target=interpreter.target(minimum_libc(wheels, interpreter), recipe.env.byte_code),
        env=Env(recipe.env.kind, recipe.env.share),
        requires=Requires(host.linked_dirs, host.linked_files, host.env, host.commands, room, inodes),
        overlay=recipe.overlay,
        services=recipe.services,
        hooks=recipe.hooks,
        health=recipe.health,
        rollback_safe_to=recipe.rollback_safe_to,
        layers=(),
        installer=_NO_RANGE,
        end=_NO_RANGE,
        tail=Tail(0, 0, 0),
    )


def _room(packed: Iterable[PackedLayer]) -> tuple[int, int]:
    """Bytes (in whole blocks) and inodes that the unpacked layers take."""
    layers = list(packed)
    return sum(layer.room for layer in layers), sum(layer.inodes for layer in layers)


def _made_there(wheels: Iterable[Path]) -> tuple[int, int]:
    """Bytes and inodes of the environment that a host makes of wheels: files, folders, and byte code a little larger than its source."""
    paths = list(wheels)
    inodes = _PIP_WRITES * len(paths)
    room = inodes * _BLOCK
    folders: set[PurePosixPath] = set()
    for path in paths:
        with ZipFile(path) as archive:
            for member in archive.infolist():
                place = PurePosixPath(member.filename)
                compiled = place.suffix == ".py"
                folders.update([*place.parents, *([place.parent / "__pycache__"] if compiled else [])])
                if not member.is_dir():
                    room += _in_blocks(member.file_size) + (_in_blocks(member.file_size * 9 // 8) if compiled else 0)
                    inodes += 1 + compiled
    return room + len(folders) * _BLOCK, inodes + len(folders)


def _in_blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
