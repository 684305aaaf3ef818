"""The manifest: the contract of both halves, and the one thing that a signature signs.

``release/release.json`` is canonical JSON (ASCII, keys sorted, no white space, no floats, no duplicate keys). Its sha256
names the release; everything else in an artifact hangs off it by digests. docs/format.md describes every key.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
import time
from collections.abc import Mapping
from functools import lru_cache

from .declared import MOST
from .declared import Conflict as Conflict
from .declared import Copied as Copied
from .declared import Health as Health
from .declared import Hook as Hook
from .declared import Overlay as Overlay
from .declared import Service as Service
from .errors import ArtifactError, Problem
from .records import NamedTuple, as_dict
from .spelling import NAME, VERSION
from .spelling import safe_relative as safe_relative
from .typed import Any

FORMAT = 1
MAX_BYTES = 1 << 20  # of a manifest: as objects of Python, nobody having signed it yet, it takes thirty times as much
MAX_TABLE_BYTES = 16 << 20  # of one layer's compressed table: some 350 000 files
MAX_SEGMENT_BYTES = 16 << 20  # of one segment, compressed or inflated
MAX_INSTALLER_BYTES = 4 << 20  # of the installer, compressed or inflated
MAX_END_BYTES = 4096  # of the two zero blocks that end it
MAX_LAYERS = 4096
MAX_PROBLEMS = 100  # that are told of one manifest

TOPS: Mapping[str, str] = {  # kind of layer -> the one directory of release/ that its paths are below
    "src": "src",
    "etc": "etc",
    "assets": "assets",
    "env": "venv",
    "wheel": "venv",
    "pex": "pex",
    "wheelhouse": "wheelhouse",
    "git": "git",
    "python": "python",
}
ENV_KINDS = ("venv", "pex", "wheelhouse")
ENV_LAYERS = ("env", "wheel", "pex", "wheelhouse", "python")  # kinds of layer that an environment is made from


class Range(NamedTuple):
    """Bytes of the file: ``offset`` (from the end of the signatures), ``bytes`` compressed, ``size`` inflated, sha256 of the compressed."""

    offset: int
    bytes: int
    size: int
    sha256: str


class Layer(NamedTuple):
    """One layer: its table of contents first, then its segments, ``bytes`` long in all from ``table.offset`` on.

    ``digest`` is the table's ``sha256``: it covers every byte of the layer, and names it everywhere.
    """

    name: str
    kind: str
    bytes: int
    files: int
    size: int  # of the files' contents, in bytes
    table: Range

    @property
    def digest(self) -> str:
        return self.table.sha256

    @property
    def top(self) -> str:
        return TOPS[self.kind]


class Libc(NamedTuple):
    """The C library that the wheels need: ``name`` is ``glibc`` or ``musl``; ``minimum`` like ``2.28``, or empty."""

    name: str
    minimum: str


class Target(NamedTuple):
    """What the environment was made for. ``python`` is ``3.11``, ``abi`` ``cp311``, ``platform`` ``linux_x86_64``.

    ``byte_code`` is the magic number of the byte code that travels, in hexadecimal, or empty when there is none.
    """

    implementation: str
    python: str
    abi: str
    platform: str
    libc: Libc
    byte_code: str


class Env(NamedTuple):
    """The kind of environment (venv, pex, wheelhouse); ``share`` says whether releases with the same layers use one."""

    kind: str
    share: bool


class Requires(NamedTuple):
    """What a host must have: links into ``shared/`` (paths relative to ``src/``), keys of ``shared/env``, commands, room on disk."""

    linked_dirs: tuple[str, ...]
    linked_files: tuple[str, ...]
    env: tuple[str, ...]
    commands: tuple[str, ...]
    bytes: int
    inodes: int


class Tail(NamedTuple):
    """All that follows the signatures, up to the gzip trailer: compressed and inflated length, CRC-32 of the inflated."""

    bytes: int
    size: int
    crc32: int


class Manifest(NamedTuple):
    """One release, described. Times are whole seconds since 1970 (UTC); nothing in it depends on when or by whom it was built.

    ``rollback_safe_to``: the oldest version that can run with the data as this release leaves them, or "".
    """

    format: int
    minimum_installer: str
    name: str
    version: str
    commit: str
    commit_time: int
    root: str
    keep_releases: int
    target: Target
    env: Env
    requires: Requires
    overlay: Overlay
    services: tuple[Service, ...]
    hooks: tuple[Hook, ...]
    health: Health
    rollback_safe_to: str
    layers: tuple[Layer, ...]
    installer: Range
    end: Range
    tail: Tail


def canonical(value: Any) -> bytes:
    """``value`` as canonical JSON, one line feed at its end."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def to_bytes(manifest: Manifest) -> bytes:
    """The manifest's one and only spelling."""
    return canonical(as_dict(manifest))


def release_id(commit_time: int, manifest_bytes: bytes) -> str:
    """``<commit time, UTC, 14 digits>-<12 hex of the manifest's sha256>``: derived from the manifest, never stored in it."""
    stamp = time.strftime("%Y%m%d%H%M%S", time.gmtime(commit_time))
    return f"{stamp}-{hashlib.sha256(manifest_bytes).hexdigest()[:12]}"


RELEASE_ID = re.compile(r"\d{14}-[0-9a-f]{12}")


@lru_cache(maxsize=2)  # one command reads the same bytes several times, from the artifact and from the host
def parse(data: bytes) -> Manifest:
    """Read canonical JSON into a ``Manifest``. Raises ``ArtifactError`` with every problem found."""
    value = load_canonical(data, "release.json")
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise ArtifactError(
            "this artifact is of another format",
            [Problem("format", f"is {value.get('format')!r}, this installer reads {FORMAT}", "Use the installer that travels in the artifact.")],
        )
    problems: list[Problem] = []
    manifest = _build(Manifest, value, "", problems)
    if not problems:
        problems = _contradictions(manifest)[:MAX_PROBLEMS]
    if problems:
        raise ArtifactError("the manifest is not valid", problems)
    assert isinstance(manifest, Manifest)
    return manifest


def layer(value: Any) -> Layer:
    """One layer's description, from JSON. Raises ``ArtifactError``."""
    problems: list[Problem] = []
    made = _build(Layer, value, "layer", problems)
    if problems:
        raise ArtifactError("a layer's description is not valid", problems)
    assert isinstance(made, Layer)
    return made


def load_canonical(data: bytes, where: str) -> Any:
    """JSON that is exactly what ``canonical`` writes: one spelling, so that two readers can't disagree."""
    if len(data) > MAX_BYTES:
        raise ArtifactError("the manifest is not valid", [Problem(where, f"is longer than {MAX_BYTES} bytes")])
    try:
        value = json.loads(data.decode("ascii"), parse_int=_whole_number)
        same = canonical(value) == data
    except (ValueError, RecursionError) as error:
        raise ArtifactError("the manifest is not valid", [Problem(where, f"is no JSON: {error}")]) from None
    if not same:
        problem = Problem(where, "is not in canonical form (sorted keys, no white space, no floats, no duplicates)")
        raise ArtifactError("the manifest is not valid", [problem])
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > 17:  # of 2^53 and more: before Python 3.11 it would take minutes to read one of a million digits
        raise ValueError("a number is too long")
    return int(digits)


@functools.cache
def _types(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Of each field of ``kind`` the type, and whether the field holds a tuple of that: annotations are ``X`` or ``tuple[X, ...]``.

    (``typing.get_type_hints`` takes as long as the rest of reading a manifest.)
    """
    known = {"str": str, "bool": bool, "int": int, **vars(sys.modules[kind.__module__])}
    found = {}
    for field, text in kind.__annotations__.items():
        inner = text.removeprefix("tuple[").removesuffix(", ...]")
        found[field] = known[inner], inner != text
    return found


def _build(kind: Any, value: Any, where: str, problems: list[Problem]) -> Any:
    """``value`` as the named tuple ``kind``; what doesn't fit is added to ``problems``, and None returned."""
    if not isinstance(value, dict):
        problems.append(Problem(where or "release.json", "must be an object"))
        return None
    if len(problems) >= MAX_PROBLEMS:
        return None
    types, before, made = _types(kind), len(problems), []
    for key in sorted(set(value) - set(kind._fields))[:MAX_PROBLEMS]:
        problems.append(Problem(_join(where, key), "is unknown"))
    for key in kind._fields:
        if key in value:
            made.append(_convert(*types[key], value[key], _join(where, key), problems))
        else:
            problems.append(Problem(_join(where, key), "is missing"))
    return kind(*made) if len(problems) == before else None


def _convert(kind: Any, many: bool, value: Any, where: str, problems: list[Problem]) -> Any:
    if many:
        if not isinstance(value, list):
            problems.append(Problem(where, "must be a list"))
            return ()
        most = MAX_LAYERS if kind is Layer else MOST
        if len(value) > most:
            problems.append(Problem(where, f"holds more than {most}"))
            return ()
        return tuple(_convert(kind, False, item, f"{where}[{i}]", problems) for i, item in enumerate(value))
    if kind in _WORDS:
        if type(value) is not kind:
            problems.append(Problem(where, f"must be {_WORDS[kind]}"))
        elif kind is int and not 0 <= value < 1 << 53:
            problems.append(Problem(where, "must be between 0 and 2^53"))
        return value
    return _build(kind, value, where, problems)


_WORDS: Mapping[Any, str] = {str: "a string", bool: "true or false", int: "a whole number"}


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


_LAYER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")
_NUMBERS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,3}")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def _contradictions(m: Manifest) -> list[Problem]:
    """What the types can't say. The ranges must tile the file: table and segments of each layer in turn, installer first, end last."""
    found: list[Problem] = []

    def check(good: Any, where: str, what: str) -> None:
        if not good:
            found.append(Problem(where, what))

    check(NAME.fullmatch(m.name), "name", "must be lower-case letters, digits, '.', '_' or '-'")
    check(VERSION.fullmatch(m.version), "version", "holds characters that a version can't have")
    check(_COMMIT.fullmatch(m.commit), "commit", "is no commit id")
    check(m.commit_time < 253402300800, "commit_time", "is after the year 9999")
    check(m.keep_releases >= 1, "keep_releases", "must be 1 or more")
    check(m.root.startswith("/") and safe_relative(m.root[1:]), "root", "must be an absolute path, without '.', '..' or a slash at its end")
    check(m.env.kind in ENV_KINDS, "env.kind", f"is not one of {', '.join(ENV_KINDS)}")
    check(_NUMBERS.fullmatch(m.minimum_installer), "minimum_installer", "is no version like 1.0.0")
    check(re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", m.target.python), "target.python", "is no Python version like 3.11")
    for where in ("implementation", "abi", "platform"):
        check(_WORD.fullmatch(getattr(m.target, where)), f"target.{where}", "is no word of letters, digits and '_'")
    check(re.fullmatch(r"([0-9a-f]{2}){0,32}", m.target.byte_code), "target.byte_code", "is no hexadecimal number")
    check(not m.target.libc.name or _WORD.fullmatch(m.target.libc.name), "target.libc.name", "is no word of letters, digits and '_'")
    check(not m.target.libc.minimum or _NUMBERS.fullmatch(m.target.libc.minimum), "target.libc.minimum", "is no version like 2.28")
    for command in m.requires.commands:
        good = command.isprintable() and len(command) < 4096 and not command.startswith("-") and command
        check(good, "requires.commands", f"{command[:80]!r} is no name of a command")
    for where in ("linked_dirs", "linked_files"):
        for path in getattr(m.requires, where):
            check(safe_relative(path), f"requires.{where}", f"{path!r} is not a relative path")
    for key in m.requires.env:
        check(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key), "requires.env", f"{key!r} is no name of a variable")
    if m.services or m.hooks or m.rollback_safe_to or m.health != Health() or m.overlay != Overlay():
        from . import rules  # only now: each start would pay for it

        found += rules.contradictions(m.overlay, m.services, m.hooks, m.health, m.rollback_safe_to)
    position = 0
    names: set[str] = set()
    ranges: list[tuple[str, Range, int]] = [("installer", m.installer, m.installer.bytes)]
    for layer in m.layers:
        where = f"layers[{layer.name}]"
        check(_LAYER.fullmatch(layer.name), where, "has a name that no layer can have")
        check(layer.name not in names, where, "is there twice")
        names.add(layer.name)
        check(layer.kind in TOPS, where, f"is of an unknown kind, {layer.kind!r}")
        check(0 < layer.table.bytes <= min(layer.bytes, MAX_TABLE_BYTES), where, "has a table of an impossible length")
        ranges.append((f"{where}.table", layer.table, layer.bytes))
    ranges.append(("end", m.end, m.end.bytes))
    for where, span, length in ranges:
        check(_SHA256.fullmatch(span.sha256), where, "has no sha256")
        check(span.offset == position, where, f"begins at {span.offset}, expected {position}: the ranges must tile the file")
        position = span.offset + length
    check(position == m.tail.bytes, "tail.bytes", f"is {m.tail.bytes}, the ranges end at {position}")
    check(m.installer.bytes <= MAX_INSTALLER_BYTES and m.installer.size <= MAX_INSTALLER_BYTES, "installer", "is too long")
    check(m.end.bytes <= MAX_END_BYTES and m.end.size <= MAX_END_BYTES, "end", "is too long")
    check(m.tail.crc32 < 1 << 32, "tail.crc32", "is no 32-bit number")
    return found
