"""Byte code, made by the target interpreter: the same bytes in whatever directory, order and company, and with no build path in it.

What an interpreter compiled before may show in what it writes next, so files are compiled in groups, each by a process that has compiled nothing
else (see ``compiler``). Groups are cut by the files' names alone: they can be compiled on all processors, and an edit changes one of them, which
is why those of own source are kept. Python puts the real path into a module's code when it loads it.
"""

from __future__ import annotations

import functools
import hashlib
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..cache import load, save
from ..errors import EnvError, Problem
from ..install_release.manifest import canonical
from ..run import failure, run
from ..target import Interpreter

Mode = Literal["checked-hash", "unchecked-hash"]
Group = Sequence[tuple[str, bytes]]  # names and sources
Compile = Callable[[Mapping[str, bytes]], Mapping[str, bytes]]

LARGE, SMALL = 64, 16  # files in a group, on average: where a fork costs little, and where an edit does
_FLAGS = {"unchecked-hash": 0b01, "checked-hash": 0b11}  # PEP 552
_COMPILER = Path(__file__).with_name("compiler.py")


def compile_sources(
    interpreter: Interpreter, sources: Mapping[str, bytes], mode: Mode, prefix: str = "", cache: Path | None = None
) -> dict[str, bytes]:
    """The byte code of ``sources`` (by path) by the path where Python looks for it. What does not compile has none, as pip does it.

    ``prefix`` precedes the path in the byte code. ``checked-hash`` byte code notices an edited source, ``unchecked-hash`` is not even compared.
    With the root of a ``cache`` only groups with a change are compiled. Raises ``EnvError`` when the interpreter crashes.
    """
    groups = list(cut(sources, SMALL if cache else LARGE))
    places = [cache / "bytecode" / _key(interpreter, group, mode, prefix) if cache else None for group in groups]
    known = [load(cache, place) if cache and place else None for place in places]
    missing = [[(prefix + path, source) for path, source in group] for group, records in zip(groups, known, strict=True) if records is None]
    fresh = iter(_compile(interpreter, missing, mode))
    found: dict[str, bytes] = {}
    for group, place, records in zip(groups, places, known, strict=True):
        if records is None:
            records = next(fresh)
            if place:
                save(place, records)
        codes = zip(group, _split(records), strict=True)
        found.update((_cached(path, interpreter), code) for (path, _), code in codes if code)
    return found


def cut(sources: Mapping[str, bytes], size: int) -> Iterator[Group]:
    """Groups of about ``size`` neighbours, at most twice as many.

    Their names alone say which files begin one, so that a change of contents moves no border, and a new file only some near it.
    """
    group: list[tuple[str, bytes]] = []
    for path, source in sorted(sources.items()):
        if len(group) == 2 * size or (group and zlib.crc32(path.encode(errors="surrogateescape")) % size == 0):
            yield group
            group = []
        group.append((path, source))
    if group:
        yield group


def _compile(interpreter: Interpreter, groups: Sequence[Group], mode: Mode) -> list[bytes]:
    """The records (a length, then that many bytes of byte code) of each group, one for each of its files."""
    if not groups:
        return []
    packed = [
        b"".join(_number(len(field)) + field for name, source in group for field in (name.encode(errors="surrogateescape"), source))
        for group in groups
    ]
    lengths = [_number(len(data)) for data in packed]
    options = ("-S", "-s", "-B", "-X", "utf8", "-W", "ignore")
    command: list[str | Path] = [interpreter.executable, *options, "-c", _compiler(), str(_FLAGS[mode])]
    # Not -I: it would ignore the hash seed, which shows in the order of constant sets before Python 3.11.
    env = {"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory(prefix="build-release-bytecode-") as name:
        directory = Path(name)
        given = b"".join([_number(len(groups)), *lengths, *packed])
        done = run(command, what="byte-compiling", error=EnvError, cwd=directory, env=env, input=given, check=False)
        made = [path.read_bytes() if (path := directory / str(number)).exists() else b"" for number in range(len(groups))]
    if done.returncode != 0:
        crashed = [group[count][0] for group, records in zip(groups, made, strict=True) if (count := len(_split(records))) < len(group)]
        refused = failure(done, "byte-compiling", EnvError)
        raise EnvError(refused.message, [Problem(name, "crashes the compiler of the target's Python.") for name in crashed] or refused.problems)
    return made


def _split(records: bytes) -> list[bytes]:
    """The byte code of each whole record."""
    found, position = [], 0
    while position < len(records):
        begin = position + 8
        position = begin + int.from_bytes(records[position:begin], "little")
        if position > len(records):
            break
        found.append(records[begin:position])
    return found


def _cached(path: str, interpreter: Interpreter) -> str:
    """Where Python looks for the byte code of the module at ``path``."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}__pycache__/{name.removesuffix('.py')}.{interpreter.cache_tag}.pyc"


def _key(interpreter: Interpreter, group: Group, mode: Mode, prefix: str) -> str:
    contents = [[prefix + path, hashlib.sha256(source).hexdigest()] for path, source in group]
    return hashlib.sha256(canonical([_compiler(), interpreter.identity, mode, contents])).hexdigest()


@functools.cache
def _compiler() -> str:
    return _COMPILER.read_text()


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")
