"""Kind ``wheelhouse``: the wheels travel, with pip's own among them, and the host makes its environment of them, by hash and without an index."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from virtualenv.seed.wheels.embed import get_embed_wheel

from ..artifact.layers import Tree
from ..errors import EnvError, Problem
from ..recipe import Recipe
from ..target import Interpreter
from . import keys
from .venv import refuse_conflicts

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse

REQUIREMENTS = "requirements.txt"  # every wheel of the application by name, version and hash; pip's own is not among them unless it is locked


def trees(recipe: Recipe, house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> tuple[Tree, ...]:
    """The tree ``wheelhouse``."""
    made_from = keys.key("wheelhouse", keys.wheels(house), interpreter.identity, tools=("virtualenv",))
    return (Tree("wheelhouse", "wheelhouse", made_from, partial(_make, house, interpreter, cache)),)


def _make(house: Wheelhouse, interpreter: Interpreter, cache: Path | None, root: Path) -> None:
    refuse_conflicts(house, interpreter, cache)
    folder = root / "wheelhouse"
    folder.mkdir()
    for wheel in house.wheels:
        shutil.copyfile(wheel.path, folder / wheel.filename)
    if all(wheel.name != "pip" for wheel in house.wheels):
        pip = pip_wheel(interpreter)
        shutil.copyfile(pip, folder / pip.name)
    lines = [f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in house.wheels]
    (folder / REQUIREMENTS).write_text("".join(sorted(lines)))


def pip_wheel(interpreter: Interpreter) -> Path:
    """The newest pip for ``interpreter`` that our (pinned) virtualenv brings along. Raises ``EnvError`` when it has none."""
    found = get_embed_wheel("pip", interpreter.python)
    if found is None:
        problem = Problem("python.version", f"is {interpreter.python}, for which virtualenv brings no pip along.")
        raise EnvError("there is no pip to travel with the wheels", [problem])
    return Path(found.path)
