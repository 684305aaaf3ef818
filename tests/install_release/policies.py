"""A host's policy in a temporary home, its lists, and artifacts that are signed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder import signing
from tests import keys

from .roots import artifact


class Authority:
    """Keys by name, and the policy for ``shop`` in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.directory = home / ".config/install-release"
        self.directory.mkdir(parents=True)
        self.allowed, self.revocations = self.directory / "allowed_signers", self.directory / "revocations"
        self.keys: dict[str, Path] = {}

    def key(self, name: str) -> Path:
        if name not in self.keys:
            self.keys[name] = keys.key(self.home, name)
        return self.keys[name]

    def allow(self, *names: str, more: str = "") -> None:
        """Only these may sign."""
        self.allowed.write_text("".join(keys.allow(self.key(name), more=more) for name in names))

    def revoke(self, version: int, *names: str) -> None:
        self.revocations.write_text(f"# revocations v{version}\n" + "".join(f"{keys.public(self.key(name))}\n" for name in names))

    def policy(self, text: str, required: int | None = None, revocations: bool = False) -> Path:
        """Write it; with ``required`` it has a section of signatures."""
        signatures = ""
        if required is not None:
            signatures = f"[signatures]\nrequired = {required}\nallowed_signers = {self.allowed}\n"
            signatures += f"revocations = {self.revocations}\n" if revocations else ""
        path = self.directory / "shop.ini"
        path.write_text(signatures + text)
        return path

    def artifact(self, directory: Path, version: str, *names: str, **facts: Any) -> Path:
        """Signed by these."""
        path = artifact(directory, version, **facts)
        if names:
            signing.add(path, [self.key(name) for name in names])
        return path


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Authority:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return Authority(home)
