"""Where releases are kept for others: a bucket or a directory, behind one small protocol.

A store knows keys and bytes, and four promises that all else is built on: what ``create`` and ``write`` made is whole or not there, and never
replaced; ``swap`` has one winner; a read sees what was written before it began; what is there has the bytes that were given (by SHA-256).
What the keys mean is the ledger's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from ..errors import UsageError

Moved = Callable[[str, int], None]
"""Told how many bytes went, and how: ``sent``, ``copied`` (within the store), ``kept`` (of an earlier try), ``read``, ``local`` (from here).

Before that it is told, as ``of``, how many there will be."""


@dataclass(frozen=True)
class Found:
    """A small object: its bytes, and the tag that ``swap`` wants to hear."""

    data: bytes
    tag: str


@dataclass(frozen=True)
class Listed:
    """One object of a listing: ``modified`` by the store's clock."""

    key: str
    bytes: int
    modified: datetime


class Source(Protocol):
    """Bytes that are here. Threads may read at once."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes."""


@dataclass(frozen=True)
class Span:
    """``length`` bytes of what is to be written, that the store holds already from ``offset`` of the object ``key`` on; "" means: it does not."""

    length: int
    key: str = ""
    offset: int = 0


class Store(Protocol):
    """All methods raise ``StoreError`` when the store says no or nothing answers; they retry what may be tried again, for as long as is set."""

    url: str
    """As people write it."""

    copies: bool
    """Whether ``write`` makes use of spans that it holds already."""

    def get(self, key: str, most: int) -> bytes | None:
        """A small object of at most ``most`` bytes, or None."""

    def create(self, key: str, data: bytes) -> bool:
        """Put a small object there, where none may be. False: one is."""

    def pointer(self, key: str) -> Found | None:
        """What ``swap`` put there."""

    def swap(self, key: str, data: bytes, tag: str | None) -> bool:
        """Put ``data`` (no two callers' are the same) in the place of what has ``tag``; None: of nothing. False: something else is there."""

    def listing(self, prefix: str) -> Iterator[Listed]:
        """All objects whose keys begin with ``prefix``, which ends in ``/`` or is empty."""

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The parts of keys that come right behind ``prefix`` and before another ``/``, sorted; perhaps some below which nothing is any more."""

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        """Exactly those bytes of an object, in pieces; a broken connection is taken up where it broke."""

    def estimate(self, spans: Sequence[Span]) -> tuple[int, int]:
        """How many bytes ``write`` would send, and how many it would have copied, were it to find nothing of an earlier try."""

    def write(self, key: str, source: Source, spans: Sequence[Span], sound: Callable[[], None], moved: Moved) -> bool:
        """Put a large object there, where none may be; False: one is. ``spans`` tile ``source``: what the store holds it may copy.

        ``sound`` is called when all bytes are there and before any reader sees them; what it raises goes up, and nothing is there.
        """

    def remove(self, key: str) -> None:
        """Remove an object; an absent one is fine."""

    def remove_stale(self, prefix: str, before: datetime, *, act: bool) -> int:
        """Remove what publishers that were killed before that time left below ``prefix``; how much of it there is, in pieces. ``act``: else count."""

    def address(self, key: str, seconds: int) -> str:
        """A URL by which anyone can read an object for that long."""


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")


def open_store(url: str) -> Store:
    """``s3://bucket/prefix?addressing=path``, or a directory that is there. Raises ``UsageError`` or ``StoreError``."""
    if url.startswith("s3://"):
        from .s3 import S3Store

        return S3Store(url)
    if _SCHEME.match(url):
        raise UsageError(f"{url.split('://')[0]}:// is no store that this program knows", next_step="Name s3://BUCKET/PREFIX, or a directory.")
    from .directory import DirectoryStore

    return DirectoryStore(url)
