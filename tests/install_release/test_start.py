"""What a start costs and what it trusts: modules that an installation loads, and those whose code runs before a signature is verified."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from builder.artifact import thin
from builder.install_release.artifact import open_artifact
from builder.install_release.declared import Conflict, Copied, Health, Hook, Overlay, Service

from .policies import Authority, authority
from .roots import REPOSITORY, artifact

__all__ = ["authority"]
SLOW = {
    *("asyncio", "concurrent", "dataclasses", "datetime", "email", "http", "inspect", "multiprocessing", "pprint", "tarfile", "typing", "urllib"),
    "zipfile",
}
"""Each takes milliseconds to load, and an installation of what is already here takes some tens of them."""

LOADED = """
import sys
from builder.install_release import cli
status = cli.main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(status)
"""

# Which functions of the installer are called until a signature is handed to ssh-keygen. What a module does when it is loaded, like making a class,
# is none: only functions have that flag.
CALLED = """
import inspect, os, sys
from builder.install_release import cli
top, optimized, called = os.path.dirname(cli.__file__), inspect.CO_OPTIMIZED, set()
def profile(frame, event, argument):
    code = frame.f_code
    if event == "call" and code.co_flags & optimized and code.co_filename.startswith(top):
        if (code.co_name, os.path.basename(code.co_filename)) == ("verify", "signatures.py"):
            sys.setprofile(None)
            os.write(1, " ".join(sorted(called)).encode())
            os._exit(0)
        called.add(os.path.relpath(code.co_filename, top))
sys.setprofile(profile)
cli.main(sys.argv[1:])
"""


def words(path: Path | str, root: Path) -> list[str]:
    return [str(path), "--root", str(root), *(["--allow-root"] if os.geteuid() == 0 else [])]


def test_an_installation_loads_nothing_slow(tmp_path: Path) -> None:
    """The first one, and the next one over it."""
    for version in ("1.0", "1.1"):
        command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{LOADED}"]
        done = subprocess.run([*command, *words(artifact(tmp_path, version), tmp_path / "root")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert set(done.stderr.splitlines()[-1].split()) & SLOW == set()


def test_what_runs_before_a_signature_is_verified_is_documented(tmp_path: Path, authority: Authority) -> None:
    """docs/security.md names exactly the modules whose code meets an artifact that nobody has vouched for yet, whole or thin, however it comes."""
    authority.allow("ci")
    authority.policy("", required=1)
    facts = {
        "overlay": Overlay((Copied("a.conf", "/etc/a.conf"),), (Conflict("**", "beside"),)),
        "services": (Service("thing", "command", config=("a.conf",), restart_on=("release",), restart=("true",)),),
        "hooks": (Hook("pre_flip", ("true",)),),
        "health": Health(url="http://127.0.0.1:1/", status=200, passes=1, deadline=1),
    }
    path = authority.artifact(tmp_path, "1.0", "ci", etc={"a.conf": "a"}, **facts)
    with open_artifact(path) as opened:
        have = frozenset(layer.digest for layer in opened.manifest.layers if layer.kind == "src")
    thin.write(path, have, tmp_path / "thin.tgz")
    called = set[str]()
    for name, given in ((path, path), ("-", path), (tmp_path / "thin.tgz", path), ("-", tmp_path / "thin.tgz")):
        with given.open("rb") as stream:
            command = [sys.executable, "-c", CALLED, *words(name, tmp_path / "root")]
            done = subprocess.run(command, cwd=REPOSITORY, stdin=stream, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        called |= set(done.stdout.split())
    text = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"^Code that runs before a signature is verified: (.*?)\. `tests", text, re.MULTILINE | re.DOTALL)
    assert called == set(re.findall(r"`([a-z_/]+\.py)`", told))
