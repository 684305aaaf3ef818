"""A wheel is laid out as pip would, file for file; the differences are listed here, and nowhere else."""

from __future__ import annotations

import csv
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder import env
from builder.env import claims, venv
from builder.env.scripts import TRAMPOLINE
from builder.env.wheelhouse import pip_wheel
from builder.errors import EnvError
from builder.target import Interpreter
from tests.nasty import ACCEPTED, MORE_REFUSED, REFUSED, Nasty
from tests.wheels import console, house, interpreter, pip_install, raw_wheel, real_wheels, recipe, snapshot


def lay_out(paths: Sequence[Path], interpreter: Interpreter, root: Path, byte_code: bool = True) -> Path:
    """All of them in one environment at ``root``, modes whatever the umask."""
    before = os.umask(0o077)
    try:
        for path in paths:
            venv.install(path, root, interpreter, byte_code)
    finally:
        os.umask(before)
    return root


__all__ = ["interpreter"]  # a fixture


# What differs from pip, and why.
def explained(path: str, ours: Path, pips: Path) -> str:
    """Why ``path`` may differ, or "" when it may not."""
    if "__pycache__/" in path:
        return "byte code: ours is found valid by hash and carries no build path; pip's holds the time of unpacking"
    if path.startswith("bin/"):
        text = (ours / path).read_bytes()
        if text.startswith(TRAMPOLINE.encode()) and (pips / path).read_bytes().startswith(b"#!/"):
            return "scripts find their interpreter beside themselves, pip's by an absolute path"
    if path.endswith(".dist-info/RECORD"):
        return record_explained(ours / path, pips / path)
    return ""


def record_explained(ours: Path, pips: Path) -> str:
    """RECORDs may differ in the hash and size of scripts, and pip's may have rows of files that it did not install."""
    rows, theirs = (list(csv.reader(path.read_text().splitlines())) for path in (ours, pips))
    changed = {row[0] for row in rows if row not in theirs} | {row[0] for row in theirs if row not in rows}
    there = [row[0] for row in rows]
    if ours.read_bytes().count(b"\r\n") != len(rows) or sorted(set(there)) != there:
        return ""
    for path in changed:
        is_script = path.startswith("../../../bin/")
        is_wrong_in_pips = path not in there or [row[0] for row in theirs].count(path) > 1
        if not is_script and not is_wrong_in_pips:
            return ""
    if not all((ours.parent.parent / path).exists() for path in there):
        return ""
    return "RECORD lists what is there, each file once: pip's also keeps rows of scripts that it skipped and of files that it replaced"


def same_mode(left: Mapping[str, tuple[str, str]], right: Mapping[str, tuple[str, str]], path: str) -> bool:
    return path in left and path in right and left[path][0] == right[path][0]


def differences(ours: Path, pips: Path) -> Mapping[str, tuple[object, object]]:
    """Paths that differ, but for what ``explained`` explains and what venv makes before pip comes."""
    left, right = snapshot(ours), snapshot(pips)
    made_by_venv = {"pyvenv.cfg", "lib64", ".gitignore", *(path for path in right if path.startswith(("bin/python", "bin/activate", "bin/Activate")))}
    return {
        path: (left.get(path), right.get(path))
        for path in sorted({*left, *right} - made_by_venv)
        if left.get(path) != right.get(path) and not (same_mode(left, right, path) and explained(path, ours, pips))
    }


@pytest.mark.parametrize("byte_code", [True, False])
def test_real_wheels_become_what_pip_makes_of_them(interpreter: Interpreter, tmp_path: Path, byte_code: bool) -> None:
    """File for file the same as pip install --no-index, with and without byte code; the reasons for what differs stand in ``explained``."""
    wheels = [path for path in real_wheels(interpreter.executable) if byte_code or not path.name.startswith("django-")]
    done = pip_install(interpreter.executable, tmp_path / "pip", wheels, *([] if byte_code else ["--no-compile"]))
    assert done.returncode == 0, done.stderr
    assert not differences(lay_out(wheels, interpreter, tmp_path / "ours", byte_code), tmp_path / "pip")


def test_odd_wheels_become_what_pip_makes_of_them(interpreter: Interpreter, tmp_path: Path) -> None:
    """Whatever pip puts up with, we put up with, and it becomes the same files."""
    wheels = [nasty.make(tmp_path / "wheels") for nasty in ACCEPTED]
    done = pip_install(interpreter.executable, tmp_path / "pip", wheels)
    assert done.returncode == 0, done.stderr
    assert not differences(lay_out(wheels, interpreter, tmp_path / "ours"), tmp_path / "pip")


def test_pip_refuses_them_too(interpreter: Interpreter, tmp_path: Path) -> None:
    """We are no stricter than pip where ``REFUSED`` says so: pip, in one process, installs none of them."""
    names = [nasty.make(tmp_path / "wheels").name.split("-")[0] for nasty, _ in REFUSED]
    subprocess.run([interpreter.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    loop = "import sys\nfrom pip._internal.cli.main import main\nfor name in sys.argv[2:]:\n    print(name, main([*sys.argv[1].split('|'), name]))"
    options = f"install|--no-index|--no-deps|--quiet|--find-links={tmp_path / 'wheels'}"
    env = {**os.environ, "PYTHONPATH": str(pip_wheel(interpreter))}
    done = subprocess.run([tmp_path / "env" / "bin" / "python", "-c", loop, options, *names], env=env, capture_output=True, text=True)
    assert [line.split()[0] for line in done.stdout.splitlines() if line.split()[-1] in ("1", "2")] == names, done.stdout


@pytest.mark.parametrize(("nasty", "what"), REFUSED, ids=lambda value: value.name if isinstance(value, Nasty) else "")
def test_what_pip_refuses_is_refused(interpreter: Interpreter, tmp_path: Path, nasty: Nasty, what: str) -> None:
    """A wheel that pip refuses is refused in words, whether it is laid out or only looked at, and nothing is written outside the environment."""
    wheel = nasty.make(tmp_path / "wheels")
    (tmp_path / "in" / "here").mkdir(parents=True)
    with pytest.raises(EnvError) as refusal:
        lay_out([wheel], interpreter, tmp_path / "in" / "here" / "env")
    assert what in "\n".join(map(str, refusal.value.problems))
    assert [path for path in tmp_path.rglob("*") if path.name in ("x", "escaping")] == []
    assert not Path("/tmp/absolute").exists()


@pytest.mark.parametrize(("nasty", "what"), MORE_REFUSED, ids=lambda value: value.name if isinstance(value, Nasty) else "")
def test_what_pip_should_refuse_is_refused(interpreter: Interpreter, tmp_path: Path, nasty: Nasty, what: str) -> None:
    """A wheel that lies about its contents, or claims what belongs to the environment or can't travel, is refused where pip installs it."""
    wheel = nasty.make(tmp_path)
    with pytest.raises(EnvError) as refusal:
        lay_out([wheel], interpreter, tmp_path / "env")
    assert what in "\n".join(map(str, refusal.value.problems))


def test_a_damaged_wheel_is_refused(interpreter: Interpreter, tmp_path: Path) -> None:
    """Whichever byte of it is wrong or missing, it is an ``EnvError`` in words, or the same files."""
    wheel = raw_wheel(tmp_path, "app", {"app.py": b"a = 1\n", **console("app", "app", "app:main")})
    with zipfile.ZipFile(wheel) as stored, zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as packed:
        for info in stored.infolist():
            packed.writestr(info, stored.read(info), zipfile.ZIP_DEFLATED)
    data = (tmp_path / "packed").read_bytes()
    whole = snapshot(lay_out([wheel], interpreter, tmp_path / "whole", byte_code=False))
    damaged = tmp_path / "damaged" / wheel.name
    damaged.parent.mkdir()
    refused = 0
    for place in range(0, len(data), 3):
        damaged.write_bytes(data[:place] if place % 12 == 0 else data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        shutil.rmtree(tmp_path / "env", ignore_errors=True)
        try:
            found = snapshot(lay_out([damaged], interpreter, tmp_path / "env", byte_code=False))
        except EnvError:
            refused += 1
        else:
            assert {path: sha for path, (_, sha) in found.items()} == {path: sha for path, (_, sha) in whole.items()}, place
    assert refused > len(data) / 6


def test_files_that_differ_are_refused_with_their_wheels(interpreter: Interpreter, tmp_path: Path) -> None:
    """Two wheels that claim one path with different contents, modes or kinds are refused together, each path with both wheels."""
    ones = {"same/__init__.py": b"", "same/a.py": b"1", "mode.sh": b"", "kind": b"", **console("one", "run", "one:main")}
    twos = {"same/__init__.py": b"", "same/a.py": b"2", "mode.sh": b"", "kind/x": b"", **console("two", "run", "two:main")}
    one = raw_wheel(tmp_path, "one", ones)
    two = raw_wheel(tmp_path, "two", twos, executable=["mode.sh"])
    with pytest.raises(EnvError) as refusal:
        venv.refuse_conflicts(house(one, two), interpreter)
    site = interpreter.paths["purelib"]
    both = "is in one-1.0-py3-none-any.whl and two-1.0-py3-none-any.whl, with different contents."
    assert [str(problem) for problem in refusal.value.problems] == [
        f"bin/run: {both}",
        f"{site}/mode.sh: {both}",
        f"{site}/same/a.py: {both}",
        f"{site}/kind: is a file of one-1.0-py3-none-any.whl and a directory of two-1.0-py3-none-any.whl.",
    ]


def test_files_that_are_alike_are_reported(interpreter: Interpreter, tmp_path: Path) -> None:
    """The same __init__.py in two wheels of a namespace package is no conflict, and is told."""
    wheels = [raw_wheel(tmp_path, name, {"space/__init__.py": b"pass\n", f"space/{name}.py": b""}) for name in ("one", "two")]
    venv.refuse_conflicts(house(*wheels), interpreter)
    shared = env.shared_files(house(*wheels), interpreter)
    assert [str(problem) for problem in shared] == [
        f"{interpreter.paths['purelib']}/space/__init__.py: is in one-1.0-py3-none-any.whl and two-1.0-py3-none-any.whl, with the same contents."
    ]


def test_what_wheels_claim_is_kept_and_heals(interpreter: Interpreter, tmp_path: Path) -> None:
    """What a wheel wants to write is asked once for all builds, and the same from the cache; a damaged entry is made again."""
    wheels = house(*(raw_wheel(tmp_path, name, {"space/__init__.py": b"", **console(name, name, "a:b")}) for name in ("one", "two")))
    wanted = claims.read(wheels, interpreter)
    site = interpreter.paths["purelib"]
    assert [paths.keys() >= {f"bin/{name[:3]}", f"{site}/space/__init__.py"} for name, paths in wanted.items()] == [True, True]
    kept = tmp_path / "kept"
    assert claims.read(wheels, interpreter, kept) == wanted
    whole = {path.name: path.read_bytes() for path in (kept / "claims").iterdir()}
    assert len(whole) == 2
    for number, damage in enumerate((b"", b"?")):
        other = tmp_path / f"damaged-{number}"  # one process asks a cache once
        shutil.copytree(kept, other)
        for name, data in whole.items():
            (other / "claims" / name).write_bytes(data[:-1] + damage)
        assert claims.read(wheels, interpreter, other) == wanted
        assert {path.name: path.read_bytes() for path in (other / "claims").iterdir()} == whole


def test_trees_are_lazy_and_keyed_by_what_goes_in(interpreter: Interpreter, tmp_path: Path) -> None:
    """One tree for each wheel and one for the rest; nothing is made until asked, and a key changes with the wheel, the interpreter, byte code."""
    wheels = house(raw_wheel(tmp_path, "one", {"one.py": b""}), raw_wheel(tmp_path, "two", {"two.py": b""}))
    trees = env.trees(recipe(), wheels, interpreter)
    assert [(tree.name, tree.kind) for tree in trees] == [("env", "env"), ("one-1.0-py3-none-any", "wheel"), ("two-1.0-py3-none-any", "wheel")]
    assert [tree.key for tree in trees] == [tree.key for tree in env.trees(recipe(), wheels, interpreter)]
    assert len({tree.key for tree in trees}) == 3
    assert trees[1].key != env.trees(recipe(byte_code=False), wheels, interpreter)[1].key
    assert trees[1].key != env.trees(recipe(), wheels, replace(interpreter, version="3.11.99"))[1].key
    fewer = env.trees(recipe(), house(wheels.wheels[0].path), interpreter)
    assert fewer[1].key == trees[1].key
    assert fewer[0].key != trees[0].key


def test_trees_are_picklable(interpreter: Interpreter, tmp_path: Path) -> None:
    """A tree can be made in another process."""
    for tree in env.trees(recipe(), house(raw_wheel(tmp_path, "one", {"one.py": b""})), interpreter)[1:]:
        files = pickle.loads(pickle.dumps(tree)).make(tmp_path / "made")
        assert f"venv/{interpreter.paths['purelib']}/one.py" in {file.path for file in files}


def test_the_env_tree_holds_what_stands_beside_wheels(interpreter: Interpreter, tmp_path: Path) -> None:
    """Empty folders, lib64 and the pin: no interpreter, no pyvenv.cfg, no activate script, and nothing that names the build machine."""
    env.trees(recipe(), house(), interpreter)[0].make(tmp_path)
    site = interpreter.paths["purelib"]
    assert snapshot(tmp_path / "venv").keys() == {"lib64", f"{site}/00_pin.pth"}
    assert os.readlink(tmp_path / "venv" / "lib64") == "lib"
    assert (tmp_path / "venv" / "bin").is_dir()


def test_an_environment_is_the_same_wherever_and_whenever_it_is_made(interpreter: Interpreter, tmp_path: Path) -> None:
    """The same wheels laid out twice, in other directories and another order, give the same bytes, and none of them names a directory."""
    wheels = [nasty.make(tmp_path / "wheels") for nasty in ACCEPTED]
    first = lay_out(wheels, interpreter, tmp_path / "first")
    second = lay_out(wheels[::-1], interpreter, tmp_path / "a longer name" / "second")
    assert snapshot(first) == snapshot(second)
    for path in first.rglob("*"):
        assert not path.is_file() or os.fsencode(tmp_path) not in path.read_bytes()


def test_every_script_runs_after_the_environment_was_moved(interpreter: Interpreter, tmp_path: Path) -> None:
    """Console scripts and a wheel's own scripts run from a path with spaces, through links, from any directory."""
    wheel = raw_wheel(
        tmp_path,
        "tool",
        {
            "tool.py": b"import sys\ndef main():\n    print(sys.prefix, sys.argv[1:])\n",
            "tool-1.0.data/scripts/own": b"#!python\nimport tool\ntool.main()\n",
            "tool-1.0.data/scripts/own.py": b"#!pythonw -u\n'''doc'''\nfrom __future__ import annotations\nimport tool\ntool.main()\n",
            **console("tool", "tool", "tool:main"),
        },
        executable=["tool-1.0.data/scripts/own", "tool-1.0.data/scripts/own.py"],
    )
    lay_out([wheel], interpreter, tmp_path / "made here")
    home = (tmp_path / "made here").rename(tmp_path / "moved there")
    (home / "bin" / "python").symlink_to(interpreter.executable)
    (home / "pyvenv.cfg").write_text(f"home = {interpreter.executable.parent}\n")
    (tmp_path / "link").symlink_to(home)
    (tmp_path / "script").symlink_to(home / "bin" / "tool")
    for command in (home / "bin" / "tool", home / "bin" / "own", home / "bin" / "own.py", tmp_path / "link" / "bin" / "tool", tmp_path / "script"):
        done = subprocess.run([command, "a b", "$c"], cwd="/", capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (f"{home} ['a b', '$c']\n", ""), command
