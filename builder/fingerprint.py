"""What a directory holds, as one hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from .install_release.manifest import canonical


def fingerprint(root: Path) -> str:
    """A hash of all that a layer records of the files below ``root``: path, kind, executable or not, contents or target."""
    found: list[list[str]] = []
    waiting = [b""]
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(os.fsencode(root), below)) as entries:
            for entry in entries:
                path = below + entry.name
                if entry.is_symlink():
                    found.append([path.hex(), "link", os.readlink(entry.path).hex()])
                elif entry.is_dir():
                    found.append([path.hex(), "dir"])
                    waiting.append(path + b"/")
                else:
                    with open(entry.path, "rb", buffering=0) as file:
                        digest = hashlib.file_digest(file, "sha256").hexdigest()
                    found.append([path.hex(), "755" if os.access(entry.path, os.X_OK) else "644", digest])
    return hashlib.sha256(canonical(sorted(found))).hexdigest()
