"""What leaves a store: old releases that no channel needs, and what killed publishers left. Shown first; done only when asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from . import Store, catalog
from .catalog import Release
from .ledger import keep, release_key, stamp

LEFTOVER = timedelta(days=1)  # after which what is only there in parts is taken for a dead publisher's


@dataclass(frozen=True)
class Pruning:
    """What goes, what stays and why, ids of which only a part is there; ``done``: it has been removed, but for ``spared``, now needed.
    ``scraps``: how many uploads that were never finished, and pieces that were only there to be copied, go too."""

    name: str
    going: tuple[Release, ...]
    staying: tuple[tuple[Release, str], ...]
    leftovers: tuple[str, ...]
    done: bool
    spared: tuple[str, ...] = ()
    scraps: int = 0

    @property
    def bytes(self) -> int:
        return sum(release.record.bytes for release in self.going if release.id not in self.spared)


def prune(store: Store, name: str, *, newest: int, since: datetime, now: datetime, who: str, act: bool) -> Pruning:
    """``newest`` releases stay, what was pushed since ``since``, and what a channel points to or pointed to since then."""
    shelf = catalog.shelf(store, name)
    reasons = keep({release.id: release.modified for release in shelf.releases}, shelf.channels, newest=newest, since=since)
    going = tuple(release for release in shelf.releases if release.id not in reasons)
    staying = tuple((release, reasons[release.id]) for release in shelf.releases if release.id in reasons)
    leftovers = tuple(identity for identity, modified in shelf.parts if modified < now - LEFTOVER or catalog.is_going(store, name, identity))
    if not act:
        return Pruning(name, going, staying, leftovers, False, scraps=store.remove_stale(f"{name}/", now - LEFTOVER, act=False))
    doomed = [*(release.id for release in going), *leftovers]
    for identity in doomed[:1]:
        store.remove(release_key(name, identity, "none"))  # there is no such part: whoever may not remove is told before anything is marked
    spared = [identity for identity in doomed if not _remove(store, name, identity, since, who, now)]
    scraps = store.remove_stale(f"{name}/", now - LEFTOVER, act=True)
    return Pruning(name, going, staying, leftovers, True, tuple(spared), scraps)


def _remove(store: Store, name: str, identity: str, since: datetime, who: str, now: datetime) -> bool:
    """Say that it is going, look at the channels once more, then remove it: first what makes it a release. False: a channel needs it."""
    marker = release_key(name, identity, "going")
    store.create(marker, json.dumps({"who": who, "when": stamp(now)}).encode() + b"\n")
    if identity in keep({identity: since - LEFTOVER}, catalog.channels(store, name), newest=0, since=since):
        store.remove(marker)
        return False
    for key in _order(sorted(each.key for each in store.listing(release_key(name, identity))), marker):
        store.remove(key)
    return True


def _order(keys: Sequence[str], marker: str) -> list[str]:
    """``sha256`` first, the marker last."""
    return sorted(keys, key=lambda key: (key == marker, not key.endswith("/sha256"), key))
