"""An artifact to the store: what can be copied there is copied, the rest sent, and the release is there once its last object is."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from ..artifact.head import head
from ..errors import MovedError, OccupiedError, Problem, StoreError
from . import Moved, Span, Store, catalog, channels, layout
from .ledger import MOST_RECORD_BYTES, Move, Record, release_key, stamp, sum_line, to_bytes
from .tally import Tally

_TRIES = 3
_BASES = 3  # releases, beside those that channels point to, whose bytes are looked at for copying


@dataclass(frozen=True)
class Pushed:
    """A release that is in the store. ``new``: it was not before; ``bytes`` of it, by how they went: sent, copied there, kept from an earlier try."""

    record: Record
    new: bool
    sent: int
    copied: int
    kept: int
    signatures: int
    new_signatures: int
    channel: str
    moved: Move | None


@dataclass(frozen=True)
class Plan:
    """What a push would do. ``new``: the release is not there yet; bytes of it that would be ``sent``, and ``copied`` there; ``before``: where
    ``channel`` points now ("": nowhere)."""

    record: Record
    new: bool
    sent: int
    copied: int
    signatures: int
    new_signatures: int
    channel: str
    before: str


def plan(store: Store, path: Path, *, channel: str, who: str, now: datetime) -> Plan:
    """What ``push`` would do: all of the artifact is read, nothing is written. Raises what ``push`` would before it writes."""
    with layout.Unsigned(path) as source:
        name, identity = source.manifest.name, source.id
        _refuse_going(store, name, identity)
        stated = catalog.sha256(store, name, identity)
        sha256 = source.check()
        if stated not in (None, sha256):
            raise _occupied(name, identity, stated or "", sha256)
        sent, copied = store.estimate(_spans(store, source)) if stated is None else (0, 0)
        known = {hashlib.sha256(data).hexdigest() for data in catalog.signatures(store, name, identity)}
        new_signatures = sum(hashlib.sha256(data).hexdigest() not in known for data in source.signatures)
        before = catalog.channel(store, name, channel)[0].id if channel else ""
        record = _record(source, sha256, who, now)
        return Plan(record, stated is None, sent, copied, len(source.signatures), new_signatures, channel, before)


def push(store: Store, path: Path, *, channel: str, why: str, who: str, now: datetime, moved: Moved) -> Pushed:
    """Publish the artifact at ``path``, and point ``channel`` to it unless that is "". Raises ``StoreError`` or ``ArtifactError``."""
    tally = Tally(moved)
    with layout.Unsigned(path) as source, ThreadPoolExecutor(1) as beside:
        name, identity = source.manifest.name, source.id
        _refuse_going(store, name, identity)
        stated = catalog.sha256(store, name, identity)
        tally("of", source.size if stated is None else 0)
        checking = beside.submit(source.check)  # an artifact that is damaged here never becomes a release there
        try:
            for _ in range(_TRIES):
                if stated is None:
                    _write(store, source, checking, tally)
                sha256 = checking.result()
                if stated not in (None, sha256):
                    raise _occupied(name, identity, stated or "", sha256)
                record = _record(source, sha256, who, now)
                new_signatures = _publish(store, source, record)
                if catalog.has_bytes(store, name, identity):
                    break
                stated = None  # a prune took what was there, between our finding it and our last object
            else:
                raise MovedError("the release is taken away as often as it is pushed", [Problem(f"{name}@{identity}", "is being removed by others")])
        finally:
            source.ended = True
    move = channels.point(store, name, channel, identity, how="push", why=why, who=who, now=now) if channel else None
    counts = (tally.sent, tally.copied, tally.kept)
    return Pushed(record, stated is None, *counts, len(source.signatures), new_signatures, channel, move)


def _record(source: layout.Unsigned, sha256: str, who: str, now: datetime) -> Record:
    manifest = source.manifest
    return Record(manifest.name, source.id, manifest.version, manifest.commit, manifest.commit_time, source.size, sha256, who, stamp(now))


def _write(store: Store, source: layout.Unsigned, checking: Future[str], moved: Moved) -> None:
    """``release.tgz``: as it is here, or nothing."""
    key = release_key(source.manifest.name, source.id, "release.tgz")
    if store.write(key, source, _spans(store, source), lambda: _wait(checking), moved):
        return
    # Somebody wrote it, and not its sha256: a publisher that was killed, or is at work. What it is only its bytes say.
    digest = hashlib.sha256()
    try:
        for piece in store.read(key, 0, source.size):
            digest.update(piece)
            moved("read", len(piece))
    except StoreError as error:
        raise OccupiedError(_OTHER, [*error.problems, Problem(key, "is not this artifact", _REMEDY)]) from None
    if digest.hexdigest() != checking.result():
        raise _occupied(source.manifest.name, source.id, digest.hexdigest(), checking.result())


def _wait(checking: Future[str]) -> None:
    checking.result()


def _publish(store: Store, source: layout.Unsigned, record: Record) -> int:
    """The small objects, ``sha256`` last; one that a release has lost comes back. How many signatures were not there before."""

    def put(part: str, data: bytes, same: Callable[[bytes], bool]) -> bool:
        key = release_key(record.name, record.id, part)
        if store.create(key, data):
            return True
        there = store.get(key, max(len(data), MOST_RECORD_BYTES))
        if there is None or not same(there):
            raise OccupiedError(_OTHER, [Problem(key, "holds other bytes than this artifact's", _REMEDY)])
        return False

    put("manifest.json", source.manifest_bytes, lambda there: there == source.manifest_bytes)
    signatures = 0
    for data in source.signatures:
        signatures += put(f"signatures/{hashlib.sha256(data).hexdigest()}", data, partial(operator.eq, data))
    put("pushed.json", to_bytes(record), lambda there: True)  # whoever was first
    line = sum_line(record.sha256)
    put("sha256", line, lambda there: there == line)
    _refuse_going(store, record.name, record.id)
    return signatures


def _spans(store: Store, source: layout.Unsigned) -> list[Span]:
    """The artifact, and what of it other releases of the same name hold, where the store copies."""
    if not store.copies:
        return [Span(source.size)]
    there: dict[str, tuple[str, int]] = {}
    for identity in _bases(store, source.manifest.name):
        try:
            base, data = catalog.manifest(store, source.manifest.name, identity)
        except StoreError:
            continue  # it went, or is damaged: others serve
        key, begins = release_key(base.name, identity, "release.tgz"), len(head(data))
        for region in layout.regions(base):
            there.setdefault(f"{region.digest} {region.length}", (key, begins + region.offset))
    spans = [Span(len(head(source.manifest_bytes)))]
    spans += [Span(region.length, *there.get(f"{region.digest} {region.length}", ())) for region in layout.regions(source.manifest)]
    return [*spans, Span(source.size - sum(span.length for span in spans))]


def _bases(store: Store, name: str) -> Iterator[str]:
    """Releases to copy from, the best ones first: what has just been pushed is most like what is pushed now."""
    known = catalog.ids(store, name)
    pointed = [each.id for each in catalog.channels(store, name)] if known else []
    yield from dict.fromkeys([*reversed(known[-_BASES:]), *(each for each in pointed if each in known)])


def _refuse_going(store: Store, name: str, identity: str) -> None:
    if catalog.is_going(store, name, identity):
        remedy = f"Let that end (build-release prune STORE {name} finishes what was begun), then push again."
        raise MovedError("the release is being removed from the store", [Problem(f"{name}@{identity}", "is on its way out", remedy)])


_OTHER = "other bytes are in the store under the same id"
_REMEDY = "An id stands for its bytes for good. Verify both: build-release verify STORE, build-release verify ARTIFACT."


def _occupied(name: str, identity: str, there: str, here: str) -> OccupiedError:
    return OccupiedError(_OTHER, [Problem(f"{name}@{identity}", f"has the sha256 {there} there, {here} here", _REMEDY)])
