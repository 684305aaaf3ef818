"""Patterns of paths below etc/."""

from __future__ import annotations

import time

import pytest

from builder.install_release.globs import matches


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("nginx/shop.conf", "nginx/shop.conf", True),
        ("nginx", "nginx/shop.conf", True),
        ("nginx", "nginx.conf", False),
        ("nginx/*", "nginx/shop.conf", True),
        ("*", "nginx/shop.conf", True),
        ("*.conf", "nginx/shop.conf", False),
        ("**/*.conf", "nginx/sites/shop.conf", True),
        ("**/*.conf", "shop.conf", True),
        ("**", "nginx/shop.conf", True),
        ("nginx/**", "nginx/a/b", True),
        ("nginx/**", "nginx", False),
        ("nginx/**/b", "nginx/b", True),
        ("nginx/**/b", "nginx/a/a/b", True),
        ("nginx/**/b", "nginx/a/a/c", False),
        ("a/**/b/**/c", "a/x/b/y/b/z/c", True),
        ("nginx/?", "nginx/a", True),
        ("nginx/[ab]", "nginx/c", False),
        ("NGINX", "nginx", False),
    ],
)
def test_matches(pattern: str, path: str, expected: bool) -> None:
    """Stars stop at slashes, two do not; what matches a directory matches all below it; case counts."""
    assert matches(pattern, path) is expected


def test_a_hostile_pattern_is_no_slow_one() -> None:
    """Many stars cost no more than their number times the path's length: this would run for years if each were tried with each."""
    begin = time.process_time()
    assert not matches("/".join(["**/a"] * 300 + ["b"]), "/".join(["a"] * 600))
    assert not matches("*a" * 60 + "b", "a" * 200)
    assert time.process_time() - begin < 60
