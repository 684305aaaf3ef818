"""Small real artifacts for tests: layers from dictionaries, written by the builder's own code."""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from builder.artifact import Built, write
from builder.artifact.layers import Tree, pack
from builder.install_release.manifest import TOPS, Env, Health, Libc, Manifest, Overlay, Range, Requires, Tail, Target
from builder.zipapp import installer

Content = str | bytes | tuple[int, bytes] | Path | None  # text, bytes, (mode, bytes), a link's target, an empty directory
PROGRAM = installer()
NOWHERE = Range(0, 0, 0, "")

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
THIS_TARGET = Target("cpython", VERSION, f"cp{VERSION.replace('.', '')}", sysconfig.get_platform().replace("-", "_"), Libc("glibc", ""), "")

FACTS = Manifest(
    format=1,
    minimum_installer="1.0.0",
    name="shop",
    version="1.0",
    commit="a" * 40,
    commit_time=1763892672,
    root="/srv/shop",
    keep_releases=5,
    target=THIS_TARGET,
    env=Env("venv", True),
    requires=Requires((), (), (), (), 1 << 16, 64),
    overlay=Overlay(),
    services=(),
    hooks=(),
    health=Health(),
    rollback_safe_to="",
    layers=(),
    installer=NOWHERE,
    end=NOWHERE,
    tail=Tail(0, 0, 0),
)


def lay(files: Mapping[str, Content], top: str, root: Path) -> None:
    """Write ``files`` (paths below ``top``) into ``root``."""
    for name, content in files.items():
        path = root / top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, Path):
            os.symlink(content, path)
        else:
            mode, data = content if isinstance(content, tuple) else (0o644, content.encode() if isinstance(content, str) else content)
            path.write_bytes(data)
            path.chmod(mode)


def write_release(directory: Path, layers: Mapping[str, Mapping[str, Content]], **facts: Any) -> Built:
    """An artifact in ``directory``. Keys of ``layers`` are kinds, or ``wheel:<name>``; ``facts`` replace those of ``FACTS``."""
    sign = facts.pop("sign", lambda name, manifest: ())
    trees = []
    for key, files in layers.items():
        kind, _, name = key.partition(":")
        trees.append(Tree(name or kind, kind, "", partial(lay, files, TOPS[kind])))
    with tempfile.TemporaryDirectory() as work:
        packed = pack(trees, Path(work) / "cache", Path(work), jobs=2)
        return write(FACTS._replace(**facts), packed, PROGRAM, directory, sign)
