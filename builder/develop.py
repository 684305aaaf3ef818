"""``build-release env``: the environment of a release, for development: the same wheels of the same lock, laid out by the same code.

The project itself is not installed as editable: in production its source is on the path as it is, and so it should be here.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from .env import keys, local
from .errors import EnvError, Problem
from .frozen import frozen
from .target import Interpreter

if TYPE_CHECKING:
    from .recipe import Recipe
    from .wheelhouse import Wheelhouse

MARK = ".build-release.json"  # what makes a directory one of ours: from which recipe it was made, and from what


@frozen
class Developed:
    """The environment in ``directory``; ``changed`` is false when it was up to date already."""

    directory: Path
    changed: bool
    wheels: int


def make(recipe: Recipe, house: Wheelhouse, interpreter: Interpreter, directory: Path) -> Developed:
    """Make, or bring up to date, the virtual environment in ``directory``. Raises ``EnvError``; then what was there is there still.

    A virtual environment can't be moved to its place, so the old one steps aside for the time being.
    """
    directory = directory.absolute()
    aside = directory.with_name(f".{directory.name}.old")
    _settle(directory, aside)
    where = (str(interpreter.executable), str(directory))
    key = keys.key("develop", keys.wheels(house), interpreter.identity, *where, tools=("virtualenv", "installer"))
    mark = _mark(directory)
    if mark.get("key") == key and (directory / "bin" / "python").exists():
        return Developed(directory, False, len(house.wheels))
    directory.parent.mkdir(parents=True, exist_ok=True)
    if mark:
        os.rename(directory, aside)
    try:
        directory.mkdir(exist_ok=True)
        _write_mark(directory, recipe, "")
        local.make(directory, house, interpreter, byte_code=True)
        _write_mark(directory, recipe, key)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        if aside.exists():
            os.rename(aside, directory)
        raise
    shutil.rmtree(aside, ignore_errors=True)
    return Developed(directory, True, len(house.wheels))


def _settle(directory: Path, aside: Path) -> None:
    """After an attempt that was killed: the new environment stays when it is complete, else the old one comes back."""
    if aside.exists():
        if _read(directory).get("key"):
            shutil.rmtree(aside)
        elif _read(aside):
            shutil.rmtree(directory, ignore_errors=True)
            os.rename(aside, directory)


def _write_mark(directory: Path, recipe: Recipe, key: str) -> None:
    (directory / MARK).write_text(json.dumps({"recipe": recipe.name, "key": key}) + "\n")


def _read(directory: Path) -> dict[str, str]:
    """What an environment of ours says of itself; empty for anything else."""
    try:
        value = json.loads((directory / MARK).read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _mark(directory: Path) -> dict[str, str]:
    """``_read``, where there may also be nothing. Raises ``EnvError`` for anything else that is there."""
    if not os.path.lexists(directory) or (directory.is_dir() and not directory.is_symlink() and not any(directory.iterdir())):
        return {}
    mark = _read(directory)
    if directory.is_symlink() or not mark:
        remedy = "Name another directory, or remove it yourself."
        raise EnvError("the environment can't be made there", [Problem(str(directory), "is there, and was not made by build-release env.", remedy)])
    return mark
