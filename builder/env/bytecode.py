"""Byte code, made by the target interpreter: the same bytes in whatever directory and order, and with no build path in it.

One process for each tree: starting one takes 9 ms, and a fresh process is what makes byte code reproducible (what an interpreter compiled before
shows in what it writes next). Python puts the real path into a module's code when it loads it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from ..errors import EnvError
from ..run import run
from ..target import Interpreter

Mode = Literal["checked-hash", "unchecked-hash"]
_COMPILER = Path(__file__).with_name("compiler.py")


def compile_files(interpreter: Interpreter, root: Path, paths: Iterable[str], mode: Mode, prefix: str = "") -> tuple[str, ...]:
    """Byte-compile ``paths`` (relative to ``root``); the paths of what was written beside them, sorted. What does not compile is left out.

    ``prefix`` precedes the path in the byte code. ``checked-hash`` byte code notices an edited source, ``unchecked-hash`` is not even compared.
    """
    wanted = sorted(set(paths))
    if not wanted:
        return ()
    lines = [os.fspath(root), prefix, mode.partition("-")[0], *wanted]
    command: list[str | Path] = [interpreter.executable, "-S", "-s", "-B", "-X", "utf8", "-W", "ignore", "-c", _COMPILER.read_text()]
    # Not -I: it would ignore the hash seed, which shows in the order of constant sets before Python 3.11.
    env = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    done = run(command, what="byte-compiling", error=EnvError, cwd=Path("/"), env=env, input="\n".join(lines).encode())
    return tuple(sorted(done.text.splitlines()))


def compile_tree(interpreter: Interpreter, root: Path, mode: Mode, prefix: str = "") -> tuple[str, ...]:
    """Byte-compile every ``*.py`` file below ``root``, links aside. See ``compile_files``."""
    return compile_files(interpreter, root, _sources(root), mode, prefix)


def _sources(root: Path) -> Iterable[str]:
    for directory, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in files:
            path = os.path.join(directory, name)
            if name.endswith(".py") and not os.path.islink(path):
                yield os.path.relpath(path, root)
