"""Whose key made a signature, by the signature's own word: for a listing. Whether it is good is decided where a policy is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

_ARMOR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\s(.*)-----END SSH SIGNATURE-----", re.DOTALL)


def signer(data: bytes) -> str:
    """``ed25519 SHA256:…`` as ``ssh-keygen -l`` shows a key, or ``unknown`` for what is no signature by ssh-keygen -Y (PROTOCOL.sshsig)."""
    match = _ARMOR.search(data)
    try:
        blob = base64.b64decode(match[1] if match else b"", validate=False)
        key, _ = _string(blob, 10)
        kind, _ = _string(key, 0)
    except (binascii.Error, ValueError):
        return "unknown"
    if blob[:6] != b"SSHSIG" or not kind.isascii():
        return "unknown"
    print_ = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"{kind.decode().removeprefix('ssh-')} SHA256:{print_}"


def _string(data: bytes, offset: int) -> tuple[bytes, int]:
    """The string of SSH's wire format at ``offset``, and where it ends. Raises ``ValueError``."""
    length = int.from_bytes(data[offset : offset + 4], "big")
    end = offset + 4 + length
    if length <= 0 or end > len(data):
        raise ValueError("cut off")
    return data[offset + 4 : end], end
