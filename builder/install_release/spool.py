"""An artifact from standard input: its manifest is read first, so that a refusal comes before anything is written.

Then all of it goes to a file without a name below the root, which vanishes with the process: what is checked is what is unpacked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress

from . import manifest as contract
from . import thin
from .artifact import GZIP_HEADER, MANIFEST_PATH, MAX_SIGNATURE_BYTES, MAX_SIGNATURES, THIN_PATH, TRAILER_BYTES, padded, signature_path, tar_header
from .errors import ArtifactError, Problem
from .host import STAGING, Host
from .manifest import Manifest
from .records import NamedTuple
from .typed import TYPE_CHECKING

if TYPE_CHECKING:
    from .donors import Lender

NAME = "standard input"
_BLOCK = 65535
_BEGIN = 5 + 512  # bytes: those of a stored block, and a tar header
_STEP = 1 << 20
_SIGNATURE_ROOM = 2 * MAX_SIGNATURE_BYTES * MAX_SIGNATURES  # with their headers and padding


class Head(NamedTuple):
    """The first bytes of a stream, and manifest and signatures that they hold. Nothing is trusted yet: ``Artifact`` reads it again, strictly.

    ``thin``: which layers are left out, as it says so itself; nothing of a whole artifact.
    """

    data: bytes
    manifest: Manifest
    id: str
    manifest_bytes: bytes
    signatures: tuple[bytes, ...]
    thin: bytes = b""

    def lender(self, root: str) -> Lender | None:
        """Of what is left out, the host at ``root``. Raises ``ArtifactError``."""
        if not self.thin:
            return None
        from . import donors  # only now: each start would pay for it

        return donors.Lender(root, thin.parse(self.thin, self.manifest).left_out)


def read_head(read: Callable[[int], bytes]) -> Head:
    """Read from a stream up to the installer, and a little further. Raises ``ArtifactError``."""
    data = _exactly(read, len(GZIP_HEADER))
    begin = _exactly(read, _BEGIN) if data == GZIP_HEADER else b""
    stored, member = _member(begin, read, MANIFEST_PATH, contract.MAX_BYTES)
    if member is None:
        remedy = "Was it piped whole, and made by build-release?"
        raise ArtifactError("this is no release", [Problem(NAME, "does not begin as a release does.", remedy)])
    manifest = contract.parse(member)
    pieces, signatures = [data, stored], list[bytes]()
    begin = _exactly(read, _BEGIN)
    while len(signatures) < MAX_SIGNATURES:
        stored, signature = _member(begin, read, signature_path(len(signatures) + 1), MAX_SIGNATURE_BYTES)
        if signature is None:
            break
        signatures.append(signature)
        pieces.append(stored)
        begin = _exactly(read, _BEGIN)
    stored, left_out = _member(begin, read, THIN_PATH, thin.MAX_BYTES)
    pieces.append(stored)
    identity = contract.release_id(manifest.commit_time, member)
    return Head(b"".join(pieces), manifest, identity, member, tuple(signatures), left_out or b"")


def _member(begin: bytes, read: Callable[[int], bytes], path: str, most: int) -> tuple[bytes, bytes | None]:
    """What begins with ``begin``, read to its end, and its contents, when that is the stored member ``path``; else ``begin`` and None."""
    header = begin[5:]
    try:
        size = int(header[124:135], 8)
    except ValueError:
        size = -1
    if not 0 <= size <= most or header != tar_header(path.encode("ascii"), size):
        return begin, None
    total = 512 + padded(size)
    stored = begin + _exactly(read, total + 5 * -(-total // _BLOCK) - len(begin))
    payload = b"".join(stored[start + 5 : start + 5 + _BLOCK] for start in range(0, len(stored), _BLOCK + 5))
    return stored, payload[512 : 512 + size]


def copy(head: Head, read: Callable[[int], bytes], host: Host) -> int:
    """The descriptor of a nameless file with the whole stream, of which no more is read than the manifest allows for.

    Raises ``ArtifactError`` or ``OSError``.
    """
    most = len(head.data) + _SIGNATURE_ROOM + head.manifest.tail.bytes + TRAILER_BYTES
    with host.directory(STAGING) as staging:
        file = _nameless(staging)
    try:
        piece, length = head.data, 0
        while piece:
            length += len(piece)
            if length > most:
                what = f"goes on after the {most} bytes that its manifest allows for."
                raise ArtifactError("the artifact is not whole", [Problem(NAME, what, "Pipe one artifact in, and nothing after it.")])
            left = memoryview(piece)
            while left:
                left = left[os.write(file, left) :]
            piece = read(_STEP)
    except BaseException:
        os.close(file)
        raise
    return file


def sha256(head: Head, read: Callable[[int], bytes]) -> str:
    """The digest of the whole stream, read to its end; nothing is kept."""
    digest = hashlib.sha256(head.data)
    while piece := read(_STEP):
        digest.update(piece)
    return digest.hexdigest()


def _nameless(directory: int) -> int:
    with suppress(OSError, AttributeError):  # not every file system can
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    name = f"input-{os.getpid()}"
    file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    os.unlink(name, dir_fd=directory)
    return file


def _exactly(read: Callable[[int], bytes], count: int) -> bytes:
    pieces = []
    while count > 0:
        piece = read(count)
        if not piece:
            raise ArtifactError("this is no release", [Problem(NAME, "ends in its head, within manifest or signatures.", "Was it piped whole?")])
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
