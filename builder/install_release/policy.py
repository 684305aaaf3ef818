"""The policy file of a host: who may sign a release, how far back one may go, and what it may do. docs/policy.md is the reference.

``read`` reads it strictly: what can't be understood allows nothing. ``refusals`` decides, and is pure. Nothing of an artifact can widen it.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from difflib import get_close_matches

from . import ownership
from .artifact import MAX_SIGNATURES
from .declared import COMMANDS, Service, fits
from .errors import Problem, RefusedError
from .floor import Floor
from .manifest import Manifest
from .records import NamedTuple
from .typed import Any
from .who import printable

MAX_BYTES = 1 << 20
_REVOKED = re.compile(r"manifest:[0-9a-f]{64}|[0-9]{14}-[0-9a-f]{12}")
_DIGEST = re.compile(r"(?:sha256:)?[0-9a-fA-F]{64}")  # of what, it does not say
_KEY = re.compile(r"SHA256:.*|(?:sk-)?ssh-.*|AAAA.*")
_PRINCIPAL = re.compile(r"[A-Za-z0-9._@+-]+")
_SECTION = re.compile(r"\[(?P<header>[^]]+)\]\s*(?:[#;].*)?$")
_NO_DEFAULT = "\0"  # no section has that name: there is none from which others inherit


class Policy(NamedTuple):
    """What a policy file says. ``required``: signatures by so many different keys; ``principals``: those that count, () for all.

    None for ``roots``, ``run`` and ``services``: the policy does not narrow them. Patterns of ``run`` are words, with ``*``, ``?``, and ``**`` for
    any number of words; those of ``services`` are ``kind:name``.
    """

    path: str
    required: int = 0
    allowed_signers: str = ""
    principals: tuple[str, ...] = ()
    revocations: str = ""
    floor: bool = False
    allow_downgrade: bool = False
    revoked: frozenset[str] = frozenset()
    roots: tuple[str, ...] | None = None
    run: tuple[tuple[str, ...], ...] | None = None
    services: tuple[str, ...] | None = None

    def is_revoked(self, release: str, sha256: str) -> bool:
        """Whether a release is on the list: by its id, or by the digest of its manifest."""
        return not self.revoked.isdisjoint((release, sha256))


class Asked(NamedTuple):
    """What the rules are asked about: a release, by id and the digest of its manifest. ``known_good``: the history says so, of that digest;
    ``downgrade``: whoever installs it says that it may go back."""

    manifest: Manifest
    release: str
    sha256: str
    known_good: bool = False
    downgrade: bool = False


def read(path: str) -> Policy:
    """Read a policy that nobody but root or this user can change. Raises ``RefusedError`` with everything that is wrong with it."""
    return parse(ownership.read(path, MAX_BYTES), path)


def parse(data: bytes, path: str) -> Policy:
    """The policy that ``data`` says. Raises ``RefusedError`` that names each line, and what to do about it."""
    try:
        text = data.decode("utf-8-sig")  # an editor of Windows' begins with a mark
    except UnicodeDecodeError as error:
        raise _unusable([Problem(path, f"is not UTF-8 text: {error.reason} at byte {error.start}.", "Write it anew.")]) from None
    parser = configparser.ConfigParser(delimiters=("=",), comment_prefixes=("#", ";"), default_section=_NO_DEFAULT, interpolation=None)
    parser.SECTCRE = _SECTION  # its own takes the rest of the line for nothing: "[releases] floor = yes"
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    try:
        parser.read_string(text, path)
    except configparser.Error as error:
        raise _unusable(_syntax(error, path)) from None
    values: dict[str, Any] = {}
    problems = []
    for section in parser.sections():
        known = _SECTIONS.get(section)
        if known is None:
            problems.append(_unknown(path, _line(text, section), f"[{section}]", [f"[{name}]" for name in _SECTIONS]))
            continue
        for key, value in parser.items(section):
            where = f"{path}:{_line(text, section, key)}"
            if key not in known:
                problems.append(_unknown(path, _line(text, section, key), key, list(known)))
                continue
            try:
                values[key] = known[key](value)
            except ValueError as error:
                problems.append(Problem(where, f"{key} {printable(str(error))}.", _CORRECT))
    if not parser.sections():
        what = "says nothing: was it cut off?"
        problems.append(Problem(path, what, "Put it back; if it shall ask for nothing, write '[signatures]' and below it 'required = 0'."))
    problems += _contradictions(parser, values, path)
    if problems:
        raise _unusable(problems)
    return Policy(path, **values)


_CORRECT = "Correct it: until then nothing is installed here. docs/policy.md has every key."


def _contradictions(parser: configparser.ConfigParser, values: Mapping[str, Any], path: str) -> Iterator[Problem]:
    if parser.has_section("signatures") and "required" not in parser["signatures"]:
        yield Problem(path, "[signatures] does not say how many are required.", "Write required = 1, or 0 for: none has to be there.")
    if "allowed_signers" not in values:
        for key in ("required", "principals", "revocations"):
            if values.get(key):
                yield Problem(path, f"{key} needs allowed_signers.", "Name the file that says whose signatures count.")
    if values.get("allow_downgrade") and not values.get("floor"):
        yield Problem(path, "allow_downgrade means nothing without floor = yes.", "Write both, or none.")


def _syntax(error: configparser.Error, path: str) -> list[Problem]:
    if isinstance(error, configparser.MissingSectionHeaderError):
        return [Problem(f"{path}:{error.lineno}", "stands before any [section].", _CORRECT)]
    if isinstance(error, configparser.ParsingError) and getattr(error, "errors", None):
        return [Problem(f"{path}:{number}", f"is no 'key = value': {printable(line)}.", _CORRECT) for number, line in error.errors]
    if isinstance(error, configparser.DuplicateSectionError):
        return [Problem(f"{path}:{error.lineno}", f"begins [{printable(error.section)}] a second time.", _CORRECT)]
    if isinstance(error, configparser.DuplicateOptionError):
        return [Problem(f"{path}:{error.lineno}", f"says {printable(error.option)} a second time.", _CORRECT)]
    return [Problem(path, f"can't be read: {printable(str(error))}.", _CORRECT)]


def _unknown(path: str, line: int, what: str, known: Sequence[str]) -> Problem:
    near = get_close_matches(what, known, 1)
    remedy = f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."
    return Problem(f"{path}:{line}", f"{printable(what)} is unknown.", remedy)


def _line(text: str, section: str, key: str = "") -> int:
    """Where a section, or a key of it, stands; counted from 1."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if begin := _SECTION.match(line.strip()):
            inside = begin["header"] == section
            if inside and not key:
                return number
        elif inside and key and _key(line) == key:
            return number
    return 1


def _unusable(problems: Sequence[Problem]) -> RefusedError:
    return RefusedError("the policy of this host can't be used", problems)


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > MAX_SIGNATURES:
        raise ValueError(f"must be a number from 0 to {MAX_SIGNATURES}, not {text!r}")
    return int(text)


def _switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError(f"must be yes or no, not {text!r}")
    return text == "yes"


def _path(text: str) -> str:
    if not text.isprintable() or not os.path.isabs(text) or os.path.normpath(text) != text or text.startswith("//"):
        raise ValueError(f"must be an absolute path, without '.', '..' or a slash at its end, not {text!r}")
    return text


def _paths(text: str) -> tuple[str, ...]:
    return tuple(_path(line.strip()) for line in text.splitlines() if line.strip())


def _words(pattern: re.Pattern[str], what: str) -> Callable[[str], tuple[str, ...]]:
    def split(text: str) -> tuple[str, ...]:
        words = tuple(text.replace(",", " ").split())
        for word in words:
            if not pattern.fullmatch(word):
                raise ValueError(f"holds {word!r}, which is no {what}")
        return words

    return split


def _revoked(text: str) -> frozenset[str]:
    words = text.replace(",", " ").split()
    for word in words:
        if _DIGEST.fullmatch(word):  # most often it is that of an artifact's file: nothing here would ever have it, and nothing be revoked
            raise ValueError(
                f"holds {word!r}, and not whose digest that is: write the release's id, or manifest: before the sha256 of its release.json "
                "(tar xzOf ARTIFACT release/release.json | sha256sum). That of the whole file changes with each signature, and revokes nothing"
            )
        if _KEY.fullmatch(word):
            raise ValueError(f"holds {word!r}, which looks like a key: those are revoked in the file that revocations names")
        if not _REVOKED.fullmatch(word):
            raise ValueError(f"holds {word!r}, which is no id of a release, nor manifest: and the sha256 of one's manifest")
    return frozenset(word.rpartition(":")[2] for word in words)


def _key(line: str) -> str:
    """What stands before ``=``; "" where there is none."""
    key, equals, _ = line.partition("=")
    return key.strip() if equals else ""


def _commands(text: str) -> tuple[tuple[str, ...], ...]:
    found = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if line.startswith("[") or _key(line) in {key for known in _SECTIONS.values() for key in known}:
            raise ValueError(f"goes on with {line!r}, because that is indented: let it begin its line")
        try:
            words = tuple(shlex.split(line))
        except ValueError:
            raise ValueError(f"holds {line!r}, in which a quote is not closed") from None
        found.append(words)
    return tuple(found)


_SECTIONS: Mapping[str, Mapping[str, Callable[[str], Any]]] = {
    "signatures": {
        "required": _number,
        "allowed_signers": _path,
        "principals": _words(_PRINCIPAL, "name of a principal"),
        "revocations": _path,
    },
    "releases": {"floor": _switch, "allow_downgrade": _switch, "revoked": _revoked},
    "overlay": {"roots": _paths},
    "commands": {"run": _commands, "services": _words(re.compile(r"[a-z*]+:[\w.@*?-]+"), "kind:name")},
}


def refusals(policy: Policy, asked: Asked, floor: Floor) -> Iterator[Problem]:
    """Every reason that the policy has against a release, but for its signatures."""
    if policy.is_revoked(asked.release, asked.sha256):
        yield Problem("policy", f"{asked.release} is revoked ({policy.path}).", "Install or activate another one.")
    yield from _below(policy, asked, floor)
    for copied in asked.manifest.overlay.copied if policy.roots is not None else ():
        if not any(copied.to == root or copied.to.startswith(f"{root.rstrip('/')}/") for root in policy.roots or ()):
            what = f"etc/{copied.path} goes to {copied.to}, which lies below no root that {policy.path} allows."
            yield Problem("policy", what, "Add its root to [overlay] there, or build it without.")
    yield from commands(policy, asked.manifest)


def _below(policy: Policy, asked: Asked, floor: Floor) -> Iterator[Problem]:
    if not is_downgrade(policy, asked, floor) or (asked.downgrade and policy.allow_downgrade):
        return
    made, newest = (f"{datetime.fromtimestamp(time, timezone.utc):%Y-%m-%d %H:%M:%S} UTC" for time in (asked.manifest.commit_time, floor.commit_time))
    what = f"its commit is of {made}, and {floor.release}, of {newest}, was live here: nothing older is installed that was not good here."
    way = "If you mean it: --allow-downgrade." if policy.allow_downgrade else f"{policy.path} does not allow a downgrade."
    yield Problem("floor", what, f"Install a newer one. {way}")


def is_downgrade(policy: Policy, asked: Asked, floor: Floor) -> bool:
    """Whether it is older than the floor, and was never good here."""
    return policy.floor and asked.manifest.commit_time < floor.commit_time and not asked.known_good


def commands(policy: Policy, manifest: Manifest) -> Iterator[Problem]:
    """What it has against the services and commands that a release declares."""
    found = [(f"hooks ({hook.when})", hook.run) for hook in manifest.hooks]
    found += [("health", manifest.health.command)]
    for service in manifest.services:
        found += [(f"services.{service.name} ({name})", getattr(service, name)) for name in COMMANDS]
        if policy.services is not None and not any(fits((identity(service),), (pattern,)) for pattern in policy.services):
            what = f"services.{service.name} is {identity(service)}, which is none that {policy.path} allows."
            yield Problem("policy", what, "Add it to services in [commands] there, or build it without.")
    for where, words in found:
        if words and policy.run is not None and not any(fits(words, pattern) for pattern in policy.run):
            what = f"{where} would run {printable(shlex.join(words))}, which is no command that {policy.path} allows."
            yield Problem("policy", what, "Add it to run in [commands] there, or build it without.")


def identity(service: Service) -> str:
    """``systemd:shop.service``: what a policy calls a service: its kind, and the unit or program if it says one, else its name."""
    return f"{service.kind}:{service.unit or service.program or service.name}"
