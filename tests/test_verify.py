"""build-release verify: tar headers that differ from the tables, bytes that nobody accounts for, and the like are found."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.artifact import tar, write
from builder.artifact.layers import PackedLayer, compress
from builder.artifact.verify import verify
from builder.errors import ArtifactError
from builder.install_release.artifact import open_artifact, table_prefix
from builder.install_release.crc import crc32_combine
from builder.install_release.table import Entry, Segment, to_line
from builder.signing import _Copy
from tests import keys
from tests.releases import FACTS, PROGRAM, write_release

DATA = b"hello\n"
TOP = Entry("src", "dir", "755")
APP = Entry("src/app.py", "file", "644", len(DATA), hashlib.sha256(DATA).hexdigest(), 0, 1024)


def forge(path: Path, plain: bytes, entries: list[Entry]) -> PackedLayer:
    """A layer of one segment that holds ``plain``, whose table says ``entries``: whatever the two say of each other."""
    segment = compress(plain)
    lines = to_line(Segment(0, len(segment), len(plain), hashlib.sha256(segment).hexdigest())) + b"".join(map(to_line, entries))
    table = table_prefix("src", len(lines)) + lines + tar.padding(len(lines))
    packed = compress(table)
    path.write_bytes(segment + packed)
    files = [entry for entry in entries if entry.type == "file"]
    return PackedLayer(
        name="src",
        kind="src",
        files=len(files),
        inodes=len(entries),
        size=sum(entry.size for entry in files),
        room=4096,
        table_bytes=len(packed),
        table_size=len(table),
        table_sha256=hashlib.sha256(packed).hexdigest(),
        segments_bytes=len(segment),
        plain=len(table) + len(plain),
        crc32=crc32_combine(zlib.crc32(table), zlib.crc32(plain), len(plain)),
        check=zlib.crc32(segment + packed),
        path=path,
        cached=False,
    )


HONEST = tar.header(TOP) + tar.header(APP) + DATA + tar.padding(len(DATA))


def test_a_forged_layer_that_lies_in_nothing_holds(tmp_path: Path) -> None:
    """The positive control: the forger's tools make a valid artifact when they tell the truth."""
    verify(write(FACTS, [forge(tmp_path / "layer", HONEST, [TOP, APP])], PROGRAM, tmp_path).path)


def other(**changes: object) -> Entry:
    return APP._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("plain", "entries", "words"),
    [
        (HONEST.replace(b"app.py", b"aqp.py"), [TOP, APP], "tar header differs"),
        (tar.header(TOP) + tar.header(other(path="src/../../x")) + DATA.ljust(512, b"\0"), [TOP, APP], "tar header differs"),
        (tar.header(TOP) + tar.header(other(mode="755")) + DATA.ljust(512, b"\0"), [TOP, APP], "tar header differs"),
        (HONEST.replace(DATA, b"jello\n"), [TOP, APP], "contents differ"),
        (HONEST + tar.header(other(path="src/stowaway", size=0)), [TOP, APP], "no entry accounts for"),
        (HONEST[:-1] + b"x", [TOP, APP], "padded"),
        (HONEST, [TOP, other(offset=1023)], "not where the table says"),
        (HONEST, [TOP], "no entry accounts for"),
    ],
)
def test_headers_that_differ_from_the_table_are_refused(tmp_path: Path, plain: bytes, entries: list[Entry], words: str) -> None:
    """Whoever unpacks with tar must get what whoever unpacks with the installer gets."""
    built = write(FACTS, [forge(tmp_path / "layer", plain, entries)], PROGRAM, tmp_path)
    with pytest.raises(ArtifactError) as caught:
        verify(built.path)
    assert words in " ".join(map(str, caught.value.problems))


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:5000] + b"\0" + data[5001:], lambda data: b""]
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """Truncated, extended, changed, empty: a typed error of the build half, naming the file."""
    built = write_release(tmp_path, {"src": {"a": "a" * 9999}})
    built.path.write_bytes(damage(built.path.read_bytes()))
    with pytest.raises(ArtifactError) as caught:
        verify(built.path)
    assert built.path.name in caught.value.message + str(caught.value.problems)


def test_a_signature_that_no_host_would_read_is_found(tmp_path: Path) -> None:
    """No block, a second one, of another application: each with its number. One that is well-formed passes: whom it trusts, a host knows."""
    key = keys.key(tmp_path, "ci")
    path = write_release(tmp_path, {"src": {"app.py": "pass\n"}}).path
    with open_artifact(path) as artifact:
        good = keys.sign(key, artifact.manifest_bytes)
        for name, signatures in (("good", [good]), ("bad", [good, b"nonsense", good + good])):
            with (tmp_path / name).open("wb") as out:
                _Copy(artifact, signatures)(out)
    verify(tmp_path / "good")
    with pytest.raises(ArtifactError) as caught:
        verify(tmp_path / "bad")
    assert [problem.where for problem in caught.value.problems] == ["signature 2", "signature 3"]
