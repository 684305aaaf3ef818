"""The program that runs on a host, under every Python that may be there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

import builder.deploy.session
from builder.zipapp import installer

PROGRAM = Path(builder.deploy.session.__file__).with_name("on_host.py")
ECHO = b"""
import os, sys
with open(sys.argv[-1], "rb") if sys.argv[-1] != "-" else sys.stdin.buffer as file:
    print(sys.argv[1:-1], os.environ["INSTALL_RELEASE_WHO"], file.read())
"""


def call(python: Path | str, *words: str, input: bytes = b"", env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([python, "-IS", PROGRAM, *words], input=input, capture_output=True, env={**os.environ, **(env or {})}, check=False)


@pytest.mark.parametrize("file", ["0", "1"])
def test_becomes_an_installer_that_is_brought_along(file: str, interpreters: Mapping[str, Path]) -> None:
    """Its first bytes are the installer, the rest is the artifact: on standard input, or a file without a name."""
    for version, python in interpreters.items():
        done = call(python, "run", "", str(len(ECHO)), file, "ada", "install", "--why=-", "-", input=ECHO + b"artifact")
        assert done.returncode == 0, f"{version}: {done.stderr.decode()}"
        assert done.stdout.decode() == "['install', '--why=-'] ada b'artifact'\n"


def test_becomes_the_installer_that_is_there(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """All of standard input is the artifact then."""
    path = tmp_path / "install-release"
    path.write_bytes(ECHO)
    done = call(min(interpreters.values()), "run", str(path), "0", "1", "ada", "x", "-", input=b"artifact")
    assert done.stdout.decode() == "['x'] ada b'artifact'\n"


def test_a_real_installer_runs_without_a_name(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """The zip is read from memory, by every Python."""
    program = installer()
    for version, python in interpreters.items():
        done = call(
            python,
            "run",
            "",
            str(len(program)),
            "0",
            "ada",
            "install",
            f"--root={tmp_path}/root",
            "--allow-root",
            "--json",
            "-",
            input=program + b"none",
        )
        assert done.returncode == 3, f"{version}: {done.stderr.decode()}"
        assert json.loads(done.stdout)["error"]["message"] == "this is no release"
    assert not (tmp_path / "root").exists()


def test_an_installer_that_is_cut_off_is_not_run() -> None:
    """Refused, as a program reads it and as a person does."""
    for words in (["--json"], []):
        done = call("/usr/bin/python3", "run", "", "1000", "0", "ada", *words, "-", input=b"print('ran')")
        assert done.returncode == 3
        assert b"ended early" in done.stdout
        assert b"ran\n" not in done.stdout
    assert json.loads(call("/usr/bin/python3", "run", "", "9", "0", "ada", "--json", "-").stdout)["error"]["status"] == 3


def look(*words: str, env: Mapping[str, str] | None = None) -> dict[str, object]:
    done = call("/usr/bin/python3", "look", *words, env=env)
    assert done.returncode == 0, done.stderr.decode()
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


def test_looks_for_the_root_where_it_is_said(tmp_path: Path) -> None:
    """By the operator, else by the host, else by the artifact."""
    env = {"INSTALL_RELEASE_ROOT": "/said/here"}
    assert look("/given", "/default", env=env)["root"] == "/given"
    assert look("", "/default", env=env)["root"] == "/said/here"
    assert look("", "/default")["root"] == "/default"
    facts = look("", f"{tmp_path}/a/b")
    assert (facts["place"], facts["writable"], facts["installer"], facts["have"]) == (str(tmp_path), True, "", None)


def test_asks_the_installer_that_is_there(tmp_path: Path) -> None:
    """That of the root first, else one on PATH, if it runs by itself: the script of a package does not."""
    root, other = tmp_path / "root", tmp_path / "other"
    for place in (root / "bin", other):
        place.mkdir(parents=True)
    env = {"PATH": f"{other}:{os.environ['PATH']}"}
    (other / "install-release").write_text("#!/bin/sh\n")
    (other / "install-release").chmod(0o755)
    assert look(str(root), "", env=env)["installer"] == ""
    (other / "install-release").write_bytes(installer())
    facts = look(str(root), "", env=env)
    assert facts["installer"] == str(other / "install-release")
    assert isinstance(facts["have"], dict)
    assert facts["have"]["layers"] == []
    (root / "bin" / "install-release").write_bytes(b"raise SystemExit(2)")
    facts = look(str(root), "", env=env)
    assert (facts["installer"], facts["have"]) == (str(root / "bin" / "install-release"), None)
