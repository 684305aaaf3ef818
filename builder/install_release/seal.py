"""A file that proves itself: one line of JSON, and its sha256 on the next."""

from __future__ import annotations

import hashlib


def seal(body: bytes) -> bytes:
    """``body``, one line with its line feed, with its digest after it."""
    return body + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n"


def unseal(data: bytes) -> bytes:
    """The line that was sealed. Raises ``ValueError`` when it is not what was sealed."""
    body = data.partition(b"\n")[0] + b"\n"
    if data != seal(body):
        raise ValueError("its digest does not match")
    return body
