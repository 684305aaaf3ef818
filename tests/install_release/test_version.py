"""The order of versions, against the library that Python's packages use."""

from __future__ import annotations

import itertools

import pytest
from packaging.version import Version

from builder.install_release.version import older

VERSIONS = [
    "0.9",
    "0.9.1",
    "1.0.dev1",
    "1.0a1",
    "1.0.alpha2",
    "1.0b1",
    "1.0rc1",
    "1.0-rc2",
    "1.0c3",
    "1.0",
    "1",
    "v1.0.0",
    "1.0-1",
    "1.0.post2",
    "1.0.post2.dev1",
    "1.0a1.dev2",
    "1.0rc1.post1",
    "1.0.1",
    "1.2",
    "1.10",
    "1.10.0.dev4+gabc",
    "2026.11.23",
    "1!0.1",
]


def test_like_packaging() -> None:
    """Each pair of versions is ordered as packaging orders it."""
    for one, other in itertools.product(VERSIONS, VERSIONS):
        assert older(one, other) is (Version(one.partition("+")[0]) < Version(other.partition("+")[0])), (one, other)


@pytest.mark.parametrize("odd", ["main", "release-7", "1.0-final-cut", "1.0.x", "2026-nov"])
def test_what_is_no_version_is_said_to_be_none(odd: str) -> None:
    """Nothing is guessed; only that a version is not older than itself is known."""
    assert older(odd, "1.0") is None
    assert older("1.0", odd) is None
    assert older(odd, odd) is False
