"""A bounded part of what `make faults` does with a store: publishers that are killed, and that race."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.store import open_store
from tests.store import kills, rounds
from tests.store.releases import MIB, Wheels, release
from tests.store.weed import Server


def test_no_reader_sees_what_a_killed_publisher_left(bucket: str, server: Server, tmp_path: Path) -> None:
    """At some of its requests (in the campaign at all): nothing is half there, and the next push is whole."""
    built = release(tmp_path, wheels=Wheels({"w": ("w", 12 * MIB)}))
    count = kills.requests(server, f"{bucket}/whole", built)
    assert count > 15
    for at in range(3, count + 1, 5):
        assert not [*kills.killed(server, f"{bucket}/{at}", built, at, heard=at % 2 == 0)]


@pytest.mark.parametrize("at_once", [8])
def test_one_publisher_wins_each_round(url: str, at_once: int) -> None:
    """Eight on one channel; the campaign makes a hundred rounds."""
    assert not [*rounds.race([open_store(url) for _ in range(at_once)], 8)]
