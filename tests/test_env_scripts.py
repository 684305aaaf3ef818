"""The text of scripts: relocatable, and to Python the same program as before."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.env.scripts import TRAMPOLINE, parse_entry_point, relocatable

SCRIPTS = {
    "plain": b"import sys\nprint(sys.argv[1:], __doc__ is not None)\n",
    "docstring": b'"""Usage: x\n\n  more\n"""\nimport inspect; print(repr(inspect.cleandoc(__doc__)))\n',
    "docstring after comments": b"# Copyright\n\n# -*- coding: utf-8 -*-\nr'''a \\d raw one'''  # really\nprint(repr(__doc__))\n",
    "future": b"# why\nfrom __future__ import annotations\nprint(annotations.compiler_flag)\n",
    "docstring and future": b"'doc'\n\nfrom __future__ import annotations\nfrom __future__ import (division,\n nested_scopes)\nprint(__doc__)\n",
    "docstring and more on one line": b"'doc'; import sys; print(__doc__)\nprint(sys.argv[1:])\n",
    "docstring in parentheses": b"('doc')\nprint(1)\n",
    "docstring of two parts": b"'one ' \\\n 'two'\nprint(__doc__)\n",
    "docstring with CRLF": b"'''one\r\ntwo'''\r\nprint(repr(__doc__))\r\n",
    "latin-1": b"# -*- coding: latin-1 -*-\nprint('\xe9')\n",
    "latin-1 docstring": b"# vim: set fileencoding=latin-1 :\n'''\xe9'''\nprint(repr(__doc__))\n",
    "no line feed at the end": b"'''doc'''",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_does_what_it_did_before(interpreters: Mapping[str, Path], tmp_path: Path, name: str) -> None:
    """Docstring (but for its margin, which Python 3.13 cuts), ``from __future__`` and encoding survive the trampoline, on every Python."""
    body = SCRIPTS[name]
    for version, python in interpreters.items():
        (tmp_path / "plain").write_bytes(b"#!python\n" + body)
        path = tmp_path / version / "script"
        path.parent.mkdir()
        path.write_bytes(relocatable(b"#!python\n" + body))
        path.chmod(0o755)
        (path.parent / "python").symlink_to(python)
        env = {"PATH": "/usr/bin:/bin", "PYTHONIOENCODING": "utf-8"}
        before = subprocess.run([python, tmp_path / "plain", "a b"], env=env, capture_output=True, text=True)
        after = subprocess.run([path, "a b"], env=env, capture_output=True, text=True)
        assert before.returncode == 0, before.stderr
        if name == "plain":
            before.stdout = before.stdout.replace("False", "True")  # the trampoline is what such a script has for a docstring
        if name != "docstring in parentheses":
            assert (after.stdout, after.stderr) == (before.stdout, ""), version


@pytest.mark.parametrize("script", [b"", b"\x7fELF\0", b"#!/bin/sh\n", b"#!/usr/bin/env python\n", b"print(1)\n"])
def test_other_scripts_are_left_alone(script: bytes) -> None:
    """Only ``#!python`` is a wheel's way of asking for its interpreter."""
    assert relocatable(script) == script


def test_a_script_that_is_not_for_this_python_keeps_its_text() -> None:
    """What can't be parsed gets the trampoline and is not looked into."""
    assert relocatable(b"#!python2\n'''doc'''\nprint 'x'\n") == TRAMPOLINE.encode() + b"\n'''doc'''\nprint 'x'\n"


def test_without_readlink_a_script_fails_closed(tmp_path: Path) -> None:
    """It never runs another python than the one beside it."""
    for name in ("python", "script"):
        (tmp_path / name).write_bytes(b"#!/bin/sh\necho wrong\n" if name == "python" else relocatable(b"#!python\nprint(1)\n"))
        (tmp_path / name).chmod(0o755)
    done = subprocess.run([tmp_path / "script"], env={"PATH": "/nowhere"}, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (127, "")


@pytest.mark.parametrize(
    ("name", "value", "parsed"),
    [
        ("x", "a.b:c", ("a.b", "c")),
        ("x", "a:b.c [extra]  # why", ("a", "b.c")),
        ("x.y-z", "a:b", ("a", "b")),
        ("x", "a", None),
        ("x", "a:b:c", None),
        ("x", "a b:c", None),
        ("x", "a:b;import os", ("a", "b")),
        ("../x", "a:b", None),
        ("..", "a:b", None),
        ("x y", "a:b", None),
        ("", "a:b", None),
    ],
)
def test_an_entry_point_names_a_module_and_a_function(name: str, value: str, parsed: tuple[str, str] | None) -> None:
    """What is behind the function is ignored, as pip ignores it; a name that is no plain file name makes no script."""
    assert parse_entry_point(name, value) == parsed
