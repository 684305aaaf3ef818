"""``@placeholders@`` and what they stand for. No template language: a closed set of keys, each replaced by its value, and nothing else.

A placeholder is ``@key@``, a key being of lower-case letters, digits and ``_``, beginning with a letter. One whose key is in the set is replaced
wherever it stands. One whose key is not is a mistake, unless a letter or digit touches it from outside: ``s@old@new@`` and ``a@b@c`` are no
placeholders, and stay. All else stays: ``@@``, ``@app``, ``a@b.c``, ``@NAME@``. A file with a NUL byte is no text, and is copied as it is.
"""

from __future__ import annotations

import re

from ..errors import Problem
from .change import Rendered
from .values import FILE, Values

MOST = 4 << 20  # bytes of one file
_PLACEHOLDER = re.compile(rb"@([a-z][a-z0-9_]*)@")
_TOUCHES = re.compile(rb"[A-Za-z0-9\x80-\xff]")


def render(path: str, data: bytes, mode: str, values: Values) -> tuple[Rendered, list[Problem]]:
    """The file ``path`` (below etc/), whose mode is 644 or 755, and every key that it lacks."""
    if b"\0" in data or b"@" not in data:
        return Rendered(data, mode, data), []
    shown: list[bytes] = []  # as people may see it
    real: list[bytes] = []
    problems: dict[bytes, Problem] = {}
    secret, done, position, size = False, 0, 0, 0
    while found := _PLACEHOLDER.search(data, position):
        key = found[1].decode("ascii")
        value = values.plain.get(key, values.secrets.get(key))
        if value is None:
            if found[1] not in problems and not _touched(data, found.start(), found.end()):
                problems[found[1]] = _missing(path, data, found, values)
            position = found.end() - 1  # its last @ may be another's first
            continue
        before, filled = data[done : found.start()], value.encode("utf-8")
        real += (before, filled)
        shown += (before, found[0] if key in values.secrets else filled)
        secret = secret or key in values.secrets
        size += len(before) + len(filled)
        if size > MOST:
            return Rendered(b"", mode), [Problem("etc", f"etc/{path} is longer than {MOST} bytes once it is rendered.")]
        done = position = found.end()
    rest = data[done:]
    private = {"644": "640", "755": "750"}[mode] if secret else mode
    return Rendered(b"".join((*real, rest)), private, b"".join((*shown, rest))), list(problems.values())


def _touched(data: bytes, start: int, end: int) -> bool:
    """Whether a letter or digit stands right before ``start`` or right at ``end``."""
    return bool(_TOUCHES.match(data, start - 1) if start else None) or bool(_TOUCHES.match(data, end))


def _missing(path: str, data: bytes, found: re.Match[bytes], values: Values) -> Problem:
    key, line = found[1].decode("ascii"), data.count(b"\n", 0, found.start()) + 1
    verb = "Add" if values.there else "Create that file, mode 640, with"
    what = f"etc/{path}, line {line}: @{key}@ is not set in {values.plain.get('root', '')}/{FILE}."
    return Problem("etc", what, f"{verb} {key} = … below [values], or [secrets] if nobody may see it.")
