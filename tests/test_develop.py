"""``build-release env``: the same environment for development, made anew and swapped in, and nobody else's directory touched."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from builder import develop
from builder.errors import EnvError
from builder.recipe import Recipe
from builder.target import Interpreter
from tests.wheels import console, house, interpreter, raw_wheel, snapshot

__all__ = ["interpreter"]  # a fixture

RECIPE = Recipe(name="shop")


def app(folder: Path, text: str = "app") -> Path:
    return raw_wheel(folder, "app", {"app.py": f"def main(): print('{text}')\n".encode(), **console("app", "app-x", "app:main")})


def test_it_works_and_can_be_activated(interpreter: Interpreter, tmp_path: Path) -> None:
    """A real virtual environment, with activate scripts, for the target interpreter."""
    made = develop.make(RECIPE, house(app(tmp_path / "wheels")), interpreter, tmp_path / "some folder" / "env")
    assert (made.changed, made.wheels) == (True, 1)
    command = f". '{made.directory}/bin/activate' && app-x && python -c 'import sys; print(sys.prefix)'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == f"app\n{made.directory}\n"
    assert [path.name for path in made.directory.parent.iterdir()] == ["env"]


def test_what_is_up_to_date_is_left_alone(interpreter: Interpreter, tmp_path: Path) -> None:
    """The second time nothing is made; with other wheels a new one takes its place, without what was there before."""
    directory, wheels = tmp_path / "env", house(app(tmp_path / "wheels"))
    develop.make(RECIPE, wheels, interpreter, directory)
    (directory / "mine").write_text("")
    assert not develop.make(RECIPE, wheels, interpreter, directory).changed
    assert (directory / "mine").exists()
    assert develop.make(RECIPE, house(), interpreter, directory).changed
    assert not (directory / "mine").exists()
    assert not (directory / "bin" / "app-x").exists()


def test_a_failure_leaves_what_was_there(interpreter: Interpreter, tmp_path: Path) -> None:
    """Wheels that clash: the old environment stands as before; where there was none, there is none."""
    directory = tmp_path / "env"
    clash = house(*(raw_wheel(tmp_path / name, name, {"same.py": name.encode()}) for name in ("one", "two")))
    with pytest.raises(EnvError):
        develop.make(RECIPE, clash, interpreter, directory)
    assert not directory.exists()
    develop.make(RECIPE, house(), interpreter, directory)
    before = snapshot(directory)
    with pytest.raises(EnvError):
        develop.make(RECIPE, clash, interpreter, directory)
    assert snapshot(directory) == before
    assert {path.name for path in tmp_path.iterdir()} == {"env", "one", "two"}


@pytest.mark.parametrize("complete", [True, False])
def test_what_a_killed_attempt_left_is_settled(interpreter: Interpreter, tmp_path: Path, complete: bool) -> None:
    """Killed half-way: the old one comes back before anything else; killed at the very end: the new one stays."""
    directory, aside = tmp_path / "env", tmp_path / ".env.old"
    develop.make(RECIPE, house(), interpreter, directory)
    directory.rename(aside)
    (aside / "old").write_text("")
    directory.mkdir()
    if complete:
        develop.make(RECIPE, house(), interpreter, tmp_path / "new")
        directory.rmdir()
        (tmp_path / "new").rename(directory)
    clash = house(*(raw_wheel(tmp_path / name, name, {"same.py": name.encode()}) for name in ("one", "two")))
    with pytest.raises(EnvError):
        develop.make(RECIPE, clash, interpreter, directory)
    assert (directory / "old").exists() is not complete
    assert not aside.exists()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_not_ours_is_refused(interpreter: Interpreter, tmp_path: Path, kind: str) -> None:
    """A file, a directory with something in it and a link are left alone; an empty directory is taken."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").write_text("")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    there = {"file": "file", "directory": "full", "link": "link"}[kind]
    before = snapshot(tmp_path)
    with pytest.raises(EnvError, match="can't be made there"):
        develop.make(RECIPE, house(), interpreter, tmp_path / there)
    assert snapshot(tmp_path) == before
    assert develop.make(RECIPE, house(), interpreter, tmp_path / "empty").changed
