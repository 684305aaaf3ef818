"""Keys, signatures and lists of OpenSSH's, made by its own ssh-keygen, for tests."""

from __future__ import annotations

import base64
import hashlib
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


class Token:
    """A security token's key, without the token: what it would sign, openssl signs."""

    APPLICATION = b"ssh:"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._openssl("genpkey", "-algorithm", "ed25519", "-out", "token.pem")
        raw = self._openssl("pkey", "-in", "token.pem", "-pubout", "-outform", "DER")[-32:]
        self.blob = b"".join(map(_string, (b"sk-ssh-ed25519@openssh.com", raw, self.APPLICATION)))

    def sign(self, message: bytes, namespace: str = NAMESPACE, touched: bool = True) -> bytes:
        """As ``sign`` does."""
        parts = (namespace.encode(), b"", b"sha512", hashlib.sha512(message).digest())
        what = hashlib.sha256(b"SSHSIG" + b"".join(map(_string, parts))).digest()
        mark = bytes([touched]) + (7).to_bytes(4, "big")
        (self.directory / "token.data").write_bytes(hashlib.sha256(self.APPLICATION).digest() + mark + what)
        raw = self._openssl("pkeyutl", "-sign", "-inkey", "token.pem", "-rawin", "-in", "token.data")
        signature = _string(b"sk-ssh-ed25519@openssh.com") + _string(raw) + mark
        return armour(b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(_string, (self.blob, *parts[:3], signature))))

    def _openssl(self, *words: str) -> bytes:
        return subprocess.run(["openssl", *words], cwd=self.directory, capture_output=True, check=True).stdout


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def armour(blob: bytes) -> bytes:
    """A signature as a file holds it."""
    text = base64.b64encode(blob)
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return b"-----BEGIN SSH SIGNATURE-----\n" + b"\n".join(lines) + b"\n-----END SSH SIGNATURE-----\n"


def allow(path: Path, principal: str = "", namespaces: str = NAMESPACE, more: str = "") -> str:
    """A line of the allowed signers. ``more``: further options."""
    options = f'namespaces="{namespaces}"' + (f",{more}" if more else "")
    return f"{principal or path.name + '@example'} {options} {public(path)}\n"
