"""What version a commit is, told by the repository's tags: pure rules.

As ``git describe`` and setuptools-scm would say it, without what makes them depend on the clone (lengths of abbreviations, dates of tags,
which of two tags on one commit). A tag counts when it is a version (PEP 440) behind an optional ``v``, ``release-`` or the application's
name (``shop-1.4.2``, ``shop/v1.4.2``); where some have the name, only they count.

- The commit has such tags: the highest is its version.
- An ancestor has: the highest of all, bumped, as a development version: five commits after ``v1.4.2`` are ``1.4.3.dev5+g1a2b3c4d5e6f``, after
  ``v1.5rc1`` ``1.5rc2.dev5+g…``.
- No tag: ``0.0.dev<number of commits>+g1a2b3c4d5e6f``.
- A dirty tree adds ``dirty`` to the local part: ``1.4.2+dirty``, ``1.4.3.dev5+g1a2b3c4d5e6f.dirty``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from packaging.version import InvalidVersion, Version

from ..frozen import frozen

_SHORT = 12  # hexadecimal digits of a commit in a version: always as many, git's own abbreviations grow with the repository


@frozen
class Tag:
    """A tag that is a version, and the commit it names."""

    name: str
    version: Version
    commit: str


def read(tags: Iterable[tuple[str, str]], application: str) -> tuple[Tag, ...]:
    """Those of the (name, commit) ``tags`` that are versions of ``application``, the highest first."""
    plain: list[Tag] = []
    named: list[Tag] = []
    for name, commit in tags:
        match = re.fullmatch(rf"(?:({re.escape(application)})[-_/]|release[-_/])?[vV]?([0-9].*)", name)
        try:
            tag = Tag(name, Version(match[2]), commit) if match else None
        except InvalidVersion:
            continue
        if match and tag:
            (named if match[1] else plain).append(tag)
    return tuple(sorted(named or plain, key=lambda tag: (tag.version, tag.name), reverse=True))


def after(tag: Tag | None, distance: int, commit: str) -> str:
    """The version of ``commit``, which has ``distance`` commits that ``tag`` has not (None: of ``distance`` commits in all)."""
    if tag and not distance:
        return str(tag.version)
    return f"{_next(tag.version, distance) if tag else f'0.0.dev{distance}'}+g{commit[:_SHORT]}"


def dirty(version: str) -> str:
    """``version`` of a tree that holds something else than its commit."""
    return f"{version}{'.' if '+' in version else '+'}dirty"


def _next(version: Version, distance: int) -> str:
    """A development version above ``version`` and below what can come next."""
    epoch = f"{version.epoch}!" if version.epoch else ""
    if version.dev is not None:
        return f"{version.public.rpartition('.dev')[0]}.dev{version.dev + distance}"
    if version.post is not None:
        return f"{version.public.rpartition('.post')[0]}.post{version.post + 1}.dev{distance}"
    if version.pre is not None:
        return f"{epoch}{'.'.join(map(str, version.release))}{version.pre[0]}{version.pre[1] + 1}.dev{distance}"
    *front, last = version.release
    return f"{epoch}{'.'.join(map(str, [*front, last + 1]))}.dev{distance}"
