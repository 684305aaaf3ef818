"""``@frozen``: what it makes behaves as what ``dataclass(frozen=True)`` makes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace
from typing import Any

import pytest

from builder.frozen import frozen, frozen_by_name


@frozen
class Ours:
    name: str
    count: int = 1
    more: list[int] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True)
class Theirs:
    name: str
    count: int = 1
    more: list[int] = field(default_factory=list, compare=False, repr=False)


@frozen_by_name
class Named:
    count: int = 1
    name: str


def outcome(kind: Any, *values: Any, **named: Any) -> Any:
    """What comes of making one: its values, or the kind of error."""
    try:
        made = kind(*values, **named)
    except TypeError:
        return TypeError
    return asdict(made), repr(made).partition("(")[2], [item.name for item in fields(made)]


@pytest.mark.parametrize(
    ("values", "named"),
    [(("a",), {}), (("a", 2), {}), ((), {"name": "a", "more": [3]}), ((), {}), (("a",), {"name": "b"}), (("a", 1, [], 4), {}), (("a",), {"x": 1})],
)
def test_one_is_made_or_refused_as_a_dataclass_is(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Values by place and by name, defaults, and everything that is missing, twice or unknown."""
    assert outcome(Ours, *values, **named) == outcome(Theirs, *values, **named)


def test_what_is_made_is_a_value() -> None:
    """Equal by what is compared, hashed alike, never changed; each has a list of its own."""
    one, theirs = Ours("a"), Theirs("a")
    assert one == Ours("a", more=[1])
    assert hash(one) == hash(Ours("a", more=[1]))
    assert one not in (Ours("b"), theirs)
    assert replace(one, count=2) == Ours("a", 2)
    assert one.more is not Ours("a").more
    with pytest.raises(FrozenInstanceError):
        one.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del one.name
    assert Named(name="a") == Named(count=1, name="a")
