"""Wheels that say one thing to those who read them from the end, and another to those who read them from the start."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import WheelhouseError
from builder.wheelhouse import wheel
from builder.wheelhouse.zipped import contradictions
from tests.wheels import raw_wheel

NAME = "tiny-1.0-py3-none-any.whl"


def sound(tmp_path: Path) -> bytes:
    return raw_wheel(tmp_path, "tiny", {"tiny.py": b"x = 1\n", "a/b.py": bytes(range(256)) * 99}).read_bytes()


def _end(data: bytes) -> int:
    return data.rindex(b"PK\5\6")


def _set(data: bytes, at: int, form: str, value: int) -> bytes:
    made = bytearray(data)
    struct.pack_into(form, made, at, value)
    return bytes(made)


def _central(data: bytes) -> int:
    return int.from_bytes(data[_end(data) + 16 : _end(data) + 20], "little")


def _between(data: bytes) -> bytes:
    """Something between the files and the directory, to which everything else points rightly."""
    start = _central(data)
    return _set(data[:start] + b"PK\3\4hidden" + data[start:], _end(data) + 10 + 16, "<L", start + 10)


def _before(data: bytes) -> bytes:
    """Something before the first file; all offsets are moved."""
    moved, at = data, _central(data)
    while moved[at : at + 4] == b"PK\1\2":
        name, extra, comment = struct.unpack_from("<HHH", moved, at + 28)
        moved = _set(moved, at + 42, "<L", int.from_bytes(moved[at + 42 : at + 46], "little") + 9)
        at += 46 + name + extra + comment
    return b"#!evil...".ljust(9) + _set(moved, _end(moved) + 16, "<L", _central(moved) + 9)


def _zip64(data: bytes, offset: int, place: int = 0) -> bytes:
    end = _end(data)
    _, _, _, here, count, length, start, _ = struct.unpack("<4sHHHHLLH", data[end : end + 22])
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, here, count, length, start + offset)
    return data[:end] + record + struct.pack("<4sLQL", b"PK\6\7", 0, end + place, 1) + data[end:]


TRICKS: tuple[tuple[str, Callable[[bytes], bytes], str], ...] = (
    ("a byte behind it", lambda data: data + b"x", "does not end at its end"),
    ("another zip behind it", lambda data: data + data, "directory is not where"),
    ("another zip before it", lambda data: data + data, "directory is not where"),
    ("a script before it", lambda data: b"#!/bin/sh\n" + data, "directory is not where"),
    ("a script before it, all offsets moved", _before, "begins at byte 9, where 0 was expected"),
    ("a comment", lambda data: _set(data, _end(data) + 20, "<H", 4) + b"fine", ""),
    ("a comment that is cut off", lambda data: _set(data, _end(data) + 20, "<H", 5) + b"fine", "does not end at its end"),
    ("a comment with an end in it", lambda data: _set(data, _end(data) + 20, "<H", 44) + data[_end(data) :] * 2, ""),
    ("a comment that is an end", lambda data: _set(data, _end(data) + 20, "<H", 22) + data[_end(data) :], "two ends"),
    ("hidden bytes between", _between, "lie 10 bytes"),
    ("a file too few in the directory", lambda data: _set(_set(data, _end(data) + 8, "<H", 2), _end(data) + 10, "<H", 2), "another number of files"),
    ("a file too many in the directory", lambda data: _set(_set(data, _end(data) + 8, "<H", 9), _end(data) + 10, "<H", 9), ""),
    ("two disks", lambda data: _set(data, _end(data) + 4, "<H", 1), "directory is not where"),
    ("another name before the contents", lambda data: data.replace(b"tiny.py", b"evil.py", 1), "'tiny.py': its header differs"),
    ("another checksum before the contents", lambda data: _set(data, 14, "<L", 7), "says another length or checksum"),
    ("another length before the contents", lambda data: _set(data, 18, "<L", 7), "says another length or checksum"),
    ("another inflated length before the contents", lambda data: _set(data, 22, "<L", 7), "says another length or checksum"),
    ("another method before the contents", lambda data: _set(data, 8, "<H", 8), "its header differs"),
    ("encrypted before the contents", lambda data: _set(data, 6, "<H", 1), "its header differs"),
    ("another offset in the directory", lambda data: _set(data, _central(data) + 42, "<L", 3), "begins at byte"),
    ("a directory that begins elsewhere", lambda data: _set(data, _end(data) + 16, "<L", _central(data) - 1), "directory is not where"),
    ("ZIP64 that says the same", lambda data: _zip64(data, 0), ""),
    ("ZIP64 with another offset", lambda data: _zip64(data, 1), "says something else"),
    ("ZIP64 that is elsewhere", lambda data: _zip64(data, 0, -1), "ZIP64 record is not where"),
    ("half", lambda data: data[: len(data) // 2], "does not end at its end"),
    ("empty", lambda data: b"", "does not end at its end"),
)


@pytest.mark.parametrize(("change", "says"), [(change, says) for _, change, says in TRICKS], ids=[name for name, _, _ in TRICKS])
def test_what_is_said_in_two_ways_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], says: str) -> None:
    """In words that name it; a wheel that is only odd is taken."""
    path = tmp_path / "tricky" / NAME
    path.parent.mkdir()
    path.write_bytes(change(sound(tmp_path)))
    found = list(contradictions(memoryview(path.read_bytes())))
    if not says and not found:
        assert wheel.read(path).name == "tiny"
        return
    assert says in " ".join(found)
    with pytest.raises(WheelhouseError):
        wheel.read(path)


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    """With other contents it is refused: one reader takes the first, another the last. Alike it is nobody's harm."""
    twice = [("tiny.py", b"x = 1\n"), ("tiny.py", b"x = 2\n")]
    with pytest.raises(WheelhouseError, match="says two things") as refused:
        wheel.read(raw_wheel(tmp_path / "other", "tiny", twice))
    assert "'tiny.py': is there twice" in refused.value.problems[0].what
    assert wheel.read(raw_wheel(tmp_path / "alike", "tiny", [twice[0], twice[0]])).name == "tiny"


def test_lengths_behind_the_contents_are_compared(tmp_path: Path) -> None:
    """As those have them who write without going back; what stands there must be what the directory says."""
    raw_wheel(tmp_path, "tiny", {"tiny.py": b"x = 1\n"})
    buffer = io.BytesIO()

    class Unseekable(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            return buffer.write(data)

    with zipfile.ZipFile(tmp_path / NAME) as there, zipfile.ZipFile(Unseekable(), "w") as out, warnings.catch_warnings():  # type: ignore[arg-type]
        for info in there.infolist():
            out.writestr(info, there.read(info))
    data = buffer.getvalue()
    assert data.count(b"PK\7\10") == 4
    (tmp_path / NAME).write_bytes(data)
    assert list(contradictions(memoryview(data))) == []
    assert wheel.read(tmp_path / NAME).name == "tiny"
    at = data.index(b"PK\7\10")
    (found,) = contradictions(memoryview(_set(data, at + 4, "<L", 7)))
    assert "behind its contents" in found


def test_no_bytes_are_a_bug(tmp_path: Path) -> None:
    """Whatever is done to a zip, it is found to be sound or odd, in words."""
    data, chosen = sound(tmp_path), random.Random(1)
    odd = 0
    for _ in range(3000):
        made = bytearray(data)
        for _ in range(chosen.randrange(1, 4)):
            made[chosen.choice([chosen.randrange(len(made)), len(made) - 1 - chosen.randrange(200)])] = chosen.randrange(256)
        cut = chosen.choice([0, 0, chosen.randrange(len(made))])
        odd += bool(list(contradictions(memoryview(bytes(made[cut:])))))
    assert odd > 500
