"""Tables of contents: what a hostile one says is refused at its line."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.install_release import table
from builder.install_release.errors import ArtifactError
from builder.install_release.table import Entry, Segment, inside, to_line

SHA = "0" * 64
SEGMENT = {"segment": 0, "bytes": 10, "size": 2048, "sha256": SHA}
TOP = {"path": "src", "type": "dir", "mode": "755"}


def file(path: str, **changes: Any) -> dict[str, Any]:
    return {"path": path, "type": "file", "mode": "644", "size": 3, "sha256": SHA, "segment": 0, "offset": 512, **changes}


def link(path: str, target: str) -> dict[str, Any]:
    return {"path": path, "type": "link", "mode": "777", "target": target}


def read(*lines: Any) -> list[table.Line]:
    raw = [line if isinstance(line, bytes) else json.dumps(line, sort_keys=True, separators=(",", ":")).encode() for line in lines]
    return list(table.parse(raw, "src", "layer"))


def test_lines_survive_a_round_trip() -> None:
    """What is written is what is read."""
    lines = [
        Segment(0, 10, 2048, SHA),
        Entry("src", "dir", "755"),
        Entry("src/a.py", "file", "644", 3, SHA, 0, 512),
        Entry("src/b", "link", "777", target="a.py"),
    ]
    assert list(table.parse((to_line(line).rstrip(b"\n") for line in lines), "src", "x")) == lines


@pytest.mark.parametrize(
    "lines",
    [
        [SEGMENT, file("src/a")],  # no directory
        [SEGMENT, TOP, file("src/b/a")],
        [SEGMENT, TOP, file("etc/a")],
        [SEGMENT, TOP, file("src/b"), file("src/a")],
        [SEGMENT, TOP, file("src/a"), file("src/a")],
        [SEGMENT, TOP, TOP],
        [SEGMENT, file("src")],
        [SEGMENT, TOP, file("../src/a")],
        [SEGMENT, TOP, file("/etc/passwd")],
        [SEGMENT, TOP, file("src/../../a")],
        [SEGMENT, TOP, file("src/a\n")],
        [SEGMENT, TOP, file("src/a", mode="4755")],
        [SEGMENT, TOP, file("src/a", mode="666")],
        [SEGMENT, TOP, file("src/a", mode=644)],
        [SEGMENT, TOP, file("src/a", size=-1)],
        [SEGMENT, TOP, file("src/a", size=True)],
        [SEGMENT, TOP, file("src/a", size=3.0)],
        [SEGMENT, TOP, file("src/a", segment=1)],
        [SEGMENT, TOP, file("src/a", offset=4096)],
        [SEGMENT, TOP, file("src/a", sha256="x")],
        [SEGMENT, TOP, file("src/a", extra=1)],
        [SEGMENT, TOP, {"path": "src/a", "type": "fifo", "mode": "644"}],
        [SEGMENT, TOP, {"path": "src/a", "type": ["dir"], "mode": "755"}],
        [SEGMENT, TOP, {"path": 7, "type": "dir", "mode": "755"}],
        [SEGMENT, TOP, link("src/a", "/etc/passwd")],
        [SEGMENT, TOP, link("src/a", "../etc")],
        [SEGMENT, TOP, link("src/a", "")],
        [SEGMENT, TOP, link("src/a", "b\0c")],
        [SEGMENT, TOP, link("src/a", "."), file("src/a/b")],  # through a link
        [SEGMENT, SEGMENT],
        [{**SEGMENT, "segment": 1}],
        [{**SEGMENT, "bytes": 0}],
        [{**SEGMENT, "size": 1 << 30}],
        [{**SEGMENT, "sha256": None}],
        [SEGMENT, TOP, link("src/a", "b\x1b[2J")],
        [SEGMENT, TOP, link("src/a", "\ud800")],
        [SEGMENT, TOP, {"mode": "755", "path": "src/d", "type": "dir"}, link("src/d/l", ".."), link("src/m", "d/l/../../..")],  # through a link
        [SEGMENT, TOP, *(file(f"src/{n}") for n in range(9))],  # more headers than the segment has room for
        [SEGMENT, TOP, b'{"mode":"755","path":"src/e","path":"src/d","type":"dir"}'],
        [SEGMENT, TOP, b'{"mode": "755","path":"src/d","type":"dir"}'],
        [SEGMENT, TOP, b'{"mode":"755","path":"src\\/d","type":"dir"}'],
        [SEGMENT],
        [b"[]"],
        [b"\xff"],
        [b""],
        [b"[" * 50_000],
    ],
)
def test_a_table_that_leads_astray_is_refused(lines: list[Any]) -> None:
    """Outside, out of order, twice, through links, of odd types, modes or numbers: a typed error, always."""
    with pytest.raises(ArtifactError):
        read(*lines)


@pytest.mark.parametrize(
    ("target", "good"), [("b", True), ("../src/b", False), ("./b", True), ("x/../b", False), ("..", False), ("../../etc", False), ("/src/b", False)]
)
def test_links_point_inside_their_layer(target: str, good: bool) -> None:
    """A link's target is judged by its letters alone: it may never leave the top, not even to come back."""
    assert inside("src/a", target, "src") is good
