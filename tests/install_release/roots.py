"""A release root in a temporary directory, and small real artifacts to install in it."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from builder.artifact import thin as thinning
from builder.install_release import have, history, release, verify
from builder.install_release.artifact import open_artifact
from builder.install_release.host import Host
from builder.install_release.manifest import Requires
from builder.install_release.release import Order, Outcome
from tests.releases import VERSION, Content, write_release

SITE = f"lib/python{VERSION}/site-packages"
NEEDS_NOTHING = Requires((), (), (), (), 1 << 16, 64)
REPOSITORY = Path(__file__).parents[2]


def artifact(directory: Path, version: str, source: Mapping[str, Content] | None = None, wheel: str = "1", **facts: Any) -> Path:
    """An artifact of ``shop``: its source says ``version``, its one wheel says ``wheel``."""
    layers: dict[str, Mapping[str, Content]] = {
        "src": {"app.py": f"VERSION = {version!r}\n", **(source or {})},
        "etc": facts.pop("etc", {"nginx/shop.conf": "server {}\n"}),
        "wheel:lib-1-py3-none-any": {f"{SITE}/lib.py": f"WHEEL = {wheel!r}\n"},
    }
    moment = 1763892672 + sum(int(part) << 8 * place for place, part in enumerate(reversed(version.split("."))))
    return write_release(directory, layers, version=version, commit_time=moment, requires=facts.pop("requires", NEEDS_NOTHING), **facts).path


def order(root: Path, command: str = "test", **more: Any) -> Order:
    return Order(str(root), command, "tester", wait=0.0, **more)


def install(root: Path, path: Path, **more: Any) -> Outcome:
    """Install in this process."""
    with open_artifact(path) as opened:
        return release.install(opened, order(root, "install"), **more)


def run(*argv: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the installer as a process of its own, as people start it from a checkout."""
    words = [sys.executable, "-m", "builder.install_release", *map(str, argv)]
    if os.geteuid() == 0:
        words.append("--allow-root")
    return subprocess.run(words, cwd=options.pop("cwd", REPOSITORY), capture_output=True, text=True, timeout=60, **options)


def has(root: Path) -> frozenset[str]:
    """The digests of the layers that the host says it has."""
    return frozenset(layer.digest for layer in have.gather(str(root)).layers)


def thin(path: Path, root: Path) -> Path:
    """What the host at ``root`` lacks of an artifact, beside it."""
    to = path.with_name(f"{path.name.removesuffix('.tgz')}.thin.tgz")
    thinning.write(path, has(root), to)
    return to


def id_of(path: Path) -> str:
    with open_artifact(path) as opened:
        return opened.id


def live(root: Path) -> str:
    """The id that ``current`` leads to; "" when there is none."""
    return os.readlink(root / "current").partition("/")[2] if os.path.lexists(root / "current") else ""


def past(root: Path) -> history.History:
    with Host(str(root)) as host:
        return history.fold(history.read(host))


def events(root: Path) -> list[tuple[str, str]]:
    """The history as pairs of event and id."""
    with Host(str(root)) as host:
        return [(event["event"], event["id"]) for event in history.read(host)]


def differences(root: Path, wanted: str) -> list[tuple[str, str]]:
    with Host(str(root)) as host:
        return [(each.kind, each.path) for each in verify.verify(host, wanted).differences]


def journal_state(root: Path) -> str:
    path = root / ".install/journal.json"
    return str(json.loads(path.read_text().splitlines()[0])["state"]) if path.exists() else "none"


def temporary_files(root: Path) -> list[str]:
    """What no finished command leaves: stages, temporary siblings."""
    found = [path for path in root.rglob("*") if path.name.endswith(".new") and path.name.startswith(".")]
    return sorted(str(path.relative_to(root)) for path in [*found, *(root / ".install/staging").iterdir()])


def snapshot(directory: Path) -> dict[str, tuple[int, str]]:
    """Every path with its mode, and the digest of what it holds or says."""
    found = {}
    for path in sorted(directory.rglob("*")):
        mode = path.lstat().st_mode
        content = os.readlink(path).encode() if stat.S_ISLNK(mode) else path.read_bytes() if stat.S_ISREG(mode) else b""
        found[str(path.relative_to(directory))] = (mode, hashlib.sha256(content).hexdigest())
    return found
