"""``releases/<id>/bin/run``: the program ``bin_run``, rendered for one release.

A ``#!`` line has no room for a path with spaces, nor for a long one; so the shell starts the interpreter, by a line that to Python is a string.
``-I -S`` keeps away what PYTHON* variables and ``site`` would bring in, and makes it quick.
"""

from __future__ import annotations

from . import bin_run
from .errors import Problem, RefusedError

NAME = "bin/run"


def render(interpreter: str, version: str) -> bytes:
    """The text of ``bin/run``: started by ``interpreter`` (an absolute path), exporting ``version``.

    Raises ``RefusedError`` for a path that can't be said.
    """
    if not interpreter.startswith("/") or not interpreter.isprintable() or "\\" in interpreter:
        problem = Problem("python", f"{interpreter!r} can't stand in a script.", "Name another with --python.")
        raise RefusedError("bin/run can't be written", [problem])
    quoted = "'" + interpreter.replace("'", "'\"'\"'") + "'"  # both to the shell and to Python, which joins adjacent strings
    head = f'#!/bin/sh\n"exec" {quoted} "-I" "-S" "$0" "$@"\n'
    text = f'{head}{_SOURCE}\n\nif __name__ == "__main__":\n    sys.exit(main(__file__, {version!r}, sys.argv[1:]))\n'
    return text.encode("utf-8")


def _source() -> str:
    """The text of ``bin_run``, also from within a zip file."""
    loader = bin_run.__spec__.loader if bin_run.__spec__ else None
    source = loader.get_source(bin_run.__name__) if hasattr(loader, "get_source") else None  # type: ignore[union-attr]
    if not source:
        raise RuntimeError("the installer does not hold its own source")
    return str(source)


_SOURCE = _source()  # now: by the time it is wanted, another installer may have put a newer one in the place of this zip file
