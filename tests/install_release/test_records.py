"""Records: as those of the standard library, made quicker."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from builder.install_release.records import ManyTuple, NamedTuple, as_dict


class Ours(NamedTuple):
    name: str
    size: int = 0
    more: tuple[int, ...] = ()

    @property
    def twice(self) -> int:
        return 2 * self.size


class OneOfMany(ManyTuple):
    """Documented."""

    name: str
    size: int = 0


class Theirs(typing.NamedTuple):
    name: str
    size: int = 0
    more: tuple[int, ...] = ()


@pytest.mark.parametrize(("values", "named"), [(("a",), {}), (("a", 1), {"more": (2,)}), ((), {"name": "a", "size": 3}), (("a", 1, (2,)), {})])
def test_a_record_holds_what_one_of_the_standard_library_does(values: tuple[typing.Any, ...], named: dict[str, typing.Any]) -> None:
    """Values are given by place or by name, and stand in the same order, under the same names."""
    ours, theirs = Ours(*values, **named), Theirs(*values, **named)
    assert tuple(ours) == tuple(theirs)
    assert hash(ours) == hash(theirs)
    assert (ours.name, ours.size, ours.more) == (theirs.name, theirs.size, theirs.more)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert Ours._fields == Theirs._fields
    assert as_dict(ours) == as_dict(theirs)


@pytest.mark.parametrize(("values", "named"), [((), {}), (("a", 1, (), 4), {}), (("a",), {"name": "b"}), (("a",), {"other": 1})])
def test_what_does_not_fit_is_refused(values: tuple[typing.Any, ...], named: dict[str, typing.Any]) -> None:
    """A value that is missing, one too many, there twice or unknown is an error, as in the standard library."""
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*values, **named)


def test_a_record_is_copied_with_changes() -> None:
    """``_replace`` gives a new one; an unknown name is an error."""
    assert Ours("a", 1)._replace(size=2) == Ours("a", 2)
    with pytest.raises((TypeError, ValueError)):
        Ours("a")._replace(**{"other": 1})


def test_a_record_never_changes() -> None:
    """Neither a field nor anything else can be set."""
    record = Ours("a")
    for name in ("name", "twice", "other"):
        with pytest.raises(AttributeError):
            setattr(record, name, 1)


def test_a_record_keeps_its_kind() -> None:
    """A copy, and what was pickled, are of the same kind and equal."""
    record = Ours("a", 1)
    for again in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert type(again) is Ours
        assert again == record
        assert again.twice == 2


def test_a_record_of_which_there_are_many_is_one_of_the_standard_library() -> None:
    """Its values, changes, pickles and words are theirs; what does not fit is an error."""
    record = OneOfMany("a")
    assert (tuple(record), record.name, record.size, OneOfMany._fields) == (("a", 0), "a", 0, ("name", "size"))
    assert repr(record._replace(size=1)) == "OneOfMany(name='a', size=1)"
    assert type(pickle.loads(pickle.dumps(record))) is OneOfMany
    assert OneOfMany.__doc__ == "Documented."
    with pytest.raises(TypeError):
        OneOfMany("a", 1, 2)  # type: ignore[call-arg]
