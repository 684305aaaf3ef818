"""What stands below a directory, as a value that two of them can be compared by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

Entry = tuple[str, ...]


def entries(top: Path) -> Mapping[str, Entry]:
    """Every path below ``top``: a directory's mode, a link's target, a file's mode and digest."""
    found: dict[str, Entry] = {}
    for directory, directories, files in os.walk(top):
        for name in [*directories, *files]:
            path = Path(directory, name)
            key = str(path.relative_to(top))
            mode = f"{path.lstat().st_mode & 0o7777:o}"
            if path.is_symlink():
                found[key] = ("link", os.readlink(path))
            elif path.is_dir():
                found[key] = ("directory", mode)
            else:
                found[key] = ("file", mode, hashlib.sha256(path.read_bytes()).hexdigest())
    return found
