"""Byte code: made by the target, the same bytes wherever and whenever, and used as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from builder.artifact.contents import File, write
from builder.env.bytecode import LARGE, SMALL, Mode, compile_sources, cut
from builder.errors import EnvError
from builder.recipe import PythonSpec
from builder.target import Interpreter, find

SOURCES = {
    "a/__init__.py": "NAMES = {'one', 'two', 'three'}\ndef has(x):\n    return x in {'one', 'two', 'three', 'four', 'five'}\n",
    "a/b.py": "class C:\n    'doc'\n    def name(self, one, two=(1, 2.5, 'x')):\n        return __file__, self.name.__code__.co_filename\n",
    "a/broken.py": "def {{ name }}():\n",
    "a/nul.py": "x = '\0'\n",
    "a/warns.py": "x = '\\d'\nassert (x, 'always')\n",
    "with space.py": "import a\n",
}
MODES: tuple[Mode, ...] = ("unchecked-hash", "checked-hash")


@pytest.fixture(params=["3.9", "3.10", "3.11", "3.12", "3.13"])
def interpreter(request: pytest.FixtureRequest, interpreters: Mapping[str, Path]) -> Interpreter:
    if request.param not in interpreters:
        pytest.skip(f"no Python {request.param} on PATH or below ~/.pyenv/versions")
    return find(PythonSpec(version=request.param))


def sources(*paths: str) -> dict[str, bytes]:
    """Those of SOURCES that are Python, or only ``paths``."""
    return {path: text.encode() for path, text in SOURCES.items() if path.endswith(".py") and (not paths or path in paths)}


def lay(root: Path, files: Mapping[str, bytes]) -> Path:
    write((File.of(path, data) for path, data in files.items()), root)
    return root


@pytest.mark.parametrize("mode", MODES)
def test_the_same_bytes_in_another_order_and_alone(interpreter: Interpreter, mode: Mode) -> None:
    """A file's byte code does not depend on its company; files that don't compile are left without any, and nobody is told."""
    made = compile_sources(interpreter, sources(), mode, "lib/")
    tag = interpreter.cache_tag
    assert list(made) == [*(f"a/__pycache__/{name}.{tag}.pyc" for name in ("__init__", "b", "warns")), f"__pycache__/with space.{tag}.pyc"]
    assert compile_sources(interpreter, dict(reversed(sources().items())), mode, "lib/") == made
    alone = [compile_sources(interpreter, sources(path), mode, "lib/") for path in sources()]
    assert {path: code for each in alone for path, code in each.items()} == made


def test_a_group_has_the_same_bytes_whatever_is_compiled_beside_it(interpreter: Interpreter) -> None:
    """Real modules, many groups: each alone, all together and in reverse, on a busy machine, with other hash seeds outside: the same bytes."""
    library = Path(os.__file__).parent
    paths = [*library.glob("*.py"), *library.glob("asyncio/*.py"), *library.glob("email/*.py"), *library.glob("json/*.py")]
    every = {path.relative_to(library).as_posix(): path.read_bytes() for path in paths}
    groups = [dict(group) for group in cut(every, LARGE)]
    assert len(groups) > 2
    together = compile_sources(interpreter, every, "unchecked-hash")
    for group in reversed(groups):
        alone = compile_sources(interpreter, group, "unchecked-hash")
        assert {path: together[path] for path in alone} == alone


def test_borders_of_groups_depend_on_names_alone() -> None:
    """An edited file changes its own group, a new one some near it: all others stay as they are."""
    every = {f"package/module_{number}.py": b"" for number in range(400)}
    before = [tuple(group) for group in cut(every, SMALL)]
    assert 15 < len(before) < 40
    assert {path: source for group in before for path, source in group} == every
    edited = [tuple(group) for group in cut({**every, "package/module_77.py": b"new"}, SMALL)]
    assert len(set(edited) - set(before)) == 1
    more = [tuple(group) for group in cut({**every, "package/module_77_new.py": b"new"}, SMALL)]
    assert len(set(more) - set(before)) <= 3


def test_only_groups_with_a_change_are_compiled_again(interpreter: Interpreter, tmp_path: Path) -> None:
    """What was compiled is kept, whoever asks; a damaged entry is made again; and all of it is the same as without a cache."""
    every = {f"module_{number}.py": b"VALUE = %d\n" % number for number in range(100)}
    wanted = compile_sources(interpreter, every, "checked-hash")
    assert compile_sources(interpreter, every, "checked-hash", cache=tmp_path) == wanted
    kept = {path.name: path.stat().st_ino for path in (tmp_path / "bytecode").iterdir()}
    assert compile_sources(interpreter, every, "checked-hash", cache=tmp_path) == wanted
    edited = {**every, "module_50.py": b"VALUE = None\n"}
    assert compile_sources(interpreter, edited, "checked-hash", cache=tmp_path) == compile_sources(interpreter, edited, "checked-hash")
    now = {path.name: path.stat().st_ino for path in (tmp_path / "bytecode").iterdir()}
    assert len(now) == len(kept) + 1
    assert kept.items() <= now.items()
    for path in (tmp_path / "bytecode").iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert compile_sources(interpreter, every, "checked-hash", cache=tmp_path) == wanted
    assert compile_sources(interpreter, every, "checked-hash", cache=tmp_path) == wanted
    other = compile_sources(interpreter, every, "unchecked-hash", cache=tmp_path)
    assert other == compile_sources(interpreter, every, "unchecked-hash")
    assert other.keys() == wanted.keys()


def test_a_file_that_crashes_the_compiler_is_named(interpreter: Interpreter, tmp_path: Path) -> None:
    """Where a process dies of a file (here: of its small stack), the build says of which, not only that it did."""
    small = tmp_path / "python"
    small.write_text(f'#!/bin/sh\nulimit -s 200\nexec {interpreter.executable} "$@"\n')
    small.chmod(0o755)
    every = {"good.py": b"", "zz/deep.py": b"-" * 5000 + b"1", "zz/other.py": b""}
    with pytest.raises(EnvError, match="byte-compiling failed") as caught:
        compile_sources(replace(interpreter, executable=small), every, "unchecked-hash", "lib/")
    assert [str(problem) for problem in caught.value.problems] == ["lib/zz/deep.py: crashes the compiler of the target's Python."]


@pytest.mark.parametrize("mode", MODES)
def test_python_uses_it_and_knows_the_real_path(interpreter: Interpreter, tmp_path: Path, mode: Mode) -> None:
    """The module is loaded from its byte code, wherever it was moved, and its functions name the real file."""
    lay(tmp_path / "made", sources() | compile_sources(interpreter, sources(), mode, "lib/"))
    shutil.move(tmp_path / "made", tmp_path / "moved")
    code = "import a.b, sys; print(*a.b.C().name(1), a.b.__cached__)"
    command: list[str | Path] = [interpreter.executable, "-v", "-B", "-c", code]
    done = subprocess.run(command, cwd=tmp_path / "moved", env={"PYTHONPATH": str(tmp_path / "moved")}, capture_output=True, text=True)
    path = tmp_path / "moved" / "a" / "b.py"
    cached = path.parent / "__pycache__" / f"b.{interpreter.cache_tag}.pyc"
    assert done.stdout == f"{path} {path} {cached}\n"
    assert f"matches {path}" in done.stderr


def test_an_edit_takes_effect_where_it_is_checked(interpreter: Interpreter, tmp_path: Path) -> None:
    """Checked byte code gives way to an edited source; unchecked byte code does not even look."""
    old = {"module.py": b"print('old')\n"}
    for mode, expected in zip(MODES, ("old", "new"), strict=True):
        root = lay(tmp_path / mode, old | compile_sources(interpreter, old, mode))
        (root / "module.py").write_text("print('new')\n")
        done = subprocess.run([interpreter.executable, "-B", "-c", "import module"], cwd=root, capture_output=True, text=True)
        assert done.stdout == f"{expected}\n"


def test_nothing_to_compile_starts_no_process(interpreters: Mapping[str, Path]) -> None:
    """A wheel of data costs nothing."""
    absent = replace(find(PythonSpec(version=next(iter(interpreters)))), executable=Path("/absent"))
    assert compile_sources(absent, {}, "checked-hash") == {}
