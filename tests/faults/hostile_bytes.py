"""Hostile bytes: segments that are bombs, or no deflate that anybody wrote; heads, signatures and trailers of another spelling."""

from __future__ import annotations

import gzip
import hashlib
import io
import random
import zlib
from collections.abc import Callable, Iterator
from functools import partial

from builder.artifact import INSTALLER_PATH, tar
from builder.install_release.artifact import GZIP_HEADER, MANIFEST_PATH, member, signature_path, stored, tar_header

from .forge import END, LAYERS, PROGRAM, Forged, Piece, deflate, laid
from .hostile_cases import ACCEPTED, REFUSED, Case
from .hostile_tables import PLAIN, ROOM, ROOMY, TOP, file

BASE = Forged()
KINDS = ("src", "etc")  # one is read when it is unpacked, the other before anything is written
MIB = 1 << 20


def _forged(kind: str, data: bytes, size: int, *, files: tuple[tuple[str, int], ...] = (("a", 3),)) -> Forged:
    """An artifact with one layer whose segment is ``data``, stated to inflate to ``size``."""
    piece = Piece(data, size, zlib.crc32(PLAIN))
    lines = [piece.line(0), {**TOP, "path": kind}, *(file(f"{kind}/{name}", length) for name, length in files)]
    layer = laid(kind, lines, (piece,))
    return Forged((layer, *LAYERS[1:]) if kind == "src" else (layer, *LAYERS))


def _stored(plain: bytes, final: bool = False) -> bytes:
    return bytes([final]) + len(plain).to_bytes(2, "little") + (len(plain) ^ 0xFFFF).to_bytes(2, "little") + plain


def _finished(plain: bytes) -> bytes:
    zip = zlib.compressobj(9, zlib.DEFLATED, -15)
    return zip.compress(plain) + zip.flush()


def _bomb(mebibytes: int) -> bytes:
    return deflate(bytes(MIB), 9) * mebibytes


def _with_dictionary(plain: bytes) -> bytes:
    zip = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=PLAIN)
    return zip.compress(plain) + zip.flush(zlib.Z_FULL_FLUSH)


def _segments() -> Iterator[Case]:
    whole = deflate(PLAIN)
    noise = random.Random(1).randbytes(4096)
    broken: tuple[tuple[str, str, Callable[[], bytes], int], ...] = (
        ("nothing but a flush", "", lambda: deflate(b""), 4096),
        ("noise", "", lambda: noise, 4096),
        ("zeros", "", lambda: bytes(4096), 4096),
        ("ones", "can't be inflated", lambda: b"\xff" * 4096, 4096),
        ("a block of the type that there is not", "can't be inflated", lambda: b"\x07" + whole, 4096),
        ("cut off", "stated", lambda: whole[:-9], 4096),
        ("half", "stated", lambda: whole[: len(whole) // 2], 4096),
        ("a byte after it", "", lambda: whole + b"\0", 4096),
        ("noise after it", "", lambda: whole + noise, 4096),
        ("another segment after it", "stated", lambda: whole + whole, 4096),
        ("a finished stream, and noise after it", "stated", lambda: _finished(PLAIN) + noise, 4096),
        ("a finished stream, alike", "stated", lambda: _finished(PLAIN), 4096),
        ("two finished streams", "stated", lambda: _finished(PLAIN) * 2, 4096),
        ("a finished stream that is too short", "stated", lambda: _finished(PLAIN[:99]) + whole, 4096),
        ("zlib's wrapping", "", lambda: zlib.compress(PLAIN), 4096),
        ("gzip's wrapping", "", lambda: gzip.compress(PLAIN, mtime=0), 4096),
        ("made with a dictionary", "", lambda: _with_dictionary(PLAIN), 4096),
        ("a stored block whose length is wrong", "can't be inflated", lambda: b"\0\x10\0\0\0" + PLAIN, 4096),
        ("a stored block that is cut off", "stated", lambda: _stored(PLAIN)[:99], 4096),
        ("a stored block too many", "stated", lambda: _stored(PLAIN) + _stored(b"x"), 4096),
        ("a distance before its beginning", "can't be inflated", lambda: b"\x4b\x04\x12" + noise, 4096),
        ("1 GiB of zeros, 4096 stated", "stated", partial(_bomb, 1024), 4096),
        ("1 GiB of zeros, 16 MiB stated", "stated", partial(_bomb, 1024), 16 * MIB),
        ("1 GiB of zeros, a byte stated", "", partial(_bomb, 1024), 1),
        ("16 MiB of zeros, a byte less stated", "stated", partial(_bomb, 16), 16 * MIB - 1),
        ("15 MiB of zeros, 16 stated", "stated", partial(_bomb, 15), 16 * MIB),
        ("16 MiB of empty blocks", "", lambda: _stored(b"") * (16 * MIB // 5), 4096),
        ("16 MiB of flushes after it", "", lambda: whole + _stored(b"") * ((16 * MIB - len(whole)) // 5), 4096),
        ("8 MiB of stored bytes too many", "stated", lambda: whole + _stored(bytes(65535)) * 128, 4096),
    )
    for kind in KINDS:
        for name, says, make, size in broken:
            harmless = name == "16 MiB of flushes after it"
            says = "is for configuration" if kind == "etc" and size > 15 * MIB else says
            data = partial(lambda kind, make, size: _forged(kind, make(), size).artifact(), kind, make, size)
            yield Case(f"segments: {kind}", name, says, data, statuses=(0, 3) if harmless else (3,), heavy="MiB" in name or "GiB" in name)
        # Of what inflates to the very bytes that are stated, the spelling is nobody's business.
        for name, good in (("stored blocks", _stored(PLAIN)), ("two flushes", whole + deflate(b""))):
            yield Case.of(f"segments: {kind}", f"{name}, alike", "", _forged(kind, good, 4096), statuses=ACCEPTED)
        most = deflate(bytes(16 * MIB), 1)
        spans = partial(lambda kind, most: _forged(kind, most, 16 * MIB).artifact(), kind, most)
        may, says = (ACCEPTED, "") if kind == "src" else (REFUSED, "is for configuration")  # etc/ is held in memory: there is a cap for all of it
        yield Case(f"segments: {kind}", "the largest that may be", says, spans, statuses=may, heavy=True)
        large = random.Random(2).randbytes(16 * MIB - 5 * 257 - 99)
        rows = b"".join(_stored(large[start : start + 65535]) for start in range(0, len(large), 65535))
        dense = partial(lambda kind, rows, size: _forged(kind, rows, size).artifact(), kind, rows, len(large))
        yield Case(f"segments: {kind}", "the largest that may be, incompressible", says, dense, statuses=may, heavy=True)
    for name, count, size in (("9 MiB in one file", 1, 9 * MIB), ("16 MiB in files of a MiB", 16, MIB), ("5 MiB in one file", 1, 5 * MIB)):
        yield Case(
            "segments: etc",
            name,
            "" if count == 1 and size == 5 * MIB else "is for configuration",
            partial(_etc, count, size),
            statuses=(0, 3),
            heavy=True,
        )
    yield Case("segments: etc", "4 GiB that lie", "", partial(_etc_lie, 1 << 32), heavy=True)


def _etc(count: int, size: int) -> bytes:
    piece = Piece.of(bytes(count * size))
    empty = hashlib.sha256(bytes(size)).hexdigest()
    files = [{**file("etc/x", size, 0), "path": f"etc/{n:03}", "offset": n * size, "sha256": empty} for n in range(count)]
    return Forged((laid("etc", [piece.line(0), {**TOP, "path": "etc"}, *files], (piece,)), *LAYERS)).artifact()


def _etc_lie(size: int) -> bytes:
    pieces = [Piece(_bomb(16), 16 * MIB)] * 256
    rows = [piece.line(number) for number, piece in enumerate(pieces, 1)]
    lines = [ROOMY, {**TOP, "path": "etc"}, *rows, file("etc/x", size, segment=1)]
    return Forged((laid("etc", lines, (ROOM, *pieces), size=size), *LAYERS)).artifact()


def _span() -> Iterator[Case]:
    """Files over many segments: each is hashed, none is held."""
    pieces = tuple(Piece.of(bytes([number]) * 4096) for number in range(64))
    whole = b"".join(bytes([number]) * 4096 for number in range(64))
    big = {**file("src/a", segment=1), "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    lines = [ROOMY, TOP, *(piece.line(number) for number, piece in enumerate(pieces, 1)), big]
    yield Case.of("segments: spans", "64 of them, all true", "", Forged((laid("src", lines, (ROOM, *pieces)), *LAYERS[1:])), statuses=ACCEPTED)
    for number in (0, 1, 63):
        swapped = laid("src", lines, (ROOM, *pieces[:number], pieces[(number + 1) % 64], *pieces[number + 1 :]))
        yield Case.of("segments: spans", f"number {number} is another one", "", Forged((swapped, *LAYERS[1:])))
    bombs = tuple(Piece(_bomb(16), 16 * MIB) for _ in range(200))
    lines = [ROOMY, TOP, *(piece.line(number) for number, piece in enumerate(bombs, 1)), file("src/a", 200 * 16 * MIB, segment=1)]
    yield Case(
        "segments: spans", "3 GiB of zeros, more than any disk has room for stated", "disk", partial(_big, lines, bombs, (1 << 53) - 1), heavy=True
    )
    yield Case("segments: spans", "3 GiB of zeros, a byte stated", "stated", partial(_big, lines, bombs, 1), heavy=True)


def _big(lines: list[object], pieces: tuple[Piece, ...], size: int) -> bytes:
    return Forged((laid("src", lines, (ROOM, *pieces), size=size), *LAYERS[1:])).artifact()  # type: ignore[arg-type]


def _header(flags: int = 0, mtime: int = 0, xfl: int = 0, system: int = 255, method: int = 8, more: bytes = b"") -> Callable[[bytes], bytes]:
    made = b"\x1f\x8b" + bytes([method, flags]) + mtime.to_bytes(4, "little") + bytes([xfl, system]) + more
    return lambda data: made + data[len(GZIP_HEADER) :]


def _head() -> Iterator[Case]:
    begins = "does not begin as a release does"
    name = b"release.tar\0"
    for words, change in (
        ("FTEXT", _header(1)),
        ("FHCRC", _header(2, more=b"\0\0")),
        ("FEXTRA", _header(4, more=b"\4\0evil")),
        ("FNAME", _header(8, more=name)),
        ("FNAME that is a path", _header(8, more=b"../../etc/passwd\0")),
        ("FCOMMENT", _header(16, more=b"\x1b[2J\0")),
        ("all flags", _header(31, more=b"\0\0" + name + name + b"\0\0")),
        ("reserved flags", _header(0xE0)),
        ("a time", _header(mtime=1)),
        ("XFL 2", _header(xfl=2)),
        ("XFL 4", _header(xfl=4)),
        ("OS Unix", _header(system=3)),
        ("OS FAT", _header(system=0)),
        ("another method", _header(method=7)),
        ("another magic number", lambda data: b"\x1f\x9e" + data[2:]),
        ("a zip", lambda data: b"PK\3\4" + data),
        ("a tar", lambda data: gzip.decompress(data)),
        ("an xz", lambda data: b"\xfd7zXZ\0" + data),
        ("a byte before", lambda data: b"\0" + data),
        ("an empty member before", lambda data: gzip.compress(b"", mtime=0) + data),
        ("empty", lambda data: b""),
        ("a byte", lambda data: data[:1]),
        ("the header alone", lambda data: data[:10]),
        ("a script", lambda data: b"#!/bin/sh\n" + data),
    ):
        says = "" if words == "the header alone" else begins
        yield Case.of("head: gzip", words, says, BASE.but(whole=change))
    yield Case.of(
        "head: gzip", "compressed anew", "", BASE.but(whole=lambda data: GZIP_HEADER + gzip.compress(gzip.decompress(data), 9, mtime=0)[10:])
    )
    yield Case.of("head: gzip", "stored anew", "", BASE.but(whole=lambda data: gzip.compress(gzip.decompress(data), 0, mtime=0)))
    for words, more in (
        ("a second member", gzip.compress(b"evil", mtime=0)),
        ("an empty second member", gzip.compress(b"", mtime=0)),
        ("itself", BASE.artifact()),
        ("zeros", bytes(512)),
        ("a zero", b"\0"),
        ("noise", b"noise"),
        ("a kilobyte", b"x" * 1024),
    ):
        yield Case.of("head: after the trailer", words, "", BASE.but(whole=partial(_add, more)))
    for count in (1, 7, 8, 9, 100, 1000):
        yield Case.of("head: cut", f"by {count}", "", BASE.but(whole=partial(lambda count, data: data[:-count], count)))
    for count in (10, 14, 15, 100, 526, 527, 528, 1000, 2000):
        yield Case.of("head: cut", f"to {count}", "", BASE.but(whole=partial(lambda count, data: data[:count], count)))
    for words, change in (
        ("of zeros", lambda data: bytes(8)),
        ("of another checksum", lambda data: bytes([data[0] ^ 1]) + data[1:]),
        ("of another length", lambda data: data[:4] + bytes([data[4] ^ 1]) + data[5:]),
        ("turned round", lambda data: data[::-1]),
        ("twice", lambda data: data * 2),
        ("missing", lambda data: b""),
    ):
        yield Case.of("head: trailer", words, "", BASE.but(trailer=change))

    for words, spelled in (
        ("in two stored blocks", lambda plain: _stored(plain[:512]) + _stored(plain[512:])),
        ("in blocks of a byte", lambda plain: b"".join(_stored(plain[n : n + 1]) for n in range(len(plain)))),
        ("an empty block before", lambda plain: _stored(b"") + stored(plain)),
        ("an empty block after", lambda plain: stored(plain) + _stored(b"")),
        ("compressed", deflate),
        ("in fixed codes", lambda plain: _fixed(plain)),
        ("its last block is the last", lambda plain: _stored(plain, True)),
        ("its padding bits are set", lambda plain: b"\xf8" + stored(plain)[1:]),
        ("its length's complement is wrong", lambda plain: stored(plain)[:3] + b"\0\0" + stored(plain)[5:]),
        ("its length is shorter", lambda plain: _stored(plain[:-512])),
        ("a block of the type that there is not", lambda plain: b"\6" + stored(plain)[1:]),
        ("cut off", lambda plain: stored(plain)[:-700]),
    ):
        yield Case.of("head: stored blocks", words, "", BASE.but(head=spelled))
    data = BASE.manifest()

    def header(at: int, new: bytes, fix: bool = True) -> Callable[[bytes], bytes]:
        def change(plain: bytes) -> bytes:
            made = bytearray(plain)
            made[at : at + len(new)] = new
            if fix:
                made[148:156] = b" " * 8
                made[148:156] = b"%06o\0 " % sum(made[:512])
            return stored(bytes(made))

        return change

    for words, spelled in (
        ("another name", header(0, b"release/RELEASE.json")),
        ("an absolute name", header(0, b"/release/release.jso")),
        ("a name that leads out", header(0, b"../../../release.jso")),
        ("something behind the name", header(50, b"evil")),
        ("another mode", header(100, b"0004755\0")),
        ("a mode with spaces", header(100, b"   644 \0")),
        ("an owner", header(108, b"0001750\0")),
        ("a group", header(116, b"0001750\0")),
        ("a larger size", header(124, b"%011o\0" % (len(data) + 1))),
        ("a smaller size", header(124, b"%011o\0" % (len(data) - 1))),
        ("no size", header(124, b"%011o\0" % 0)),
        ("a size in base 256", header(124, b"\x80" + len(data).to_bytes(11, "big"))),
        ("a negative size in base 256", header(124, b"\xff" * 12)),
        ("a negative size", header(124, b"-0000000001\0")),
        ("a size with a sign", header(124, b"+%010o\0" % len(data))),
        ("a size with spaces", header(124, b"%11o\0" % len(data))),
        ("a size with underscores", header(124, b"0_%09o\0" % len(data))),
        ("a size in another base", header(124, b"0o%09o\0" % len(data))),
        ("a size of no digits", header(124, b"99999999999\0")),
        ("the largest size", header(124, b"77777777777\0")),
        ("a size of 8 GiB", header(124, b"\x80" + (8 << 30).to_bytes(11, "big"))),
        ("another time", header(136, b"%011o\0" % 0)),
        ("a time of today", header(136, b"%011o\0" % 1763892672)),
        ("a checksum of zeros", header(148, bytes(8), fix=False)),
        ("a checksum that is wrong", header(148, b"000000\0 ", fix=False)),
        ("a checksum of signed bytes", header(148, b"%06o \0" % 1, fix=False)),
        *((f"type {kind!r}", header(156, bytes([kind]))) for kind in (*b"\x001234567gxLKSDVMNAX", 0xFF)),
        ("a link", header(156, b"2/etc/passwd")),
        ("ustar's magic", header(257, b"ustar\x0000")),
        ("no magic", header(257, bytes(8))),
        ("an owner's name", header(265, b"root")),
        ("a device", header(329, b"0000001\0")),
        ("a prefix", header(345, b"evil")),
        ("something at its end", header(511, b"x")),
    ):
        yield Case.of("head: tar header", words, "" if "size" in words else "has no", BASE.but(head=spelled))
    for words, spelled in (
        ("a byte in the padding", lambda plain: stored(plain[:-1] + b"x")),
        ("a pax header before", lambda plain: stored(_pax() + plain)),
        ("a long name before", lambda plain: stored(tar_header(b"././@LongLink", 5, type=b"L") + b"evil\0".ljust(512, b"\0") + plain)),
        ("a zero block before", lambda plain: stored(bytes(512) + plain)),
        ("the manifest twice", lambda plain: stored(plain + plain)),
        ("another member before", lambda plain: stored(member("release/a", b"x") + plain)),
        ("another manifest before", lambda plain: stored(member(MANIFEST_PATH, b"{}\n") + plain)),
        ("a signature before", lambda plain: stored(member(signature_path(1), b"x") + plain)),
        ("the installer before", lambda plain: stored(member(INSTALLER_PATH, PROGRAM, 0o755) + plain)),
    ):
        yield Case.of("head: members", words, "", BASE.but(head=spelled))


def _add(more: bytes, data: bytes) -> bytes:
    return data + more


def _fixed(plain: bytes) -> bytes:
    zip = zlib.compressobj(9, zlib.DEFLATED, -15, strategy=zlib.Z_FIXED)
    return zip.compress(plain) + zip.flush(zlib.Z_FULL_FLUSH)


def _pax() -> bytes:
    import tarfile

    info = tarfile.TarInfo("x")
    info.pax_headers = {"path": "evil", "size": "1"}
    buffer = io.BytesIO(info.tobuf(tarfile.PAX_FORMAT))
    return buffer.getvalue()[:1024]


def _signatures() -> Iterator[Case]:
    words = b"-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"
    big = 64 << 10
    # Nobody is asked to check them here: no policy demands it. What a signature may say is tests/install_release's.
    for name, found, statuses in (
        ("one of noise", (random.Random(3).randbytes(999),), (0, 3)),
        ("one that is empty", (b"",), (0, 3)),
        ("one that is an escape", (b"\x1b[2J\x1b]0;owned\x07",), (0, 3)),
        ("one of the longest", (b"x" * big,), (0, 3)),
        ("16 of the longest", (b"x" * big,) * 16, (0, 3)),
        ("16 alike", (words,) * 16, (0, 3)),
        ("one too long", (b"x" * (big + 1),), (3,)),
        ("one of 65 KiB", (b"x" * (65 << 10),), (3,)),
        ("one of a MiB", (b"x" * MIB,), (3,)),
        ("17", (words,) * 17, (3,)),
        ("100", (words,) * 100, (3,)),
    ):
        yield Case.of("signatures", name, "", BASE.but(signatures=found), statuses=statuses)
    signed = BASE.but(signatures=(words, words))
    for name, change in (
        ("numbered from 2", lambda data: stored(member(signature_path(2), words))),
        ("numbered from 0", lambda data: stored(member(signature_path(0), words))),
        ("in another order", lambda data: stored(member(signature_path(2), words)) + stored(member(signature_path(1), words))),
        ("one twice", lambda data: stored(member(signature_path(1), words)) * 2),
        ("one missing between", lambda data: stored(member(signature_path(1), words)) + stored(member(signature_path(3), words))),
        ("under another name", lambda data: stored(member("release/release.json.asc", words))),
        ("executable", lambda data: stored(member(signature_path(1), words, 0o755))),
        ("both in one stored block", lambda data: stored(member(signature_path(1), words) + member(signature_path(2), words))),
        ("compressed", lambda data: deflate(member(signature_path(1), words))),
        ("cut off", lambda data: data[:-99]),
        ("with a gap", lambda data: data + bytes(512)),
        ("noise", lambda data: random.Random(4).randbytes(2000)),
        ("an empty stored block", lambda data: _stored(b"")),
        ("another manifest", lambda data: stored(member(MANIFEST_PATH, b"{}\n"))),
    ):
        yield Case.of("signatures", name, "", signed.but(signed=change))


def _tails() -> Iterator[Case]:
    """The installer that travels, and the end. Nobody needs the end to install; ``verify`` looks at it."""
    path = INSTALLER_PATH
    for name, plain in (
        ("of no bytes", member(path, b"", 0o755)),
        ("of another name", member("release/install-releasd", PROGRAM, 0o755)),
        ("of another mode", member(path, PROGRAM, 0o644)),
        ("without a header", PROGRAM),
        ("with a header alone", member(path, PROGRAM, 0o755)[:512]),
        ("with a larger size", member(path, PROGRAM + b"x" * 9999, 0o755)[:1024]),
        ("with something behind it", member(path, PROGRAM, 0o755) + bytes(512)),
        ("twice", member(path, PROGRAM, 0o755) * 2),
        ("that is a link", tar_header(path.encode(), 0, 0o777, b"2", b"../../../evil")),
        ("with no size", member(path, PROGRAM, 0o755)[:124] + b"x" * 12 + member(path, PROGRAM, 0o755)[136:]),
    ):
        yield Case.of("tail: installer", name, "", BASE.but(program=Piece.of(plain)), verified="installer")
    for name, program in (
        ("whose version has 5000 digits", b'#!\n__version__ = "' + b"9" * 5000 + b'"\n'),
        ("whose version is an escape", b'#!\n__version__ = "\x1b[2J"\n'),
        ("with thousands of versions", b"#!\n" + b'__version__ = "1.0"\n' * 90_000),
        ("with a version of 100 000 parts", b'#!\n__version__ = "1' + b".1" * 100_000 + b'"\n'),
    ):
        yield Case.of("tail: installer", name, "", BASE.but(program=Piece.of(member(path, program, 0o755))), statuses=(0, 3))

    def largest(size: int) -> bytes:
        return BASE.but(program=Piece.of(member(path, random.Random(5).randbytes(size), 0o755))).artifact()

    yield Case("tail: installer", "of 16 MiB", "", partial(largest, 16 * MIB - 9999), statuses=(0, 3), heavy=True)
    for name, data, plain in (
        ("no zeros", deflate(b"x" * 1024) + END, b"x" * 1024),
        ("one zero block", deflate(bytes(512)) + END, bytes(512)),
        ("three zero blocks", deflate(bytes(1536)) + END, bytes(1536)),
        ("a member behind it", deflate(tar.END + member("release/evil", b"x")) + END, tar.END + member("release/evil", b"x")),
        ("a member before it", deflate(member("release/evil", b"x") + tar.END) + END, member("release/evil", b"x") + tar.END),
        ("not the last block", deflate(tar.END), tar.END),
        ("two last blocks", deflate(tar.END) + END + END, tar.END),
        ("noise", b"noise", b""),
    ):
        forged = BASE.but(end=Piece(data, len(plain), zlib.crc32(plain)))
        yield Case.of("tail: end", name, "", forged, statuses=(0, 3), verified="end")


def cases() -> Iterator[Case]:
    yield from _segments()
    yield from _span()
    yield from _head()
    yield from _signatures()
    yield from _tails()
