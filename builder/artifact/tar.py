"""The tar headers of an artifact: GNU format, no owner, one time, so that every reader extracts and lists the same."""

from __future__ import annotations

from ..install_release.artifact import long_name, padded, tar_header
from ..install_release.table import Entry

_TYPES = {"file": b"0", "link": b"2", "dir": b"5"}
BLOCK = 512
END = b"\0" * (2 * BLOCK)


def header(entry: Entry) -> bytes:
    """All header blocks of a table's entry; a file's contents follow them, padded to whole blocks."""
    path = f"release/{entry.path}".encode() + (b"/" if entry.type == "dir" else b"")
    target = entry.target.encode()
    long = (long_name(target, b"K") if len(target) > 100 else b"") + (long_name(path, b"L") if len(path) > 100 else b"")
    return long + tar_header(path[:100], entry.size, int(entry.mode, 8), _TYPES[entry.type], target[:100])


def padding(size: int) -> bytes:
    """The zeros after a file of ``size`` bytes."""
    return b"\0" * (padded(size) - size)
