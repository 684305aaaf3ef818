"""From wheels to an environment that travels. Three kinds, one protocol: ``trees(recipe, house, interpreter, cache)``, frozen values in and out.

Nothing is made until a tree's ``make`` is called, and that is only for those whose layer is not in the cache. What is wrong with the
wheels, alone or together, is then an ``EnvError`` that names every file and wheel.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ..artifact.layers import Tree
from ..errors import Problem
from ..recipe import Recipe
from ..target import Interpreter

if TYPE_CHECKING:
    from ..wheelhouse import Wheelhouse


class Kind(Protocol):
    """What a module of this package offers when it is a kind of environment."""

    def trees(self, recipe: Recipe, house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> tuple[Tree, ...]:
        """The trees that an environment of this kind is made from on the host. ``cache``: the root of one that keeps what is known of wheels."""


def trees(recipe: Recipe, house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> tuple[Tree, ...]:
    """The trees of the environment that ``recipe`` asks for. Each kind is imported when it is wanted, since some take long to import."""
    kind = cast(Kind, import_module(f".{recipe.env.kind}", __name__))
    return kind.trees(recipe, house, interpreter, cache)


def shared_files(house: Wheelhouse, interpreter: Interpreter, cache: Path | None = None) -> tuple[Problem, ...]:
    """The files that several wheels hold with the same contents (the namespace packages of old do): no reason to refuse, but to know."""
    from . import claims  # see trees

    return tuple(claims.alike(claims.read(house, interpreter, cache)))
