"""The tables of layers, compressed as they came, kept in ``.tables/`` beside what was unpacked from them: what ``verify`` proves every file by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator

from . import artifact as artifacts
from . import durable
from . import table as tables
from .artifact import Artifact
from .errors import DamagedError, Problem
from .host import TABLES, Host
from .manifest import Layer
from .table import Entry, Segment


def keep(directory: int, artifact: Artifact, layers: Iterable[Layer]) -> list[Entry]:
    """Write the tables of ``layers`` below the descriptor ``directory``; what was made."""
    durable.make_dir(directory, TABLES)
    made = [Entry(TABLES, "dir", "755")]
    there = durable.open_dir(directory, TABLES)
    try:
        for layer in layers:
            data = artifact.packed_table(layer)
            durable.create_file(there, layer.name, data)
            made.append(Entry(f"{TABLES}/{layer.name}", "file", "644", len(data), layer.digest))
    finally:
        os.close(there)
    return made


def packed(host: Host, directory: str, layer: Layer) -> bytes:
    """The table of ``layer`` as it was kept in ``directory`` (relative to the root). Raises ``DamagedError`` when it is not the layer's."""
    data = host.read(directory, TABLES, layer.name, most=layer.table.bytes)
    if data is None or hashlib.sha256(data).hexdigest() != layer.digest:
        what = "is missing." if data is None else "is not the table that the manifest names."
        raise DamagedError("a table of contents is damaged", [Problem(host.path(directory, TABLES, layer.name), what)])
    return data


def entries(host: Host, directory: str, layer: Layer) -> Iterator[Entry]:
    """What ``layer`` put into ``directory``, by its own table. Raises ``DamagedError`` when that is not the layer's."""
    data = packed(host, directory, layer)
    for line in tables.parse(artifacts.table_blocks(data, layer), layer.top, layer.name, layer.files):
        if not isinstance(line, Segment):
            yield Entry(line.path, line.type, line.mode, line.size, line.sha256, target=line.target)
