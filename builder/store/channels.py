"""Channels: pointed, promoted, rolled back, each by compare-and-swap. What moves is a pointer: the bytes are those that were tested."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from ..errors import AbsentError, MovedError, Problem
from . import Store, catalog
from .ledger import Channel, Move, Reference, channel_key, checked_channel, moved, to_bytes, way_back

_TRIES = 50


@dataclass(frozen=True)
class Step:
    """A move that is decided: the channel as it was seen, the tag by which it is moved, and the release that it will point to."""

    before: Channel
    tag: str | None
    id: str
    how: str

    @property
    def changes(self) -> bool:
        """Whether the channel points elsewhere now."""
        return self.before.id != self.id


def promotion(store: Store, name: str, source: str, target: str) -> Step:
    """How the channel ``target`` is pointed to what ``source`` (an id or a channel) means. Raises ``AbsentError`` or ``MovedError``."""
    identity = catalog.resolve(store, Reference(name, source))
    _demand(store, name, identity)
    return Step(*catalog.channel(store, name, checked_channel(target)), identity, "promote")


def promote(store: Store, name: str, source: str, target: str, *, why: str, who: str, now: datetime) -> tuple[Channel, bool]:
    """Point the channel ``target`` to what ``source`` (an id or a channel) means. The channel, and whether it had pointed elsewhere.

    Raises ``MovedError`` when somebody else moves it meanwhile: then what was seen is no longer what would be replaced.
    """
    step = promotion(store, name, source, target)
    if not step.changes:
        return step.before, False
    return _move(store, name, step, why=why, who=who, now=now), True


def retreat(store: Store, name: str, called: str) -> Step:
    """How a channel is pointed to what it pointed to before. Raises ``AbsentError`` when there is nothing, or it went, and ``MovedError``."""
    before, tag = catalog.channel(store, name, checked_channel(called))
    if not before.moves:
        raise AbsentError(f"{name} has no such channel", [Problem(called, f"is no channel of {name} in this store")])
    identity = way_back(before)
    if not identity:
        remedy = "Point it elsewhere: build-release promote."
        raise AbsentError("there is nothing to roll back to", [Problem(f"{name}@{called}", "has never pointed to anything else", remedy)])
    _demand(store, name, identity)
    return Step(before, tag, identity, "rollback")


def rollback(store: Store, name: str, called: str, *, why: str, who: str, now: datetime) -> Channel:
    """Point a channel to what it pointed to before. Raises what ``retreat`` does, and ``MovedError`` when somebody else moves it meanwhile."""
    return _move(store, name, retreat(store, name, called), why=why, who=who, now=now)


def history(store: Store, name: str, called: str) -> Channel:
    """A channel with all its moves. Raises ``AbsentError``."""
    found, _ = catalog.channel(store, name, checked_channel(called))
    if not found.moves:
        raise AbsentError(f"{name} has no such channel", [Problem(called, f"is no channel of {name} in this store")])
    return found


def point(store: Store, name: str, called: str, identity: str, *, how: str, why: str, who: str, now: datetime) -> Move | None:
    """Point a channel to a release whatever it points to; None: it does already. Lost races are tried again: nothing that was seen is relied on."""
    for _ in range(_TRIES):
        step = Step(*catalog.channel(store, name, checked_channel(called)), identity, how)
        if not step.changes:
            return None
        try:
            return _move(store, name, step, why=why, who=who, now=now).moves[-1]
        except MovedError as error:
            lost = error
    raise lost


def _move(store: Store, name: str, step: Step, *, why: str, who: str, now: datetime) -> Channel:
    before, key = step.before, channel_key(name, step.before.name)
    after = moved(before, step.id, who=who, when=now, how=step.how, why=why, nonce=secrets.token_hex(8))
    ours = after.moves[-1]
    if not store.swap(key, to_bytes(after), step.tag) and ours not in (there := catalog.channel(store, name, before.name)[0]).moves:
        # (Where it is among them, a reply was lost, and somebody has moved the channel on from what we made of it.)
        what = "is not there any more" if not there.moves else f"was pointed to {there.id} by {there.moves[-1].who}, {there.moves[-1].when}"
        remedy = f"Look (build-release history STORE {name} {before.name}), then say it again."
        raise MovedError("somebody else moved the channel meanwhile", [Problem(f"{name}@{before.name}", what, remedy)])
    # A prune says that a release is going, then looks at the channels; we did it the other way round. One of us sees the other.
    try:
        _demand(store, name, step.id)
    except (AbsentError, MovedError):
        there, tag = catalog.channel(store, name, before.name)
        if before.id and there.moves[-1:] == (ours,):  # else somebody has moved it on, to what is there
            back = moved(there, before.id, who=who, when=now, how="rollback", why=f"{step.id} is being removed", nonce=secrets.token_hex(8))
            store.swap(key, to_bytes(back), tag)
        raise
    return after


def _demand(store: Store, name: str, identity: str) -> None:
    """Raises ``AbsentError`` unless a release is there, whole, and ``MovedError`` when it is being removed."""
    if catalog.sha256(store, name, identity) is None:
        raise AbsentError(
            f"{name} has no such release", [Problem(identity, "is not in this store, or not whole", "build-release list shows what is.")]
        )
    if catalog.is_going(store, name, identity):
        raise MovedError("the release is being removed from the store", [Problem(f"{name}@{identity}", "is on its way out", "Choose another one.")])
