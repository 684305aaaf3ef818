"""Artifacts put together by hand: every part may say anything of every other. Told the truth, they are valid (``tests.faults.hostile`` sees to it).

Compressed by the standard library's zlib: what a segment is compressed by is no law of the format.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from builder.artifact import INSTALLER_PATH, tar
from builder.install_release import manifest as contract
from builder.install_release.artifact import GZIP_HEADER, MANIFEST_PATH, THIN_PATH, member, signature_path, stored, table_prefix
from builder.install_release.crc import crc32_combine
from builder.install_release.manifest import TOPS, canonical
from builder.install_release.table import Entry, Segment, to_line
from tests.releases import FACTS

Value = dict[str, Any]
Line = Mapping[str, Any] | bytes
PROGRAM = b'#!/usr/bin/python3\n__version__ = "0.0.1"\n'
END = bytes.fromhex("0300")


def deflate(plain: bytes, level: int = 6) -> bytes:
    """A segment: raw, and ended by a full flush."""
    zip = zlib.compressobj(level, zlib.DEFLATED, -15)
    return zip.compress(plain) + zip.flush(zlib.Z_FULL_FLUSH)


@dataclass(frozen=True)
class Piece:
    """Compressed bytes, and what they inflate to: length, CRC-32 (0 where nobody will look)."""

    data: bytes
    size: int
    crc: int = 0

    @classmethod
    def of(cls, plain: bytes) -> Piece:
        return cls(deflate(plain), len(plain), zlib.crc32(plain))

    def line(self, number: int, **lies: Any) -> Value:
        """The line of a table that describes it as segment ``number``."""
        return {"bytes": len(self.data), "segment": number, "sha256": hashlib.sha256(self.data).hexdigest(), "size": self.size, **lies}


@dataclass(frozen=True)
class Laid:
    """A layer as it lies in a file: table, segments, and what the manifest says of it. ``lies`` replace keys of that."""

    name: str
    kind: str
    table: Piece
    segments: tuple[Piece, ...]
    files: int
    size: int
    lies: tuple[tuple[str, Any], ...] = ()


def spell(lines: Iterable[Line]) -> bytes:
    """Lines of a table: those that are bytes as they are, without their line feed."""
    return b"".join(line + b"\n" if isinstance(line, bytes) else canonical(line) for line in lines)


def laid(kind: str, lines: Iterable[Line] | bytes, segments: Sequence[Piece] = (), *, name: str = "", **lies: Any) -> Laid:
    """A layer with a table of ``lines``. ``lies`` replace what the manifest says of it; ``table`` is replaced key by key."""
    text = lines if isinstance(lines, bytes) else spell(lines)
    name = name or kind
    table = Piece.of(table_prefix(name, len(text)) + text + tar.padding(len(text)))
    files = sizes = 0
    for line in () if "files" in lies else text.split(b"\n"):
        try:
            value = json.loads(line)
            if value["type"] == "file":
                files, sizes = files + 1, sizes + value["size"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    sizes = sizes if isinstance(sizes, int) and 0 <= sizes < 1 << 53 else 0
    return Laid(name, kind, table, tuple(segments), files, sizes, tuple(lies.items()))


Content = bytes | tuple[int, bytes] | Path | None  # contents, mode and contents, a link's target, a directory


def entries(top: str, files: Mapping[str, Content]) -> tuple[list[Entry], bytes]:
    """The entries of a layer that holds ``files`` below ``top``, directories added, all in one segment; and that segment's plain bytes."""
    tree: dict[str, Content] = {top: None}
    for name, content in files.items():
        path = f"{top}/{name}"
        for end in (index for index, letter in enumerate(path) if letter == "/"):
            tree.setdefault(path[:end], None)
        tree[path] = content
    found, plain = [], bytearray()
    for path in sorted(tree):
        content = tree[path]
        if content is None:
            entry, data = Entry(path, "dir", "755"), b""
        elif isinstance(content, Path):
            entry, data = Entry(path, "link", "777", target=str(content)), b""
        else:
            mode, data = content if isinstance(content, tuple) else (0o644, content)
            entry = Entry(path, "file", f"{mode:o}", len(data), hashlib.sha256(data).hexdigest())
        head = tar.header(entry)
        found.append(entry._replace(offset=len(plain) + len(head)) if data else entry)
        plain += head + data + tar.padding(len(data))
    return found, bytes(plain)


def honest(kind: str, files: Mapping[str, Content], name: str = "") -> Laid:
    """A layer that tells the truth."""
    found, plain = entries(TOPS[kind], files)
    piece = Piece.of(plain)
    segment = to_line(Segment(0, len(piece.data), piece.size, hashlib.sha256(piece.data).hexdigest()))
    return laid(kind, segment + b"".join(map(to_line, found)), (piece,), name=name)


SOURCE: Mapping[str, Content] = {"app.py": b"VERSION = 1\n", "d/data": bytes(range(256)) * 4, "link": Path("app.py"), "run": (0o755, b"#!/bin/sh\n")}
WHEEL: Mapping[str, Content] = {"lib/tiny.py": b"x = 1\n"}
LAYERS = (honest("src", SOURCE), honest("wheel", WHEEL, "tiny-1.0-py3-none-any"))


@dataclass(frozen=True)
class Forged:
    """An artifact, part by part. ``change`` is done to the manifest's value once all is known, ``spelled`` to its bytes, ``signed`` to those of the
    signatures as they lie there (in stored blocks), ``whole`` to all. ``program``: the inflated member of the installer. ``left_out``: the names of
    the layers that it lacks, being a thin one; ``thin`` is done to the value of its ``thin.json``, ``thinned`` to that member as it lies there."""

    layers: tuple[Laid, ...] = LAYERS
    facts: bytes = contract.to_bytes(FACTS)
    change: Callable[[Value], object] = lambda value: None
    spelled: Callable[[bytes], bytes] = lambda data: data
    head: Callable[[bytes], bytes] = stored
    signatures: tuple[bytes, ...] = ()
    signed: Callable[[bytes], bytes] = lambda data: data
    program: Piece | None = None
    end: Piece | None = None
    trailer: Callable[[bytes], bytes] = lambda data: data
    left_out: tuple[str, ...] | None = None
    thin: Callable[[Value], object] = lambda value: None
    thinned: Callable[[bytes], bytes] = lambda data: data
    whole: Callable[[bytes], bytes] = lambda data: data

    def but(self, **parts: Any) -> Forged:
        """The same with other parts."""
        return replace(self, **parts)

    def manifest(self) -> bytes:
        """``release.json`` as it lies in the artifact."""
        return self._manifest(*self._tail())

    def artifact(self) -> bytes:
        """All of it."""
        pieces, value = self._tail()
        data = self._manifest(pieces, value)
        members = [member(MANIFEST_PATH, data), *(member(signature_path(number), each) for number, each in enumerate(self.signatures, 1))]
        thin: list[bytes] = []
        said: Any = {}
        if self.left_out is not None:
            pieces, said = self._left(pieces, self.left_out)
            thin = [member(THIN_PATH, said.pop("spelled", None) or canonical(said))]
        tail = b"".join(piece.data for piece in pieces)
        plain = b"".join((*members, *thin))
        # What a reader must find there follows from what the manifest says of the tail (or thin.json of what is left), if that is a number at all.
        try:
            said = said or json.loads(data)["tail"]
            crc = crc32_combine(zlib.crc32(plain), said["crc32"] & 0xFFFFFFFF, max(0, said["size"]))
            length = len(plain) + said["size"]
        except (ValueError, KeyError, TypeError, RecursionError):
            crc = length = 0
        trailer = self.trailer(crc.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little"))
        head = GZIP_HEADER + self.head(members[0]) + self.signed(b"".join(map(stored, members[1:])))
        return self.whole(head + self.thinned(b"".join(map(stored, thin))) + tail + trailer)

    def _left(self, pieces: Sequence[Piece], left_out: Sequence[str]) -> tuple[list[Piece], Value]:
        """What a thin one still has, and what it says of that; ``spelled``, if it is there, is said instead of all."""
        layers = [layer for layer in self.layers if layer.name not in left_out]
        left = [pieces[0], *(piece for layer in layers for piece in (layer.table, *layer.segments)), pieces[-1]]
        crc = size = 0
        for piece in left:
            crc, size = crc32_combine(crc, piece.crc, piece.size), size + piece.size
        digests = sorted(hashlib.sha256(layer.table.data).hexdigest() for layer in self.layers if layer.name in left_out)
        said: Value = {"crc32": crc, "left_out": digests, "size": size}
        self.thin(said)
        return left, said

    def _manifest(self, pieces: Sequence[Piece], value: Value) -> bytes:
        self.change(value)
        return self.spelled(canonical(value))

    def _tail(self) -> tuple[list[Piece], Value]:
        """The pieces behind the signatures, and the manifest that describes them."""
        value: Value = json.loads(self.facts)
        first = self.program or Piece.of(member(INSTALLER_PATH, PROGRAM, 0o755))
        last = self.end or Piece(deflate(tar.END) + END, len(tar.END), zlib.crc32(tar.END))
        pieces, position, value["layers"] = [first], len(first.data), []
        for layer in self.layers:
            length = len(layer.table.data) + sum(len(piece.data) for piece in layer.segments)
            lies = dict(layer.lies)
            table = {**_range(layer.table, position), **lies.pop("table", {})}
            described = {"name": layer.name, "kind": layer.kind, "bytes": length, "files": layer.files, "size": layer.size, "table": table, **lies}
            value["layers"].append(described)
            pieces += [layer.table, *layer.segments]
            position += length
        pieces.append(last)
        value["installer"], value["end"] = _range(first, 0), _range(last, position)
        crc = size = 0
        for piece in pieces:
            crc, size = crc32_combine(crc, piece.crc, piece.size), size + piece.size
        value["tail"] = {"bytes": position + len(last.data), "size": size, "crc32": crc}
        return pieces, value


def _range(piece: Piece, offset: int) -> Value:
    return {"offset": offset, "bytes": len(piece.data), "size": piece.size, "sha256": hashlib.sha256(piece.data).hexdigest()}
