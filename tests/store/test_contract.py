"""What every store promises: each test runs on a directory and on a real S3 server."""

from __future__ import annotations

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from builder.errors import AbsentError, ArtifactError, ChecksumError
from builder.store import Found, Span, Store, open_store

MIB = 1 << 20


class Bytes:
    """A source in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def nothing(*_: object) -> None:
    pass


def now(store: Store, key: str) -> Found:
    found = store.pointer(key)
    assert found
    return found


def whole(store: Store, key: str, length: int) -> bytes:
    return b"".join(store.read(key, 0, length))


def test_a_small_object_is_made_once(store: Store) -> None:
    """What is there is not replaced, and what is not there is None."""
    assert store.get("a/b", 10) is None
    assert store.create("a/b", b"one")
    assert not store.create("a/b", b"two")
    assert store.get("a/b", 10) == b"one"


def test_an_object_longer_than_it_can_be_is_refused(store: Store) -> None:
    """Nobody is made to hold what no release has."""
    store.create("a", bytes(11))
    with pytest.raises(ChecksumError):
        store.get("a", 10)


def test_a_pointer_moves_from_what_was_seen(store: Store) -> None:
    """A swap from nothing, from what is there, and none from what was there before."""
    assert store.pointer("p/c") is None
    assert store.swap("p/c", b"1", None)
    assert not store.swap("p/c", b"2", None)
    first = store.pointer("p/c")
    assert first is not None
    assert first.data == b"1"
    assert store.swap("p/c", b"3", first.tag)
    assert not store.swap("p/c", b"4", first.tag)
    now = store.pointer("p/c")
    assert now is not None
    assert now.data == b"3"


def test_a_swap_from_a_tag_that_is_not_there_is_lost(store: Store) -> None:
    """412 and 404 are both: lost."""
    store.swap("p/a", b"1", None)
    store.swap("p/a", b"2", now(store, "p/a").tag)
    tag = now(store, "p/a").tag
    assert not store.swap("p/b", b"2", tag)
    assert store.pointer("p/b") is None
    assert now(store, "p/a").data == b"2"


def test_a_pointer_that_has_moved_often_is_still_one(store: Store) -> None:
    """Old versions neither pile up with their contents nor get in the way."""
    tag = None
    for number in range(30):
        assert store.swap("p", b"%d" % number, tag)
        found = store.pointer("p")
        assert found is not None
        assert found.data == b"%d" % number
        tag = found.tag


def test_of_many_swaps_one_wins(url: str) -> None:
    """Eight at once from the same state: one winner each round, and all see it."""
    stores = [open_store(url) for _ in range(8)]
    gate = threading.Barrier(8)

    def attempt(which: int, number: int, seen: Found | None) -> bool:
        gate.wait()
        return stores[which].swap("p", f"{number} {which}".encode(), seen.tag if seen else None)

    for number in range(10):
        seen = stores[0].pointer("p")
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(attempt, range(8), [number] * 8, [seen] * 8))
        assert sum(won) == 1
        assert {now(each, "p").data for each in stores} == {f"{number} {won.index(True)}".encode()}


def test_of_many_creations_one_wins(url: str) -> None:
    """Eight at once, of one key: one made it, and its bytes are there."""
    stores = [open_store(url) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda which: stores[which].create("k", b"%d" % which), range(8)))
    assert sum(made) == 1
    assert stores[0].get("k", 10) == b"%d" % made.index(True)


def test_listing_and_folders(store: Store) -> None:
    """Keys below a prefix, with their sizes and times; folders by their names."""
    for key in ("shop/releases/1/a", "shop/releases/1/b", "shop/releases/2/a", "shopping/releases/3/a"):
        store.create(key, b"12")
    found = list(store.listing("shop/releases/"))
    assert sorted(each.key for each in found) == ["shop/releases/1/a", "shop/releases/1/b", "shop/releases/2/a"]
    assert {each.bytes for each in found} == {2}
    assert all(abs(each.modified - datetime.now(UTC)) < timedelta(minutes=5) for each in found)
    assert store.folders("") == ("shop", "shopping")
    assert store.folders("shop/releases/") == ("1", "2")
    assert store.folders("nothing/") == ()
    assert not list(store.listing("nothing/"))


def test_a_listing_of_more_than_a_page(bucket: str) -> None:
    """A bucket gives a thousand keys at once; all are listed."""
    store = open_store(bucket)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.create(f"many/{number}/x", b""), range(1005)))
    assert len(list(store.listing("many/"))) == 1005
    assert len(store.folders("many/")) == 1005


def test_a_removed_object_is_gone(store: Store) -> None:
    """Removed twice is removed, and it can be made again. (Its folder may stay: SeaweedFS keeps it.)"""
    store.create("a/b/c", b"1")
    store.remove("a/b/c")
    store.remove("a/b/c")
    assert store.get("a/b/c", 10) is None
    assert not list(store.listing("a/"))
    assert store.create("a/b/c", b"2")


def test_ranges_are_read_exactly(store: Store) -> None:
    """Any range; one that ends behind the object is a damaged object, one of nothing is absent."""
    data = os.urandom(3 * MIB)
    store.create("o", data)
    assert b"".join(store.read("o", 100, 2 * MIB)) == data[100 : 100 + 2 * MIB]
    assert b"".join(store.read("o", 3 * MIB - 1, 1)) == data[-1:]
    with pytest.raises(ChecksumError):
        list(store.read("o", 3 * MIB - 10, 20))
    with pytest.raises(ChecksumError):
        list(store.read("o", 3 * MIB, 20))
    with pytest.raises(AbsentError):
        list(store.read("absent", 0, 1))


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 8 * MIB, 8 * MIB + 1, 21 * MIB + 3])
def test_a_large_object_is_written_once(store: Store, size: int) -> None:
    """Of any length; another of the same key is not written."""
    data = os.urandom(size)
    sent: list[int] = []
    assert store.write("o", Bytes(data), [Span(size)], nothing, lambda how, count: sent.append(count))
    assert sum(sent) == size
    assert whole(store, "o", size) == data
    assert not store.write("o", Bytes(os.urandom(9 * MIB)), [Span(9 * MIB)], nothing, nothing)
    assert whole(store, "o", size) == data


def test_what_is_found_unsound_at_the_end_is_not_there(store: Store) -> None:
    """The last word is the caller's, before any reader sees a byte."""

    def unsound() -> None:
        assert not [each for each in store.listing("") if each.key == "o"]
        raise ArtifactError("damaged")

    for size in (MIB, 20 * MIB):
        with pytest.raises(ArtifactError):
            store.write("o", Bytes(bytes(size)), [Span(size)], unsound, nothing)
        assert store.get("o", 100) is None


def test_what_the_store_holds_is_not_sent_again(store: Store) -> None:
    """A new object of old pieces is, byte for byte, what was meant; a bucket copies what it can."""
    old = os.urandom(30 * MIB)
    store.write("old", Bytes(old), [Span(len(old))], nothing, nothing)
    changed = os.urandom(MIB)
    new = b"head" + old[: 12 * MIB] + changed + old[13 * MIB :] + b"tail"
    spans = [Span(4), Span(12 * MIB, "old", 0), Span(MIB), Span(17 * MIB, "old", 13 * MIB), Span(4)]
    went = {"sent": 0, "copied": 0}

    def moved(how: str, count: int) -> None:
        went[how] += count

    assert store.write("new", Bytes(new), spans, nothing, moved)
    assert hashlib.sha256(whole(store, "new", len(new))).digest() == hashlib.sha256(new).digest()
    if store.copies:
        assert went["sent"] <= 2 * 5 * MIB + 4


def test_a_copy_that_would_be_wrong_is_sent_instead(store: Store) -> None:
    """Spans that promise what the store does not hold (gone, another, shorter) change nothing about the bytes."""
    store.write("other", Bytes(os.urandom(20 * MIB)), [Span(20 * MIB)], nothing, nothing)
    data = os.urandom(40 * MIB)
    spans = [Span(10 * MIB), Span(10 * MIB, "other", 0), Span(10 * MIB, "absent", 0), Span(10 * MIB, "other", 15 * MIB)]
    assert store.write("o", Bytes(data), spans, nothing, nothing)
    assert whole(store, "o", len(data)) == data


def test_of_many_writers_of_one_key_one_wins(url: str) -> None:
    """Four at once with other bytes each: the object is one of them, whole."""
    sources = [os.urandom(9 * MIB) for _ in range(4)]
    stores = [open_store(url) for _ in sources]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda each: each[0].write("o", Bytes(each[1]), [Span(9 * MIB)], nothing, nothing), zip(stores, sources, strict=True)))
    assert sum(made) == 1
    assert whole(stores[0], "o", 9 * MIB) == sources[made.index(True)]


def test_an_address_is_given(store: Store) -> None:
    """For whoever has a browser or curl and no credentials."""
    store.create("o", b"1")
    assert "://" in store.address("o", 60)
