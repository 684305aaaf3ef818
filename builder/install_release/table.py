"""A layer's table of contents: JSON Lines, read as a stream. docs/format.md describes every key.

Two kinds of line: a **segment** (how many bytes, compressed and inflated, and their digest) and an **entry** (a directory,
file or link). The lines of the segments that hold a file come before the file's line; entries are strictly sorted by path.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from .errors import ArtifactError, Problem
from .manifest import MAX_SEGMENT_BYTES, safe_relative
from .records import ManyTuple
from .typed import TYPE_CHECKING, Any

MODES = {"dir": ("755",), "file": ("644", "755"), "link": ("777",)}


class Segment(ManyTuple):
    """``bytes`` compressed, ``size`` inflated, ``sha256`` of the compressed bytes. ``number`` counts from 0 within the layer."""

    number: int
    bytes: int
    size: int
    sha256: str


class Entry(ManyTuple):
    """One path of a layer, relative to ``release/``.

    A file's ``size`` bytes begin at ``offset`` of the inflated segment ``segment``; a file that is larger than what is left
    of its segment goes on at the start of the following ones. ``sha256`` is that of its contents. A link has a ``target``.
    """

    path: str
    type: str  # dir, file, link
    mode: str  # 644, 755, 777
    size: int = 0
    sha256: str = ""
    segment: int = 0
    offset: int = 0
    target: str = ""


if TYPE_CHECKING:
    from typing import Union

    Line = Union[Segment, Entry]
else:
    Line = (Segment, Entry)
MAX_SEGMENTS = 1 << 16  # of one layer
MAX_OTHERS = 1 << 17  # directories and links of one layer
_HEADER = 512  # bytes that an entry takes at least of what its segments inflate to
_LIMIT = 1 << 53  # what every reader of JSON holds exactly
_COUNT = "(0|[1-9][0-9]{0,14})"
_PATH = "([A-Za-z0-9_.,@+=~/-]+)"
# Nearly every line is a file's or a directory's, in the one spelling of ``to_line``: a match for each, all of a block at once, takes a third of
# the time of reading them as JSON and looking at each value. Whatever else a line is, it is the last group.
_LINES = re.compile(
    f'{{"mode":"(644|755)","offset":{_COUNT},"path":"{_PATH}","segment":{_COUNT},"sha256":"([0-9a-f]{{64}})","size":{_COUNT},"type":"file"}}\n'
    f'|{{"mode":"755","path":"{_PATH}","type":"dir"}}\n'
    "|(.*)\n"
)
_NO_NAMES = ("", ".", "..")
_SEGMENT_KEYS = {"segment", "bytes", "size", "sha256"}
_ENTRY_KEYS = {
    "dir": {"path", "type", "mode"},
    "file": {"path", "type", "mode", "size", "sha256", "segment", "offset"},
    "link": {"path", "type", "mode", "target"},
}


def to_line(line: Line) -> bytes:
    """A line's one spelling, line feed included."""
    if isinstance(line, Segment):
        value: dict[str, Any] = {"segment": line.number, "bytes": line.bytes, "size": line.size, "sha256": line.sha256}
    elif line.type == "file":  # nearly all: a fifth of the time that a general writer takes
        path, place = json.encoder.encode_basestring_ascii(line.path), f'"offset":{line.offset},"path"'
        text = f'{{"mode":"{line.mode}",{place}:{path},"segment":{line.segment},"sha256":"{line.sha256}","size":{line.size},"type":"file"}}\n'
        return text.encode("ascii")
    else:
        value = {key: getattr(line, key) for key in _ENTRY_KEYS[line.type]}
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"


def parse(blocks: Iterable[bytes], top: str, where: str, stated: int | None = None) -> Iterator[Line]:
    """Check and yield each line of the table of layer ``where``, whose paths must all be below ``top``. ``stated``: how many files it must have.

    ``blocks``: of one or more whole lines, without the last one's line feed. Raises ``ArtifactError`` at the first line that breaks a rule: nothing
    after it can be trusted. What is held does not grow with the table.
    """
    segments = number = files = others = room = 0
    most = _LIMIT if stated is None else stated
    previous = ""
    above: list[str] = []  # directories that the next path may lie in: each begins with the one before it, and the last path with each
    sizes: dict[int, int] = {}
    for block in blocks:
        for mode, offset, path, segment, sha256, size, directory, other in _LINES.findall(block.decode("latin-1") + "\n"):
            number += 1
            if path:
                entry = Entry(path, "file", mode, int(size), sha256, int(segment), int(offset))
            elif directory:
                path = directory
                entry = Entry(path, "dir", "755")
            else:
                line = _line(other.encode("latin-1"), where, number)
                if isinstance(line, Segment):
                    if line.number != segments:
                        _fail(where, number, f"segment {line.number} is out of turn")
                    sizes[segments] = line.size
                    sizes.pop(segments - 4096, None)  # a file that spans more is checked by its reader
                    segments += 1
                    room += line.size
                    if segments > MAX_SEGMENTS:
                        _fail(where, number, f"there are more than {MAX_SEGMENTS} segments")
                    yield line
                    continue
                path, entry = line.path, line
            parent, _, name = path.rpartition("/")
            while above and not path.startswith(above[-1]):
                above.pop()
            known = parent in above
            # What lies in a directory that was found safe is safe when its name is, and it is short.
            if (not known or name in _NO_NAMES or len(path) > 255) and not safe_relative(path):
                _fail(where, number, f"{path!r} is not a safe path")
            if path <= previous:  # the order of code points is that of UTF-8's bytes
                _fail(where, number, f"{path!r} is out of order or there twice")
            previous = path
            if not known and (parent or path != top or entry.type != "dir"):
                _fail(where, number, f"{path!r} has no directory before it, or is not below {top}/")
            room -= _HEADER
            if room < 0:
                _fail(where, number, f"{path!r} is more than the segments before it can hold")
            if mode or entry.type == "file":
                files += 1
                if files > most:
                    _fail(where, number, f"{path!r} is one more than the {stated} files that are stated")
            else:
                others += 1
                if others > MAX_OTHERS:
                    _fail(where, number, f"there are more than {MAX_OTHERS} directories and links")
            if directory or entry.type == "dir":
                above.append(path)
            elif entry.type == "link":
                if not inside(path, entry.target, top):
                    _fail(where, number, f"the link {path!r} points outside {top}/, to {entry.target!r}")
            elif entry.size and (entry.segment >= segments or entry.offset >= sizes.get(entry.segment, 0)):
                _fail(where, number, f"{path!r} lies outside its segment")
            yield entry
    if not previous:
        _fail(where, number, f"{top}/ is missing")
    if files != most and stated is not None:
        _fail(where, number, f"there are {files} files, stated are {stated}")


def inside(path: str, target: str, top: str) -> bool:
    """Whether a link at ``path`` that says ``target`` points to something below ``top/``.

    It goes up first, if at all: what lies above the link are directories. Behind a name, which may be a link itself, ``..`` would be anywhere.
    """
    if not target or target.startswith("/") or not target.isprintable() or len(target.encode()) > 4095:
        return False
    parts, down = path.split("/")[:-1], False
    for part in target.split("/"):
        if part == "..":
            if down or len(parts) <= 1:
                return False
            parts.pop()
        elif part not in ("", "."):
            down = True
    return parts[:1] == [top]


_decode = json.JSONDecoder().raw_decode  # a table may have 200 000 lines: without the search for white space around each


def _line(raw: bytes, where: str, number: int) -> Line:
    value = _load(raw, where, number)
    line = _entry(value, where, number) if "path" in value else _segment(value, where, number)
    if to_line(line) != raw + b"\n":
        _fail(where, number, "is spelled in another way than its writer does")
    return line


def _load(raw: bytes, where: str, number: int) -> dict[str, Any]:
    try:
        value, end = _decode(raw.decode("ascii"))
        good = end == len(raw) and type(value) is dict
    except (ValueError, RecursionError):
        good = False
    if not good:
        _fail(where, number, "is no JSON object")
    return value  # type: ignore[no-any-return]


def _segment(value: dict[str, Any], where: str, number: int) -> Segment:
    if value.keys() != _SEGMENT_KEYS or not _whole(value["segment"], value["bytes"], value["size"]) or not _digest(value["sha256"]):
        _fail(where, number, "is no segment")
    if not (0 < value["bytes"] <= MAX_SEGMENT_BYTES and 0 < value["size"] <= MAX_SEGMENT_BYTES):
        _fail(where, number, "states a segment of an impossible length")
    return Segment(value["segment"], value["bytes"], value["size"], value["sha256"])


def _entry(value: dict[str, Any], where: str, number: int) -> Entry:
    kind, path = value.get("type"), value["path"]
    if not isinstance(kind, str) or value.keys() != _ENTRY_KEYS.get(kind):
        _fail(where, number, "has missing or unknown keys")
    if not isinstance(path, str) or not safe_relative(path):
        _fail(where, number, f"{path!r} is not a safe path")
    if value["mode"] not in MODES[str(kind)]:
        _fail(where, number, f"{path!r} has mode {value['mode']!r}")
    if kind == "file" and not (_whole(value["size"], value["segment"], value["offset"]) and _digest(value["sha256"])):
        _fail(where, number, f"{path!r} is no file entry")
    if kind == "link" and not isinstance(value["target"], str):
        _fail(where, number, f"{path!r} has no target")
    return Entry(**value)


def _whole(first: Any, second: Any, third: Any) -> bool:
    whole = type(first) is type(second) is type(third) is int
    return whole and 0 <= first < _LIMIT and 0 <= second < _LIMIT and 0 <= third < _LIMIT


def _digest(value: Any) -> bool:
    return type(value) is str and len(value) == 64 and not value.strip("0123456789abcdef")


def _fail(where: str, number: int, what: str) -> None:
    raise ArtifactError("a table of contents is not valid", [Problem(f"{where}, line {number}", what)])
