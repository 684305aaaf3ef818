"""The wall between the halves, and the house rules that one look at the source can hold."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import builder

BUILDER = Path(builder.__file__).parent
INSTALL = BUILDER / "install_release"
INSTALL_MODULES = sorted(INSTALL.rglob("*.py"))
BUILD_MODULES = sorted(set(BUILDER.rglob("*.py")) - set(INSTALL_MODULES))

NETWORK = {"asyncio", "ftplib", "http", "imaplib", "multiprocessing", "poplib", "smtplib", "socket", "socketserver", "ssl", "urllib", "xmlrpc"}
UNTRUSTED = {"marshal", "pickle", "shelve", "tarfile", "zipfile"}
"""What must not meet an artifact on production: tarfile's extraction can be led outside, and the others run what they read."""

RENAMES = {"os.rename", "os.renames", "os.replace", "shutil.move"}
PROGRAMS = {"env/compiler.py", "install_release/bin_run.py"}
"""Run by the target interpreter, as programs of their own: what they answer goes to standard output or standard error."""
ON_HOST = "deploy/on_host.py"
"""Run by a host's Python, as a program of its own, which becomes the installer."""

IMPORT_ALL = """
import importlib, json, pkgutil, sys
before = set(sys.modules)
sys.path.insert(0, sys.argv[1])
import install_release
for module in pkgutil.walk_packages(install_release.__path__, "install_release."):
    if not module.name.endswith(("__main__", ".health")):
        importlib.import_module(module.name)
found = {name: getattr(module, "__file__", None) for name, module in sys.modules.items() if name not in before}
importlib.import_module("install_release.health")
print(json.dumps(found))
"""


def relative_to_builder(path: Path) -> str:
    return path.relative_to(BUILDER).as_posix()


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(level, dotted name) of every import, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted name as written) of every call of a plain name or attribute chain."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func)


@pytest.mark.parametrize("path", INSTALL_MODULES, ids=relative_to_builder)
def test_install_half_imports_only_itself_and_the_standard_library(path: Path) -> None:
    """Every absolute import of the install half is of the standard library, every relative one stays in the half."""
    depth = len(path.relative_to(INSTALL).parts)
    for level, name in imports(parsed(path)):
        if level == 0:
            assert name.split(".")[0] in sys.stdlib_module_names, f"{name} is not of the standard library"
        assert level <= depth, f"{'.' * level}{name} leaves the install half"


@pytest.mark.parametrize("path", INSTALL_MODULES, ids=relative_to_builder)
def test_install_half_has_no_way_to_a_network_or_an_unsafe_reader(path: Path) -> None:
    """The install half imports nothing that opens a socket, extracts archives, or runs what it reads; a health check alone asks at an address."""
    names = {name.split(".")[0] for level, name in imports(parsed(path)) if level == 0}
    assert names & NETWORK <= ({"socket", "urllib"} if path == INSTALL / "health.py" else set())  # urllib.parse, of an address
    assert not names & UNTRUSTED


@pytest.mark.parametrize("path", INSTALL_MODULES, ids=relative_to_builder)
def test_install_half_is_written_in_the_grammar_of_3_9(path: Path) -> None:
    """No statement of the install half is newer than Python 3.9."""
    ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))


def test_install_half_imports_alone_under_every_interpreter(interpreters: Mapping[str, Path], tmp_path: Path) -> None:
    """Without the build half beside it and without site-packages, every module imports from 3.9 on, and brings in the standard library alone;
    none but the health check, which is imported last, brings in a way to a network."""
    shutil.copytree(INSTALL, tmp_path / "install_release", ignore=shutil.ignore_patterns("__pycache__"))
    for version, python in interpreters.items():
        done = subprocess.run([python, "-I", "-S", "-B", "-W", "error", "-c", IMPORT_ALL, str(tmp_path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{version}: {done.stderr}"
        for name, file in json.loads(done.stdout).items():
            own = name.split(".")[0] == "install_release"
            assert own or "site-packages" not in (file or ""), f"{version}: {name} is not of the standard library: {file}"
            assert name.split(".")[0] not in NETWORK - {"urllib"}, f"{version}: {name} was imported"  # pathlib itself imports urllib.parse


def test_importing_builder_imports_nothing() -> None:
    """builder/__init__.py has no import: builder.install_release stays free of the build half."""
    assert not list(imports(parsed(BUILDER / "__init__.py")))


@pytest.mark.parametrize("path", INSTALL_MODULES, ids=relative_to_builder)
def test_only_durable_renames_on_the_host(path: Path) -> None:
    """Whatever is published on a host is published by durable.py, with its syncs."""
    found = [f"{line}: {name}" for line, name in calls(parsed(path)) if name in RENAMES or name.endswith(".rename")]
    assert path.name == "durable.py" or not found


@pytest.mark.parametrize("path", BUILD_MODULES, ids=relative_to_builder)
def test_only_run_starts_processes_in_the_build_half(path: Path) -> None:
    """Every process of a build is started by run.py, which can take its network away, or is a fork of one that it started."""
    forks = relative_to_builder(path) in PROGRAMS
    tree = parsed(path)
    started = {"os.system", "os.popen", "os.fork", "os.posix_spawn", "os.execv", "os.execve", "os.execvp", "os.execvpe", "os.spawnv"}
    found = [f"{line}: {name}" for line, name in calls(tree) if name in started]
    found += [name for level, name in imports(tree) if level == 0 and name.split(".")[0] == "subprocess"]
    if path.name == "run.py" or relative_to_builder(path) == ON_HOST:
        return
    assert not found or (forks and [each.split(": ")[-1] for each in found] == ["os.fork"])


@pytest.mark.parametrize("path", [*BUILD_MODULES, *INSTALL_MODULES], ids=relative_to_builder)
def test_only_the_command_lines_print_and_exit(path: Path) -> None:
    """No module but cli.py prints, and none but it and __main__.py chooses an exit status; workers.py and programs end what they forked."""
    found = [f"{line}: {name}" for line, name in calls(parsed(path)) if name in {"print", "sys.stdout.write", "sys.stderr.write"}]
    exits = [f"{line}: {name}" for line, name in calls(parsed(path)) if name in {"sys.exit", "exit", "SystemExit", "os._exit"}]
    assert path.name == "cli.py" or relative_to_builder(path) in {*PROGRAMS, ON_HOST} or not found
    forks = path.name == "workers.py" or relative_to_builder(path) in PROGRAMS
    if path.name in {"cli.py", "__main__.py"} or relative_to_builder(path) == ON_HOST:
        return
    assert not exits or (forks and {each.split(": ")[-1] for each in exits} == {"os._exit"})


@pytest.mark.parametrize("path", [*BUILD_MODULES, *INSTALL_MODULES], ids=relative_to_builder)
def test_nothing_is_given_to_a_shell(path: Path) -> None:
    """No call anywhere asks for a shell."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            assert not any(keyword.arg == "shell" for keyword in node.keywords), f"line {node.lineno}"


def test_no_two_rooms_without_a_noun() -> None:
    """No module is called utils, common, helpers or manager."""
    assert not [path for path in [*BUILD_MODULES, *INSTALL_MODULES] if path.stem in {"utils", "util", "common", "helpers", "manager", "misc"}]
