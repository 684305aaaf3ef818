"""What keys mean, and every decision about channels and releases: no store is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from builder.errors import ChecksumError, UsageError
from builder.store import ledger
from builder.store.ledger import Channel, Move, Record, reference

START = datetime(2026, 11, 1, tzinfo=UTC)
A, B, C, D = (f"2026110100000{number}-{number:012x}" for number in range(1, 5))


def channel(*moves: tuple[str, str]) -> Channel:
    """Moves of (how, id), a day apart."""
    made = Channel("live", ())
    for number, (how, identity) in enumerate(moves):
        made = ledger.moved(made, identity, who="ann", when=START + timedelta(days=number), how=how, why="", nonce="0")
    return made


@pytest.mark.parametrize(
    ("moves", "back"),
    [
        ([], ""),
        ([("push", A)], ""),
        ([("push", A), ("push", B)], A),
        ([("push", A), ("push", B), ("rollback", A)], ""),
        ([("push", A), ("push", B), ("push", C), ("rollback", B)], A),
        ([("push", A), ("push", B), ("rollback", A), ("push", C)], A),
        ([("push", A), ("push", B), ("promote", A)], B),
        ([("push", A), ("push", B), ("push", C), ("rollback", B), ("push", D)], B),
    ],
)
def test_the_way_back(moves: list[tuple[str, str]], back: str) -> None:
    """To what was there before what is; what was rolled back from is passed over."""
    assert ledger.way_back(channel(*moves)) == back


def test_a_channel_is_read_as_it_was_written() -> None:
    """And says where it pointed before each move."""
    made = channel(("push", A), ("push", B))
    read = ledger.parse_channel(ledger.to_bytes(made), "live")
    assert read == made
    assert [move.before for move in read.moves] == ["", A]


def test_a_channel_forgets_its_oldest_moves() -> None:
    """It stays small enough to be read each time."""
    made = Channel("live", tuple(Move(A, "a" * 120, "2026-11-01T00:00:00Z", B, "promote", "w" * 500, "0" * 16) for _ in range(ledger.MOST_MOVES)))
    more = ledger.moved(made, B, who="ann", when=START, how="push", why="", nonce="1")
    assert len(more.moves) == ledger.MOST_MOVES
    assert more.id == B
    assert len(ledger.to_bytes(more)) < ledger.MOST_POINTER_BYTES


def test_a_reason_is_one_line() -> None:
    """Whatever somebody pastes into --why."""
    assert ledger.moved(Channel("live", ()), A, who="", when=START, how="", why="a\nb\x1b[31m" + "x" * 1000, nonce="").moves[0].why[:8] == "a b [31m"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"name":"live","moves":[]}', b'{"name":"live","moves":[{}]}', b"\xff", b'{"name":1,"moves":[1]}', b"[" * 100_000]
)
def test_what_this_program_did_not_write_is_told(data: bytes) -> None:
    """A pointer or a record of somebody else is an error that names it."""
    for parse in (ledger.parse_channel, ledger.parse_record):
        with pytest.raises(ChecksumError) as told:
            parse(data, "shop/channels/live")
        assert told.value.problems[0].where == "shop/channels/live"


def test_a_record_is_read_as_it_was_written() -> None:
    """And one with a wrong id or time is none."""
    record = Record("shop", A, "1.0", "a" * 40, 1, 2, "b" * 64, "ci", "2026-11-01T00:00:00Z")
    assert ledger.parse_record(ledger.to_bytes(record), "") == record
    for wrong in ({"id": "../x"}, {"when": "yesterday"}, {"bytes": "2"}):
        with pytest.raises(ChecksumError):
            ledger.parse_record(ledger.to_bytes(Record(**{**record.__dict__, **wrong})), "")


def test_what_stays() -> None:
    """The newest, what a channel points to, what one pointed to within the window, what is young."""
    since = START + timedelta(days=10)
    pushed = {A: START, B: START, C: START, D: since + timedelta(days=1)}
    live = channel(*[("push", A)] * 9, ("push", B), ("push", C))  # B until day 10, A until day 9
    assert ledger.keep(pushed, [live], newest=0, since=since).keys() == {B, C, D}
    assert ledger.keep(pushed, [live], newest=3, since=since + timedelta(days=5)).keys() == {B, C, D}
    assert ledger.keep(pushed, [], newest=1, since=since + timedelta(days=5)).keys() == {D}


def test_names_of_channels() -> None:
    """Nothing that could be an id, a path, or an option."""
    for good in ("staging", "2026", "a.b-c_d"):
        assert ledger.checked_channel(good) == good
    for wrong in ("", "Staging", "-a", ".a", "a/b", "a" * 65, A, A[-12:], "a b"):
        with pytest.raises(UsageError):
            ledger.checked_channel(wrong)


def test_references_are_read() -> None:
    """A name, and what stands behind the @."""
    assert reference("shop") == ledger.Reference("shop")
    assert str(reference(f"shop@{A}")) == f"shop@{A}"
    for wrong in ("", "@a", "shop@@", "s/h", "shop@A"):
        with pytest.raises(UsageError):
            reference(wrong)
