"""What version a commit is, told by tags."""

from __future__ import annotations

import pytest
from packaging.version import Version

from builder.source.version import after, dirty, read

COMMIT = "1a2b3c4d5e6f" + "0" * 28


@pytest.mark.parametrize(
    ("tag", "after_it"),
    [
        ("v1.4.2", "1.4.3.dev5+g1a2b3c4d5e6f"),
        ("1.4", "1.5.dev5+g1a2b3c4d5e6f"),
        ("release-2", "3.dev5+g1a2b3c4d5e6f"),
        ("V1.5.0rc1", "1.5.0rc2.dev5+g1a2b3c4d5e6f"),
        ("v1.4.2.post1", "1.4.2.post2.dev5+g1a2b3c4d5e6f"),
        ("v2.0.dev3", "2.0.dev8+g1a2b3c4d5e6f"),
        ("v1!2.0", "1!2.1.dev5+g1a2b3c4d5e6f"),
        ("v1!2.0a1", "1!2.0a2.dev5+g1a2b3c4d5e6f"),
        ("v1.0+local", "1.1.dev5+g1a2b3c4d5e6f"),
        ("shop-v3.0", "3.1.dev5+g1a2b3c4d5e6f"),
        ("shop/3.0", "3.1.dev5+g1a2b3c4d5e6f"),
    ],
)
def test_commits_after_a_tag_are_development_versions_above_it(tag: str, after_it: str) -> None:
    """A commit after a tag has a version that is valid, canonical, above the tag's, and the same in every clone."""
    [found] = read([(tag, COMMIT)], "shop")
    version = after(found, 5, COMMIT)
    assert version == after_it == str(Version(version))
    assert Version(version) > found.version
    assert Version(after(found, 6, COMMIT)) > Version(version)
    assert after(found, 0, COMMIT) == str(found.version)


def test_tags_that_are_no_versions_do_not_count() -> None:
    """Only tags that are versions behind the known prefixes count; the highest comes first, however they are spelled."""
    tags = [(name, COMMIT) for name in ("v1.9", "v1.10", "1.2", "nightly", "2024-conference", "other-v9.0", "v", "vv3", "shopping-4.0")]
    assert [tag.name for tag in read(tags, "shop")] == ["v1.10", "v1.9", "1.2"]


def test_tags_with_the_name_of_the_application_win() -> None:
    """In a repository of several applications, the tags that name this one are the only ones that count."""
    tags = [("v9.0", COMMIT), ("shop-v1.0", COMMIT), ("blog-v2.0", COMMIT)]
    assert [tag.name for tag in read(tags, "shop")] == ["shop-v1.0"]


def test_without_a_tag_the_commits_are_counted() -> None:
    """A repository without tags has development versions of 0.0, ordered by the number of commits."""
    assert after(None, 7, COMMIT) == "0.0.dev7+g1a2b3c4d5e6f"


@pytest.mark.parametrize(("clean", "marked"), [("1.4.2", "1.4.2+dirty"), ("1.4.3.dev5+gabc", "1.4.3.dev5+gabc.dirty")])
def test_a_dirty_version_says_so(clean: str, marked: str) -> None:
    """The local part of the version says that the tree held more than its commit."""
    assert dirty(clean) == marked == str(Version(marked))
