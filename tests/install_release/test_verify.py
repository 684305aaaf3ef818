"""verify finds every difference, and nothing else."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from .roots import SITE, artifact, differences, install


@pytest.fixture
def installed(tmp_path: Path) -> tuple[Path, str, str]:
    """A root, the id of the release in it, and the key of its environment."""
    root = tmp_path / "root"
    outcome = install(root, artifact(tmp_path, "1.0", {"static/a.css": "a", "link": Path("app.py")}))
    return root, outcome.id, outcome.env


def relink(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("path", "change", "kind"),
    [
        ("src/app.py", lambda path: path.write_text("VERSION = '1.1'\n"), "edited"),
        ("src/app.py", lambda path: path.chmod(0o755), "re-moded"),
        ("src/app.py", lambda path: path.unlink(), "removed"),
        ("src/static", lambda path: path.chmod(0o775), "re-moded"),
        ("src/static/evil.js", lambda path: path.touch(), "added"),
        ("src/.hidden", lambda path: path.mkdir(), "added"),
        ("src/link", lambda path: relink(path, "static/a.css"), "re-linked"),
        ("src/app.py", lambda path: relink(path, "static/a.css"), "replaced"),
        ("src/pipe", lambda path: os.mkfifo(path), "added"),
        ("etc/nginx/shop.conf", lambda path: path.write_text(""), "edited"),
        ("bin/run", lambda path: path.write_text("#!/bin/sh\n"), "edited"),
        ("bin/run", lambda path: path.chmod(0o700), "re-moded"),
        ("venv", lambda path: relink(path, "../../envs/other"), "re-linked"),
        ("REVISION", lambda path: path.write_text("b" * 40 + "\n"), "edited"),
        (".lease", lambda path: path.unlink(), "removed"),
        ("install.json", lambda path: path.chmod(0o600), "re-moded"),
        (f"venv/{SITE}/lib.py", lambda path: path.write_text("WHEEL = '2'\n"), "edited"),
        (f"venv/{SITE}/evil.pth", lambda path: path.write_text("import os\n"), "added"),
        (f"venv/{SITE}/00_pin.pth", lambda path: path.unlink(), "removed"),
        ("venv/pyvenv.cfg", lambda path: path.write_text("home = /tmp\n"), "edited"),
        ("venv/bin/python", lambda path: relink(path, "/bin/true"), "re-linked"),
    ],
)
def test_one_change_is_found(installed: tuple[Path, str, str], path: str, change: Callable[[Path], object], kind: str) -> None:
    """Each kind of change, in the release and in its environment, is named once, by its path below the root."""
    root, release, env = installed
    assert differences(root, release) == []
    change(root / "releases" / release / path)
    below = path.partition("/")[2] if path.startswith("venv/") else path
    where = f"envs/{env}/{below}" if path.startswith("venv/") else f"releases/{release}/{path}"
    assert differences(root, release) == [(kind, where)]


def test_a_record_that_was_rewritten_to_match_is_found(installed: tuple[Path, str, str]) -> None:
    """install.json can't vouch for a changed file: its own digest is in the history."""
    root, release, _ = installed
    directory = root / "releases" / release
    (directory / "bin/run").write_text("#!/bin/sh\n")
    record = json.loads((directory / "install.json").read_text())
    record["made"] = [entry for entry in record["made"] if entry["path"] != "bin/run"]
    (directory / "install.json").write_text(json.dumps(record))
    assert ("edited", f"releases/{release}/install.json") in differences(root, release)


@pytest.mark.parametrize("name", ["release.json", "install.json", ".tables/src"])
@pytest.mark.parametrize("how", ["removed", "edited"])
def test_a_record_that_can_not_be_trusted_is_a_difference(installed: tuple[Path, str, str], name: str, how: str) -> None:
    """Without a manifest, record or table that is what it was, nothing is called whole."""
    root, release, _ = installed
    path = root / "releases" / release / name
    path.unlink() if how == "removed" else path.write_bytes(path.read_bytes()[:-2] + b"x\n")
    assert differences(root, release)


@pytest.mark.parametrize("how", ["table removed", "table edited", "environment removed"])
def test_an_environment_that_is_not_there_is_a_difference(installed: tuple[Path, str, str], how: str) -> None:
    """A release without its environment is not whole."""
    root, release, env = installed
    table = root / ".install/envs" / f"{env}.json"
    if how == "table removed":
        table.unlink()
    elif how == "table edited":
        table.write_text("{}")
    else:
        (root / "envs" / env).rename(root / "envs-gone")
    assert differences(root, release)
