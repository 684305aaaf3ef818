"""Whatever is accepted, everybody reads alike: GNU tar, bsdtar and Python's tarfile list the names, types, modes, lengths, targets and contents that
the tables say, in their order.

Releases are made up, of every name that is legal and that some reader has ever stumbled over.
"""

from __future__ import annotations

import ast
import hashlib
import os
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from builder.install_release.artifact import open_artifact
from builder.install_release.table import Segment
from tests.releases import Content, write_release

_LINE = re.compile(rb'([-dlhcbps])([-rwxsStT]{9}) 0/0 +(\d+) \S+ \S+ ("(?:[^"\\]|\\.)*")(?: -> ("(?:[^"\\]|\\.)*"))?')
_BITS = (0o400, 0o200, 0o100, 0o40, 0o20, 0o10, 4, 2, 1)
_ODD = (
    "-rf",
    "--",
    "-",
    "=",
    "a=b",
    "a b",
    " a",
    "a ",
    "a\\b",
    "\\n",
    "'",
    '"',
    "`id`",
    "$(id)",
    "*",
    "?",
    "[a]",
    "{a,b}",
    "~",
    "#",
    "!",
    "%41",
    "&amp;",
)
_FAR = ("\xe9", "e\u0301", "\u2603", "\U0001f40d", "\u5b57", "\u05d0", "\u0627", "\uff41", "\ufb01", "\xdf", "\u0130", "\u212a", "K", "k")
_LENGTHS = (1, 30, 86, 87, 88, 89, 90, 91, 92, 93, 99, 100, 101, 154, 155, 156, 254, 255)


class Seen(NamedTuple):
    """A member as somebody sees it. ``digest`` is that of a file's contents, "" for anything else."""

    path: bytes
    type: str
    mode: int
    size: int
    target: bytes
    digest: str


def made_up(number: int) -> Mapping[str, Mapping[str, Content]]:
    """The layers of a release, different for each number and the same each time."""
    chosen = random.Random(number)

    def name() -> str:
        length = chosen.choice(_LENGTHS)
        return chosen.choice(
            [chosen.choice(_ODD), chosen.choice(_FAR), "n" * length, chosen.choice(_FAR) * min(length, 60), f"{chosen.choice(_ODD)}.py"]
        )

    def layer() -> dict[str, Content]:
        files: dict[str, Content] = {}
        directories = [""]
        for _ in range(chosen.randrange(1, 30)):
            above = chosen.choice(directories)
            path = f"{above}{name()}"
            if len(path.encode()) > 1500 or any(path == each or path.startswith(f"{each}/") or each.startswith(f"{path}/") for each in files):
                continue
            kind = chosen.randrange(8)
            if kind == 0:
                files[path] = None
            elif kind == 1:
                files[path] = Path("../" * (path.count("/")) + "x" * chosen.choice(_LENGTHS) + chosen.choice(["", "/y", f"/{chosen.choice(_FAR)}"]))
            elif kind in (2, 3):
                directories.append(f"{path}/")
                files[f"{path}/{name()}"] = b"below"
            else:
                data = chosen.randbytes(chosen.choice([0, 1, 511, 512, 513, 1024, 70_000]))
                files[path] = (chosen.choice([0o644, 0o755]), data)
        return files or {"x": "x"}

    # Wheels share one top: what both hold would have to be alike.
    return {
        kind: {f"{kind[6:]}/{path}": content for path, content in layer().items()} if ":" in kind else layer()
        for kind in ("src", "etc", "assets", "wheel:a-1", "wheel:b-1")
        if kind == "src" or chosen.randrange(2)
    }


def by_tables(path: Path) -> list[Seen]:
    """What the tables say, with contents out of the segments."""
    found = []
    with open_artifact(path) as artifact:
        for layer in artifact.manifest.layers:
            position, plain, starts = layer.table.offset + layer.table.bytes, b"", []
            lines = list(artifact.table(layer))
            for segment in (line for line in lines if isinstance(line, Segment)):
                starts.append(len(plain))
                plain += artifact.segment(segment, position, layer.name)
                position += segment.bytes
            for line in lines:
                if not isinstance(line, Segment):
                    start = starts[line.segment] + line.offset if line.size else 0
                    data = plain[start : start + line.size]
                    digest = hashlib.sha256(data).hexdigest() if line.type == "file" else ""
                    assert digest == line.sha256
                    found.append(Seen(f"release/{line.path}".encode(), line.type, int(line.mode, 8), line.size, line.target.encode(), digest))
    return found


def by_tarfile(path: Path, mode: str = "r:gz") -> Iterator[Seen]:
    kinds = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link"}
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for info in archive:
            stream = archive.extractfile(info) if info.isreg() else None
            digest = hashlib.sha256(stream.read()).hexdigest() if stream else ""
            kind = kinds.get(info.type, "other")
            target = os.fsencode(info.linkname) if kind == "link" else b""
            yield Seen(os.fsencode(info.name), kind, info.mode, info.size, target, digest)


def by_gnu_tar(path: Path) -> Iterator[Seen]:
    environment = {**os.environ, "LC_ALL": "C"}
    words = ["tar", "-tvzf", path, "--quoting-style=c", "--full-time", "--numeric-owner"]
    listed = subprocess.run(words, env=environment, check=True, capture_output=True).stdout
    hashed = subprocess.run(["tar", "-xzf", path, "--to-command=sha256sum"], env=environment, check=True, capture_output=True).stdout
    digests = [line.split()[0].decode() for line in hashed.splitlines()]
    for line in listed.splitlines():
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"tar says {line!r}")
        kind = {b"-": "file", b"d": "dir", b"l": "link"}.get(found[1], "other")
        mode = sum(bit for at, bit in enumerate(_BITS) if found[2][at : at + 1] != b"-")
        digest = digests.pop(0) if kind == "file" else ""
        yield Seen(_unquoted(found[4]).rstrip(b"/"), kind, mode, int(found[3]), _unquoted(found[5] or b'""'), digest)
    if digests:
        raise ValueError("tar extracts more files than it lists")


def _unquoted(text: bytes) -> bytes:
    return bytes(ast.literal_eval("b" + text.decode("ascii").replace("\\?", "?")))


def by_bsdtar(path: Path) -> Iterator[Seen]:
    """In the order of its list; what it says of each in its mtree."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    options = "!all,type,mode,size,link,sha256"
    tree = subprocess.run(
        ["bsdtar", "-cf", "-", "--format=mtree", f"--options=mtree:{options}", f"@{path}"], env=environment, check=True, capture_output=True
    ).stdout
    known: dict[bytes, Seen] = {}
    for line in tree.splitlines():
        if line.startswith((b"#", b"/set")) or not line.strip():
            continue
        name, *words = line.split(b" ")
        said = dict(word.split(b"=", 1) for word in words if b"=" in word)
        kind = said[b"type"].decode()
        where = os.path.normpath(_unvised(name))
        size = int(said.get(b"size", b"0")) if kind == "file" else 0
        known[where] = Seen(where, kind, int(said[b"mode"], 8), size, _unvised(said.get(b"link", b"")), said.get(b"sha256digest", b"").decode())
    with tarfile.open(path) as archive:  # bsdtar's own list can't be told apart where a name holds what it escapes: its length is compared
        names = [os.fsencode(info.name) for info in archive]
    if set(names) != set(known):
        raise ValueError("bsdtar lists other names than tarfile")
    yield from (known[name] for name in names)


def _unvised(text: bytes) -> bytes:
    return re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), text)


READERS: Mapping[str, Callable[[Path], Iterator[Seen]]] = {
    "tarfile": by_tarfile,
    "tarfile as a stream": lambda path: by_tarfile(path, "r|gz"),
    "GNU tar": by_gnu_tar,
    "bsdtar": by_bsdtar,
}


def missing() -> list[str]:
    """The programs that are not here."""
    return [program for program in ("tar", "bsdtar") if not shutil.which(program)]


def differences(path: Path) -> Iterator[str]:
    """Where a reader sees something else in an artifact than its tables say, in words."""
    expected = by_tables(path)
    for reader, read in READERS.items():
        try:
            seen = [each for each in read(path) if not _of_the_head(each.path)]
        except (ValueError, KeyError, OSError, tarfile.TarError, subprocess.CalledProcessError) as error:
            yield f"{reader}: {type(error).__name__}: {error}"
            continue
        if seen != expected:
            first = next((pair for pair in zip(seen, expected, strict=False) if pair[0] != pair[1]), (len(seen), len(expected)))
            yield f"{reader} sees {first[0]}, the tables say {first[1]}"


def _of_the_head(path: bytes) -> bool:
    return path.startswith((b"release/release.json", b"release/layers/")) or path == b"release/install-release"


def write(directory: Path, number: int) -> Path:
    """The release of that number, by the builder's own code."""
    directory.mkdir()
    return write_release(directory, made_up(number)).path
