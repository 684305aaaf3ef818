"""How a large object is put together: the rules of parts, and that no byte more is sent than they ask for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from builder.store import Span
from builder.store.parts import LEAST, MOST_PARTS, Part, plan

MIB = 1 << 20


@st.composite
def some_spans(draw: st.DrawFn) -> list[Span]:
    lengths = draw(st.lists(st.integers(0, 300), min_size=1, max_size=20))
    return [Span(length, *draw(st.sampled_from([(), ("old", 7), ("other", 0), ("old", 307)]))) for length in lengths]


@given(some_spans())
def test_parts_tile_the_object_and_keep_the_rules(spans: list[Span]) -> None:
    """Whatever is there: every byte once, in order, from where the span says; no part but the last is shorter than the least."""
    parts = plan(spans, least=50, sent=80, most_copied=200)
    position = 0
    for number, part in enumerate(parts):
        assert part.offset == position
        assert part.length >= (50 if number < len(parts) - 1 else 1)
        position += part.length
    assert position == sum(span.length for span in spans)
    origins = [(span.key, span.offset + number) for span in spans for number in range(span.length)]
    for number, part in enumerate(parts):
        copied = part.length - part.grafted
        if part.key:
            assert copied >= (50 if number < len(parts) - 1 else 1)
            assert [(part.key, part.start + number) for number in range(copied)] == origins[part.offset : part.offset + copied]


def test_a_changed_head_costs_one_part() -> None:
    """Five mebibytes, the rest is copied, and the eight bytes of the trailer are a last part."""
    parts = plan([Span(100_000), Span(70 * MIB, "old", 90_000), Span(8)])
    assert parts == (Part(0, LEAST), Part(LEAST, 70 * MIB + 100_000 - LEAST, "old", 90_000 + LEAST - 100_000), Part(70 * MIB + 100_000, 8))


def test_a_change_in_the_middle_costs_its_own_bytes() -> None:
    """It is grafted onto the end of what is copied before it; a long one is parts of its own."""
    parts = plan([Span(100), Span(30 * MIB, "old", 0), Span(1000), Span(30 * MIB, "old", 31 * MIB), Span(6 * MIB), Span(30 * MIB, "old", 70 * MIB)])
    assert sum(part.grafted if part.key else part.length for part in parts) == LEAST + 1000 + 6 * MIB
    assert [part.grafted for part in parts] == [0, 0, 1000, 0, 0, 0]


def test_neighbours_are_one() -> None:
    """Layers that lie side by side in both objects are one range."""
    parts = plan([Span(10), *[Span(MIB, "old", 100 + number * MIB) for number in range(60)]])
    assert [bool(part.key) for part in parts] == [False, True]


def test_what_is_too_short_to_be_copied_is_sent() -> None:
    """A range of less than a part between changes is not worth a request."""
    parts = plan([Span(6 * MIB), Span(4 * MIB, "old", 0), Span(6 * MIB)])
    assert not any(part.key for part in parts)


def test_there_are_never_too_many_parts() -> None:
    """Of an object of terabytes: larger parts, not more than are allowed."""
    parts = plan([Span(1 << 40), Span(1 << 40, "old", 0), Span(5)])
    assert len(parts) <= MOST_PARTS
    assert max(part.length for part in parts) < 5 << 30
