"""Kind ``venv``: one layer for each wheel, laid out as pip would, and one for what the environment has beside wheels.

A wheel's layer depends on that wheel and the interpreter alone, so it is made once for all applications. Whether the wheels make *one*
environment is asked where the ``env`` layer is made, whose key holds them all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifact.contents import File, write
from ..artifact.layers import Tree
from ..errors import EnvError
from ..install_release import pin
from ..recipe import Recipe
from ..target import Interpreter
from . import claims, keys
from .bytecode import compile_sources

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse

_TOP = "venv"


def trees(recipe: Recipe, house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> tuple[Tree, ...]:
    """The tree ``env``, whose making checks that the wheels go together, and one tree for each wheel."""
    env = Tree("env", "env", keys.key("env", keys.wheels(house), interpreter.identity), partial(_make_env, house, interpreter, cache))
    return env, *(_wheel(wheel.path, wheel.sha256, interpreter, recipe.env.byte_code) for wheel in house.wheels)


def _wheel(path: Path, sha256: str, interpreter: Interpreter, byte_code: bool) -> Tree:
    made_from = keys.key("wheel", path.name, sha256, interpreter.identity, "byte code" if byte_code else "", tools=("installer",))
    return Tree(path.stem, "wheel", made_from, partial(_make_wheel, path, interpreter, byte_code), path.stat().st_size)


def _make_wheel(path: Path, interpreter: Interpreter, byte_code: bool, root: Path) -> Iterable[File]:
    return [replace(file, path=f"{_TOP}/{file.path}") for file in _files(path, interpreter, byte_code)]


def _make_env(house: Wheelhouse, interpreter: Interpreter, cache: Path | None, root: Path) -> None:
    refuse_conflicts(house, interpreter, cache)
    bare(root / _TOP, interpreter)


def install(wheel: Path, root: Path, interpreter: Interpreter, byte_code: bool) -> None:
    """Install ``wheel`` into the environment at ``root``. Raises ``EnvError``."""
    write(_files(wheel, interpreter, byte_code), root)


def _files(wheel: Path, interpreter: Interpreter, byte_code: bool) -> Iterable[File]:
    from .layout import Layout, lay_out  # slow to import, and not needed where all layers are cached

    compile = partial(compile_sources, interpreter, mode="unchecked-hash") if byte_code else None
    return lay_out(wheel, Layout.of(interpreter), compile)


def bare(root: Path, interpreter: Interpreter) -> None:
    """What an environment has beside wheels, but for what only the host can know (``bin/python*``, ``pyvenv.cfg``)."""
    purelib, platlib = interpreter.paths["purelib"], interpreter.paths["platlib"]
    for folder in ("bin", purelib, platlib):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if not platlib.startswith("lib64/") and interpreter.platform.endswith(("64", "64le", "s390x")):
        (root / "lib64").symlink_to("lib")  # as venv and virtualenv do on 64-bit systems
    (root / purelib / pin.NAME).write_text(pin.PTH)


def refuse_conflicts(house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> None:
    """Raise ``EnvError`` for every path that two wheels claim with different contents. (Whether they agree in versions, ``wheelhouse`` has asked.)"""
    problems = tuple(claims.clashes(claims.read(house, interpreter, cache)))
    if problems:
        raise EnvError("the wheels don't make one environment", problems, next_step="change what is declared, and lock again")
