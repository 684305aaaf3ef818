"""Signatures: read strictly, by whom they may be read strictly, and verified by OpenSSH's own ``ssh-keygen``.

``parse``, ``signers`` and ``revocations`` read and are pure; ``verify`` asks. ssh-keygen alone would accept what they refuse (a second block, a
wildcard, an empty list of revocations, a line with a slip of the pen passed over): tests/install_release/test_signatures.py has each case.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
import os
import re
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone

from . import child
from .errors import ArtifactError, Problem, RefusedError
from .records import NamedTuple

KEYGEN = "/usr/bin/ssh-keygen"
NAMESPACE = "install-release:"  # and the application's name: what is signed for one application is not signed for another
MAX_BYTES = 64 << 10  # of one signature
MAX_LIST_BYTES = 1 << 20  # of the allowed signers, and of the revocations
KEY_TYPES = {"ssh-ed25519": "ED25519", "sk-ssh-ed25519@openssh.com": "ED25519-SK"}  # as a key says it, and as ssh-keygen does
_DEADLINE = 10.0  # seconds for one call
_ARMOUR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n((?:[A-Za-z0-9+/]{1,76}={0,2}\n)+)-----END SSH SIGNATURE-----\n?")
_PRINCIPALS = re.compile(r"[A-Za-z0-9._@+-]+(?:,[A-Za-z0-9._@+-]+)*")
_OPTION = re.compile(r'([a-z-]+)(?:="([^"\\]*)")?')
_NAMESPACES = re.compile(r"[A-Za-z0-9._@:+-]+(?:,[A-Za-z0-9._@:+-]+)*")
_TIME = re.compile(r"[0-9]{8}(?:[0-9]{4}(?:[0-9]{2})?)?Z")
_HEADER = re.compile(rb"# revocations v([1-9][0-9]{0,17})\n")
_KRL = b"SSHKRL\n\0"


class Signature(NamedTuple):
    """One signature, well-formed: of which key (its blob), and as it is. Nothing is said yet about whether it is good."""

    key: bytes
    armour: bytes

    @property
    def fingerprint(self) -> str:
        """``SHA256:…``, as every tool of OpenSSH shows it."""
        return fingerprint(self.key)

    @property
    def kind(self) -> str:
        """``ED25519``, or ``ED25519-SK`` for a key in a security token."""
        return KEY_TYPES[_key_type(self.key)]

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


class Signer(NamedTuple):
    """One line of the allowed signers: a key, and for whom and what it may sign. ``line`` counts from 1.

    ``after`` and ``before``: when, in seconds since 1970.
    """

    principals: tuple[str, ...]
    namespaces: tuple[str, ...]
    key: bytes
    line: int
    after: float = 0.0
    before: float = math.inf


class Revocations(NamedTuple):
    """A list of revoked keys, as a file of its own: text, or OpenSSH's binary form (a KRL), whose ``keys`` only ssh-keygen can tell."""

    version: int
    data: bytes
    keys: frozenset[bytes] | None


def fingerprint(key: bytes) -> str:
    """Of a key's blob."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode("ascii").rstrip("=")


def parse(data: bytes, namespace: str, where: str) -> Signature:
    """Read a signature: one armoured block and nothing else, by a key of a pinned type, for ``namespace``. Raises ``ArtifactError``."""
    if len(data) > MAX_BYTES:
        raise _malformed(where, f"is longer than {MAX_BYTES} bytes.")
    found = _ARMOUR.fullmatch(data)
    if not found:
        raise _malformed(where, "is not one armoured block of an SSH signature and nothing else.")
    try:
        blob = _unbase64(found[1].replace(b"\n", b""))
        rest = _Reader(blob)
        if rest.take(6) != b"SSHSIG" or rest.number() != 1:
            raise ValueError("is of another format than SSHSIG, version 1")
        key, signed_for, reserved, digest, signature = rest.string(), rest.string(), rest.string(), rest.string(), rest.string()
        rest.end()
        kind = _key_type(key)
        if signed_for != namespace.encode("ascii"):
            raise ValueError(f"was made for the namespace {signed_for.decode('ascii', 'replace')!r}, not {namespace!r}")
        if reserved or digest not in (b"sha512", b"sha256"):
            raise ValueError("uses another digest than SHA-512 or SHA-256")
        _check_signature(signature, kind)
    except ValueError as error:
        raise _malformed(where, f"{error}.") from None
    return Signature(key, data)


def signers(data: bytes, where: str) -> tuple[tuple[Signer, ...], tuple[Problem, ...]]:
    """The lines of an allowed signers file, and everything in it that OpenSSH would read otherwise than whoever wrote it may think."""
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        return (), (Problem(where, "holds characters beyond ASCII.", "Write it anew."),)
    found, problems, seen = [], [], dict[bytes, int]()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip(" \t") or line.strip().startswith("#"):
            continue
        place = f"{where}:{number}"
        try:
            if not line.replace("\t", " ").isprintable():
                raise ValueError("holds a control character, like that of a line's end on Windows")
            signer = _signer(line, number)
        except ValueError as error:
            problems.append(Problem(place, f"{error}.", _LINE))
            continue
        if signer.key in seen:
            problems.append(Problem(place, f"has the key of line {seen[signer.key]} again: the wider of two lines counts.", "Leave one of them."))
        seen.setdefault(signer.key, number)
        found.append(signer)
    if not found and not problems:
        problems.append(Problem(where, "names nobody.", _LINE))
    return tuple(found), tuple(problems)


_LINE = 'A line is: PRINCIPAL namespaces="install-release:NAME" ssh-ed25519 AAAA…; valid-after and valid-before end in Z.'


def _signer(line: str, number: int) -> Signer:
    words = line.split(None, 3)
    if len(words) < 4:
        raise ValueError("has no namespaces, or is no whole line")
    principals, options, kind, rest = words
    if not _PRINCIPALS.fullmatch(principals):
        raise ValueError(f"names {principals!r}: principals have no wildcards, quotes or '!'")
    if options.partition("=")[0] in KEY_TYPES or kind not in KEY_TYPES:
        raise ValueError(f"has no namespaces, or is of another type than {' or '.join(KEY_TYPES)}")
    values: dict[str, str] = {}
    for option in _split(options):
        match = _OPTION.fullmatch(option)
        if not match or match[1] not in ("namespaces", "valid-after", "valid-before"):
            raise ValueError(f"has the option {option!r}, which is none of namespaces, valid-after, valid-before")
        if match[1] in values:
            raise ValueError(f"has {match[1]} twice")
        values[match[1]] = match[2] or ""
    times = {name: _seconds(name, values[name]) for name in ("valid-after", "valid-before") if name in values}
    if not _NAMESPACES.fullmatch(values.get("namespaces", "")):
        raise ValueError("has no namespaces, or ones with wildcards")
    key = _unbase64(rest.split()[0].encode("ascii"))
    if _key_type(key) != kind:
        raise ValueError(f"says {kind}, and its key is another")
    when = times.get("valid-after", 0.0), times.get("valid-before", math.inf)
    return Signer(tuple(principals.split(",")), tuple(values["namespaces"].split(",")), key, number, *when)


def _seconds(name: str, text: str) -> float:
    """The time that an option says. ssh-keygen would take a thirteenth month for a reason to pass over the line."""
    with suppress(ValueError):
        if _TIME.fullmatch(text):
            form = "%Y%m%d%H%M%S"[: len(text) - 1 - 2]  # a year is four digits
            return datetime.strptime(text[:-1], form).replace(tzinfo=timezone.utc).timestamp()
    raise ValueError(f"has {name}={text!r}, which is no time of UTC like 20261231Z")


def _split(options: str) -> Iterator[str]:
    """``a,b="c,d"`` at the commas that are not between quotes."""
    start, quoted = 0, False
    for position, character in enumerate(options):
        if character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            yield options[start:position]
            start = position + 1
    yield options[start:]


def revocations(data: bytes, where: str) -> tuple[Revocations | None, tuple[Problem, ...]]:
    """Read a list of revoked keys, and what is wrong with it. An empty one would revoke nothing, so that it must say what it is."""
    if data.startswith(_KRL):
        version = int.from_bytes(data[12:20], "big")
        if int.from_bytes(data[8:12], "big") == 1 and version and len(data) >= 44:
            return Revocations(version, data, None), ()
        return None, (Problem(where, "is no whole KRL with a version.", "Make it anew: ssh-keygen -k -z VERSION -f FILE KEY…"),)
    header = _HEADER.match(data)
    if not header:
        remedy = "Begin it with '# revocations v1', and raise that number with each change."
        return None, (Problem(where, "does not begin with a line that says its version.", remedy),)
    keys, problems = [], []
    for number, line in enumerate(data.split(b"\n")[1:], 2):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        try:
            key = _unbase64(words[1])
            if _Reader(key).string() != words[0]:
                raise ValueError
            keys.append(key)
        except (ValueError, IndexError):
            problems.append(Problem(f"{where}:{number}", "is no public key.", "A line is: ssh-ed25519 AAAA…"))
    return Revocations(int(header[1]), data, frozenset(keys)), tuple(problems)


class Verifier(NamedTuple):
    """Who may sign for ``namespace``: ``allowed`` is the file that ``signers`` were read from, ``principals`` those that count ("all": empty)."""

    namespace: str
    allowed: bytes
    signers: tuple[Signer, ...]
    principals: tuple[str, ...] = ()
    revoked: Revocations | None = None
    program: str = KEYGEN

    def refusals(self, where: str) -> Iterator[Problem]:
        """What ssh-keygen says against the list of revocations itself, in the file ``where``. Raises ``RefusedError`` when it can't be asked."""
        if self.revoked and self.revoked.keys is None:
            done = self._run(["-Q", "-l", "-f", self.revoked.data])
            if not done.good:
                yield Problem(where, f"is no KRL that ssh-keygen can read: {_said(done)}.", "Make it anew, or bring a whole copy.")

    def names(self, signer: Signer) -> tuple[str, ...]:
        """As whom a line of the allowed signers may sign here."""
        may = self.namespace in signer.namespaces
        return tuple(each for each in signer.principals if may and (not self.principals or each in self.principals))

    def principal(self, key: bytes) -> str:
        """Whose key it is, by the host's own list. Raises ``ValueError`` when it is nobody's who may sign here."""
        signer = next((each for each in self.signers if each.key == key), None)
        if signer is None:
            raise ValueError("which is not among the allowed signers")
        if self.namespace not in signer.namespaces:
            raise ValueError(f"which may not sign for {self.namespace} (line {signer.line} of the allowed signers)")
        if not self.names(signer):
            raise ValueError(f"whose principal {signer.principals[0]} is none of {', '.join(self.principals)}, whom the policy names")
        if self._is_revoked(key):
            raise ValueError("which is revoked")
        return self.names(signer)[0]

    def still(self, key: bytes) -> str:
        """The same of a key whose signature was verified some time ago; its own time may be over since."""
        principal, now = self.principal(key), time.time()
        if not all(each.after <= now <= each.before for each in self.signers if each.key == key):
            raise ValueError("whose time is over, or has not come yet")
        return principal

    def verify(self, signature: Signature, message: bytes) -> str:
        """Let ssh-keygen verify it; the principal. Raises ``ArtifactError`` for a forgery, ``ValueError`` when it doesn't count, ``RefusedError``."""
        principal = self.principal(signature.key)
        command: list[str | bytes] = ["-Y", "verify", "-I", principal, "-n", self.namespace, "-f", self.allowed, "-s", signature.armour]
        done = self._run([*command, "-r", self.revoked.data] if self.revoked else command, message)
        good = f'Good "{self.namespace}" signature for {principal} with {signature.kind} key {signature.fingerprint}'
        if done.good and done.output.splitlines()[:1] == [good]:
            return principal
        if "incorrect signature" in done.output:
            what = f"by {signature.fingerprint} is not of this release: it, or the manifest, was changed."
            raise ArtifactError("the artifact is damaged, or somebody has changed it", [Problem("signature", what, "Ask where it comes from.")])
        raise ValueError(f"which does not count: {_said(done)}")

    def _is_revoked(self, key: bytes) -> bool:
        if self.revoked is None:
            return False
        if self.revoked.keys is not None:
            return key in self.revoked.keys
        public = f"{_key_type(key)} {base64.b64encode(key).decode('ascii')}\n"
        return not self._run(["-Q", "-f", self.revoked.data, public.encode("ascii")]).good

    def _run(self, words: Sequence[str | bytes], message: bytes = b"") -> child.Done:
        """Run it; of ``words`` those that are bytes become files without a name: what was read here is what it reads."""
        files: list[int] = []
        line = [self.program]
        try:
            for word in (message, *words):
                if isinstance(word, bytes):
                    files.append(_nameless(word))
                line.append(f"/proc/self/fd/{files[-1]}" if isinstance(word, bytes) else word)
            del line[1]  # the message: that is its standard input
            done = child.run(line, deadline=_DEADLINE, environment={"LC_ALL": "C", "TZ": "UTC"}, stdin=files[0], files=files[1:])
        except OSError as error:
            raise RefusedError("signatures can't be verified", [missing(self.program, error.strerror or str(error))]) from None
        finally:
            for file in files:
                os.close(file)
        if "No user exists for uid" in done.output:
            what = f"refuses to work for user {os.getuid()}, whom this system has no name for."
            raise RefusedError(
                "signatures can't be verified", [Problem("ssh-keygen", what, "Give it one: a line in /etc/passwd. The signatures may be good.")]
            )
        if done.status is None or done.status < 0 or "unknown option" in done.output:
            what = f"{shlex.join(line[:3])} {done.reason}."
            raise RefusedError("signatures can't be verified", [Problem("ssh-keygen", what, "OpenSSH 8.1 or newer is needed (9.1 for times in Z).")])
        return done


def missing(program: str, why: str = "it is not there") -> Problem:
    """What is said where ssh-keygen can't be started."""
    remedy = "Install OpenSSH's client (Debian: openssh-client); without it no signature can be verified here."
    return Problem("ssh-keygen", f"{program} can't be run: {why}.", remedy)


def _said(done: child.Done) -> str:
    """Why, in ssh-keygen's own words, without the names of files that have none."""
    lines = [re.sub(r"^(?:KRL file |Invalid KRL file )?/proc/self/fd/[0-9]+:([0-9]+: )?", "", line).strip() for line in done.output.splitlines()]
    return next((line.rstrip(".") for line in lines if line), f"status {done.status}")


def _nameless(data: bytes) -> int:
    """A file that only its descriptor leads to, with ``data`` in it, read from its start."""
    try:
        file = os.memfd_create("install-release", os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # a Python made for older systems, or a kernel that says no
        import tempfile

        with tempfile.TemporaryFile() as stream:
            file = os.dup(stream.fileno())
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.lseek(file, 0, os.SEEK_SET)
    except BaseException:
        os.close(file)
        raise
    return file


class _Reader:
    """Takes an SSH blob apart: numbers of 32 bits, strings with their length before them. Raises ``ValueError``."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def take(self, count: int) -> bytes:
        if len(self._data) < count:
            raise ValueError("is cut off")
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def number(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.number())

    def end(self) -> None:
        if self._data:
            raise ValueError("goes on after its end")


def _key_type(key: bytes) -> str:
    """The type of a public key, one of ``KEY_TYPES`` and whole. Raises ``ValueError``."""
    rest = _Reader(key)
    kind = rest.string().decode("ascii", "replace")
    if kind not in KEY_TYPES:
        raise ValueError(f"is by a key of type {kind[:60]!r}, which is none of {', '.join(KEY_TYPES)}")
    if len(rest.string()) != 32:
        raise ValueError("is by a key of the wrong length")
    if kind.startswith("sk-"):
        rest.string()
    rest.end()
    return kind


def _check_signature(data: bytes, kind: str) -> None:
    rest = _Reader(data)
    if rest.string().decode("ascii", "replace") != kind or len(rest.string()) != 64:
        raise ValueError("is of another type or length than its key's")
    if kind.startswith("sk-"):
        flags = rest.take(5)[0]  # and a counter
        if not flags & 1:  # ssh-keygen would take it: a program could have asked the token by itself
            raise ValueError("was made by a security token that nobody touched")
    rest.end()


def _unbase64(text: bytes) -> bytes:
    """Decode; only the one spelling that an encoder makes. Raises ``ValueError``."""
    data = b""
    with suppress(binascii.Error):
        data = base64.b64decode(text, validate=True)
    if not data or base64.b64encode(data) != text:
        raise ValueError("is not spelled in base64 as it should be")
    return data


def _malformed(where: str, what: str) -> ArtifactError:
    return ArtifactError("a signature is malformed", [Problem(where, what, "Sign it anew, with an ed25519 key: build-release sign.")])


def read_all(signatures: Iterable[bytes], namespace: str) -> tuple[Signature, ...]:
    """All signatures of an artifact. Raises ``ArtifactError`` with every one that is malformed."""
    found: list[Signature] = []
    problems: list[Problem] = []
    for number, data in enumerate(signatures, 1):
        try:
            found.append(parse(data, namespace, f"signature {number}"))
        except ArtifactError as error:
            problems += error.problems
    if problems:
        raise ArtifactError("a signature is malformed", problems)
    return tuple(found)
