"""Records: every value of the install half is a named tuple, because a dataclass takes half a millisecond to make at each start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


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
