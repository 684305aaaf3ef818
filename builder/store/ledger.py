"""What the keys of a store mean, and every decision about releases and channels. Touches neither disk nor network.

<name>/releases/<id>/release.tgz          the artifact without signatures: one sha256 per id
                    /manifest.json        its manifest, for whoever wants to know more
                    /signatures/<sha256>  one object for each signature
                    /pushed.json          who pushed it and when, and what a listing shows
                    /sha256               of release.tgz, as sha256sum writes it; last: with it the release is there
                    /going                it is being removed
<name>/channels/<channel>                 where the channel points, and where it pointed: moved by compare-and-swap
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ..errors import AbsentError, ChecksumError, Problem, UsageError
from ..install_release.manifest import RELEASE_ID
from ..install_release.spelling import NAME

MOST_MOVES = 1000  # that a channel remembers; some 300 bytes each
MOST_POINTER_BYTES = 8 << 20
MOST_RECORD_BYTES = 64 << 10
_CHANNEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHORT = re.compile(r"[0-9a-f]{12}")
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_MOST_WHY = 500  # characters


@dataclass(frozen=True)
class Record:
    """``pushed.json``: what a listing shows of a release. ``when`` is UTC, by the clock of whoever pushed; ``bytes`` of release.tgz."""

    name: str
    id: str
    version: str
    commit: str
    commit_time: int
    bytes: int
    sha256: str
    who: str
    when: str


@dataclass(frozen=True)
class Move:
    """A channel was pointed to ``id``: by whom, when (UTC), where it pointed before ("": nowhere), how (push, promote, rollback) and why."""

    id: str
    who: str
    when: str
    before: str
    how: str
    why: str
    nonce: str  # no two moves have the same bytes


@dataclass(frozen=True)
class Channel:
    """A channel, oldest move first; the last one says where it points."""

    name: str
    moves: tuple[Move, ...]

    @property
    def id(self) -> str:
        return self.moves[-1].id if self.moves else ""


@dataclass(frozen=True)
class Reference:
    """``NAME``, ``NAME@ID`` or ``NAME@CHANNEL``; ``at`` is what stands behind the @, or ""."""

    name: str
    at: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.at}" if self.at else self.name


def reference(text: str) -> Reference:
    """Read a reference. Raises ``UsageError``."""
    name, sign, at = text.partition("@")
    if not NAME.fullmatch(name) or (sign and not (is_channel(at) or is_id(at))):
        problem = Problem(text, "is no NAME, NAME@ID or NAME@CHANNEL", "Like shop, shop@staging or shop@20261123101112-5f0c9a7be2d1.")
        raise UsageError("there is no release of that spelling", [problem])
    return Reference(name, at)


def checked_name(text: str) -> str:
    """A release's name. Raises ``UsageError``."""
    if not NAME.fullmatch(text):
        raise UsageError("there is no release of that name", [Problem(text, "is not lower-case letters, digits, '.', '_' or '-'")])
    return text


def checked_channel(text: str) -> str:
    """A channel's name. Raises ``UsageError``."""
    if not is_channel(text):
        problem = Problem(text, "is not 1 to 64 lower-case letters, digits, '.', '_' or '-', beginning with a letter or digit, and no release's id")
        raise UsageError("no channel can be called so", [problem])
    return text


def is_channel(text: str) -> bool:
    """Whether a channel can be called so: nothing that could be an id."""
    return bool(_CHANNEL.fullmatch(text)) and not is_id(text)


def is_id(text: str) -> bool:
    """A release's id, or its last twelve digits."""
    return bool(RELEASE_ID.fullmatch(text) or _SHORT.fullmatch(text))


def release_key(name: str, identity: str, part: str = "") -> str:
    """The key of a part of a release; without ``part`` the prefix of all."""
    return f"{name}/releases/{identity}/{part}"


def channel_key(name: str, channel: str) -> str:
    return f"{name}/channels/{channel}"


def sum_line(sha256: str) -> bytes:
    """What the object ``sha256`` holds: ``sha256sum -c`` reads it."""
    return f"{sha256}  release.tgz\n".encode()


def parse_sum(data: bytes, where: str) -> str:
    """Raises ``ChecksumError``."""
    match = re.fullmatch(rb"([0-9a-f]{64})  release\.tgz\n", data)
    if not match:
        raise ChecksumError("the store holds something else than a release's sha256", [Problem(where, "is not what this program writes")])
    return match[1].decode()


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime(_STAMP)


def moment(text: str) -> datetime:
    """Raises ``ValueError``."""
    return datetime.strptime(text, _STAMP).replace(tzinfo=UTC)


def to_bytes(value: Record | Channel) -> bytes:
    """JSON that people can read too."""
    return json.dumps(asdict(value), indent=1, sort_keys=True).encode() + b"\n"


def parse_record(data: bytes, where: str) -> Record:
    """Raises ``ChecksumError``."""
    record: Record = _record(Record, _object(data, where), where)
    return record


def parse_channel(data: bytes, where: str) -> Channel:
    """Raises ``ChecksumError``."""
    value = _object(data, where)
    moves = value.get("moves")
    if not isinstance(moves, list) or not moves or not isinstance(value.get("name"), str) or not is_channel(value["name"]):
        raise _unreadable(where)
    return Channel(value["name"], tuple(_record(Move, move, where) for move in moves))


def _object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _unreadable(where)
    return value


def _record(kind: type[Any], value: Any, where: str) -> Any:
    hints: Mapping[str, str] = kind.__annotations__
    if not isinstance(value, dict):
        raise _unreadable(where)
    known: dict[str, Any] = {key: value.get(key) for key in hints}
    if any(type(each).__name__ != hints[key] or (isinstance(each, str) and not each.isprintable()) for key, each in known.items()):
        raise _unreadable(where)
    if not RELEASE_ID.fullmatch(known["id"]):
        raise _unreadable(where)
    try:
        moment(known["when"])
    except ValueError:
        raise _unreadable(where) from None
    return kind(**known)


def _unreadable(where: str) -> ChecksumError:
    remedy = "Somebody else wrote it: restore it from an older version, if the store keeps them."
    return ChecksumError("the store holds something that this program did not write", [Problem(where, "can't be read", remedy)])


def moved(channel: Channel, identity: str, *, who: str, when: datetime, how: str, why: str, nonce: str) -> Channel:
    """The channel, pointed to ``identity``."""
    said = "".join(letter if letter.isprintable() else " " for letter in why)[:_MOST_WHY]
    move = Move(identity, who, stamp(when), channel.id, how, said, nonce)
    return Channel(channel.name, (*channel.moves, move)[-MOST_MOVES:])


def way_back(channel: Channel) -> str:
    """Where a rollback leads: to what the channel pointed to before it was pointed to what it shows; what was rolled back from is passed over.

    "": nowhere.
    """
    trail: list[str] = []
    for move in channel.moves:
        if move.how == "rollback" and move.id in trail:
            del trail[trail.index(move.id) + 1 :]
        elif not trail or trail[-1] != move.id:
            trail.append(move.id)
    return trail[-2] if len(trail) > 1 else ""


def pick(wanted: Reference, ids: Sequence[str], channels: Iterable[Channel]) -> str:
    """The one id that a reference means, of those that are there; without ``at`` the newest. Raises ``AbsentError`` or ``UsageError``."""
    if not wanted.at:
        if ids:
            return max(ids)
        raise AbsentError(f"the store holds no release of {wanted.name}", next_step="build-release list STORE shows what it holds")
    found = [identity for identity in ids if identity == wanted.at or identity[-12:] == wanted.at]
    if is_channel(wanted.at):
        found = [channel.id for channel in channels if channel.name == wanted.at]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{wanted} could be several releases", [Problem(wanted.at, f"is the end of {', '.join(found)}", "Say all of it.")])
    what = "channel" if is_channel(wanted.at) else "release"
    raise AbsentError(f"{wanted.name} has no such {what}", [Problem(wanted.at, f"is no {what} of {wanted.name} in this store")])


def keep(pushed: Mapping[str, datetime], channels: Iterable[Channel], *, newest: int, since: datetime) -> dict[str, str]:
    """Why each release stays: ``{id: reason}``; those that are not in it may go. ``pushed``: when each was.

    The ``newest`` ones stay, what was pushed since ``since``, what a channel points to, and what one pointed to at any time since then.
    """
    reasons: dict[str, str] = {}
    for channel in channels:
        for move, later in zip(channel.moves, [*channel.moves[1:], None], strict=True):
            if later is None:
                reasons[move.id] = f"{channel.name} points to it"
            elif moment(later.when) >= since:
                reasons.setdefault(move.id, f"{channel.name} pointed to it until {later.when}")
        first = channel.moves[0]
        if first.before and moment(first.when) >= since:  # moves before it have been forgotten
            reasons.setdefault(first.before, f"{channel.name} pointed to it until {first.when}")
    for identity in sorted(pushed, reverse=True)[: max(newest, 0)]:
        reasons.setdefault(identity, f"among the newest {newest}")
    for identity, when in pushed.items():
        if when >= since:
            reasons.setdefault(identity, f"pushed {stamp(when)}")
    return {identity: reason for identity, reason in reasons.items() if identity in pushed}
