"""Build steps: commands that run in a copy of the source with the environment at hand; what they make becomes the layer ``assets``.

Without network, unless a step says otherwise. The steps run when the layer is not in the cache, whose key holds all that went in; with a
step that may use the network nobody knows what went in, so that is never cached. What goes in is the tree, not the commit: neither its name
nor its time is told to a step, so a commit that leaves the tree as it is makes nothing again (docs/decisions/0009).
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .artifact.layers import Tree
from .env import keys
from .errors import Problem, StepError
from .fingerprint import fingerprint
from .install_release.manifest import canonical
from .recipe import BuildStep, Recipe
from .run import EARLIEST, build_environment
from .run import run as run_process
from .source import credentials
from .target import Interpreter

if TYPE_CHECKING:
    from .source import Source
    from .wheelhouse import Wheelhouse

_CHUNK = 1 << 20
_WAY_OUT = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir", "requests_ca_bundle", "node_extra_ca_certs")


def run(recipe: Recipe, source: Source, house: Wheelhouse, interpreter: Interpreter, work: Path) -> tuple[Tree, ...]:
    """The tree ``assets``, or nothing when the recipe has no build steps. ``work`` is a directory for what is needed on the way.

    Making the tree raises ``StepError`` for a step that fails or doesn't make what it declares.
    """
    if not recipe.build:
        return ()
    steps = [[step.run, step.network, step.outputs, sorted(step.env.items())] for step in recipe.build]
    went_in = canonical([fingerprint(source.tree), steps, recipe.secrets_allowed]).decode()
    made_from = keys.key("assets", went_in, keys.wheels(house), interpreter.identity, tools=("virtualenv", "installer"))
    reproducible = not any(step.network for step in recipe.build)
    return (Tree("assets", "assets", made_from if reproducible else "", partial(_make, recipe, source, house, interpreter, work)),)


def _make(recipe: Recipe, source: Source, house: Wheelhouse, interpreter: Interpreter, work: Path, root: Path) -> None:
    from .env import local  # a build that makes nothing has no need of it

    work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=work) as name:
        private = Path(name).resolve()
        tree, environment = private / "src", private / "venv"
        shutil.copytree(source.tree, tree, symlinks=True, copy_function=_copy)
        local.make(environment, house, interpreter, byte_code=False)
        for number, step in enumerate(recipe.build, 1):
            extra = {
                "PATH": f"{environment / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
                "VIRTUAL_ENV": str(environment),
                "PYTHONPATH": str(tree),
                **(_way_out() if step.network else {}),
                **step.env,
            }
            env = build_environment(private, EARLIEST, extra)
            run_process(_found(step, tree, env), what=f"build step {number}", error=StepError, cwd=tree, env=env, offline=not step.network, log=True)
        _collect([path for step in recipe.build for path in step.outputs], tree, root / "assets", private)
        found = credentials.scan(root / "assets", recipe.secrets_allowed)
        if found:
            raise StepError("the build steps made what must not be packed", found)


def _way_out() -> dict[str, str]:
    """How this machine reaches the network: its proxies and certificates."""
    return {name: value for name, value in os.environ.items() if name.lower() in _WAY_OUT}


def _copy(source: str, target: str) -> None:
    """Copy a file, with a time that is the same in every build: some tools write it down."""
    shutil.copy(source, target)
    os.utime(target, (EARLIEST, EARLIEST))


def _found(step: BuildStep, tree: Path, env: dict[str, str]) -> list[str]:
    """The step's command, its program looked up on the step's own PATH, and not on ours."""
    program = step.run[0]
    own = "/" in program
    path = shutil.which(str(tree / program) if own else program, path=env["PATH"])
    if path is None:
        where = "is no executable file of the source." if own else "is neither in the environment nor on PATH."
        remedy = "Set its mode in git." if own else "Is it a console script of a dependency?"
        raise StepError("a build step can't be started", [Problem(program, where, remedy)])
    return [path, *step.run[1:]]


def _collect(outputs: list[str], tree: Path, assets: Path, private: Path) -> None:
    """Copy ``outputs`` from ``tree`` to ``assets``. Raises ``StepError`` naming each one that is missing, or that no other build could make again."""
    problems = []
    assets.mkdir()
    for output in sorted(outputs):
        path, target = tree / output, assets / output
        if not path.resolve().is_relative_to(tree):
            problems.append(Problem(output, "leads out of the source tree.", "Make the step write below it."))
        elif not path.exists():
            problems.append(Problem(output, "was declared and not made.", "Correct the step's outputs, or the command that makes it."))
        elif target.exists():
            continue  # copied with a directory above it
        elif path.is_dir():
            shutil.copytree(path, target, symlinks=True, copy_function=shutil.copy)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    if problems:
        raise StepError("the build steps did not make what they declare", problems)
    named = [Problem(path, "holds the path of the directory that it was made in: no two builds are alike.") for path in _holding(private, assets)]
    if named:
        raise StepError("the build steps made files that can't be made again", named)


def _holding(word: Path, root: Path) -> list[str]:
    """The files below ``root`` that hold the path ``word``, and the links that point there."""
    found, needle = [], os.fsencode(word)
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            here = needle in os.fsencode(os.readlink(path))
        elif path.is_file():
            here = _contains(path, needle)
        else:
            continue
        if here:
            found.append(path.relative_to(root).as_posix())
    return found


def _contains(path: Path, needle: bytes) -> bool:
    kept = b""
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            if needle in kept + piece:
                return True
            kept = piece[-len(needle) :]
    return False
