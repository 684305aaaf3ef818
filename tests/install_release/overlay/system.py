"""A root with releases that have an etc/ and nothing else, and a directory that stands for the system's /etc."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.install_release import overlay
from builder.install_release.host import Host
from builder.install_release.manifest import Conflict, Copied, Manifest, Overlay
from builder.install_release.overlay import Change, Proposal
from tests.releases import FACTS

Text = str | tuple[str, int]
"""A file: its text, and its mode if that is not 644."""


class System:
    """``etc`` is the system's, ``root`` the release root; each release copies its whole ``sys/`` to ``etc``."""

    def __init__(self, directory: Path) -> None:
        self.etc, self.root = directory / "etc", directory / "root"
        self.etc.mkdir(mode=0o755)
        self.host = Host.create(str(self.root))
        self.manifests: dict[str, Manifest] = {}
        self.live = ""

    def release(
        self, version: str, files: Mapping[str, Text], on_conflict: Mapping[str, str] | None = None, copied: tuple[Copied, ...] | None = None
    ) -> str:
        """Put a release there as if it had been staged; its id."""
        release = f"20261123101112-{hashlib.sha256(version.encode()).hexdigest()[:12]}"
        for name, text in files.items():
            write(self.root / "releases" / release / "etc/sys" / name, text)
        (self.root / "releases" / release).mkdir(parents=True, exist_ok=True)
        conflicts = tuple(Conflict(path, verdict) for path, verdict in (on_conflict or {}).items())
        if copied is None:
            copied = (Copied("sys", str(self.etc)),) if files else ()
        self.manifests[release] = FACTS._replace(version=version, overlay=Overlay(copied, conflicts))
        return release

    def propose(self, release: str, answers: Sequence[tuple[str, str]] = (), back: bool = False) -> Proposal:
        wanted = overlay.published(self.host, release)
        return overlay.propose(self.host, self.manifests[release], release, wanted, [Conflict(*answer) for answer in answers], back)

    def flip(self, release: str, answers: Sequence[tuple[str, str]] = (), back: bool = False) -> dict[str, str]:
        """Make a release live; the kind of each verdict, by the file's name."""
        proposal = self.propose(release, answers, back)
        assert not proposal.refusals, proposal.refusals
        changes = journaled(proposal.changes)
        overlay.prepare(self.host, "0" * 12, changes)
        overlay.switch(self.host, "0" * 12, changes)
        self.commit(release, changes)
        return self.kinds(proposal)

    def commit(self, release: str, changes: Sequence[Change]) -> None:
        tx = os.urandom(6).hex()
        overlay.commit(self.host, tx, changes, release, self.live)
        overlay.commit(self.host, tx, changes, release, self.live)
        self.live = release

    def kinds(self, proposal: Proposal) -> dict[str, str]:
        return {os.path.relpath(each.path, self.etc): each.kind for each in proposal.verdicts}

    def tree(self) -> dict[str, str]:
        """Everything below etc: text and mode of files; "dir" for directories."""
        return tree(self.etc)

    def blobs(self) -> list[str]:
        return self.host.names(".install/overlay")


def journaled(changes: Sequence[Change]) -> tuple[Change, ...]:
    """The changes as a journal gives them back."""
    return tuple(Change.from_json(json.loads(json.dumps(change.to_json()))) for change in changes)


def write(path: Path, text: Text) -> None:
    """A file with exactly that mode, and the directories above it."""
    content, mode = text if isinstance(text, tuple) else (text, 0o644)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    path.chmod(mode)


def tree(directory: Path) -> dict[str, str]:
    found = {}
    for path in sorted(directory.rglob("*")):
        facts = path.lstat()
        text = path.read_text() if stat.S_ISREG(facts.st_mode) else "dir" if path.is_dir() else "other"
        found[str(path.relative_to(directory))] = text if facts.st_mode & 0o777 in (0o644, 0o755) else f"{text} {facts.st_mode & 0o777:o}"
    return found


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
