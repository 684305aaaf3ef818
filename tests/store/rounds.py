"""Several publishers move one channel at once, again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from builder.store import Found, Store
from builder.store.ledger import Channel, moved, parse_channel, to_bytes

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEY = "shop/channels/staging"


def race(stores: Sequence[Store], rounds: int) -> Iterator[str]:
    """Each of ``stores`` wants to move the channel from the same state, in each round. What is wrong, in words."""
    gate = threading.Barrier(len(stores))

    def attempt(which: int, number: int, seen: Found | None) -> bool:
        before = parse_channel(seen.data, KEY) if seen else Channel("staging", ())
        identity = f"20261124{number:06}-{which:012x}"
        after = moved(before, identity, who=str(which), when=NOW, how="push", why="", nonce=f"{number} {which}")
        gate.wait()
        return stores[which].swap(KEY, to_bytes(after), seen.tag if seen else None)

    with ThreadPoolExecutor(len(stores)) as pool:
        for number in range(rounds):
            seen = stores[number % len(stores)].pointer(KEY)
            won = list(pool.map(attempt, range(len(stores)), [number] * len(stores), [seen] * len(stores)))
            now = stores[-1].pointer(KEY)
            moves = parse_channel(now.data, KEY).moves if now else ()
            if sum(won) != 1:
                yield f"round {number}: {sum(won)} winners"
            elif len(moves) != number + 1 or moves[-1].who != str(won.index(True)):
                yield f"round {number}: {won.index(True)} won, and the channel says {moves[-1:]} after {len(moves)} moves"
