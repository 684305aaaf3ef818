"""Looks for private keys and credentials in a tree that is about to be packed. Says where and what kind; never shows one.

By name: keys of ssh, key stores, and the files in which tools keep passwords. By content, in files that are text: the rules below.
What can be told from a placeholder isn't reported:

- of a key, a first line without the key;
- a token or key that says EXAMPLE, counts (``1234``, ``abcd``) or is made of few different characters;
- a password in a URL for this machine, for a host reserved for examples (``example.com``, ``.test``, ``.invalid``), that stands for another
  value (``${…}``, ``{…}``, ``%s``, ``***``), equals the user's name, says "password", "secret" and the like, is shorter than six characters,
  or is one word of up to eleven letters.

Everything else is: a key that a test uses is a key until the recipe says otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from ..errors import Problem
from ..frozen import frozen
from .patterns import matcher

__all__ = ["in_text", "scan"]

_REMEDY = "Remove it from the repository and replace the credential; if it is none, name the path in source.allow_secrets."
_CHUNK = 4 << 20  # bytes of a file that are looked at together
_OVERLAP = 4096  # bytes of it that are looked at again with the next ones: more than any rule reads

_BY_PATH = re.compile(
    r"""(?:.*/)?(?:
      (?P<key>id_(?:rsa|dsa|ecdsa|ed25519|xmss)(?:_sk)?)
    | (?P<store>[^/]+\.(?:p12|pfx|jks|bks|keystore|kdbx?|keytab|ppk))
    | (?P<env>\.env(?:\.(?!(?:[^/]+\.)?(?:example|sample|template|dist|tpl|default)s?$)[^/]+)?)
    | (?P<tool>[._]netrc|\.pypirc|\.pgpass|\.htpasswd|\.git-credentials|\.my\.cnf|\.s3cfg|\.dockercfg|\.aws/credentials|\.docker/config\.json)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_NAMES = {
    "key": "is a private key of ssh, by its name.",
    "store": "is a store of keys, by its name.",
    "env": "is a file of environment variables, where secrets are kept, by its name.",
    "tool": "is a file in which a tool keeps passwords, by its name.",
}


def scan(tree: Path, allow: Sequence[str] = ()) -> tuple[Problem, ...]:
    """Every credential in the files below ``tree`` whose path no pattern of ``allow`` matches, by path and line. Links are not followed."""
    allowed = matcher(allow)
    return tuple(problem for path in sorted(_files(tree)) if not allowed(path) for problem in _in_file(tree, path))


def _files(tree: Path) -> Iterator[str]:
    pending = [""]
    while pending:
        base = pending.pop()
        with os.scandir(tree / base) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{base}{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    yield f"{base}{entry.name}"


def _in_file(tree: Path, path: str) -> Iterator[Problem]:
    by_path = _BY_PATH.fullmatch(path)
    if by_path:
        yield Problem(path, _NAMES[by_path.lastgroup or ""], _REMEDY)
        return
    with open(f"{tree}/{path}", "rb", buffering=0) as file:
        for line, kind in in_text(file):
            yield Problem(f"{path}, line {line}", f"holds {kind}.", _REMEDY)


def in_text(file: BinaryIO) -> Iterator[tuple[int, str]]:
    """(line, kind) of each credential that ``file`` holds, in turn. A file with a NUL byte at its start is no text, and holds none."""
    piece = file.read(_CHUNK)
    if piece.startswith((b"\xff\xfe", b"\xfe\xff")):
        piece = (piece + file.read()).decode("utf-16", "replace").encode()
    elif b"\0" in piece[:8192]:
        return
    data, line = piece, 1
    reported = None
    while data:
        piece = file.read(_CHUNK) if len(piece) >= _CHUNK else b""
        # What begins in the last bytes is left to the next round, which sees all of it.
        end = len(data) - _OVERLAP if piece else len(data)
        counted = 0
        for start, kind in sorted(_in_chunk(data)):
            if start < end:
                line += data.count(b"\n", counted, start)
                counted = start
                if reported != (line, kind):
                    reported = (line, kind)
                    yield reported
        line += data.count(b"\n", counted, end)
        data = data[end:] + piece if piece else b""


def _in_chunk(data: bytes) -> Iterator[tuple[int, str]]:
    for match in _MARKERS.finditer(data):
        rule = next(rule for rule in _RULES if re.fullmatch(rule.marker, match[0]))
        if rule.found(data, match.start()):
            yield match.start(), rule.kind
    for match in _URL.finditer(data):
        if _is_real_password(*(part.decode("utf-8", "replace") for part in match.groups())):
            yield match.start(), "a password in a URL"


@frozen
class _Rule:
    """``marker`` is a few literal bytes, so that a tree is searched for all of them at once; ``found`` looks closer where one stands."""

    kind: str
    marker: bytes
    found: Callable[[bytes, int], bool]


def _token(expression: bytes) -> Callable[[bytes, int], bool]:
    """Whether ``expression`` matches where the marker begins, and what it matches (its group, when it has one) is no placeholder."""

    def found(data: bytes, start: int) -> bool:
        match = re.compile(expression).match(data, start)  # not before: few trees hold a marker
        return match is not None and _is_random(match[match.lastindex or 0])

    return found


_KEY = re.compile(rb"PRIVATE KEY(?: BLOCK)? ?-{4}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{32,}")


def _key(data: bytes, start: int) -> bool:
    """Whether a key's first line stands here with at least one line of base64 behind it, be it quoted or escaped."""
    if not _KEY.match(data, start) or b"BEGIN" not in data[max(0, start - 24) : start]:
        return False
    body = data[start + 11 : start + 1500].partition(b"END ")[0]
    return any(_is_random(run) for run in _BASE64.findall(body))


def _putty(data: bytes, start: int) -> bool:
    lines = re.search(rb"Private-Lines: [0-9]+\s+([A-Za-z0-9+/]{16,64})", data[start : start + 4000])
    return lines is not None and _is_random(lines[1])


# Every repetition is bounded: a file made of markers must not take longer than its length.
_RULES = (
    _Rule("a private key", b"PRIVATE KEY", _key),
    _Rule("a private key of PuTTY", b"PuTTY-User-Key-File-", _putty),
    _Rule("a key id of AWS", b"A[KS]IA", _token(rb"(?<![A-Za-z0-9/+])A[KS]IA[A-Z2-7]{16}(?![A-Za-z0-9/+])")),
    _Rule("a secret key of AWS", b"_access_key|_ACCESS_KEY", _token(rb"""(?i:_access_key["'\s:=]{1,20})([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])""")),
    _Rule("a token of GitHub", b"gh[pousr]_", _token(rb"(?<![A-Za-z0-9])gh[pousr]_([A-Za-z0-9]{36,251})")),
    _Rule("a token of GitHub", b"github_pat_", _token(rb"github_pat_([A-Za-z0-9]{22}_[A-Za-z0-9]{59})")),
    _Rule("a token of GitLab", b"glpat-", _token(rb"(?<![A-Za-z0-9])glpat-([A-Za-z0-9_-]{20,200})")),
    _Rule("a token of Slack", b"xox[abeprs]-", _token(rb"(?<![A-Za-z0-9])xox[abeprs]-([0-9A-Za-z-]{24,250})")),
    _Rule("a webhook of Slack", b"hooks\\.slack\\.com/", _token(rb"hooks\.slack\.com/services/(T[A-Z0-9]{8,16}/B[A-Z0-9]{8,16}/[A-Za-z0-9]{20,64})")),
    _Rule("a live key of Stripe", b"_live_", _token(rb"(?<=[sr]k)_live_([0-9A-Za-z]{16,128})")),
    _Rule("a key of Google's APIs", b"AIza", _token(rb"(?<![A-Za-z0-9_-])AIza([0-9A-Za-z_-]{35})(?![A-Za-z0-9_-])")),
    _Rule("a token of PyPI", b"pypi-Ag", _token(rb"pypi-Ag[EN][A-Za-z0-9_-]([A-Za-z0-9_-]{50,250})")),
    _Rule("a token of npm", b"npm_", _token(rb"(?<![A-Za-z0-9])npm_([A-Za-z0-9]{36})(?![A-Za-z0-9])")),
    _Rule("a token of npm", b"_authToken", _token(rb"""_authToken\s{0,9}[:=]\s{0,9}["']?([A-Za-z0-9_.-]{20,250})""")),
    _Rule("a key of SendGrid", b"SG\\.", _token(rb"(?<![A-Za-z0-9])SG\.([A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})")),
    _Rule("a key of an Azure account", b"AccountKey=", _token(rb"AccountKey=([A-Za-z0-9+/]{86}==)")),
)
_MARKERS = re.compile(b"|".join(rule.marker for rule in _RULES))  # without groups: those make the search ten times slower
_URL = re.compile(rb"://([^\s/:@\"'<>`,]{0,64}):([^\s/@\"'<>`]{6,128})@([A-Za-z0-9._-]{1,200}|\[[0-9a-f:]+\])")

_COUNTS = re.compile(rb"example|1234|abcd|x{4}|0{6}|\.{3}", re.IGNORECASE)
_STANDS_FOR = re.compile(r"\$\{?\w+\}?|.*[{}\[\]()|\\].*|.*%s.*|[*.x#?-]+|[a-z]{1,11}|[A-Z_]+", re.DOTALL)
_SAYS_SO = re.compile(r"passw|pwd|secret|example|changeme|change_me|dummy|fake|placeholder|redacted|your|token|test", re.IGNORECASE)
_HERE = re.compile(r"localhost|127\.[\d.]+|0\.0\.0\.0|\[::1\]|host(name)?|(.*\.)?(example(\.(com|net|org))?|test|invalid|localhost)", re.IGNORECASE)


def _is_random(token: bytes) -> bool:
    return len(set(token)) >= 9 and not _COUNTS.search(token)


def _is_real_password(user: str, password: str, host: str) -> bool:
    stands_for = _STANDS_FOR.fullmatch(password) or _SAYS_SO.search(password) or password.casefold() == user.casefold()
    return not stands_for and not _HERE.fullmatch(host.rstrip("."))
