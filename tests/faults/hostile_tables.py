"""Hostile tables of contents: paths that lead out, links that do, types and numbers that lie, more lines than anybody can hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from builder.install_release.artifact import table_prefix
from builder.install_release.manifest import canonical

from .forge import LAYERS, Forged, Laid, Line, Piece, Value, deflate, laid, spell
from .hostile_cases import ACCEPTED, Case
from .hostile_manifests import ESCAPE

PLAIN = b"0123456789abcdef" * 256
PIECE = Piece.of(PLAIN)
OTHER = Piece.of(PLAIN[::-1])
SEGMENT = PIECE.line(0)
ROOM = Piece.of(bytes(1 << 18))  # for 512 headers
ROOMY = ROOM.line(0)
TOP: Value = {"mode": "755", "path": "src", "type": "dir"}
WHEEL = LAYERS[1]


def directory(path: str, **lies: Any) -> Value:
    return {"mode": "755", "path": path, "type": "dir", **lies}


def file(path: str, size: int = 3, offset: int = 0, **lies: Any) -> Value:
    digest = hashlib.sha256(PLAIN[offset : offset + size]).hexdigest() if offset >= 0 and size < 1 << 20 else "0" * 64
    where = offset if size else 0
    return {"mode": "644", "offset": where, "path": path, "segment": 0, "sha256": digest, "size": size, "type": "file", **lies}


def link(path: str, target: Any, **lies: Any) -> Value:
    return {"mode": "777", "path": path, "target": target, "type": "link", **lies}


def source(*lines: Line, segments: tuple[Piece, ...] = (PIECE,), **lies: Any) -> Laid:
    return laid("src", lines, segments, **lies)


def refused(group: str, name: str, says: str, *lines: Line, segments: tuple[Piece, ...] = (PIECE,), **more: Any) -> Case:
    """A source with these lines, and nothing wrong but for them."""
    return Case.of(f"tables: {group}", name, says, Forged((source(*lines, segments=segments), WHEEL)), **more)


UNSAFE, ASTRAY = "is not a safe path", "has no directory before it, or is not below"
PATHS: tuple[tuple[str, str, str], ...] = (
    ("absolute", UNSAFE, "/etc/passwd"),
    ("absolute in the jail", UNSAFE, "/tmp/evil"),
    ("two slashes before", UNSAFE, "//etc/passwd"),
    ("up", UNSAFE, ".."),
    ("up and away", UNSAFE, "../../../outside/evil"),
    ("up from the top", UNSAFE, "src/../../evil"),
    ("up at the end", UNSAFE, "src/.."),
    ("down and up", UNSAFE, "src/x/../../../evil"),
    ("up and back", UNSAFE, "../src/x"),
    ("a dot", UNSAFE, "."),
    ("a dot inside", UNSAFE, "src/./x"),
    ("a dot before", UNSAFE, "./src/x"),
    ("a dot after", UNSAFE, "src/x/."),
    ("an empty part", UNSAFE, "src//x"),
    ("a slash after", UNSAFE, "src/x/"),
    ("empty", UNSAFE, ""),
    ("a NUL", UNSAFE, "src/a\0b"),
    ("a NUL and a suffix", UNSAFE, "src/evil\0.txt"),
    ("a line feed", UNSAFE, "src/a\nb"),
    ("a carriage return", UNSAFE, "src/a\rb"),
    ("a tab", UNSAFE, "src/a\tb"),
    ("a bell", UNSAFE, "src/\x07"),
    ("an escape", UNSAFE, f"src/{ESCAPE}"),
    ("a delete", UNSAFE, "src/\x7f"),
    ("a C1 control", UNSAFE, "src/\x9b2J"),
    ("a next line", UNSAFE, "src/a\x85b"),
    ("a line separator", UNSAFE, "src/a\u2028b"),
    ("a paragraph separator", UNSAFE, "src/a\u2029b"),
    ("a zero-width space", UNSAFE, "src/a\u200bb"),
    ("a zero-width joiner", UNSAFE, "src/a\u200db"),
    ("a soft hyphen", UNSAFE, "src/a\u00adb"),
    ("a byte order mark", UNSAFE, "src/\ufeffa"),
    ("right to left", UNSAFE, "src/exe.\u202egpj"),
    ("an isolate", UNSAFE, "src/a\u2066b"),
    ("a tag", UNSAFE, "src/a\U000e0041"),
    ("a no-break space", UNSAFE, "src/a\u00a0b"),
    ("an ideographic space", UNSAFE, "src/a\u3000b"),
    ("for private use", UNSAFE, "src/\ue000"),
    ("no character", UNSAFE, "src/\uffff"),
    ("not assigned", UNSAFE, "src/\U000e0fff"),
    ("the first half of a character", UNSAFE, "src/\ud800"),
    ("the second half of a character", UNSAFE, "src/\udc00"),
    ("halves in the wrong order", UNSAFE, "src/\udc00\ud800"),
    ("a byte that is no UTF-8", UNSAFE, "src/\udcff"),
    ("a part of 256 bytes", UNSAFE, "src/" + "x" * 256),
    ("a part of 256 bytes in 128 letters", UNSAFE, "src/" + "\xe4" * 128),
    ("5000 bytes", UNSAFE, "src/" + "/".join(["x" * 200] * 25)),
    ("129 parts", UNSAFE, "src/" + "/".join(["d"] * 128)),
    ("2000 parts", UNSAFE, "src/" + "/".join(["d"] * 2000)),
    ("100 000 bytes", UNSAFE, "src/" + "x" * 100_000),
    ("below another top", ASTRAY, "venv/bin/python"),
    ("below etc", "", "etc/passwd"),
    ("the release's own manifest", "", "release.json"),
    ("the host's own record", "", "install.json"),
    ("the release's launcher", "", "bin/run"),
    ("the lease", "", ".lease"),
    ("the kept tables", "", ".tables/src"),
    ("the revision", "", "REVISION"),
    ("the environment", ASTRAY, "venv"),
    ("the state", "", ".install/journal.json"),
    ("without its directory", ASTRAY, "src/d/x"),
    ("a top that only begins alike", ASTRAY, "src2/x"),
    ("a top in upper case", "", "SRC/x"),
)


def _paths() -> Iterator[Case]:
    for name, says, path in PATHS:
        yield refused("paths", f"a file: {name}", says, SEGMENT, TOP, file(path))
        if says == UNSAFE:
            yield refused("paths", f"a directory: {name}", says, SEGMENT, TOP, directory(path))
            yield refused("paths", f"a link: {name}", says, SEGMENT, TOP, link(path, "x"))
        else:
            yield refused("paths", f"a directory: {name}", "", SEGMENT, TOP, directory(path))
    ladder = ["src", *("src/" + "/".join(["d" * 255] * n) for n in range(1, 17))]
    yield refused("paths", "a ladder to PATH_MAX", UNSAFE, ROOMY, *map(directory, ladder), segments=(ROOM,))
    deep = ["src", *("src/" + "/".join(["d"] * n) for n in range(1, 129))]
    yield refused("paths", "a ladder of 129", UNSAFE, ROOMY, *map(directory, deep), segments=(ROOM,))
    yield refused("paths", "the longest ladder", "", ROOMY, *map(directory, deep[:128]), file(f"{deep[126]}/f"), statuses=ACCEPTED, segments=(ROOM,))
    long = ["src", *("src/" + "/".join(["d" * 255] * n) for n in range(1, 16))]
    yield refused("paths", "the longest path", "", ROOMY, *map(directory, long), statuses=ACCEPTED, segments=(ROOM,))
    same = ("a", "A", "e\u0301", "\xe9", "\uff41", "\u212a", "K", "k", "\xdf", "ss", "ﬁ", "fi", "\u0131", "I", "i")
    collide = [file(f"src/{name}", 1, index) for index, name in enumerate(sorted(same))]
    yield refused("paths", "names that differ by case and by form alone", "", ROOMY, TOP, *collide, statuses=ACCEPTED, segments=(ROOM,))
    pairs = [("case", "src/readme", "src/README"), ("NFC and NFD", "src/\xe9", "src/e\u0301"), ("NFKC", "src/\u212a", "src/K")]
    for name, first, second in pairs:
        lines = sorted([file(first), link(second, "x")], key=lambda line: str(line["path"]))
        yield refused("paths", f"a file and a link that differ by {name}", "", SEGMENT, TOP, *lines, statuses=ACCEPTED)


TARGETS: tuple[tuple[str, str], ...] = (
    ("absolute", "/etc/passwd"),
    ("two slashes before", "//etc/passwd"),
    ("up", ".."),
    ("up from the top", "../etc"),
    ("far up", "../" * 40 + "etc/passwd"),
    ("up and back", "../src/x"),
    ("up and back from above", "../../release/src/x"),
    ("down and up", "d/../../.."),
    ("a dot and up", "./.."),
    ("empty parts and up", ".//..//.."),
    ("down, then up, within the top", "d/../x"),
    ("through a link, then up", "to/../x"),
    ("empty", ""),
    ("a NUL", "a\0b"),
    ("a line feed", "a\nb"),
    ("an escape", ESCAPE),
    ("half a character", "\ud800"),
    ("a byte that is no UTF-8", "\udcff"),
    ("right to left", "a\u202eb"),
    ("4096 bytes", "x/" * 2048),
    ("5000 bytes", "x" * 5000),
    ("3000 letters in 6000 bytes", "\xe4/" * 1500 + "\xe4" * 3000),
    ("100 000 bytes", "x/" * 50_000),
)


def _links() -> Iterator[Case]:
    for name, target in TARGETS:
        yield refused("links", f"to: {name}", "points outside", SEGMENT, TOP, link("src/a", target))
    for name, kind in (("null", None), ("a number", 7), ("a list", ["x"]), ("true", True), ("an object", {"a": "b"})):
        yield refused("links", f"to {name}", "", SEGMENT, TOP, link("src/a", kind))
    # Each is harmless on its own; one through the other leads out: l is four directories down, and points to the top.
    deep = [directory(f"src/{'/'.join('dddd'[:n])}") for n in range(1, 5)]
    yield refused(
        "links",
        "through a link to outside",
        "points outside",
        SEGMENT,
        TOP,
        *deep,
        link("src/d/d/d/d/l", "../../../.."),
        link("src/m", "d/d/d/d/l/../../.."),
    )
    yield refused("links", "chains to outside", "points outside", SEGMENT, TOP, link("src/a", "."), link("src/b", "a/.."), link("src/c", "b/../.."))
    yield refused("links", "a file below a link", ASTRAY, SEGMENT, TOP, link("src/a", "."), file("src/a/b"))
    yield refused("links", "a file below a link to outside", "", SEGMENT, TOP, link("src/a", "../../../outside"), file("src/a/evil"))
    yield refused("links", "a link below a link", ASTRAY, SEGMENT, TOP, link("src/a", "."), link("src/a/b", "c"))
    yield refused("links", "a directory below a link", ASTRAY, SEGMENT, TOP, link("src/a", "."), directory("src/a/b"))
    yield refused("links", "a file below a file", ASTRAY, SEGMENT, TOP, file("src/a"), file("src/a/b"))
    yield refused("links", "a directory below a file", ASTRAY, SEGMENT, TOP, file("src/a"), directory("src/a/b"))
    yield refused("links", "a link and then a directory of the same name", "", SEGMENT, TOP, link("src/a", "."), directory("src/a"))
    yield refused("links", "a directory and then a link of the same name", "", SEGMENT, TOP, directory("src/a"), link("src/a", "."))
    yield refused("links", "a link and then a file of the same name", "", SEGMENT, TOP, link("src/a", "/etc/passwd"), file("src/a"))
    yield refused("links", "a top that is a link", ASTRAY, SEGMENT, link("src", "."))
    yield refused("links", "a top that is a file", ASTRAY, SEGMENT, file("src"))
    yield refused("links", "a loop", "", SEGMENT, TOP, link("src/a", "b"), link("src/b", "a"), statuses=ACCEPTED)
    yield refused("links", "to itself", "", SEGMENT, TOP, link("src/a", "a"), statuses=ACCEPTED)
    yield refused("links", "to nothing", "", SEGMENT, TOP, link("src/a", "-rf"), statuses=ACCEPTED)
    yield refused(
        "links", "40 in a chain", "", ROOMY, TOP, *(link(f"src/{n:02}", f"{n + 1:02}") for n in range(50)), statuses=ACCEPTED, segments=(ROOM,)
    )


def _shapes() -> Iterator[Case]:
    """Order, repetitions, spellings, types, modes, numbers."""
    good = file("src/a")
    text = canonical(good)[:-1]
    late = "is out of order or there twice"
    yield refused("order", "files out of order", late, SEGMENT, TOP, file("src/b"), file("src/a"))
    yield refused("order", "a file twice", late, SEGMENT, TOP, good, good)
    yield refused("order", "a file twice, differently", late, SEGMENT, TOP, good, file("src/a", 7))
    yield refused("order", "a directory twice", late, SEGMENT, TOP, directory("src/d"), directory("src/d"))
    yield refused("order", "the top twice", late, SEGMENT, TOP, TOP)
    yield refused("order", "the top at the end", "", SEGMENT, good, TOP)
    yield refused("order", "in the order of letters, not of bytes", late, SEGMENT, TOP, file("src/a"), file("src/B"))
    yield refused("order", "in the order of UTF-16", late, SEGMENT, TOP, file("src/\U0001f40d"), file("src/\uff41"))
    yield refused("order", "no entries", "", SEGMENT)
    yield refused("order", "no lines", "", segments=())
    for name, line in (
        ("white space", text.replace(b",", b", ", 1)),
        ("white space before", b" " + text),
        ("white space after", text + b" "),
        ("a carriage return", text + b"\r"),
        ("keys out of order", json.dumps(dict(reversed(good.items())), separators=(",", ":")).encode()),
        ("a key twice", text.replace(b'"path":"src/a"', b'"path":"src/evil","path":"src/a"')),
        ("a key twice, alike", text.replace(b'"path":"src/a"', b'"path":"src/a","path":"src/a"')),
        ("an escaped letter", text.replace(b"src/a", b"src/\\u0061")),
        ("an escaped slash", text.replace(b"src/a", b"src\\/a")),
        ("upper case in an escape", text.replace(b"src/a", b"src/\\u00E9")),
        ("raw UTF-8", text.replace(b"src/a", "src/\xe9".encode())),
        ("Latin-1", text.replace(b"src/a", b"src/\xe9")),
        ("a float", text.replace(b'"size":3', b'"size":3.0')),
        ("a float in powers of ten", text.replace(b'"size":3', b'"size":3e0')),
        ("a zero before", text.replace(b'"size":3', b'"size":03')),
        ("minus zero", text.replace(b'"offset":0', b'"offset":-0')),
        ("NaN", text.replace(b'"size":3', b'"size":NaN')),
        ("a number of 100 000 digits", text.replace(b'"size":3', b'"size":' + b"9" * 100_000)),
        ("a digest in upper case", text.replace(good["sha256"].encode(), good["sha256"].upper().encode())),
        ("a digest of wide digits", text.replace(good["sha256"].encode(), b"\\uff11" * 64)),
    ):
        yield refused("spelling", name, "line 3", SEGMENT, TOP, line)
    for name, line in (
        ("an empty line", b""),
        ("a list", b"[]"),
        ("null", b"null"),
        ("a number", b"7"),
        ("an empty object", b"{}"),
        ("no JSON", b"\xff"),
        ("a NUL", b"\0"),
        ("lists in lists", b"[" * 60_000),
        ("objects in objects", b'{"a":' * 20_000),
        ("512 letters", b"x" * 512),
    ):
        yield refused("spelling", f"a line that is {name}", "line 3" if line != b"\0" else "", SEGMENT, TOP, line)
    yield Case.of(
        "tables: spelling", "no line feed at its end", "middle of a line", Forged((laid("src", spell([SEGMENT, TOP])[:-1], (PIECE,)), WHEEL))
    )
    yield Case.of(
        "tables: spelling", "half a line at its end", "middle of a line", Forged((laid("src", spell([SEGMENT, TOP]) + text[:9], (PIECE,)), WHEEL))
    )
    header = table_prefix("src", 0)
    other = Piece.of(b"x" * len(header) + spell([SEGMENT, TOP]))
    lie = laid("src", [SEGMENT, TOP], (PIECE,))
    yield Case.of(
        "tables: spelling",
        "another tar header",
        "",
        Forged((Laid("src", "src", other, lie.segments, 0, 0), WHEEL)),
        statuses=(0, 3),
        verified="table",
    )
    for mode in ("4755", "2755", "1777", "666", "777", "600", "000", "0644", "", "rwx", 420, 755, None, ["755"], True):
        yield refused("modes", f"a file of mode {mode!r}", "line 3", SEGMENT, TOP, file("src/a", mode=mode))
    for mode in ("777", "2755", "1777", "700", "000", 755, None):
        yield refused("modes", f"a directory of mode {mode!r}", "line 3", SEGMENT, TOP, directory("src/d", mode=mode))
    for mode in ("755", "644", 777):
        yield refused("modes", f"a link of mode {mode!r}", "line 3", SEGMENT, TOP, link("src/l", "x", mode=mode))
    for kind in ("fifo", "block", "char", "socket", "hardlink", "FILE", "", "0", None, 0, [], ["file"], {}):
        yield refused("types", f"an entry of type {kind!r}", "line 3", SEGMENT, TOP, file("src/a", type=kind))
    for key in good:
        bare = {name: value for name, value in good.items() if name != key}
        yield refused("types", f"a file without {key}", "line 3", SEGMENT, TOP, bare)
        for name, value in (("null", None), ("a list", []), ("true", True), ("a float", 1.5), ("an object", {})):
            yield refused("types", f"a file whose {key} is {name}", "line 3", SEGMENT, TOP, {**good, key: value})
    for key in SEGMENT:
        bare = {name: value for name, value in SEGMENT.items() if name != key}
        yield refused("types", f"a segment without {key}", "line 1", bare, TOP, good)
        for name, value in (("null", None), ("a string", "7"), ("true", True), ("a float", 1.5), ("negative", -1)):
            yield refused("types", f"a segment whose {key} is {name}", "line 1", {**SEGMENT, key: value}, TOP, good)
    yield refused("types", "a file with a target", "line 3", SEGMENT, TOP, file("src/a", target="x"))
    yield refused("types", "a link with contents", "line 3", SEGMENT, TOP, link("src/a", "x", size=3))
    yield refused("types", "a directory with contents", "line 3", SEGMENT, TOP, directory("src/a", size=3))
    yield refused("types", "a file with an owner", "line 3", SEGMENT, TOP, file("src/a", uid=0))
    yield refused("types", "an unknown line", "line 3", SEGMENT, TOP, {"comment": ESCAPE})


BIG = (1 << 53) - 1


def _places() -> Iterator[Case]:
    """Where contents are: outside, overlapping, in segments that are none."""
    outside = "lies outside its segment"
    first, second = PIECE.line(0), OTHER.line(1)
    two = (PIECE, OTHER)
    yield refused("places", "a file without a segment", "", TOP, file("src/a"), segments=())
    yield refused("places", "a file before its segment", "", TOP, file("src/a"), SEGMENT)
    yield refused("places", "a file in a segment that comes later", outside, first, TOP, file("src/a", segment=1), second, segments=two)
    yield refused("places", "a file that begins behind its segment", outside, SEGMENT, TOP, file("src/a", offset=4096))
    yield refused("places", "a file that begins at 2^53", outside, SEGMENT, TOP, file("src/a", offset=BIG))
    yield refused("places", "a file of 2^53 bytes", "", SEGMENT, TOP, file("src/a", size=BIG), statuses=(3,))
    yield refused("places", "a file that ends behind its segment", "not where", SEGMENT, TOP, file("src/a", 4097))
    yield refused("places", "a file whose end overflows", "", SEGMENT, TOP, file("src/a", size=BIG, offset=4095))
    yield refused("places", "a file of a negative length", "line 3", SEGMENT, TOP, file("src/a", size=-1))
    yield refused("places", "a file at a negative offset", "line 3", SEGMENT, TOP, file("src/a", offset=-1))
    yield refused("places", "a file in a negative segment", "line 3", SEGMENT, TOP, file("src/a", segment=-1))
    yield refused("places", "two files that overlap", "not where", SEGMENT, TOP, file("src/a", 9, 0), file("src/b", 9, 4))
    yield refused("places", "two files in the same place", "not where", SEGMENT, TOP, file("src/a", 9), file("src/b", 9))
    yield refused("places", "a file that lies before the one before it", "not where", SEGMENT, TOP, file("src/a", 9, 99), file("src/b", 9))
    yield refused("places", "a file in an earlier segment", "not where", first, TOP, file("src/a"), second, file("src/b", 3, 9), segments=two)
    run, three = (ROOMY, TOP, PIECE.line(1), OTHER.line(2)), (ROOM, *two)
    yield refused("places", "a file over two segments", "", *run, file("src/a", 5000, segment=1), segments=three, statuses=ACCEPTED)
    yield refused(
        "places", "two files in two segments in a row", "not where", *run, file("src/a", 4100, segment=1), file("src/b", segment=2), segments=three
    )
    yield refused("places", "a small file before a large one's end", "", *run, file("src/a", 3, segment=1), segments=three)
    yield refused("places", "a large file that begins in the second", "", *run, file("src/a", 3, segment=2), segments=three)
    yield refused("places", "a file longer than its segments", "not where", *run, file("src/a", 8193, segment=1), segments=three)
    yield refused("places", "a directory behind segments in a row", "in a row", *run, directory("src/d"), segments=three)
    yield refused("places", "an empty file behind segments in a row", "in a row", *run, file("src/a", 0), segments=three)
    yield refused("places", "segments that nothing lies in", "fill", *run, segments=three)
    yield refused("places", "segments out of turn", "out of turn", {**SEGMENT, "segment": 1}, TOP)
    yield refused("places", "a segment twice", "out of turn", first, first, TOP)
    yield refused("places", "a segment too few", "fill", first, TOP, file("src/a"), segments=two)
    yield refused("places", "a segment too many", "", first, TOP, file("src/a"), second)
    yield refused("places", "a segment of no bytes", "impossible", {**SEGMENT, "bytes": 0}, TOP)
    yield refused("places", "a segment of no size", "impossible", {**SEGMENT, "size": 0}, TOP)
    yield refused("places", "a segment of 17 MiB", "impossible", {**SEGMENT, "bytes": 17 << 20}, TOP)
    yield refused("places", "a segment that inflates to 17 MiB", "impossible", {**SEGMENT, "size": 17 << 20}, TOP)
    yield refused("places", "a segment of 2^53", "impossible", {**SEGMENT, "size": BIG}, TOP)
    yield refused("places", "a segment that is shorter", "", {**SEGMENT, "bytes": SEGMENT["bytes"] - 1}, TOP, file("src/a"))
    yield refused("places", "a segment that is longer", "", {**SEGMENT, "bytes": SEGMENT["bytes"] + 1}, TOP, file("src/a"))
    yield refused("places", "a segment of another digest", "differs from its digest", {**SEGMENT, "sha256": "0" * 64}, TOP, file("src/a"))
    yield refused("places", "a segment that inflates to less", "stated", {**SEGMENT, "size": 4095}, TOP, file("src/a"))
    yield refused("places", "a segment that inflates to more", "stated", {**SEGMENT, "size": 4097}, TOP, file("src/a"))
    swapped = Forged((laid("src", [first, TOP, file("src/a"), second, file("src/b", segment=1)], (OTHER, PIECE)), WHEEL))
    yield Case.of("tables: places", "segments that were swapped", "differs from its digest", swapped)


def _twice() -> Iterator[Case]:
    """Two layers that say different things of one path."""
    differ = "is not valid"

    def pair(name: str, says: str, first: list[Value], second: list[Value], **more: Any) -> Case:
        layers = (laid("src", [SEGMENT, TOP, *first], (PIECE,), name="a"), laid("src", [SEGMENT, TOP, *second], (PIECE,), name="b"), WHEEL)
        return Case.of("tables: two layers", name, says, Forged(layers), **more)

    a = file("src/x")
    yield pair("other contents", differ, [a], [file("src/x", 3, 1)])
    yield pair("another length", differ, [a], [file("src/x", 4)])
    yield pair("another mode", differ, [a], [file("src/x", mode="755")])
    yield pair("a digest that lies", differ, [a], [file("src/x", sha256="0" * 64)])
    yield pair("a file and a link", differ, [a], [link("src/x", "y")])
    yield pair("a link and a file", differ, [link("src/x", "y")], [a])
    yield pair("a file and a directory", differ, [a], [directory("src/x")])
    yield pair("a directory and a file", differ, [directory("src/x")], [a])
    yield pair("a directory and an empty file", differ, [directory("src/x")], [file("src/x", 0)])
    yield pair("a file and a directory with files", differ, [a], [directory("src/x"), file("src/x/y")])
    yield pair("a directory with files and a file", differ, [directory("src/x"), file("src/x/y")], [a])
    yield pair("a link and a directory", differ, [link("src/x", "y")], [directory("src/x")])
    yield pair("a directory and a link", differ, [directory("src/x")], [link("src/x", "y")])
    yield pair("a link and a directory with files", differ, [link("src/x", "y")], [directory("src/x"), file("src/x/evil")])
    yield pair("links to two places", differ, [link("src/x", "y")], [link("src/x", "z")])
    yield pair("all alike", "", [a, link("src/y", "x")], [a, link("src/y", "x")], statuses=ACCEPTED)
    for name in ("pyvenv.cfg", "bin/python", "bin/python3", ".tables", ".tables/src", "lib64", "lib"):
        parts = name.split("/")
        above = [directory("venv"), *(directory("venv/" + "/".join(parts[:n])) for n in range(1, len(parts)))]
        wheel = laid("wheel", [SEGMENT, *above, file(f"venv/{name}")], (PIECE,), name="evil-1")
        may = {"lib64": (0, 3), ".tables/src": (0, 3), ".tables": (3, 4), "lib": (3, 4)}.get(name, (3,))  # once it is unpacked: rolled back
        yield Case.of("tables: reserved", f"a wheel that brings {name}", "", Forged((LAYERS[0], wheel)), statuses=may)
        wheel = laid("wheel", [SEGMENT, *above, link(f"venv/{name}", "evil")], (PIECE,), name="evil-1")
        yield Case.of("tables: reserved", f"a wheel that brings a link {name}", "", Forged((LAYERS[0], wheel)), statuses=may)
    site = ["venv/lib", "venv/lib/python3.11", "venv/lib/python3.11/site-packages"]
    lines = [SEGMENT, directory("venv"), *map(directory, site), link(f"{site[-1]}/00_pin.pth", "evil")]
    yield Case.of("tables: reserved", "a pin that is a link", "", Forged((LAYERS[0], laid("wheel", lines, (PIECE,), name="evil-1"))), statuses=(0, 3))
    lines = [SEGMENT, directory("venv"), link("venv/bin", "lib"), directory("venv/lib")]
    yield Case.of("tables: reserved", "a bin that is a link", "", Forged((LAYERS[0], laid("wheel", lines, (PIECE,), name="evil-1"))), statuses=(3, 4))
    lines = [SEGMENT, directory("venv"), link("venv/lib", "bin")]
    yield Case.of("tables: reserved", "a lib that is a link", "", Forged((LAYERS[0], laid("wheel", lines, (PIECE,), name="evil-1"))), statuses=(3, 4))
    etc = [SEGMENT, directory("etc"), link("etc/passwd", "../../../outside/canary")]
    yield Case.of("tables: reserved", "a link in etc that leads out", "points outside", Forged((laid("etc", etc, (PIECE,)), *LAYERS)))
    etc = [SEGMENT, directory("etc"), file("etc/a", 4097)]
    yield Case.of("tables: reserved", "a file in etc that ends behind its segment", "not where", Forged((laid("etc", etc, (PIECE,)), *LAYERS)))


def _many(count: int, line: str, last: Iterable[Line] = ()) -> bytes:
    head, end = spell([SEGMENT, TOP]), spell(last)
    return head + "".join(line % n for n in range(count)).encode() + end


def _counts() -> Iterator[Case]:
    """More of everything than any release has."""
    million = 1_000_000
    empty = hashlib.sha256(b"").hexdigest()
    a_file = f'{{"mode":"644","offset":0,"path":"src/%07d","segment":0,"sha256":"{empty}","size":0,"type":"file"}}\n'
    a_directory = '{"mode":"755","path":"src/%07d","type":"dir"}\n'
    a_link = '{"mode":"777","path":"src/%07d","target":"x","type":"link"}\n'

    def heavy(name: str, says: str, text: Any, segments: tuple[Piece, ...] = (PIECE,), **lies: Any) -> Case:
        def make() -> bytes:
            return Forged((laid("src", text(), segments, **{"files": 0, **lies}), WHEEL)).artifact()

        return Case("tables: counts", name, says, make, heavy=True)

    yield heavy("a million files, two stated", "files", partial(_many, million, a_file), files=2)
    yield heavy("a million directories", "", partial(_many, million, a_directory))
    yield heavy("a million links", "", partial(_many, million, a_link))
    yield heavy("60 000 directories that hold nothing", "", partial(_many, 60_000, a_directory))
    yield heavy("a million segments in a row", "", lambda: spell(PIECE.line(n) for n in range(million)), files=1)
    yield heavy("a million segments of a byte", "", lambda: spell({**PIECE.line(n), "bytes": 1} for n in range(million)), bytes=1 << 21)
    yield heavy("a million empty lines", "line 3", partial(_many, million, "%.0s\n"))
    yield heavy("a line of 100 MB", "no writer makes", lambda: spell([SEGMENT, TOP]) + b'{"mode":"' + b"7" * 100_000_000)
    yield heavy("a line of 100 MB in white space", "", lambda: spell([SEGMENT, TOP]) + b" " * 100_000_000)
    yield heavy("lines of 120 kB", "", lambda: spell([SEGMENT, TOP]) + (b'{"a":"' + b"x" * 120_000 + b'"}\n') * 1000)

    def hollow() -> bytes:
        """Each segment is said to have room for 31 000 directories, and has for eight."""
        rows = []
        for number in range(32):
            rows.append(canonical({**PIECE.line(number), "size": 16 << 20}) + (b"" if number else canonical(TOP)))
            rows += [b'{"mode":"755","path":"src/%07d","type":"dir"}\n' % (number * 31_000 + each) for each in range(31_000)]
        return b"".join(rows)

    yield heavy("a million directories in segments that hold none", "stated", hollow, (PIECE,) * 32)

    def bomb() -> bytes:
        unit = deflate(b"\n" * (1 << 20))
        text = table_prefix("src", 1 << 30)
        table = Piece(deflate(text) + unit * 1024, len(text) + (1 << 30))
        return Forged((Laid("src", "src", table, (PIECE,), 0, 0), WHEEL)).artifact()

    def zeros(size: int) -> bytes:
        unit = deflate(bytes(1 << 20))
        text = table_prefix("src", 0) + spell([SEGMENT, TOP])
        return Forged((Laid("src", "src", Piece(deflate(text) + unit * 1024, size), (PIECE,), 0, 0), WHEEL)).artifact()

    yield Case("tables: counts", "a table of 1 GiB of line feeds", "line 1", bomb)
    yield Case("tables: counts", "a table with 1 GiB of zeros behind it, 4096 stated", "more than", partial(zeros, 4096))
    yield Case("tables: counts", "a table with 1 GiB of zeros behind it, all stated", "", partial(zeros, (1 << 30) + 2048), heavy=True)


def cases() -> Iterator[Case]:
    yield from _paths()
    yield from _links()
    yield from _shapes()
    yield from _places()
    yield from _twice()
    yield from _counts()
