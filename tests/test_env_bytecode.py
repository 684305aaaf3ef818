"""Byte code: made by the target, the same bytes wherever and whenever, and used as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.env.bytecode import Mode, compile_files, compile_tree
from builder.recipe import PythonSpec
from builder.target import Interpreter, find
from tests.wheels import snapshot

SOURCES = {
    "a/__init__.py": "NAMES = {'one', 'two', 'three'}\ndef has(x):\n    return x in {'one', 'two', 'three', 'four', 'five'}\n",
    "a/b.py": "class C:\n    'doc'\n    def name(self, one, two=(1, 2.5, 'x')):\n        return __file__, self.name.__code__.co_filename\n",
    "a/broken.py": "def {{ name }}():\n",
    "a/nul.py": "x = '\0'\n",
    "a/warns.py": "x = '\\d'\nassert (x, 'always')\n",
    "a/data.txt": "x",
    "with space.py": "import a\n",
}
MODES: tuple[Mode, ...] = ("unchecked-hash", "checked-hash")


@pytest.fixture(params=["3.9", "3.10", "3.11", "3.12", "3.13"])
def interpreter(request: pytest.FixtureRequest, interpreters: Mapping[str, Path]) -> Interpreter:
    if request.param not in interpreters:
        pytest.skip(f"no Python {request.param} on PATH or below ~/.pyenv/versions")
    return find(PythonSpec(version=request.param))


def lay(root: Path) -> Path:
    for path, text in SOURCES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.mark.parametrize("mode", MODES)
def test_the_same_bytes_in_another_directory_and_alone(interpreter: Interpreter, tmp_path: Path, mode: Mode) -> None:
    """A file's byte code depends on neither its place nor its company; files that don't compile are left without any, and nobody is told."""
    made = compile_tree(interpreter, lay(tmp_path / "one"), mode, "lib/")
    tag = interpreter.cache_tag
    assert list(made) == [f"__pycache__/with space.{tag}.pyc", *(f"a/__pycache__/{name}.{tag}.pyc" for name in ("__init__", "b", "warns"))]
    other = lay(tmp_path / "another one")
    for path in SOURCES:
        if path.endswith(".py"):
            compile_files(interpreter, other, [path], mode, "lib/")
    assert snapshot(tmp_path / "one") == snapshot(other)
    for path in made:
        assert os.fsencode(tmp_path) not in (tmp_path / "one" / path).read_bytes()


@pytest.mark.parametrize("mode", MODES)
def test_python_uses_it_and_knows_the_real_path(interpreter: Interpreter, tmp_path: Path, mode: Mode) -> None:
    """The module is loaded from its byte code, wherever it was moved, and its functions name the real file."""
    compile_tree(interpreter, lay(tmp_path / "made"), mode, "lib/")
    shutil.move(tmp_path / "made", tmp_path / "moved")
    code = "import a.b, sys; print(*a.b.C().name(1), a.b.__cached__)"
    command = [interpreter.executable, "-v", "-B", "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "moved", env={"PYTHONPATH": str(tmp_path / "moved")}, capture_output=True, text=True)
    path = tmp_path / "moved" / "a" / "b.py"
    cached = path.parent / "__pycache__" / f"b.{interpreter.cache_tag}.pyc"
    assert done.stdout == f"{path} {path} {cached}\n"
    assert f"matches {path}" in done.stderr


def test_an_edit_takes_effect_where_it_is_checked(interpreter: Interpreter, tmp_path: Path) -> None:
    """Checked byte code gives way to an edited source; unchecked byte code does not even look."""
    for mode, expected in (("checked-hash", "new"), ("unchecked-hash", "old")):
        root = tmp_path / mode
        root.mkdir()
        (root / "module.py").write_text("print('old')\n")
        compile_tree(interpreter, root, mode)  # type: ignore[arg-type]
        (root / "module.py").write_text("print('new')\n")
        done = subprocess.run([interpreter.executable, "-B", "-c", "import module"], cwd=root, capture_output=True, text=True)
        assert done.stdout == f"{expected}\n"


def test_links_and_old_byte_code_are_not_compiled(interpreter: Interpreter, tmp_path: Path) -> None:
    """Only files that are source: no link, and nothing in a __pycache__."""
    lay(tmp_path)
    (tmp_path / "link.py").symlink_to("a/b.py")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "odd.py").write_text("")
    assert not [path for path in compile_tree(interpreter, tmp_path, "checked-hash") if "link" in path or "odd" in path]


def test_nothing_to_compile_starts_no_process(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """A wheel of data costs nothing."""
    assert compile_files(find(PythonSpec(version=next(iter(interpreters)))), tmp_path / "absent", [], "checked-hash") == ()
