"""A release's configuration for those who check it: its texts, and a private copy in which nothing leads to what is live."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..declared import Service, matching
from ..host import STAGING
from ..manifest import Manifest
from .terms import Context, Staged

_MOST = 4 << 20  # bytes of one file


def texts(etc: str) -> dict[str, str]:
    """Every text below ``etc`` by its path; a missing directory has none."""
    return {path: text for path in _files(etc) for text in [read(os.path.join(etc, path))] if text is not None}


def gone(service: Service, context: Context) -> dict[str, str]:
    """Files of a service that the release that was left had, and the live one has not."""
    wanted = mine(service, texts(context.etc))
    return {path: text for path, text in mine(service, texts(context.left)).items() if path not in wanted}


def mine(service: Service, files: Mapping[str, str]) -> dict[str, str]:
    """Those of ``files`` that belong to a service, sorted."""
    named = {path for pattern in service.config for path in matching(files, pattern)}
    return {path: files[path] for path in sorted(named)}


def read(path: str) -> str | None:
    """A text file of the system's or of a release; None when it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.read(_MOST).decode("utf-8", "replace")
    except OSError:
        return None


@contextmanager
def copy(manifest: Manifest, context: Context) -> Iterator[Staged]:
    """The private copy of the etc/ of ``context.release``, gone at the end. One that a kill leaves is removed with the other stages."""
    top = os.path.join(context.root, STAGING, f"check-{os.urandom(6).hex()}")
    staged = Staged(os.path.join(top, "etc"), os.path.join(top, "work"))
    os.makedirs(staged.work, mode=0o700)
    try:
        os.makedirs(staged.etc, mode=0o700)
        moved = _moved(manifest, context, staged)
        for path in _files(context.etc):
            target = os.path.join(staged.etc, path)
            os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
            shutil.copy(os.path.join(context.etc, path), target)
            text = read(target)
            if text is not None and "\0" not in text:
                os.chmod(target, os.stat(target).st_mode | stat.S_IWUSR)
                with open(target, "w", encoding="utf-8", newline="") as file:
                    file.write(moved(text))
        yield staged
    finally:
        shutil.rmtree(top, ignore_errors=True)


class _moved:
    """Replaces paths: those of what is live by those of what is staged."""

    def __init__(self, manifest: Manifest, context: Context, staged: Staged) -> None:
        self.by = {f"{context.root}/current/etc": staged.etc, f"{context.root}/current": context.directory}
        self.by.update({copied.to: os.path.join(staged.etc, copied.path) for copied in manifest.overlay.copied})
        longest_first = sorted(self.by, key=len, reverse=True)
        self.pattern = re.compile("(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w.-])")

    def __call__(self, text: str) -> str:
        return self.pattern.sub(lambda found: self.by[found[0]], text)


def _files(top: str) -> list[str]:
    """Paths of the regular files below ``top``, relative to it, sorted. No link is followed."""
    found = []
    for directory, _, names in os.walk(top) if top else ():
        for name in names:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                found.append(os.path.relpath(path, top))
    return sorted(found)
