"""The target interpreter, asked."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.errors import TargetError
from builder.recipe import PythonSpec
from builder.target import Interpreter, ask, find, minimum_libc


@pytest.fixture(scope="module")
def here() -> Interpreter:
    return ask(sys.executable)


def test_every_interpreter_answers(interpreters: Mapping[str, Path]) -> None:
    """Every Python from 3.9 on that this machine has can be a target, and says the same whichever of its names it is called by."""
    for version, path in interpreters.items():
        interpreter = ask(path)
        assert interpreter.python == version
        assert interpreter.abi == f"cp{version.replace('.', '')}"
        assert interpreter.paths["purelib"] == f"lib/python{version}/site-packages"
        assert interpreter.tags[0].startswith(f"{interpreter.abi}-{interpreter.abi}-")
        assert interpreter.markers["python_version"] == version
        assert ask(interpreter.executable).identity == interpreter.identity


def test_identities_differ(interpreters: Mapping[str, Path]) -> None:
    """Two versions have two identities."""
    assert len({ask(path).identity for path in interpreters.values()}) == len(interpreters)


def test_target_of_the_manifest(here: Interpreter) -> None:
    """The manifest gets the interpreter's own words, and no magic number when no byte code travels."""
    target = here.target("2.28")
    assert (target.implementation, target.python, target.libc.minimum) == ("cpython", here.python, "2.28")
    assert target.platform.startswith("linux_")
    assert len(target.byte_code) == 8
    assert here.target("", byte_code=False).byte_code == ""


def test_environment_of_an_environment(tmp_path: Path, here: Interpreter) -> None:
    """The interpreter of a virtual environment stands for the one it was made from."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(here.executable)
    (tmp_path / "pyvenv.cfg").write_text(f"home = {here.executable.parent}\n")
    assert ask(tmp_path / "bin" / "python").executable == here.executable


def test_found_by_version(here: Interpreter) -> None:
    """Without a path the recipe's version is looked for."""
    assert find(PythonSpec(version=here.python)).python == here.python


def test_missing_version() -> None:
    """A version that is nowhere is refused with the places that were looked at, and what to do."""
    with pytest.raises(TargetError, match=r"no usable Python 3\.99") as caught:
        find(PythonSpec(version="3.99"))
    assert "neither on PATH nor in" in str(caught.value.problems[0])
    assert "python.interpreter" in caught.value.next_step


def test_other_version(here: Interpreter) -> None:
    """A named interpreter of another version is refused with the one it has."""
    with pytest.raises(TargetError) as caught:
        find(PythonSpec(version="3.9" if here.python != "3.9" else "3.10", interpreter=sys.executable))
    assert f"is Python {here.version}." in str(caught.value.problems[0])


def test_no_python(tmp_path: Path) -> None:
    """What is no Python is refused, as is what is not there."""
    fake = tmp_path / "python3.11"
    fake.write_text("#!/bin/sh\necho hello\n")
    fake.chmod(0o755)
    for name, reason in ((str(fake), "does not answer as a Python 3 does"), (str(tmp_path / "none"), "No such file or directory")):
        with pytest.raises(TargetError) as caught:
            find(PythonSpec(version="3.11", interpreter=name))
        assert reason in str(caught.value.problems[0])


def test_a_shim_that_leads_nowhere(tmp_path: Path) -> None:
    """Of what a version manager's shim says, the first line is the reason."""
    shim = tmp_path / "python3.11"
    shim.write_text("#!/bin/sh\nprintf 'shim: python3.11: command not found\\n\\nNote: a hint\\n' >&2\nexit 127\n")
    shim.chmod(0o755)
    with pytest.raises(TargetError) as caught:
        find(PythonSpec(version="3.11", interpreter=str(shim)))
    assert caught.value.problems[0].what == "does not answer as a Python 3 does: shim: python3.11: command not found"


def test_too_old(tmp_path: Path) -> None:
    """A Python before 3.9 is refused in words."""
    fake = tmp_path / "python3.8"
    fake.write_text('#!/bin/sh\necho \'{"version": "3.8.18"}\'\n')
    fake.chmod(0o755)
    with pytest.raises(TargetError) as caught:
        find(PythonSpec(version="3.9", interpreter=str(fake)))
    assert "is Python 3.8.18. The oldest that a release can be made for is 3.9." in str(caught.value.problems[0])


def wheel(directory: Path, tag: str, content: bytes = b"") -> Path:
    path = directory / f"some-1-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some.so", content)
    return path


def test_libc_from_tags(tmp_path: Path, here: Interpreter) -> None:
    """The tags say which libc is needed: the least of one wheel's tags, the highest of all wheels; pure ones need none."""
    machine = here.platform.removeprefix("linux_")
    pure = wheel(tmp_path, "py3-none-any")
    old = wheel(tmp_path, f"py3-none-manylinux2014_{machine}.manylinux_2_28_{machine}")
    new = wheel(tmp_path, f"py3-none-manylinux_2_24_{machine}")
    assert minimum_libc([pure], here) == ""
    assert minimum_libc([pure, old], here) == "2.17"
    assert minimum_libc([new, pure, old], here) == "2.24"


def test_libc_from_symbols(tmp_path: Path, here: Interpreter) -> None:
    """A wheel that was built here needs the newest symbol version of its shared objects."""
    elf = wheel(tmp_path, f"py3-none-{here.platform}", b"\x7fELF...\0GLIBC_2.4\0GLIBC_2.2.5\0GLIBC_2.33\0GLIBC_2.7\0")
    assert minimum_libc([elf], here) == "2.33"


def test_libc_from_relocations(tmp_path: Path, here: Interpreter) -> None:
    """Packed relocations, which are no numbered version, need glibc 2.36."""
    elf = wheel(tmp_path, f"py3-none-{here.platform}", b"\x7fELF...\0GLIBC_2.4\0GLIBC_ABI_DT_RELR\0")
    assert minimum_libc([elf], here) == "2.36"


def test_libc_of_no_elf(tmp_path: Path, here: Interpreter) -> None:
    """A wheel with a platform tag but no ELF file needs no libc."""
    assert minimum_libc([wheel(tmp_path, f"py3-none-{here.platform}", b"text")], here) == ""


def test_what_an_interpreter_says_is_asked_once(here: Interpreter, tmp_path: Path) -> None:
    """The answer is taken from the cache; a damaged entry is asked for again, and a shim, which may start another Python tomorrow, always."""
    spec = PythonSpec(version=here.python, interpreter=sys.executable)
    assert find(spec, tmp_path / "cache") == here
    (entry,) = (tmp_path / "cache/interpreters").iterdir()
    entry.write_text(entry.read_text().replace(f'"version":"{here.version}"', '"version":"3.99.0"'))
    assert find(PythonSpec(version="3.99", interpreter=sys.executable), tmp_path / "cache").version == "3.99.0"
    entry.write_text("{")
    assert find(spec, tmp_path / "cache") == here
    shim = tmp_path / "shim"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    shim.chmod(0o755)
    assert find(PythonSpec(version=here.python, interpreter=str(shim)), tmp_path / "cache").identity == here.identity
    assert list((tmp_path / "cache/interpreters").iterdir()) == [entry]
