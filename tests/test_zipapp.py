"""The installer as one file."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from builder.install_release.manifest import Health
from builder.zipapp import installer
from tests.install_release.roots import artifact, install, live


def other(program: bytes) -> bytes:
    """An installer that does the same, whose modules lie elsewhere in the file."""
    first, buffer = program.index(b"PK"), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(program)) as before, zipfile.ZipFile(buffer, "w") as after:
        for info in before.infolist():
            after.writestr(info, b"# older\n" * (info.filename != "__main__.py") + before.read(info))
    return program[:first] + buffer.getvalue()


def test_what_an_installer_puts_in_its_own_place_does_not_touch_it(tmp_path: Path) -> None:
    """Run from bin/, it replaces itself and asks for the release's health afterwards, with code of its own, first imported then."""
    root = tmp_path / "srv/shop"
    before = install(root, artifact(tmp_path, "1.0")).id
    kept = root / "bin/install-release"
    kept.write_bytes(other(installer()))
    path = artifact(tmp_path, "1.1", health=Health(command=("true",), passes=1, deadline=5))
    words = [sys.executable, "-IS", str(kept), str(path), *(["--allow-root"] if os.geteuid() == 0 else [])]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert live(root) != before
    assert kept.read_bytes() == installer()
