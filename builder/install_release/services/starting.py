"""How a release's programs must be started: through ``current/bin/run``. By letters alone, and pure.

Started as ``current/venv/bin/x``, a process has no lease (its release may be pruned under it) and not what ``shared/env`` says. With
``current/src`` for its directory or on its path, it imports the new release's source into the old release's environment after a flip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from ..errors import Problem

_PROGRAM = re.compile(r"[^\s\"'=;&|]*/current/(venv/bin|src|assets|pex)/[^\s\"';&|]+")
_SEARCHED = re.compile(
    r"(--chdir|--pythonpath|PYTHONPATH|\bchdir|\bpythonpath|\bcd)[\s=\"':]+[^\s\"',;&|]*/current/src\b|PYTHONPATH=[^\s]*/current/src\b"
)
_INTERPRETER = re.compile(r"python[0-9.]*|sh|bash")
_PREFIXES = re.compile(r"^[-:+!@]+(?=/|@root@)")  # of systemd's ExecStart


def command_problems(where: str, words: Sequence[str], written: str) -> Iterator[Problem]:
    """What is wrong with starting ``words``; ``written`` is the line as it stands, ``where`` says in which file."""
    programs = [number for number, word in enumerate(words) if _PROGRAM.fullmatch(_PREFIXES.sub("", word, count=1))]
    first = next((number for number, word in enumerate(words) if "=" not in word.partition("/")[0]), 0)
    for number in programs:
        word = _PREFIXES.sub("", words[number], count=1)
        interpreted = number == first + 1 and _INTERPRETER.fullmatch(words[first].rpartition("/")[2]) is not None
        if number == first or interpreted:
            root, _, inside = word.partition("/current/")
            name = inside.removeprefix("venv/bin/") if inside.startswith("venv/bin/") else inside.removeprefix("src/")
            begin = f"{root}/current/bin/run"
            own = f"{begin} {name}" if number == first and inside.startswith("venv/bin/") else f"{begin} python {name}"
            right = " ".join([own, *words[number + 1 :]])
            yield Problem(where, f"{word} is started without a lease and without shared/env.", f"Write: {right}")
            return
    yield from path_problems(where, written)


def path_problems(where: str, text: str) -> Iterator[Problem]:
    """A ``current/src`` where a program looks for its modules."""
    for line in text.splitlines():
        found = _SEARCHED.search(line)
        if found and not line.lstrip().startswith(("#", ";")):
            name = re.match(r"\W*(\w+)", found[0])
            what = f"{name[1] if name else 'it'} leads through current/src: after a flip, new source would run in the old environment."
            yield Problem(where, what, "Leave it out: bin/run starts everything in the release's own src, which is first on its path.")


def texts_problems(files: Mapping[str, str]) -> tuple[Problem, ...]:
    """The same for whole files."""
    return tuple(problem for path, text in files.items() for problem in path_problems(f"etc/{path}", text))
