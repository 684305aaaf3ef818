"""What a store holds: releases and channels, read and checked. Reading is what the ledger says, made with the store's few verbs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar

from ..artifact.head import head
from ..errors import AbsentError, ChecksumError, Problem
from ..install_release.artifact import MAX_SIGNATURE_BYTES, MAX_SIGNATURES
from ..install_release.errors import InstallError
from ..install_release.manifest import MAX_BYTES, RELEASE_ID, Manifest, parse, release_id
from ..install_release.signatures import NAMESPACE
from ..install_release.signatures import parse as parse_signature
from ..install_release.spelling import NAME
from . import Found, Listed, Moved, Store
from .ledger import (
    MOST_POINTER_BYTES,
    MOST_RECORD_BYTES,
    Channel,
    Record,
    Reference,
    channel_key,
    is_channel,
    parse_channel,
    parse_record,
    parse_sum,
    pick,
    release_key,
)

T = TypeVar("T")
_AT_ONCE = 8
_SUM_BYTES = 1024


@dataclass(frozen=True)
class Release:
    """One that is there, whole: its record, whose keys signed it, when its last object came by the store's clock."""

    record: Record
    signers: tuple[str, ...]
    modified: datetime

    @property
    def id(self) -> str:
        return self.record.id


@dataclass(frozen=True)
class Shelf:
    """All of one name: whole releases, oldest first; ids of which only a part is there (or which are being removed), with when it came; channels."""

    name: str
    releases: tuple[Release, ...]
    parts: tuple[tuple[str, datetime], ...]
    channels: tuple[Channel, ...]

    def pointing(self, identity: str) -> tuple[str, ...]:
        """The channels that point to a release."""
        return tuple(channel.name for channel in self.channels if channel.id == identity)


def names(store: Store) -> tuple[str, ...]:
    """Everything that the store has releases of."""
    return tuple(name for name in store.folders("") if NAME.fullmatch(name))


def ids(store: Store, name: str) -> tuple[str, ...]:
    """Of all whole releases, oldest first."""
    return tuple(sorted(identity for identity, parts in _objects(store, name).items() if _is_whole(parts)))


def shelf(store: Store, name: str, wrong: list[Problem] | None = None) -> Shelf:
    """All of one name. What can't be read is added to ``wrong``; without one it is raised, as a ``ChecksumError``."""
    objects = _objects(store, name)
    whole = sorted(identity for identity, parts in objects.items() if _is_whole(parts))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        read = pool.map(lambda identity: _kept(partial(_release, store, name, identity, objects[identity]), wrong), whole)
        found = tuple(each for each in read if each)
    parts = tuple(sorted((identity, max(each.modified for each in parts.values())) for identity, parts in objects.items() if not _is_whole(parts)))
    return Shelf(name, found, parts, channels(store, name, wrong))


def _kept(read: Callable[[], T], wrong: list[Problem] | None) -> T | None:
    try:
        return read()
    except ChecksumError as error:
        if wrong is None:
            raise
        wrong += error.problems
        return None


def _is_whole(parts: Iterable[str]) -> bool:
    return "sha256" in parts and "going" not in parts


def _objects(store: Store, name: str) -> dict[str, dict[str, Listed]]:
    """For each id: the parts that are there."""
    found: dict[str, dict[str, Listed]] = {}
    prefix = release_key(name, "")[:-1]
    for each in store.listing(prefix):
        identity, _, part = each.key[len(prefix) :].partition("/")
        if RELEASE_ID.fullmatch(identity):
            found.setdefault(identity, {})[part] = each
    return found


def _release(store: Store, name: str, identity: str, parts: dict[str, Listed]) -> Release | None:
    """None: it went while we looked."""
    key = release_key(name, identity, "pushed.json")
    data = store.get(key, MOST_RECORD_BYTES)
    if data is None and "pushed.json" in parts:
        return None
    record = parse_record(data or b"", key)
    if (record.name, record.id) != (name, identity):
        raise ChecksumError("the store holds another record than was pushed", [Problem(key, f"is that of {record.name}@{record.id}")])
    signed = [each.key for part, each in sorted(parts.items()) if part.startswith("signatures/")]
    signers = dict.fromkeys(_signer(store, name, each) for each in signed)
    return Release(record, tuple(signers), parts["sha256"].modified)


def _signer(store: Store, name: str, key: str) -> str:
    """Whose key made a signature, by its own word: whether it is good is decided where a policy is."""
    try:
        return str(parse_signature(store.get(key, MAX_SIGNATURE_BYTES) or b"", f"{NAMESPACE}{name}", key))
    except InstallError:
        return "unreadable"


def channels(store: Store, name: str, wrong: list[Problem] | None = None) -> tuple[Channel, ...]:
    """Every channel of a name; ``wrong`` as for ``shelf``."""
    prefix = channel_key(name, "")
    found = sorted({called for each in store.listing(prefix) if is_channel(called := each.key[len(prefix) :].split("/")[0])})
    read = [_kept(partial(channel, store, name, each), wrong) for each in found]
    return tuple(each[0] for each in read if each and each[0].moves)


def channel(store: Store, name: str, called: str) -> tuple[Channel, str | None]:
    """A channel, and the tag to move it by; one that is not there has no moves and no tag."""
    key = channel_key(name, called)
    found: Found | None = store.pointer(key)
    if found is None:
        return Channel(called, ()), None
    if len(found.data) > MOST_POINTER_BYTES:
        raise ChecksumError("the store holds something else than a channel", [Problem(key, f"is longer than {MOST_POINTER_BYTES} bytes")])
    return parse_channel(found.data, key), found.tag


def resolve(store: Store, wanted: Reference) -> str:
    """The id that a reference means now. Raises ``AbsentError`` or ``UsageError``."""
    if wanted.at and RELEASE_ID.fullmatch(wanted.at):
        return wanted.at  # whether it is there is found when it is read
    if is_channel(wanted.at):
        return pick(wanted, (), [each for each, _ in [channel(store, wanted.name, wanted.at)] if each.moves])
    return pick(wanted, ids(store, wanted.name), ())


def sha256(store: Store, name: str, identity: str) -> str | None:
    """Of a release that is there, whole; else None."""
    key = release_key(name, identity, "sha256")
    data = store.get(key, _SUM_BYTES)
    return None if data is None else parse_sum(data, key)


def demanded(store: Store, name: str, identity: str) -> str:
    """``sha256``. Raises ``AbsentError``."""
    found = sha256(store, name, identity)
    if found is None:
        raise AbsentError(
            f"{name} has no such release", [Problem(identity, "is not in this store")], next_step=f"build-release list {store.url} {name}"
        )
    return found


def is_going(store: Store, name: str, identity: str) -> bool:
    """Whether a release is being removed."""
    return store.get(release_key(name, identity, "going"), MOST_RECORD_BYTES) is not None


def has_bytes(store: Store, name: str, identity: str) -> bool:
    """Whether all that a release consists of is there."""
    prefix = release_key(name, identity)
    return {"release.tgz", "manifest.json", "sha256"} <= {each.key[len(prefix) :] for each in store.listing(prefix)}


def manifest(store: Store, name: str, identity: str) -> tuple[Manifest, bytes]:
    """A release's manifest, compared with its id. Raises ``ChecksumError`` or ``AbsentError``."""
    key = release_key(name, identity, "manifest.json")
    data = store.get(key, MAX_BYTES)
    if data is None:
        raise AbsentError(f"{name} has no such release", [Problem(identity, "is not in this store")], next_step="build-release list STORE NAME")
    try:
        read = parse(data)
    except InstallError as error:
        raise ChecksumError("the store holds a manifest that is none", [Problem(key, str(problem)) for problem in error.problems]) from None
    if release_id(read.commit_time, data) != identity or read.name != name:
        raise ChecksumError("the store holds another manifest than was pushed", [Problem(key, f"is not that of {name} {identity}")])
    return read, data


def signatures(store: Store, name: str, identity: str) -> tuple[bytes, ...]:
    """Every signature of a release, by name; one that is not what its name says is left out by nobody: ``ChecksumError``."""
    prefix = release_key(name, identity, "signatures/")
    found = []
    for key in sorted(each.key for each in store.listing(prefix))[:MAX_SIGNATURES]:
        data = store.get(key, MAX_SIGNATURE_BYTES)
        if data is None:
            continue
        if hashlib.sha256(data).hexdigest() != key[len(prefix) :]:
            raise ChecksumError("the store holds another signature than was pushed", [Problem(key, "differs from its SHA-256, which is its name")])
        found.append(data)
    return tuple(found)


def verify(store: Store, only: Sequence[str], moved: Moved) -> tuple[tuple[Shelf, ...], tuple[Problem, ...]]:
    """Read every byte of every release, and compare it with what was pushed. All that is there, and all that is wrong."""
    shelves: list[Shelf] = []
    problems: list[Problem] = []
    for name in only or names(store):
        found = shelf(store, name, problems)
        shelves.append(found)
        known = {release.id for release in found.releases}
        for each in found.channels:
            if each.id not in known:
                problems.append(Problem(f"{name}@{each.name}", f"points to {each.id}, which is not there", "Move it: build-release promote."))
        for release in found.releases:
            problems += _verify(store, release, moved)
    return tuple(shelves), tuple(problems)


def _verify(store: Store, release: Release, moved: Moved) -> Iterator[Problem]:
    """What is wrong with one release."""
    name, identity = release.record.name, release.id
    where = f"{name}@{identity}"
    try:
        read, data = manifest(store, name, identity)
        signatures(store, name, identity)
        stated = sha256(store, name, identity)
        first = head(data)
        size = len(first) + read.tail.bytes + 8
        digest, begins = hashlib.sha256(), b""
        for piece in store.read(release_key(name, identity, "release.tgz"), 0, size):
            digest.update(piece)
            begins = (begins + piece)[: len(first)] if len(begins) < len(first) else begins
            moved("read", len(piece))
        if begins != first:
            yield Problem(where, "release.tgz does not begin with manifest.json", "Push it again under another id, or restore it.")
        if digest.hexdigest() != stated:
            yield Problem(where, f"release.tgz has the sha256 {digest.hexdigest()}, stated is {stated}", "Don't install it; restore it.")
        if (release.record.sha256, release.record.bytes, release.record.id) != (stated, size, identity):
            yield Problem(where, "pushed.json says something else than the rest")
    except (ChecksumError, AbsentError) as error:
        yield from error.problems or (Problem(where, error.message),)
