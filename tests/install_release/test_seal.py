"""A file that proves itself."""

from __future__ import annotations

import pytest

from builder.install_release.seal import seal, unseal


def test_what_was_sealed_comes_back() -> None:
    """The line, as it was; its digest is the second line."""
    data = seal(b'{"a":1}\n')
    assert unseal(data) == b'{"a":1}\n'
    assert [len(line) for line in data.split(b"\n")] == [7, 64, 0]


def test_any_change_is_seen() -> None:
    """Each byte changed, each length cut to, something added: no seal."""
    data = seal(b'{"a":1}\n')
    broken = [data[:n] + bytes([data[n] ^ 1]) + data[n + 1 :] for n in range(len(data))] + [data[:n] for n in range(len(data))] + [data + b"\n"]
    for each in broken:
        with pytest.raises(ValueError, match="digest"):
            unseal(each)
