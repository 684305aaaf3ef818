"""What frames an artifact's body: manifest and signatures before it, the gzip trailer behind it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from ..install_release.artifact import GZIP_HEADER, MANIFEST_PATH, member, signature_path, stored
from ..install_release.crc import crc32_combine
from ..install_release.manifest import Manifest


def head(manifest_bytes: bytes, signatures: Sequence[bytes] = ()) -> bytes:
    """All that comes before the body."""
    return GZIP_HEADER + b"".join(stored(each) for each in _members(manifest_bytes, signatures))


def trailer(manifest: Manifest, manifest_bytes: bytes, signatures: Sequence[bytes] = ()) -> bytes:
    """All that comes behind the body."""
    plain = b"".join(_members(manifest_bytes, signatures))
    crc = crc32_combine(zlib.crc32(plain), manifest.tail.crc32, manifest.tail.size)
    return crc.to_bytes(4, "little") + ((len(plain) + manifest.tail.size) & 0xFFFFFFFF).to_bytes(4, "little")


def _members(manifest_bytes: bytes, signatures: Sequence[bytes]) -> Iterator[bytes]:
    yield member(MANIFEST_PATH, manifest_bytes)
    for number, data in enumerate(signatures, 1):
        yield member(signature_path(number), data)
