"""Tar headers that differ from the tables: the corpora of CPython, Go, libarchive and the traversal archives, made again from their descriptions.

The installer reads no header, and gets what the tables say. Whoever unpacks with tar would get something else: ``build-release verify`` refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from builder.artifact import tar
from builder.install_release.artifact import long_name, padded, tar_header
from builder.install_release.table import Entry

from .forge import LAYERS, Forged, Piece, laid
from .hostile_cases import ACCEPTED, Case
from .hostile_tables import TOP, file

DATA = b"VERSION = 1\n"
NAME = b"release/src/app.py"
TOP_HEADER = tar.header(Entry("src", "dir", "755"))
APP = Entry("src/app.py", "file", "644", len(DATA), hashlib.sha256(DATA).hexdigest())
HEADER = tar.header(APP)
BODY = DATA + tar.padding(len(DATA))


def raw(
    name: bytes = NAME,
    *,
    kind: bytes = b"0",
    size: bytes = b"%011o\0" % len(DATA),
    mode: bytes = b"0000644\0",
    uid: bytes = b"0000000\0",
    mtime: bytes = b"02264556000\0",
    link: bytes = b"",
    magic: bytes = b"ustar  \0",
    rest: bytes = b"",
    checksum: bytes = b"",
) -> bytes:
    """A header field by field, with the right checksum unless another is given. ``rest``: all that follows the magic number."""
    fields = (name.ljust(100, b"\0"), mode, uid, b"0000000\0", size, mtime, b" " * 8, kind, link.ljust(100, b"\0"), magic, rest)
    header = bytearray(b"".join(fields).ljust(512, b"\0"))
    header[148:156] = checksum or b"%06o\0 " % sum(header)
    return bytes(header)


def record(key: str, value: str) -> bytes:
    """One record of a pax header, its own length in front."""
    text = f" {key}={value}\n".encode("utf-8", "surrogateescape")
    length = len(text) + 1
    while len(str(length)) + len(text) != length:
        length = len(str(length)) + len(text)
    return str(length).encode() + text


def pax(*records: bytes, kind: bytes = b"x", name: bytes = b"PaxHeaders/app.py") -> bytes:
    """A pax header of these records."""
    data = b"".join(records)
    return raw(name, kind=kind, size=b"%011o\0" % len(data), magic=b"ustar\x0000") + data.ljust(padded(len(data)), b"\0")


def base256(value: int) -> bytes:
    return (value & ((1 << 96) - 1) | 1 << 95).to_bytes(12, "big") if value >= 0 else value.to_bytes(12, "big", signed=True)


POSIX = b"ustar\x0000"
TYPES: tuple[tuple[str, bytes], ...] = (
    ("of old, a NUL (AREGTYPE)", b"\0"),
    ("a hard link", b"1"),
    ("a link", b"2"),
    ("a character device", b"3"),
    ("a block device", b"4"),
    ("a directory", b"5"),
    ("a pipe", b"6"),
    ("contiguous", b"7"),
    ("unknown 8", b"8"),
    ("unknown 9", b"9"),
    ("a directory's dump (D)", b"D"),
    ("a long target (K)", b"K"),
    ("a long name (L)", b"L"),
    ("a continuation (M)", b"M"),
    ("old names (N)", b"N"),
    ("sparse (S)", b"S"),
    ("a volume (V)", b"V"),
    ("Solaris' ACL (A)", b"A"),
    ("Solaris' own (X)", b"X"),
    ("a global pax header (g)", b"g"),
    ("a pax header (x)", b"x"),
    ("an inode (I)", b"I"),
    ("0xff", b"\xff"),
)
NAMES: tuple[tuple[str, bytes], ...] = (
    ("absolute", b"/etc/passwd"),
    ("absolute, two slashes", b"//etc/passwd"),
    ("up", b"../../../../outside/evil"),
    ("up from the release", b"release/../../evil"),
    ("down and up", b"release/src/x/../../../../evil"),
    ("a dot before", b"./release/src/app.py"),
    ("a dot inside", b"release/./src/app.py"),
    ("two slashes inside", b"release//src/app.py"),
    ("a slash after", b"release/src/app.py/"),
    ("empty", b""),
    ("another file", b"release/src/evil.py"),
    ("another case", b"release/src/APP.py"),
    ("not below the release", b"src/app.py"),
    ("the manifest again", b"release/release.json"),
    ("the environment", b"release/venv"),
    ("a line feed", b"release/src/app.py\n"),
    ("an escape", b"release/src/\x1b[2J"),
    ("a byte that is no UTF-8", b"release/src/\xff"),
    ("a backslash", b"release\\src\\app.py"),
    ("a drive", b"C:/app.py"),
    ("an option", b"-rf"),
    ("100 bytes without an end", b"release/src/".ljust(100, b"x")),
    ("something behind its end", NAME + b"\0evil"),
)
LINKS: tuple[tuple[str, bytes, bytes], ...] = (
    ("a link to outside", b"2", b"../../../../outside/canary"),
    ("an absolute link", b"2", b"/etc/passwd"),
    ("a link to itself", b"2", b"app.py"),
    ("an empty link", b"2", b""),
    ("a hard link to outside", b"1", b"../../outside/canary"),
    ("an absolute hard link", b"1", b"/etc/passwd"),
    ("a hard link to the release's own manifest", b"1", b"release/release.json"),
    ("a hard link to itself", b"1", NAME),
    ("a target where there is a file", b"0", b"/etc/passwd"),
)


def _instead() -> Iterator[tuple[str, bytes]]:
    """What stands in the place of the header of ``src/app.py``."""
    for words, kind in TYPES:
        yield f"type: {words}", raw(kind=kind)
        yield f"type: {words}, without contents", raw(kind=kind, size=b"%011o\0" % 0)
    for words, name in NAMES:
        yield f"name: {words}", raw(name)
    for words, kind, target in LINKS:
        yield f"link: {words}", raw(kind=kind, link=target)
    for words, size in (
        ("a byte more", b"%011o\0" % (len(DATA) + 1)),
        ("a byte less", b"%011o\0" % (len(DATA) - 1)),
        ("none", b"%011o\0" % 0),
        ("all that can be said", b"77777777777\0"),
        ("in base 256", base256(len(DATA))),
        ("negative in base 256", base256(-1)),
        ("as negative as can be", b"\xff" + b"\0" * 11),
        ("2^63 in base 256", base256(1 << 63)),
        ("with a minus", b"-0000000001\0"),
        ("with spaces", b"%11o " % len(DATA)),
        ("of spaces", b" " * 12),
        ("of NULs", bytes(12)),
        ("of letters", b"abcdefghijk\0"),
        ("of digits that are none", b"88888888888\0"),
        ("without an end", b"%012o" % len(DATA)),
    ):
        yield f"size: {words}", raw(size=size)
    for words, mode in (
        ("setuid", b"0004755\0"),
        ("setgid", b"0002755\0"),
        ("sticky", b"0001777\0"),
        ("world-writable", b"0000666\0"),
        ("executable", b"0000755\0"),
        ("with the type's bits", b"0100644\0"),
        ("none", bytes(8)),
        ("negative", b"-000644\0"),
        ("in base 256", b"\x80\0\0\0\0\0\x01\xa4"),
    ):
        yield f"mode: {words}", raw(mode=mode)
    yield "owner: of a user", raw(uid=b"0001750\0")
    yield "owner: negative in base 256", raw(uid=b"\xff" * 8)
    yield "owner: by name", raw(rest=b"root".ljust(32, b"\0") + b"wheel")
    yield "time: 1970", raw(mtime=b"%011o\0" % 0)
    yield "time: now", raw(mtime=b"%011o\0" % 1763892672)
    yield "time: negative", raw(mtime=base256(-1))
    yield "time: after the end of time", raw(mtime=base256(1 << 80))
    yield "magic: of POSIX", raw(magic=POSIX)
    yield "magic: of old", raw(magic=bytes(8))
    yield "magic: of noise", raw(magic=b"noise!!!")
    yield "magic: of star", raw(magic=POSIX, rest=b"\0" * 247 + b"tar\0")
    yield "prefix: that leads out", raw(b"app.py", magic=POSIX, rest=b"\0" * 80 + b"../../../outside")
    yield "prefix: that is the same", raw(b"app.py", magic=POSIX, rest=b"\0" * 80 + b"release/src")
    yield "prefix: absolute", raw(b"app.py", magic=POSIX, rest=b"\0" * 80 + b"/etc")
    yield "prefix: in GNU's format", raw(b"app.py", rest=b"\0" * 80 + b"release/src")
    yield "device: numbers on a file", raw(rest=b"\0" * 64 + b"0000001\0" + b"0000003\0")
    yield "checksum: zeros", raw(checksum=bytes(8))
    yield "checksum: wrong", raw(checksum=b"000001\0 ")
    yield "checksum: in another spelling", raw(checksum=b"%07o\0" % sum(HEADER[:148] + b" " * 8 + HEADER[156:]))
    yield (
        "checksum: of signed bytes",
        raw(b"release/src/\xff", checksum=b"%06o\0 " % (sum(raw(b"release/src/\xff")) - 256 + 8 * 32 - sum(raw()[148:156]))),
    )
    yield "padding: something at the end", raw(rest=b"\0" * 246 + b"x")


def _before() -> Iterator[tuple[str, bytes]]:
    """What stands before the header, which is itself as it should be."""
    for words, records in (
        ("path", [record("path", "../../../outside/evil")]),
        ("the same path", [record("path", NAME.decode())]),
        ("an absolute path", [record("path", "/etc/passwd")]),
        ("an empty path", [record("path", "")]),
        ("a path with a NUL", [record("path", "release/src/app.py\0evil")]),
        ("two paths", [record("path", "release/a"), record("path", "release/b")]),
        ("linkpath", [record("linkpath", "/etc/passwd")]),
        ("a larger size", [record("size", "1024")]),
        ("a smaller size", [record("size", "0")]),
        ("a negative size", [record("size", "-1")]),
        ("a size that is too large", [record("size", str(1 << 70))]),
        ("a size in words", [record("size", "twelve")]),
        ("an owner", [record("uid", "0"), record("uname", "root")]),
        ("a time in fractions", [record("mtime", "1763892672.123456789")]),
        ("a time without end", [record("mtime", "1e400")]),
        ("a mode of star", [record("SCHILY.filetype", "link")]),
        ("attributes", [record("SCHILY.xattr.security.capability", "x")]),
        ("an ACL", [record("SCHILY.acl.access", "user::rwx")]),
        ("another character set", [record("hdrcharset", "BINARY"), record("path", "release/src/\udcff")]),
        ("sparse, version 0.0", [record("GNU.sparse.size", "1073741824"), record("GNU.sparse.numblocks", "1"), record("GNU.sparse.offset", "0")]),
        ("sparse, version 0.1", [record("GNU.sparse.map", "0,12"), record("GNU.sparse.name", "../evil"), record("GNU.sparse.size", "99")]),
        ("sparse, version 1.0", [record("GNU.sparse.major", "1"), record("GNU.sparse.minor", "0"), record("GNU.sparse.realsize", "99")]),
        ("sparse in an endless map", [record("GNU.sparse.map", ",".join(["0,0"] * 2000))]),
        ("a record without its length", [b"path=evil\n"]),
        ("a record of length 0", [b"0 path=evil\n"]),
        ("a record of a negative length", [b"-9 path=evil\n"]),
        ("a record that is too long", [b"999 path=evil\n"]),
        ("a record of 100 digits", [b"9" * 100 + b" path=evil\n"]),
        ("a record without a line feed", [b"12 path=evil"]),
        ("a record without an equals sign", [b"11 pathevil\n"]),
        ("a record without a key", [record("", "x")]),
        ("nothing", []),
        ("NULs", [bytes(600)]),
        ("100 kB", [record("comment", "x" * 100_000)]),
    ):
        yield f"pax: {words}", pax(*records)
    yield "pax: global", pax(record("path", "evil"), kind=b"g")
    yield "pax: global size", pax(record("size", "0"), kind=b"g")
    yield "pax: Solaris' kind", pax(record("path", "evil"), kind=b"X")
    yield "pax: twice", pax(record("path", "a")) + pax(record("path", "b"))
    yield "pax: before a long name", pax(record("path", "evil")) + long_name(NAME)
    yield "pax: size before a long name", pax(record("size", "5120")) + long_name(NAME)
    yield "pax: after a long name", long_name(NAME) + pax(record("path", "evil"))
    yield "pax: before a global one", pax(record("path", "a")) + pax(record("path", "b"), kind=b"g")
    yield "GNU: a long name for a short one", long_name(NAME)
    yield "GNU: a long name that leads out", long_name(b"../../../outside/evil")
    yield "GNU: an absolute long name", long_name(b"/etc/passwd")
    yield "GNU: a long name of no bytes", tar_header(b"././@LongLink", 0, type=b"L")
    yield "GNU: a long name without an end", tar_header(b"././@LongLink", 512, type=b"L") + b"x" * 512
    yield "GNU: a long name of 8 GiB", tar_header(b"././@LongLink", 8 << 30, type=b"L")
    yield "GNU: a long name of a negative length", raw(b"././@LongLink", kind=b"L", size=base256(-1))
    yield "GNU: two long names", long_name(b"release/a") + long_name(b"release/b")
    yield "GNU: a hundred long names", long_name(b"release/a") * 100
    yield "GNU: a long target for a file", long_name(b"/etc/passwd", b"K")
    yield "GNU: long target and long name", long_name(b"x" * 200, b"K") + long_name(b"y" * 200)
    yield "GNU: long name and long target, turned round", long_name(b"y" * 200) + long_name(b"x" * 200, b"K")
    yield "GNU: a volume's name", raw(b"volume", kind=b"V", size=b"%011o\0" % 0)
    yield "GNU: a negative volume", raw(b"volume", kind=b"V", size=base256(-512))
    yield "GNU: a directory's dump", raw(b"release/src/", kind=b"D", size=b"%011o\0" % 9) + b"Yapp.py\0\0".ljust(512, b"\0")
    yield "GNU: old names", raw(b"././@x", kind=b"N", size=b"%011o\0" % 20) + b"Rename a to ../../b\n".ljust(512, b"\0")
    yield "GNU: a continuation", raw(b"release/src/x", kind=b"M", size=b"%011o\0" % 0)
    sparse = b"\0" * 121 + b"%011o\0%011o\0" % (1 << 30, 0) + b"\0" * 72 + b"\0" + b"%011o\0" % (1 << 30)
    yield "GNU: sparse, a GiB of nothing", raw(b"release/src/s", kind=b"S", size=b"%011o\0" % 0, rest=sparse)
    yield "GNU: sparse, extended without end", raw(b"release/src/s", kind=b"S", size=b"%011o\0" % 0, rest=sparse[:217] + b"\1" + sparse[218:])
    yield "member: another file before", raw(b"release/src/aaa", size=b"%011o\0" % 0)
    yield "member: the same file before, empty", raw(size=b"%011o\0" % 0)
    yield "member: a link of that name before", raw(kind=b"2", size=b"%011o\0" % 0, link=b"../../../../outside/evil")
    yield "member: a directory of that name before", raw(NAME + b"/", kind=b"5", size=b"%011o\0" % 0, mode=b"0000755\0")
    yield "member: the directory becomes a link", raw(b"release/src", kind=b"2", size=b"%011o\0" % 0, link=b"../../../outside")
    yield "member: a hard link before", raw(b"release/src/h", kind=b"1", size=b"%011o\0" % 0, link=b"/etc/passwd")
    yield "member: a device before", raw(b"release/src/null", kind=b"3", size=b"%011o\0" % 0, rest=b"\0" * 64 + b"0000001\0" + b"0000003\0")
    yield "member: a pipe before", raw(b"release/src/pipe", kind=b"6", size=b"%011o\0" % 0)
    chain = b"".join(
        raw(b"release/src/" + b"d" * n, kind=b"2", size=b"%011o\0" % 0, link=b"d" * (n - 1) + b"/.." if n > 1 else b".") for n in range(1, 9)
    )
    yield "member: links through links before", chain
    long = "d" * 247
    ladder = b"".join(
        raw(f"release/{letter}".encode(), kind=b"2", size=b"%011o\0" % 0, link=target.encode())
        for letter, target in zip("abcdef", [long[:90]] * 6, strict=True)
    )
    yield "member: a ladder to PATH_MAX before", ladder
    yield "end: a zero block before", bytes(512)
    yield "end: two zero blocks before", bytes(1024)
    yield "end: noise before", b"noise".ljust(512, b"\xaa")


def _after() -> Iterator[tuple[str, bytes]]:
    """What stands behind the contents, in the same segment."""
    empty = b"%011o\0" % 0
    yield "a file", raw(b"release/src/evil", size=empty)
    yield "the same file again", HEADER + BODY
    yield "the same file again, otherwise", raw() + b"VERSION = 2\n".ljust(512, b"\0")
    yield "a link", raw(b"release/src/evil", kind=b"2", size=empty, link=b"/etc")
    yield "a file outside", raw(b"../../../outside/evil", size=empty)
    yield "a device", raw(b"release/src/evil", kind=b"4", size=empty)
    yield "a zero block", bytes(512)
    yield "two zero blocks", bytes(1024)
    yield "two zero blocks and a file", bytes(1024) + raw(b"release/src/evil", size=empty)
    yield "half a header", raw(b"release/src/evil", size=empty)[:256]
    yield "a byte", b"\0"
    yield "a pax header", pax(record("path", "evil"))
    yield "a long name", long_name(b"release/evil")


def forged(plain: bytes, offset: int) -> Forged:
    """A source of one file, whose contents the table finds at ``offset`` of a segment that holds ``plain``."""
    piece = Piece.of(plain)
    app = {**file("src/app.py"), "offset": offset, "size": len(DATA), "sha256": APP.sha256}
    return Forged((laid("src", [piece.line(0), TOP, app], (piece,)), *LAYERS[1:]))


def cases() -> Iterator[Case]:
    start = len(TOP_HEADER)
    differs = "tar header differs"
    for name, header in _instead():
        assert header != HEADER, name
        yield Case.of("headers: instead", name, "", forged(TOP_HEADER + header + BODY, start + len(header)), statuses=ACCEPTED, verified=differs)
    for name, before in _before():
        plain = TOP_HEADER + before + HEADER + BODY
        yield Case.of("headers: before", name, "", forged(plain, start + len(before) + 512), statuses=ACCEPTED, verified=differs)
    for name, after in _after():
        plain = TOP_HEADER + HEADER + BODY + after
        yield Case.of("headers: after", name, "", forged(plain, start + 512), statuses=ACCEPTED, verified="no entry accounts for")
    for name, body in (("another padding", DATA + b"x" * (512 - len(DATA))), ("a line feed in the padding", (DATA + b"\n").ljust(512, b"\0"))):
        yield Case.of("headers: padding", name, "", forged(TOP_HEADER + HEADER + body, start + 512), statuses=ACCEPTED, verified="padded")
    for name, top in (
        ("the top is missing", b""),
        ("the top twice", TOP_HEADER * 2),
        ("the top is a link", raw(b"release/src", kind=b"2", size=b"%011o\0" % 0, link=b"/etc")),
        ("the top is a file", raw(b"release/src/", size=b"%011o\0" % 0)),
        ("the top is writable for all", raw(b"release/src/", kind=b"5", size=b"%011o\0" % 0, mode=b"0000777\0")),
        ("the top has contents", raw(b"release/src/", kind=b"5", size=b"%011o\0" % 512, mode=b"0000755\0")),
    ):
        yield Case.of("headers: top", name, "", forged(top + HEADER + BODY, len(top) + 512), statuses=ACCEPTED, verified="differs")
    other = Entry("src/app.py", "file", "644", len(DATA), hashlib.sha256(b"other").hexdigest())
    piece = Piece.of(TOP_HEADER + HEADER + BODY)
    lying = {**file("src/app.py"), "offset": start + 512, "size": len(DATA), "sha256": other.sha256}
    layer = laid("src", [piece.line(0), TOP, lying], (piece,))
    yield Case.of("headers: contents", "of another digest", "", Forged((layer, *LAYERS[1:])), statuses=ACCEPTED, verified="contents differ")
