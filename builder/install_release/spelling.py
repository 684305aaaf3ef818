"""How names, versions and paths are spelled, in recipes, manifests and tables alike."""

from __future__ import annotations

import re

NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,127}")

# Most paths are of these letters: one match instead of a walk over the parts, which tables of 200 000 lines feel.
_PLAIN = re.compile(r"(?:(?!\.{1,2}(?:/|\Z))[A-Za-z0-9_.,@+=~-]{1,255}(?:/(?!\Z)|\Z))+")


def safe_relative(path: str) -> bool:
    """Whether ``path`` stays below the directory that it is relative to: no root, no ``..``, no empty part, no control character."""
    if _PLAIN.fullmatch(path):
        return len(path) <= 4096 and path.count("/") < 128
    parts = path.split("/")
    return (
        bool(path)
        and len(path.encode("utf-8", "surrogatepass")) <= 4096
        and len(parts) <= 128
        and all(part not in ("", ".", "..") and len(part.encode("utf-8", "surrogatepass")) <= 255 for part in parts)
        and path.isprintable()
    )
