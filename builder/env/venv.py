"""Kind ``venv``: one layer for each wheel, laid out as pip would, and one for what the environment has beside wheels.

A wheel's layer depends on that wheel and the interpreter alone, so it is made once for all applications. Whether the wheels make *one*
environment is asked where the ``env`` layer is made, whose key holds them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifact.contents import File, write
from ..artifact.layers import Tree
from ..errors import EnvError, Problem
from ..install_release import pin
from ..recipe import Recipe
from ..target import Interpreter
from . import keys
from .bytecode import compile_sources

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse
    from .layout import Claim, Layout

_TOP = "venv"


def trees(recipe: Recipe, house: Wheelhouse, interpreter: Interpreter) -> tuple[Tree, ...]:
    """The tree ``env``, whose making checks that the wheels go together, and one tree for each wheel."""
    env = Tree("env", "env", keys.key("env", keys.wheels(house), interpreter.identity), partial(_make_env, house, interpreter))
    return env, *(_wheel(wheel.path, wheel.sha256, interpreter, recipe.env.byte_code) for wheel in house.wheels)


def _wheel(path: Path, sha256: str, interpreter: Interpreter, byte_code: bool) -> Tree:
    made_from = keys.key("wheel", path.name, sha256, interpreter.identity, "byte code" if byte_code else "", tools=("installer",))
    return Tree(path.stem, "wheel", made_from, partial(_make_wheel, path, interpreter, byte_code), path.stat().st_size)


def _make_wheel(path: Path, interpreter: Interpreter, byte_code: bool, root: Path) -> Iterable[File]:
    return [replace(file, path=f"{_TOP}/{file.path}") for file in _files(path, interpreter, byte_code)]


def _make_env(house: Wheelhouse, interpreter: Interpreter, root: Path) -> None:
    refuse_conflicts(house, interpreter)
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
    from .layout import Layout

    layout = Layout.of(interpreter)
    for folder in ("bin", layout.purelib, layout.platlib):
        (root / folder).mkdir(parents=True, exist_ok=True)
    if not layout.platlib.startswith("lib64/") and interpreter.platform.endswith(("64", "64le", "s390x")):
        (root / "lib64").symlink_to("lib")  # as venv and virtualenv do on 64-bit systems
    (root / layout.purelib / pin.NAME).write_text(pin.PTH)


def refuse_conflicts(house: Wheelhouse, interpreter: Interpreter) -> None:
    """Raise ``EnvError`` for every path that two wheels claim with different contents. (Whether they agree in versions, ``wheelhouse`` has asked.)"""
    problems = tuple(_clashes(_all_claims(house, interpreter)))
    if problems:
        raise EnvError("the wheels don't make one environment", problems, next_step="change what is declared, and lock again")


def alike(house: Wheelhouse, interpreter: Interpreter) -> tuple[Problem, ...]:
    """Every path that two wheels claim with the same contents."""
    by_path = _by_path(_all_claims(house, interpreter))
    return tuple(Problem(path, f"is in {_names(found)}, with the same contents.") for path, found in by_path if len({c.content for c in found}) == 1)


def _all_claims(house: Wheelhouse, interpreter: Interpreter) -> list[Claim]:
    from .layout import Layout

    layout = Layout.of(interpreter)
    return [claim for wheel in house.wheels for claim in _claims(wheel.path, wheel.sha256, layout)]


@cache
def _claims(path: Path, sha256: str, layout: Layout) -> tuple[Claim, ...]:
    """Asked twice by a build: whether the wheels go together, and what they have in common. 20 µs for each file."""
    from .layout import claims

    return claims(path, layout)


def _by_path(found: Iterable[Claim]) -> Iterator[tuple[str, list[Claim]]]:
    """Each path that more than one wheel claims, sorted."""
    by_path: dict[str, list[Claim]] = {}
    for claim in found:
        by_path.setdefault(claim.path, []).append(claim)
    return ((path, claimants) for path, claimants in sorted(by_path.items()) if len(claimants) > 1)


def _clashes(found: list[Claim]) -> Iterator[Problem]:
    for path, claimants in _by_path(found):
        if len({claim.content for claim in claimants}) > 1:
            yield Problem(path, f"is in {_names(claimants)}, with different contents.")
    owners = {claim.path: claim for claim in found}
    for claim in sorted(found, key=lambda claim: claim.path):
        folder = claim.path.rpartition("/")[0]
        while folder:
            if folder in owners:
                yield Problem(folder, f"is a file of {owners[folder].wheel} and a directory of {claim.wheel}.")
            folder = folder.rpartition("/")[0]


def _names(claimants: Iterable[Claim]) -> str:
    return " and ".join(sorted(claim.wheel for claim in claimants))
