"""Text of the programs in ``bin/``: they find their interpreter beside themselves, so that an environment can be moved.

``#!/bin/sh`` runs the second line and never gets beyond it: it resolves the script's own path and starts ``python`` beside it. To Python the
same lines are a string. It holds on paths with spaces, through links, and fails closed (status 127) where readlink is missing.
"""

from __future__ import annotations

import ast
import re
import tokenize
from io import BytesIO

TRAMPOLINE = """\
#!/bin/sh
'''eval' 'x=$(readlink -f -- "$0") && exec "${x%/*}/python" "$x" "$@"; exit 127'
' '''"""

_STRING: str = ast.literal_eval(TRAMPOLINE.partition("\n")[2])  # what Python sees of it

# pip's, word for word: what differs from a script that pip made is the trampoline alone.
_ENTRY_POINT = """
import sys
from {module} import {imported}
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit({function}())
"""


def entry_point(module: str, function: str) -> bytes:
    """The script that calls ``function`` (may be dotted) of ``module``."""
    return (TRAMPOLINE + _ENTRY_POINT.format(module=module, imported=function.partition(".")[0], function=function)).encode()


def relocatable(script: bytes) -> bytes:
    """A wheel's script with the trampoline in place of ``#!python``; anything else is returned as it is.

    The trampoline's string must not take the place of the script's own docstring, nor stand between it and ``from __future__``, and it moves an
    encoding declaration out of the two lines where Python looks for one.
    """
    if not script.startswith(b"#!python"):
        return script
    body = script.partition(b"\n")[2]
    try:
        encoding, _ = tokenize.detect_encoding(BytesIO(b"\n" + body).readline)
        text = body.decode(encoding)
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):  # a script for another Python, or none at all: nothing is known of its parts
        return TRAMPOLINE.encode() + b"\n" + body
    body = text.encode()
    docstring = ast.get_docstring(tree, clean=False)
    joined = b"" if docstring is None else _with_docstring(body, tree)
    return joined if joined and _docstring(joined) == _STRING + str(docstring) else TRAMPOLINE.encode() + b"\n" + body


def _docstring(source: bytes) -> str | None:
    try:
        return ast.get_docstring(ast.parse(source), clean=False)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _with_docstring(body: bytes, tree: ast.Module) -> bytes:
    """Join the script's docstring to the trampoline's string, which makes them one, and cut it off again where statements may stand.

    What preceded the docstring (comments) follows it.
    """
    first = tree.body[0]
    last = [first, *(node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__")][-1]
    lines = body.splitlines(keepends=True)
    start = sum(map(len, lines[: first.lineno - 1])) + first.col_offset
    end = sum(map(len, lines[: (last.end_lineno or 1) - 1])) + (last.end_col_offset or 0)
    rest = body[end:].partition(b"\n")
    cut = f"; __doc__ = __doc__[{len(_STRING)}:]".encode()
    return b"".join((TRAMPOLINE.encode(), b" \\\n", body[start:end], cut, rest[0], b"\n", body[:start], rest[2]))


_CALLABLE = re.compile(r"\s*(\w+(?:\.\w+)*):(\w+(?:\.\w+)*)(?![:.\w])")
_NAME = re.compile(r"(?![#;\[])[^\s/=]+")


def parse_entry_point(name: str, value: str) -> tuple[str, str] | None:
    """``module``, ``function`` of an entry point's value (extras and comments after it are ignored), or None when it can't be a script."""
    found = _CALLABLE.match(value)
    if not found or not _NAME.fullmatch(name) or name in (".", ".."):
        return None
    return found[1], found[2]
