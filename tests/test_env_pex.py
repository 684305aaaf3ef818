"""Kind pex: a loose pex, made of the wheels alone, the same bytes wherever it is made."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from builder import env
from builder.env.local import make as make_local
from builder.errors import EnvError
from builder.target import Interpreter
from tests.wheels import console, house, interpreter, raw_wheel, recipe, snapshot

__all__ = ["interpreter"]  # a fixture


def wheels(folder: Path) -> tuple[Path, Path]:
    app = {"app.py": b"def main():\n    import library; print(library.__file__)\n", **console("app", "app-x", "app:main")}
    return raw_wheel(folder, "app", app, metadata=b"Requires-Dist: library>=1\n"), raw_wheel(folder, "library", {"library/__init__.py": b""})


def test_the_same_bytes_wherever_it_is_made(interpreter: Interpreter, tmp_path: Path) -> None:
    """Two pexes of the same wheels, kept and made in other directories, are equal, name no directory, and are all there is in the tree."""
    for name in ("one", "another place"):
        (tree,) = env.trees(recipe("pex"), house(*wheels(tmp_path / name / "wheels")), interpreter)
        (tmp_path / name / "made").mkdir()
        tree.make(tmp_path / name / "made")
    assert (tree.name, tree.kind) == ("pex", "pex")
    first = snapshot(tmp_path / "one" / "made")
    assert first == snapshot(tmp_path / "another place" / "made")
    assert {path.partition("/")[0] for path in first} == {"pex"}
    assert {mode for mode, _ in first.values()} <= {"644", "755", "link"}
    for path in first:
        content = (tmp_path / "one" / "made" / path).read_bytes()
        assert os.fsencode(tmp_path) not in content
        assert not re.search(rb"/build-release-pex-", content)
    facts = json.loads((tmp_path / "one" / "made" / "pex" / "PEX-INFO").read_text())
    assert sorted(facts["requirements"]) == ["app==1.0", "library==1.0"]


def test_its_tools_make_an_environment_of_it(interpreter: Interpreter, tmp_path: Path) -> None:
    """What the host does: a private root, no network, an environment whose scripts run."""
    env.trees(recipe("pex"), house(*wheels(tmp_path / "wheels")), interpreter)[0].make(tmp_path)
    command = ["unshare", "-c", "-n", interpreter.executable, tmp_path / "pex" / "__main__.py", "venv", "--non-hermetic-scripts", tmp_path / "venv"]
    settings = {"PEX_TOOLS": "1", "PEX_ROOT": str(tmp_path / "root"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path / "home")}
    subprocess.run(command, env=settings, check=True)
    done = subprocess.run([tmp_path / "venv" / "bin" / "app-x"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path}/venv/")


@pytest.mark.parametrize(("what", "more"), [("app-x", {"script": "app-x"}), ("app:main", {"entry_point": "app:main"})])
def test_a_pex_runs_what_the_recipe_names(interpreter: Interpreter, tmp_path: Path, what: str, more: dict[str, str]) -> None:
    """A console script or a function becomes what the pex does when it is run."""
    (tree,) = env.trees(recipe("pex", **more), house(*wheels(tmp_path / "wheels")), interpreter)
    tree.make(tmp_path)
    facts = json.loads((tmp_path / "pex" / "PEX-INFO").read_text())
    assert "app:main" in (facts["entry_point"], *facts.values()) or facts.get("script") == what
    assert tree.key != env.trees(recipe("pex"), house(*wheels(tmp_path / "wheels")), interpreter)[0].key


def test_a_script_that_nobody_ships_is_an_error(interpreter: Interpreter, tmp_path: Path) -> None:
    """What pex says is shown."""
    (tree,) = env.trees(recipe("pex", script="nothing"), house(*wheels(tmp_path / "wheels")), interpreter)
    with pytest.raises(EnvError, match="making the pex failed") as refusal:
        tree.make(tmp_path)
    assert "nothing" in str(refusal.value.problems[0])


def test_no_dependencies_make_an_empty_pex(interpreter: Interpreter, tmp_path: Path) -> None:
    """An application without any is legal."""
    env.trees(recipe("pex"), house(), interpreter)[0].make(tmp_path)
    assert json.loads((tmp_path / "pex" / "PEX-INFO").read_text())["distributions"] == {}


def test_a_local_environment_holds_the_same_files(interpreter: Interpreter, tmp_path: Path) -> None:
    """The environment that build steps and developers get has the wheels' files byte for byte as an artifact has them."""
    paths = wheels(tmp_path / "wheels")
    make_local(tmp_path / "local", house(*paths), interpreter, True)
    for tree in env.trees(recipe(), house(*paths), interpreter):
        tree.make(tmp_path)
    ours, artifact = snapshot(tmp_path / "local"), snapshot(tmp_path / "venv")
    assert artifact.items() <= ours.items()
    done = subprocess.run([tmp_path / "local" / "bin" / "app-x"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path}/local/")
