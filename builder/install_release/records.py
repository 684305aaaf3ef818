"""Records: every value of the install half is a named tuple, because a dataclass takes half a millisecond to make at each start."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Mapping
from operator import itemgetter

from .typed import TYPE_CHECKING, Any

__all__ = ["ManyTuple", "NamedTuple", "as_dict"]

if TYPE_CHECKING:
    from typing import NamedTuple
    from typing import NamedTuple as ManyTuple
else:

    class _Kind(type):
        def __new__(mcs, name, bases, space):
            made = super().__new__(mcs, name, bases, {**space, "__slots__": ()})
            made._fields = made.__match_args__ = fields = tuple(space.get("__annotations__") or getattr(made, "__annotations__", ()))
            made._field_defaults = {field: space[field] for field in fields if field in space}
            for number, field in enumerate(fields):
                setattr(made, field, property(itemgetter(number)))
            return made

    class NamedTuple(tuple, metaclass=_Kind):
        """``typing.NamedTuple``, made in a tenth of the time: that one writes and compiles each kind anew, which took a tenth of a small install.

        One record takes longer to make, though: what there are thousands of (``table.Entry``) is a ``ManyTuple``.
        """

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls._fields):
                values = cls._filled(values, named)
            return tuple.__new__(cls, values)

        @classmethod
        def _filled(cls, values, named):
            given = {**cls._field_defaults, **dict(zip(cls._fields, values)), **named}
            twice = set(named).intersection(cls._fields[: len(values)])
            if len(values) > len(cls._fields) or twice or given.keys() != set(cls._fields):
                raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}, each once; given were {len(values)} values and {', '.join(named)}")
            return tuple(given[field] for field in cls._fields)

        def _replace(self, **changed):
            return type(self)(**{**dict(zip(self._fields, self)), **changed})

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in zip(self._fields, self))})"

    class _ManyKind(type):
        def __new__(mcs, name, bases, space):
            if not bases:
                return super().__new__(mcs, name, bases, space)
            fields = tuple(space.get("__annotations__") or getattr(super().__new__(mcs, name, (), dict(space)), "__annotations__", ()))
            made = namedtuple(name, fields, defaults=[space[field] for field in fields if field in space], module=space["__module__"])
            made.__doc__ = space.get("__doc__")
            return made

    class ManyTuple(metaclass=_ManyKind):
        """``typing.NamedTuple`` for records without methods: nothing makes a record faster, but to make such a kind takes long."""


def as_dict(record: Any) -> dict[str, Any]:
    """A named tuple as an object of JSON, and so are those in it, however deep."""
    return {name: _plain(value) for name, value in zip(record._fields, record)}


def _plain(value: Any) -> Any:
    if hasattr(value, "_fields"):
        return as_dict(value)
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return value
