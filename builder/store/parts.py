"""How a large object is put together from what the store holds and what is sent: pure arithmetic, by S3's rules of parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from . import Span

LEAST = 5 << 20  # bytes of a part, the last one excepted (S3's rule)
MOST_COPIED = 256 << 20  # of a part that is copied: 5 GiB is the rule, but nobody answers while it is copied
MOST_PARTS = 10_000
SENT = 8 << 20  # of a part that is sent, as long as they are few enough


@dataclass(frozen=True)
class Part:
    """``length`` bytes from ``offset`` on: sent, or copied from ``key`` at ``start``, but for the last ``grafted`` bytes, which are sent."""

    offset: int
    length: int
    key: str = ""
    start: int = 0
    grafted: int = 0


def plan(spans: Iterable[Span], *, least: int = LEAST, sent: int = SENT, most_copied: int = MOST_COPIED) -> tuple[Part, ...]:
    """The parts that make an object of ``spans``: each at least ``least`` long but the last, as little as possible sent.

    What is to be sent and too short for a part is grafted onto the end of what is copied before it; where nothing is (a changed head), it is
    filled up from the beginning of what could be copied behind it.
    """
    merged = [*_merged(spans)]
    total = sum(span.length for span in merged)
    sent = max(sent, least, -(-total // (MOST_PARTS // 2)))
    most_copied = max(most_copied, 2 * least, -(-total // (MOST_PARTS // 4)))
    parts: list[Part] = []
    position = begun = 0  # ``begun``: where what is to be sent, and is in no part yet, begins
    for span in merged:
        if span.key:
            waiting = position - begun
            graft = 0 < waiting < least and bool(parts) and bool(parts[-1].key)
            taken = max(0, least - waiting) if waiting and not graft else 0
            last = position + span.length == total
            if span.length - taken >= (1 if last else least):
                if graft:
                    parts[-1:] = _grafted(parts[-1], waiting, least)
                else:
                    parts += _cut(begun, waiting + taken, sent, least)
                parts += _cut(position + taken, span.length - taken, most_copied, least, span.key, span.offset + taken)
                begun = position + span.length
        position += span.length
    parts += _cut(begun, position - begun, sent, least)
    return tuple(parts)


def _grafted(before: Part, count: int, least: int) -> Sequence[Part]:
    """A copied part, and ``count`` bytes more behind it that are sent: the end of it becomes a part with them."""
    kept = before.length - least
    if kept < least:
        return [replace(before, length=before.length + count, grafted=count)]
    return [replace(before, length=kept), Part(before.offset + kept, least + count, before.key, before.start + kept, count)]


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Neighbours that are neighbours where they come from too are one."""
    held: Span | None = None
    for span in spans:
        if not span.length:
            continue
        if held and held.key == span.key and (not span.key or held.offset + held.length == span.offset):
            held = Span(held.length + span.length, held.key, held.offset)
            continue
        if held:
            yield held
        held = span
    if held:
        yield held


def _cut(offset: int, length: int, most: int, least: int, key: str = "", start: int = 0) -> Sequence[Part]:
    """``length`` bytes as parts of about the same length, at most ``most`` unless one would be shorter than ``least``."""
    if not length:
        return ()
    count = max(1, min(-(-length // most), length // least))
    parts = []
    for number in range(count):
        size = length * (number + 1) // count - length * number // count
        parts.append(Part(offset, size, key, start if key else 0))
        offset, start = offset + size, start + size
    return parts
