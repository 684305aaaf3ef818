"""Bare copies of repositories that are named by URL, in the cache: branches and tags, refreshed when a build needs to.

One build at a time refreshes a mirror; any number read it. The lock is the kernel's, so a build that is killed leaves none, and what it
was doing is thrown away or repaired by the next one. Credentials come from the user's git (helpers, netrc, ssh) and are stored nowhere.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..cache import used
from ..errors import Problem, SourceError
from ..run import redact
from .git import Repository, commit_of, failure_of, git, has, inside_of

_REFS = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
_FULL = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def is_url(repository: str) -> bool:
    """Whether git would take ``repository`` for a URL: ``scheme://…``, or ``host:path`` as ssh knows it."""
    return "://" in repository or bool(re.match(r"[^/:]+:(?!$)", repository))


@contextmanager
def opened(url: str, ref: str, cache: Path, where: str) -> Iterator[tuple[Repository, str]]:
    """The mirror of ``url`` below ``cache``, and the commit that ``ref`` means there now. While the block runs nobody changes the mirror.

    A full commit name that is there already needs no network; anything else is asked of the other side, never answered from memory.
    """
    if redact(url) != url:
        remedy = "Use ssh, a netrc file or git's credential helper."
        raise SourceError("a credential stands in a URL", [Problem(where, f"{redact(url)} has a user or password in it.", remedy)])
    place = cache / "git" / f"{hashlib.sha256(url.encode()).hexdigest()[:40]}.git"
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_suffix(".lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        used(cache, place)
        ready = _ready(place, ref)
        if not ready:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ready = _refreshed(url, ref, place, where)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield ready


def _ready(place: Path, ref: str) -> tuple[Repository, str] | None:
    if not _FULL.fullmatch(ref) or not place.is_dir():
        return None
    try:
        repository = inside_of(place)
        return repository, commit_of(repository, ref, "")
    except SourceError:
        return None  # not there, or destroyed: both are for a refresh to find out


def _refreshed(url: str, ref: str, place: Path, where: str) -> tuple[Repository, str]:
    if not place.is_dir() or not _updated(place, ref):
        # Not there yet, or not to be repaired by fetching; when the other side can't be reached, this says so, and the old one stays.
        _clone(url, place)
    repository = inside_of(place)
    # What branches and tags do not bring: a commit of a deleted branch, the head of a pull request. The other side may say no.
    if _FULL.fullmatch(ref) and not has(repository, ref):
        _fetch(place, f"+{ref}:refs/commits/{ref}")
    elif ref.startswith("refs/") and not ref.startswith(("refs/heads/", "refs/tags/")):
        _fetch(place, f"+{ref}:{ref}")
    return repository, commit_of(repository, ref, where)


def _updated(place: Path, ref: str) -> bool:
    for stale in [*place.glob("*.lock"), *place.glob("refs/**/*.lock")]:
        stale.unlink()  # of a fetch that was killed: nobody else is here
    return _fetch(place, *_REFS, prune=True) and (ref != "HEAD" or _follow_head(place))


def _clone(url: str, place: Path) -> None:
    for stale in place.parent.glob(f"{place.stem}.*.new"):
        shutil.rmtree(stale, ignore_errors=True)
    # A name of its own: the git of a build that was killed may still be writing to another one.
    new = Path(tempfile.mkdtemp(dir=place.parent, prefix=f"{place.stem}.", suffix=".new"))
    said = git("clone", "--quiet", "--bare", "--template=", "--", url, new, what=f"cloning {url}", cwd=place.parent, check=False)
    if said.returncode:
        shutil.rmtree(new, ignore_errors=True)
        raise failure_of(said, f"fetching {url}", f"see what git itself says: git ls-remote {url}")
    shutil.rmtree(place, ignore_errors=True)
    os.rename(new, place)


def _fetch(place: Path, *refspecs: str, prune: bool = False) -> bool:
    options = ["--quiet", "--force", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", *(["--prune"] if prune else [])]
    said = git("--git-dir", place, "fetch", *options, "origin", *refspecs, what="fetching", cwd=place, check=False)
    return said.returncode == 0


def _follow_head(place: Path) -> bool:
    """Let HEAD name the branch that it names on the other side, or the commit, as a clone would."""
    said = git("--git-dir", place, "ls-remote", "--symref", "origin", "HEAD", what="asking for HEAD", cwd=place, check=False)
    branch = re.search(r"^ref: (refs/heads/\S+)\tHEAD$", said.text, re.MULTILINE)
    commit = re.search(r"^([0-9a-f]{40,64})\tHEAD$", said.text, re.MULTILINE)
    if branch:
        words = ["symbolic-ref", "HEAD", branch[1]]
    elif commit:
        words = ["update-ref", "--no-deref", "HEAD", commit[1]]
    else:
        return said.returncode == 0
    return git("--git-dir", place, *words, what="following HEAD", cwd=place, check=False).returncode == 0
