"""Opening an artifact: every byte is covered, every length exact."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from builder.artifact import Built
from builder.install_release.artifact import GZIP_HEADER, Artifact, inflate, member, open_artifact, signature_path, stored, table_blocks
from builder.install_release.errors import ArtifactError
from builder.install_release.unpack import Destination, unpack
from tests.releases import write_release


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    source = {"app.py": "print('hello')\n", "data/x": b"\0" * 999}
    wheel = {"lib/x.py": "x = 1\n", "bin/x": (0o755, b"#!")}
    return write_release(tmp_path_factory.mktemp("a"), {"src": source, "wheel:x-1-py3-none-any": wheel})


def take_all(path: Path, to: Path) -> dict[str, bytes]:
    """Everything that an installer reads of an artifact, the installer's own range and the end included."""
    to.mkdir()
    fd = os.open(to, os.O_RDONLY)
    try:
        with open_artifact(path) as artifact:
            artifact.read(artifact.manifest.installer)
            artifact.read(artifact.manifest.end)
            unpack(artifact, artifact.manifest.layers, Destination(fd))
    finally:
        os.close(fd)
    return {str(p.relative_to(to)): p.read_bytes() for p in to.rglob("*") if p.is_file()}


def test_the_files_come_out_as_they_went_in(built: Built, tmp_path: Path) -> None:
    """Contents and modes, below the tops of their kinds."""
    found = take_all(built.path, tmp_path / "out")
    assert found == {"src/app.py": b"print('hello')\n", "src/data/x": b"\0" * 999, "venv/lib/x.py": b"x = 1\n", "venv/bin/x": b"#!"}
    assert (tmp_path / "out/venv/bin/x").stat().st_mode & 0o777 == 0o755


def test_the_sha256_is_that_of_the_file(built: Built) -> None:
    """The artifact's own digest, the one beside it and sha256sum's agree."""
    with open_artifact(built.path) as artifact:
        assert artifact.sha256() == built.sha256 == hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert Path(f"{built.path}.sha256").read_text() == f"{built.sha256}  {built.path.name}\n"


def test_every_flipped_byte_is_noticed(built: Built, tmp_path: Path) -> None:
    """One bit anywhere in the file: refused with a typed error, whatever it hits."""
    data = bytearray(built.path.read_bytes())
    path = tmp_path / "flipped.tgz"
    chosen = random.Random(7)
    head = 2048  # every byte of the head, and a sample of what only digests guard
    for position in sorted({*range(head), *chosen.sample(range(head, len(data)), 300), *range(len(data) - 40, len(data))}):
        bit = 1 << chosen.randrange(8)
        data[position] ^= bit
        path.write_bytes(data)
        with pytest.raises(ArtifactError):
            take_all(path, tmp_path / f"{position}")
        data[position] ^= bit


def test_every_truncation_and_extension_is_noticed(built: Built, tmp_path: Path) -> None:
    """A file of another length is refused at opening, before anything is written."""
    data = built.path.read_bytes()
    path = tmp_path / "cut.tgz"
    for length in [*range(0, 3000, 7), *range(3000, len(data), 997), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError):
            open_artifact(path)
    for more in (b"\0", b"\0" * 512, data, GZIP_HEADER):
        path.write_bytes(data + more)
        with pytest.raises(ArtifactError):
            open_artifact(path)


def test_signatures_are_found_between_manifest_and_tail(built: Built, tmp_path: Path) -> None:
    """One added later leaves id and contents as they were; a file whose checksum doesn't know of it is refused."""
    data = built.path.read_bytes()
    with open_artifact(built.path) as artifact:
        body, tail, head = artifact.body, artifact.manifest.tail, member("release/release.json", artifact.manifest_bytes)
    import zlib

    from builder.install_release.crc import crc32_combine

    signed = member(signature_path(1), b"-----BEGIN SSH SIGNATURE-----\n")
    plain = head + signed
    crc = crc32_combine(zlib.crc32(plain), tail.crc32, tail.size).to_bytes(4, "little")
    path = tmp_path / "signed.tgz"
    path.write_bytes(data[:body] + stored(signed) + data[body:-8] + crc + (len(plain) + tail.size).to_bytes(4, "little"))
    with open_artifact(path) as artifact:
        assert artifact.signatures == (b"-----BEGIN SSH SIGNATURE-----\n",)
        assert artifact.id == built.id
        assert artifact.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert take_all(path, tmp_path / "out")["src/app.py"] == b"print('hello')\n"
    path.write_bytes(data[:body] + stored(signed) + data[body:])
    with pytest.raises(ArtifactError):
        open_artifact(path)


def test_a_fifo_or_directory_is_no_artifact(tmp_path: Path) -> None:
    """What isn't a regular file is refused at once, without waiting for it."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        with pytest.raises(ArtifactError):
            open_artifact(path)


def test_the_file_may_be_changed_only_unseen(built: Built, tmp_path: Path) -> None:
    """What is swapped between opening and unpacking is noticed: every range is hashed as it is read."""
    path = tmp_path / "swapped.tgz"
    data = built.path.read_bytes()
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    with Artifact(fd, "x") as artifact:
        path.write_bytes(data[:-3000] + b"\0" * 3000)
        with pytest.raises(ArtifactError):
            [list(artifact.table(layer)) for layer in artifact.manifest.layers]


@pytest.mark.parametrize("size", [0, 5, 11, 13, 1 << 30])
def test_inflating_gives_exactly_what_is_stated(size: int) -> None:
    """A bomb stops at its first byte too many; one too few is noticed as well."""
    from builder.artifact.layers import compress

    with pytest.raises(ArtifactError):
        inflate(compress(b"x" * 12), size, "x")
    assert inflate(compress(b"x" * 12), 12, "x") == b"x" * 12


@pytest.mark.parametrize("end", [b"\0", b"\3\0", b"\0\0\0\xff\xff\3\0", b"\4", b"\2\0"])
def test_a_segment_ends_where_another_can_begin(built: Built, tmp_path: Path, end: bytes) -> None:
    """Half a block, or the last one, behind what is stated: whoever reads all of it as one stream would see something else, or nothing more."""
    from builder.artifact.layers import compress

    with pytest.raises(ArtifactError):
        inflate(compress(b"x" * 12) + end, 12, "x")
    with open_artifact(built.path) as artifact:
        (layer, *_) = artifact.manifest.layers
    data = compress(b"x" * 600) + end
    with pytest.raises(ArtifactError):
        sum(1 for _ in table_blocks(data, layer._replace(table=layer.table._replace(size=600))))


@pytest.mark.parametrize("stated", [600, 70_000, 1_000_000, 9_999_999])
def test_a_table_inflates_to_exactly_what_is_stated(built: Built, stated: int) -> None:
    """Tables are read as streams: one that goes on, or ends early, is refused, and a bomb is not inflated."""
    from builder.artifact.layers import compress

    with open_artifact(built.path) as artifact:
        (layer, *_) = artifact.manifest.layers
    for length in (stated - 1, stated + 1, 300 << 20):
        data = compress(bytes(length))
        lying = layer._replace(table=layer.table._replace(size=stated))
        with pytest.raises(ArtifactError):
            sum(1 for _ in table_blocks(data, lying))
