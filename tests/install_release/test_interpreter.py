"""Which Python a release runs on: found, resolved, proven, or refused in words."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.install_release import child, interpreter
from builder.install_release.manifest import Libc, Target
from tests.conftest import MACHINE
from tests.releases import THIS_TARGET, VERSION

NAME = f"python{VERSION}"


def target(python: str) -> Target:
    """What a plain CPython of this machine is built for."""
    return THIS_TARGET._replace(python=python, abi=f"cp{python.replace('.', '')}")


def said(wanted: Target, *candidates: str) -> str:
    """Everything the search has to say about candidates that don't fit."""
    search = interpreter.find(wanted, candidates=candidates)
    problems = interpreter.mismatches(wanted, search.interpreter) if search.interpreter else ()
    return " ".join([*search.tried, *map(str, problems)])


def test_every_python_of_the_machine_is_told_apart(interpreters: Mapping[str, Path]) -> None:
    """Each is found by its version and ABI among all the others, with the magic number of its byte code."""
    everything = [str(path) for path in interpreters.values()]
    for version, path in interpreters.items():
        found = interpreter.find(target(version), candidates=everything).interpreter
        assert found is not None
        assert (found.python, found.executable) == (version, os.path.realpath(path))
        magic = subprocess.run([path, "-c", "import importlib.util as u; print(u.MAGIC_NUMBER.hex())"], capture_output=True, text=True, check=True)
        assert found.byte_code == magic.stdout.strip()
        assert interpreter.mismatches(target(version)._replace(byte_code=found.byte_code), found) == ()


def test_running_it_and_being_it_give_the_same_answer(tmp_path: Path) -> None:
    """The interpreter that runs the installer isn't started again, and says the same of itself as when it is run."""
    real = interpreter.resolve(sys.executable, VERSION)
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec "{real}" "$@"\n')
    wrapper.chmod(0o755)
    assert interpreter.ask(str(wrapper)) == interpreter.ask(real)


def test_what_is_linked_is_the_physical_pythonXY(tmp_path: Path) -> None:
    """A virtualenv's python, also a copied one, a link, and a shim all lead to the interpreter itself."""
    real = interpreter.resolve(sys.executable, VERSION)
    assert os.path.basename(real) == NAME
    for kind in ("--symlinks", "--copies"):
        subprocess.run([real, "-m", "venv", "--without-pip", kind, tmp_path / kind], check=True)
    (tmp_path / "link").symlink_to(tmp_path / "--symlinks" / "bin" / "python")
    shim = tmp_path / "shim"
    shim.write_text(f'#!/bin/sh\nexec "{tmp_path}/--copies/bin/python3" "$@"\n')
    shim.chmod(0o755)
    for path in (tmp_path / "--symlinks/bin/python3", tmp_path / "--copies/bin/python", tmp_path / "link", shim):
        found = interpreter.find(THIS_TARGET, str(path)).interpreter
        assert found is not None
        assert found.executable == real


def test_a_python3_is_named_by_its_version(tmp_path: Path) -> None:
    """Where ``python3.X`` stands beside ``python3`` and is the same, the versioned name is chosen: an upgrade moves the other one."""
    real = os.path.realpath(sys.executable)
    (tmp_path / "python3").write_bytes(b"")
    os.link(tmp_path / "python3", tmp_path / NAME)
    assert interpreter.resolve(str(tmp_path / "python3"), VERSION) == str(tmp_path / NAME)
    assert interpreter.resolve(real, "3.99") == real


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"python": "3.99", "abi": "cp399"}, f"needs CPython 3.99 with ABI cp399; found CPython {VERSION}"),
        ({"python": "3.99", "abi": "cp399"}, f"Install python3.99, name one with --python, or build for {VERSION} (python.version in the recipe)."),
        ({"abi": f"{THIS_TARGET.abi}t"}, f"with ABI {THIS_TARGET.abi}t; found"),
        ({"implementation": "pypy"}, "needs PyPy"),
        ({"platform": "linux_riscv64"}, "platform: needs linux_riscv64;"),
        ({"libc": Libc("musl", "1.2")}, "libc: needs musl;"),
        ({"byte_code": "00000000"}, "does not read the byte code that travels"),
    ],
)
def test_what_does_not_fit_is_said_in_words(change: dict[str, object], text: str) -> None:
    """Implementation, version, ABI, platform, libc and byte code are compared, and each mismatch has a remedy."""
    assert text in said(THIS_TARGET._replace(**change), sys.executable)  # type: ignore[arg-type]


def test_all_mismatches_are_reported_together() -> None:
    """A Python that is wrong in three ways is refused for three reasons."""
    wanted = Target("cpython", "3.99", "cp399", "linux_riscv64", Libc("musl", ""), "")
    found = interpreter.ask(interpreter.resolve(sys.executable, VERSION))
    assert [problem.where for problem in interpreter.mismatches(wanted, found)] == ["python", "platform", "libc"]
    assert all(problem.remedy for problem in interpreter.mismatches(wanted, found))


def test_what_is_no_python_is_not_run_for_long_nor_believed(tmp_path: Path) -> None:
    """A program that is no Python, one that says nothing, a directory, nothing at all: each is named with its reason."""
    liar = tmp_path / "liar"
    liar.write_text("#!/bin/sh\necho 'the facts: {}'; exit 3\n")
    liar.chmod(0o755)
    text = said(THIS_TARGET, "/bin/true", "/no/such/python", str(liar), str(tmp_path), "/etc/passwd")
    assert "/bin/true: can't be run as Python 3: ended with status 0" in text
    assert "/no/such/python: No such file or directory" in text
    assert f"{liar}: can't be run as Python 3: ended with status 3" in text
    assert f"{tmp_path}: Permission denied" in text


def test_a_stripped_python_is_refused_in_words(tmp_path: Path) -> None:
    """One whose standard library lacks modules (python3-minimal) is named as that, with what it lacks."""
    found = interpreter.ask(interpreter.resolve(sys.executable, VERSION))._replace(missing=("ctypes", "json"))
    (problem,) = interpreter.mismatches(THIS_TARGET, found)
    assert "is a stripped Python: it lacks ctypes, json." in problem.what
    assert f"python{VERSION}-minimal" in problem.remedy


def test_an_old_python_answers_in_words_too() -> None:
    """Pythons that are too old for the installer are reported as what they are, not as broken."""
    old = sorted((Path(MACHINE.get("HOME", "/")) / ".pyenv" / "versions").glob("3.[678].*/bin/python3"))
    if not old:
        pytest.skip("no old Python here")
    assert "needs CPython" in said(THIS_TARGET, str(old[0]))


def test_an_explicit_choice_is_the_only_one_tried() -> None:
    """With --python nothing else is looked for, even when it doesn't fit."""
    assert interpreter.find(THIS_TARGET, "/no/such/python").interpreter is None


def test_one_that_other_users_can_reach_comes_first(tmp_path: Path) -> None:
    """Of two that fit, one below a private directory is taken only when there is no other."""
    public = interpreter.ask(interpreter.resolve("/usr/bin/python3", VERSION)) if os.path.exists("/usr/bin/python3") else None
    if public is None or interpreter.mismatches(THIS_TARGET, public):
        pytest.skip(f"no Python {VERSION} in /usr/bin")
    private = tmp_path / NAME
    shutil.copy(public.executable, private)
    tmp_path.chmod(0o700)
    assert interpreter.private_ancestor(str(private))
    for candidates, chosen in (([private, public.executable], public.executable), ([private], str(private))):
        found = interpreter.find(THIS_TARGET, candidates=[str(path) for path in candidates]).interpreter
        assert found is not None
        assert found.executable == chosen


def test_a_child_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """At the deadline the whole session is killed, and a grandchild that holds the pipe open does not keep the installer waiting."""
    before = time.monotonic()
    out_of_time = child.run(["/bin/sh", "-c", "trap '' TERM; echo started; sleep 60 & sleep 60"], deadline=0.3)
    left_behind = child.run(["/bin/sh", "-c", f"(sleep 1; touch '{tmp_path}/late') & echo done"], deadline=30)
    assert time.monotonic() - before < 10
    assert (out_of_time.status, out_of_time.output) == (None, "started\n")
    assert (left_behind.good, left_behind.output) == (True, "done\n")
    time.sleep(1.2)
    assert not (tmp_path / "late").exists()


def test_a_child_that_floods_is_kept_short_and_sees_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the end of what it says is kept, its input is empty, and its environment is scrubbed."""
    flood = child.run(["/bin/sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x; echo end"], deadline=30, keep=1000)
    assert len(flood.output) == 1000
    assert flood.output.endswith("xend\n")
    monkeypatch.setenv("PYTHONPATH", "/evil")
    shown = child.run(["/bin/sh", "-c", "cat; env"], deadline=30)
    assert "evil" not in shown.output
    assert child.run(["/bin/sh", "-c", "kill -9 $$"], deadline=5).reason == "was ended by signal 9"
