"""What a manifest says beyond its layers."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from builder import facts
from builder.recipe import EnvSpec, Recipe
from builder.source import Source
from builder.target import Interpreter
from tests.wheels import house, interpreter, pip_install, raw_wheel

__all__ = ["interpreter"]  # a fixture


@pytest.mark.parametrize("kind", ["pex", "wheelhouse"])
def test_a_host_has_room_for_what_it_makes(interpreter: Interpreter, tmp_path: Path, kind: str) -> None:
    """Where the host makes the environment, the manifest asks for its files, folders and byte code, not for the wheels alone."""
    modules = {f"deep{n}/er{n}/{name}.py": Path(argparse.__file__).read_bytes() for n in range(20) for name in ("__init__", "one")}
    wheels = [
        raw_wheel(tmp_path / "wheels", "deep", modules | {"deep0/data.txt": b"x" * 5000}),
        raw_wheel(tmp_path / "wheels", "flat", {"flat.py": b""}),
    ]
    done = pip_install(interpreter.executable, tmp_path / "venv", wheels)
    assert done.returncode == 0, done.stderr
    made = [
        path
        for name in ("deep*", "flat*", "__pycache__")
        for top in tmp_path.glob(f"venv/lib/*/site-packages/{name}")
        for path in (top, *top.rglob("*"))
    ]
    source = Source("1" * 40, 1700000000, "1.0", False, tmp_path)
    stated = facts.manifest(Recipe(name="deep", env=EnvSpec(kind=kind)), source, interpreter, house(*wheels), ()).requires
    assert len(made) <= stated.inodes < 1.3 * len(made)
    assert sum(path.stat().st_blocks * 512 for path in made) <= stated.bytes
