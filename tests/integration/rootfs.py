"""Root file systems of production hosts, made once with mmdebstrap from this machine's own Debian mirror and kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import KEPT, MACHINE, missing

UID = 1001  # of the user `deploy`, who owns nothing but what is below /srv
STRANGER = 54321  # a uid without an entry in /etc/passwd


@dataclass(frozen=True)
class Mirror:
    """Where this machine gets its Debian packages from, and the keyring that signs them (empty: the system's trusted ones)."""

    uri: str
    keyring: str


def root_file_system(suite: str, *packages: str) -> Path:
    """The directory of a minimal Debian ``suite`` with ``packages`` and the user ``deploy``; takes some 20 s the first time, nothing after."""
    KEPT.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(repr((suite, packages, UID, os.geteuid())).encode()).hexdigest()[:12]
    place = KEPT / f"{suite}-{key}"
    with open(KEPT / f"{suite}-{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            _make(suite, packages, place)
    return place


def _make(suite: str, packages: tuple[str, ...], place: Path) -> None:
    if not shutil.which("mmdebstrap"):
        missing("mmdebstrap is not installed: no root file system for a production host")
    mirror = debian_mirror()
    work = Path(tempfile.mkdtemp(prefix="rootfs-", dir=place.parent))
    try:
        argv = [
            "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(packages)}",
            f'--customize-hook=chroot "$1" useradd --uid {UID} --create-home deploy',
            *([f"--keyring={mirror.keyring}"] if mirror.keyring else []),
            suite, str(work / "tree.tar"), mirror.uri,
        ]  # fmt: skip
        made = subprocess.run(argv, env={"PATH": MACHINE["PATH"], "HOME": MACHINE["HOME"], "LC_ALL": "C"}, capture_output=True, text=True)
        if made.returncode:
            missing(f"mmdebstrap makes no root file system here: {made.stderr.strip()}")
        (work / "tree").mkdir()
        # Device nodes can't be made by an ordinary user, and the host mounts a /dev of its own.
        subprocess.run(["tar", "xf", work / "tree.tar", "-C", work / "tree", "--exclude=./dev/*"], check=True)
        (work / "tree").chmod(0o755)
        os.rename(work / "tree", place)
    finally:
        shutil.rmtree(work)


def debian_mirror() -> Mirror:
    """The first Debian main archive of this machine's apt sources, in either of their two forms."""
    sources = Path("/etc/apt")
    for path in sorted(sources.glob("sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            keys = dict(re.findall(r"^([A-Za-z-]+):\s*(.*)$", stanza, re.MULTILINE))
            if "main" in keys.get("Components", "").split() and _is_debian(keys.get("URIs", "")):
                return Mirror(keys["URIs"].split()[0], keys.get("Signed-By", ""))
    for path in [sources / "sources.list", *sorted(sources.glob("sources.list.d/*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else ():
            found = re.match(r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+\S+\s+.*\bmain\b", line)
            if found and _is_debian(found["uri"]):
                signed = re.search(r"signed-by=(\S+)", found["options"] or "")
                return Mirror(found["uri"], signed[1] if signed else "")
    missing("no Debian archive in this machine's apt sources: no root file system for a production host")
    raise AssertionError


def _is_debian(uris: str) -> bool:
    return bool(re.search(r"/debian/?$", uris.split()[0])) if uris.strip() else False
