"""Kind ``pex``: a loose pex with its tools, of which the host makes an environment before the flip.

pex is given the wheels themselves and neither an index nor a network; it runs with a private root, so that nothing of the machine shows.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..artifact.layers import Tree
from ..errors import EnvError
from ..recipe import Recipe
from ..run import EARLIEST, build_environment, run
from ..target import Interpreter
from . import keys
from .venv import refuse_conflicts

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse


def trees(recipe: Recipe, house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> tuple[Tree, ...]:
    """The tree ``pex``."""
    entry = _entry(recipe)
    made_from = keys.key("pex", *entry, keys.wheels(house), interpreter.identity, tools=("pex",))
    return (Tree("pex", "pex", made_from, partial(_make, house, interpreter, cache, entry)),)


def _entry(recipe: Recipe) -> tuple[str, ...]:
    """The options for what a pex does when it is run as a program."""
    if recipe.env.entry_point:
        return ("--entry-point", recipe.env.entry_point)
    return ("--script", recipe.env.script) if recipe.env.script else ()


def _make(house: Wheelhouse, interpreter: Interpreter, cache: Path | None, entry: tuple[str, ...], root: Path) -> None:
    refuse_conflicts(house, interpreter, cache)
    with TemporaryDirectory(prefix="build-release-pex-") as name:
        private = Path(name)
        env = build_environment(private, EARLIEST, {"PEX_ROOT": str(private / "root"), "PEX_IGNORE_RCFILES": "1"})
        wheels = [word for wheel in house.wheels for word in ("--pre-resolved-dist", wheel.path)]
        requirements = [f"{wheel.name}=={wheel.version}" for wheel in house.wheels]
        options = ("--layout", "loose", "--include-tools", "--venv", "prepend", "--no-compile", "--no-pypi", "--no-build")
        command = [sys.executable, "-m", "pex", *wheels, *requirements, "--python", interpreter.executable, *options, *entry, "-o", root / "pex"]
        run(command, what="making the pex", error=EnvError, cwd=private, env=env, offline=True, log=True)
