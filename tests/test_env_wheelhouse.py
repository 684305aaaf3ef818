"""Kind wheelhouse: the wheels travel, with pip, and install themselves by hash."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from builder import env
from builder.env.wheelhouse import pip_wheel
from builder.errors import EnvError
from builder.target import Interpreter
from tests.wheels import console, house, interpreter, raw_wheel, recipe, snapshot

__all__ = ["interpreter"]  # a fixture


def hashed(*paths: Path):  # type: ignore[no-untyped-def]
    made = house(*paths)
    made.wheels = tuple(replace(wheel, sha256=hashlib.sha256(wheel.path.read_bytes()).hexdigest()) for wheel in made.wheels)
    return made


def test_pip_installs_it_without_an_index(interpreter: Interpreter, tmp_path: Path) -> None:
    """What the host does: pip, run from its own wheel, installs every wheel, hashes demanded, without network."""
    app = raw_wheel(tmp_path / "wheels", "app", {"app.py": b"def main(): print('app')\n", **console("app", "app-x", "app:main")})
    wheels = hashed(app, raw_wheel(tmp_path / "wheels", "other_one", {}))
    (tree,) = env.trees(recipe("wheelhouse"), wheels, interpreter)
    tree.make(tmp_path)
    assert (tree.name, tree.kind) == ("wheelhouse", "wheelhouse")
    pip = pip_wheel(interpreter).name
    assert snapshot(tmp_path / "wheelhouse").keys() == {pip, "requirements.txt", "app-1.0-py3-none-any.whl", "other_one-1.0-py3-none-any.whl"}
    subprocess.run([interpreter.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    folder = tmp_path / "wheelhouse"
    command = ["unshare", "-c", "-n", tmp_path / "venv" / "bin" / "python", folder / pip / "pip", "install", "--quiet"]
    options = ["--no-index", "--require-hashes", f"--find-links={folder}", "-r", folder / "requirements.txt"]
    subprocess.run([*command, *options], check=True)
    assert subprocess.run([tmp_path / "venv" / "bin" / "app-x"], capture_output=True, text=True, check=True).stdout == "app\n"


def test_a_locked_pip_is_the_one_that_travels(interpreter: Interpreter, tmp_path: Path) -> None:
    """There are never two pips in one wheelhouse."""
    (tree,) = env.trees(recipe("wheelhouse"), hashed(raw_wheel(tmp_path / "wheels", "pip", {})), interpreter)
    tree.make(tmp_path)
    assert snapshot(tmp_path / "wheelhouse").keys() == {"requirements.txt", "pip-1.0-py3-none-any.whl"}


@pytest.mark.parametrize("kind", ["venv", "pex", "wheelhouse"])
def test_every_kind_refuses_wheels_that_clash(interpreter: Interpreter, tmp_path: Path, kind: str) -> None:
    """The host must not be the first to notice."""
    wheels = [raw_wheel(tmp_path / "wheels", name, {"same.py": name.encode()}) for name in ("one", "two")]
    with pytest.raises(EnvError, match="don't make one environment"):
        env.trees(recipe(kind), hashed(*wheels), interpreter)[0].make(tmp_path)
