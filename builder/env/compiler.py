"""Byte-compile files. Runs in a fresh process of the target interpreter (3.9 or newer): standard library only, and as little of it as can be.

Standard input: the directory, the prefix of the names that the byte code carries, ``checked`` or ``unchecked``, then one path a line, relative
to the directory. Standard output: the paths of what was written, relative too. A file that does not compile is left out, as pip leaves it out.
Nothing is imported after the first file: what a process has seen before must not show in what it writes.
"""

from __future__ import annotations

import marshal
import os
import sys
from _imp import source_hash  # what importlib.util.source_hash calls; importing that costs half as much as starting Python
from importlib._bootstrap_external import MAGIC_NUMBER

_MAGIC = int.from_bytes(MAGIC_NUMBER, "little")


def compile_file(path: str, name: str, flags: int) -> bytes | None:
    """The byte code of ``path`` in the form of PEP 552, or None."""
    with open(path, "rb") as file:
        source = file.read()
    try:
        code = compile(source, name, "exec", dont_inherit=True, optimize=0)
    except Exception:  # SyntaxError, ValueError, RecursionError, MemoryError …: what a compiler may say of a hostile file
        return None
    return b"".join((MAGIC_NUMBER, flags.to_bytes(4, "little"), source_hash(_MAGIC, source), marshal.dumps(code)))


def main() -> None:
    root, prefix, mode, *paths = sys.stdin.buffer.read().decode().splitlines()
    flags = 0b11 if mode == "checked" else 0b01
    suffix = "." + sys.implementation.cache_tag + ".pyc"
    made: list[str] = []
    folders: set[str] = set()
    for path in paths:
        data = compile_file(os.path.join(root, path), prefix + path, flags)
        if data is None:
            continue
        folder, _, name = path.rpartition("/")
        cache = os.path.join(folder, "__pycache__")
        if cache not in folders:
            os.makedirs(os.path.join(root, cache), exist_ok=True)
            folders.add(cache)
        target = os.path.join(cache, name[: -len(".py")] + suffix)
        with open(os.path.join(root, target), "wb") as out:
            out.write(data)
        made.append(target)
    sys.stdout.write("".join(path + "\n" for path in made))


main()
