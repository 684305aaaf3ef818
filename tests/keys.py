"""Keys, signatures and lists of OpenSSH's, made by its own ssh-keygen, for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.conftest import missing

NAMESPACE = "install-release:shop"


def keygen(*words: str | Path, input: bytes = b"", check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run ssh-keygen."""
    if not shutil.which("ssh-keygen"):
        missing("OpenSSH's client is not installed: no ssh-keygen")
    return subprocess.run(["ssh-keygen", *map(str, words)], input=input, capture_output=True, check=check)


def key(directory: Path, name: str, kind: str = "ed25519", *more: str) -> Path:
    """The private half of a new key pair; the public one is beside it."""
    path = directory / name
    keygen("-q", "-t", kind, "-N", "", "-C", f"{name}@example", "-f", path, *more)
    return path


def public(path: Path) -> str:
    """Type and key, without the comment."""
    return " ".join(path.with_name(f"{path.name}.pub").read_text().split()[:2])


def sign(path: Path, message: bytes, namespace: str = NAMESPACE) -> bytes:
    """What ``ssh-keygen -Y sign`` writes."""
    return keygen("-q", "-Y", "sign", "-f", path, "-n", namespace, input=message).stdout


def allow(path: Path, principal: str = "", namespaces: str = NAMESPACE, more: str = "") -> str:
    """A line of the allowed signers. ``more``: further options."""
    options = f'namespaces="{namespaces}"' + (f",{more}" if more else "")
    return f"{principal or path.name + '@example'} {options} {public(path)}\n"
