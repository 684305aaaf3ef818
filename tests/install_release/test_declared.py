"""Globs of paths below etc/: what they mean, and that a hostile one takes no time."""

from __future__ import annotations

import pytest

from builder.install_release.declared import matching, safe_glob

PATHS = ("a", "nginx/x.conf", "nginx/sites/a.conf", "b/c/d", "cron.d/shop", "systemd/system/shop.service.d/x.conf")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a", ["a"]),
        ("nginx", ["nginx/x.conf", "nginx/sites/a.conf"]),
        ("nginx/*.conf", ["nginx/x.conf"]),
        ("nginx/**", ["nginx/x.conf", "nginx/sites/a.conf"]),
        ("nginx/**/a.conf", ["nginx/sites/a.conf"]),
        ("**/x.conf", ["nginx/x.conf", "systemd/system/shop.service.d/x.conf"]),
        ("**/*.conf", ["nginx/x.conf", "nginx/sites/a.conf", "systemd/system/shop.service.d/x.conf"]),
        ("**", list(PATHS)),
        ("?", ["a", "b/c/d"]),
        ("cron.d/sho?", ["cron.d/shop"]),
        ("systemd/system/shop.*", ["systemd/system/shop.service.d/x.conf"]),
        ("nginx/*/x.conf", []),
        ("ngin", []),
        ("b/c/d/e", []),
        ("cron?d/[s]hop", []),
    ],
)
def test_a_glob_means(pattern: str, found: list[str]) -> None:
    """* and ? stay within one part, ** is any number of parts, and what is below a match belongs to it; nothing else is special."""
    assert list(matching(PATHS, pattern)) == found


def test_a_hostile_glob_takes_no_time() -> None:
    """A manifest may hold any pattern: matching is bounded by the product of the lengths, where a regular expression would not end."""
    assert not matching(["/".join(["a" * 255] * 16)], "/".join(["**", "*a" * 60 + "b"] * 60))


@pytest.mark.parametrize("pattern", ["", "/a", "../a", "a/../b", "a\\b", "a\nb", "a//b"])
def test_a_glob_that_leads_out_is_none(pattern: str) -> None:
    """As with paths; a backslash would mean something else to somebody else."""
    assert not safe_glob(pattern)
