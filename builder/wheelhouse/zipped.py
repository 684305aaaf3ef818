"""Does a zip file say one thing only? Whoever reads it from its end and whoever reads it from its start must find the same files.

A wheel can be read both ways: pip goes by the directory at the end, a streaming installer by the headers before the contents. What makes them
disagree is refused, by the rules of uv: names that stand twice and differ, headers that differ from the directory, gaps, data before, between or
behind, records of ZIP64 that point elsewhere. APPNOTE.TXT of PKWARE is the specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

Bytes = memoryview
_END = struct.Struct("<4sHHHHLLH")  # the end of the directory: signature, disks, entries (twice), length, offset, length of the comment
_END64 = struct.Struct("<4sQHHLLQQQQ")
_LOCATOR = struct.Struct("<4sLQL")
_CENTRAL = struct.Struct("<4sHHHHHHLLLHHHHHLL")
_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_LONGEST_COMMENT = 0xFFFF
_DESCRIBED = 0x8  # a bit of the flags: lengths and checksum stand behind the contents
_UNICODE_PATH = 0x7075  # an extra field with another name, for those who know of it


class _Odd(Exception):
    """It can't be read any further: in words."""


@dataclass(frozen=True)
class _Entry:
    name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int


def contradictions(data: Bytes) -> Iterator[str]:
    """What is said in two ways, in words; nothing for a file that says one thing only."""
    try:
        start, end, count = _directory(data)
        entries = list(_entries(data[start:end], count))
        yield from _doubles(entries)
        position = 0
        for entry in sorted(entries, key=lambda each: each.offset):
            if entry.offset != position:
                yield f"{_shown(entry.name)}: begins at byte {entry.offset}, where {position} was expected"
                return
            position = _behind(data, entry)
        if position != start:
            yield f"between its last file and its directory lie {start - position} bytes"
    except (_Odd, struct.error) as error:
        yield str(error) if isinstance(error, _Odd) else "a header is cut off"


def _directory(data: Bytes) -> tuple[int, int, int]:
    """Where the directory begins and ends, and how many files it names."""
    tail = bytes(data[-_END.size - _LONGEST_COMMENT :])
    found = [at for at in _all(tail, b"PK\5\6") if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] == len(tail)]
    if len(found) != 1:
        raise _Odd("its directory does not end at its end" if not found else "it has two ends")
    if tail.find(b"PK\5\6", found[0] + 4) >= 0:
        raise _Odd("its comment looks like another end")
    position = len(data) - len(tail) + found[0]
    _, disk, first, here, count, length, offset, _ = _END.unpack_from(data, position)
    end = position
    if position >= _LOCATOR.size and bytes(data[position - _LOCATOR.size :][:4]) == b"PK\6\7":
        _, other, place, disks = _LOCATOR.unpack_from(data, position - _LOCATOR.size)
        signature, own, _, _, disk64, first64, here64, count64, length64, offset64 = _END64.unpack_from(data, place)
        if signature != b"PK\6\6" or place + 12 + own != position - _LOCATOR.size or other or disks != 1:
            raise _Odd("its ZIP64 record is not where it should be")
        small, large = (disk, first, here, count, length, offset), (disk64, first64, here64, count64, length64, offset64)
        most = (0xFFFF,) * 4 + (0xFFFFFFFF,) * 2
        if any(value not in (wide, full) for value, wide, full in zip(small, large, most, strict=True)):
            raise _Odd("its ZIP64 record says something else than its end")
        disk, first, here, count, length, offset = large
        end = place
    if disk or first or here != count or offset + length != end:
        raise _Odd("its directory is not where it should be")
    return offset, end, count


def _entries(directory: Bytes, count: int) -> Iterator[_Entry]:
    position = 0
    for _ in range(count):
        signature, _, _, flags, method, _, _, crc, packed, size, name, extra, comment, disk, _, _, offset = _CENTRAL.unpack_from(directory, position)
        at = position + _CENTRAL.size
        text, more = bytes(directory[at : at + name]), bytes(directory[at + name : at + name + extra])
        if signature != b"PK\1\2" or len(text) != name or len(more) != extra:
            raise _Odd("its directory holds something else than files")
        wide = _wide(more, size, packed, offset, disk)
        size, packed, offset, disk = wide
        if disk:
            raise _Odd(f"{_shown(text)}: lies on another disk")
        yield _Entry(text, flags, method, crc, packed, size, offset)
        position = at + name + extra + comment
    if position != len(directory):
        raise _Odd("its directory names another number of files than it holds")


def _wide(extra: bytes, *narrow: int) -> list[int]:
    """``narrow`` with the values of the ZIP64 field in the place of those that don't fit, in its order: size, packed size, offset, disk."""
    found, position, seen = list(narrow), 0, False
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, position)
        position += 4
        if kind == _UNICODE_PATH:
            raise _Odd("a file has a second name")
        if kind == 1:
            if seen or position + length > len(extra):
                raise _Odd("a file's ZIP64 field is not valid")
            seen, at = True, position
            for number, value in enumerate(narrow):
                if value == (0xFFFF if number == 3 else 0xFFFFFFFF):
                    form = "<L" if number == 3 else "<Q"
                    (found[number],) = struct.unpack_from(form, extra[: position + length], at)
                    at += struct.calcsize(form)
        position += length
    return found


def _behind(data: Bytes, entry: _Entry) -> int:
    """Where the next file begins. Raises ``_Odd`` when the header before the contents says something else than the directory."""
    signature, _, flags, method, _, _, crc, packed, size, name, extra = _LOCAL.unpack_from(data, entry.offset)
    at = entry.offset + _LOCAL.size
    if signature != b"PK\3\4" or bytes(data[at : at + name]) != entry.name or (flags, method) != (entry.flags, entry.method):
        raise _Odd(f"{_shown(entry.name)}: its header differs from the directory")
    size, packed = _wide(bytes(data[at + name : at + name + extra]), size, packed)
    said = (crc, packed, size)
    end: int = at + name + extra + entry.packed
    if not flags & _DESCRIBED:
        if said != (entry.crc, entry.packed, entry.size):
            raise _Odd(f"{_shown(entry.name)}: its header says another length or checksum than the directory")
        return end
    if any(value not in (0, known) for value, known in zip(said, (entry.crc, entry.packed, entry.size), strict=True)):
        raise _Odd(f"{_shown(entry.name)}: its header says another length or checksum than the directory")
    for form in ("<4sLLL", "<4sLQQ"):
        if struct.unpack_from(form, data, end) == (b"PK\7\10", entry.crc, entry.packed, entry.size):
            return end + struct.calcsize(form)
    raise _Odd(f"{_shown(entry.name)}: what stands behind its contents differs from the directory")


def _doubles(entries: list[_Entry]) -> Iterator[str]:
    known: dict[bytes, tuple[int, int]] = {}
    for entry in entries:
        if known.setdefault(entry.name, (entry.crc, entry.size)) != (entry.crc, entry.size):
            yield f"{_shown(entry.name)}: is there twice, with different contents"


def _all(text: bytes, wanted: bytes) -> Iterator[int]:
    at = text.find(wanted)
    while at >= 0:
        yield at
        at = text.find(wanted, at + 1)


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "backslashreplace"))
