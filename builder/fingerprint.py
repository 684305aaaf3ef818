"""What a directory holds, as one hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .install_release.manifest import canonical


def fingerprint(root: Path) -> str:
    """A hash of all that a layer records of the files below ``root``: path, kind, executable or not, contents or target."""
    found: list[list[str]] = []
    for directory, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(directory, name)
            where = os.fsencode(path.relative_to(root)).hex()
            if path.is_symlink():
                found.append([where, "link", os.fsencode(os.readlink(path)).hex()])
            elif path.is_dir():
                found.append([where, "dir"])
            else:
                with path.open("rb") as file:
                    found.append([where, "755" if os.access(path, os.X_OK) else "644", hashlib.file_digest(file, "sha256").hexdigest()])
    return hashlib.sha256(canonical(sorted(found))).hexdigest()
