"""00_pin.pth: a process stays with the release it was started from, whatever way it was started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from builder.install_release import pin
from tests.conftest import MACHINE, PYTHONS, missing
from tests.install_release.pinned import Root


@pytest.fixture(params=PYTHONS)
def root(request: pytest.FixtureRequest, tmp_path: Path, interpreters: Mapping[str, Path]) -> Root:
    """Two releases on one of the machine's interpreters."""
    if request.param not in interpreters:
        pytest.skip(f"no Python {request.param} here")
    return Root(tmp_path / "a root", interpreters[request.param])


def ways(root: Root) -> dict[str, list[str]]:
    """Ways of starting: all of them through ``current``."""
    current = f"{root.root}/current"
    python = f"{current}/venv/bin/python"
    return {
        "-c": [python, "-c", "import late; late.main()"],
        "-m": [python, "-m", "late"],
        "script": [python, f"{current}/src/late.py"],
        "python by name": ["python", "-m", "late"],
        "console script": [f"{current}/venv/bin/tool"],
        "interpreter line": ["/usr/bin/env", "python", f"{current}/venv/bin/through"],
        "child": [python, "-m", "late", "child"],
        "child by name": [python, "-m", "late", "by name"],
        "child of a console script": [f"{current}/venv/bin/tool", "child"],
        "spawn": [python, "-m", "late", "spawn"],
        "forkserver": [python, "-m", "late", "forkserver"],
        "spawn from a console script": [f"{current}/venv/bin/tool", "spawn"],
        "namespace package of old": [python, "-m", "late", "namespace"],
    }


def test_thirteen_ways_of_starting_import_their_own_release_after_a_flip(root: Root) -> None:
    """After a flip, code and environment are imported from the old release, lazily, in children and in workers."""
    processes = {way: root.start(*command) for way, command in ways(root).items()}
    root.flip("b")
    said = {}
    for way, process in processes.items():
        out, err = process.communicate("go\n", timeout=60)
        said[way] = out.strip() or err
    assert said == dict.fromkeys(processes, "aa")
    assert len(said) == 13


def test_without_the_line_a_flip_is_seen(root: Root) -> None:
    """The trap is real: without 00_pin.pth the same process imports the next release."""
    (root.site("a") / pin.NAME).unlink()
    process = root.start(*ways(root)["-c"])
    root.flip("b")
    assert process.communicate("go\n", timeout=60)[0] == "bb\n"


def test_a_relative_start_and_a_logical_working_directory_are_pinned(root: Root) -> None:
    """``cd current/src && ../venv/bin/python`` keeps its release, and PWD, which gunicorn believes, becomes physical."""
    run = "import os, sys; print(sys.prefix); print(sys.executable); print(os.environ['PWD']); print(sys.path)"
    shown = subprocess.run(
        ["/bin/sh", "-c", f'cd "{root.root}/current/src" && ../venv/bin/python -c "{run}"'],
        env=root.environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "/current" not in shown
    assert shown.splitlines()[:3] == [f"{root.root}/envs/key-a", f"{root.root}/envs/key-a/bin/python", f"{root.root}/releases/a/src"]


def test_isolated_and_physical_starts_are_left_as_they_are(root: Root) -> None:
    """With -I, and when nothing goes through a link, sys.path has the entries that it would have had."""
    python, ask = f"{root.root}/envs/key-a/bin/python", "import sys; print(sys.prefix, sys.executable, sys.path)"
    said = [subprocess.run([python, *flags, "-c", ask], env={}, capture_output=True, text=True, check=True) for flags in ([], ["-I"])]
    isolated = subprocess.run([f"{root.root}/current/venv/bin/python", "-I", "-c", ask], env={}, capture_output=True, text=True, check=True)
    assert "/current/" not in isolated.stdout
    (root.site("a") / pin.NAME).unlink()
    plain = [subprocess.run([python, *flags, "-c", ask], env={}, capture_output=True, text=True, check=True) for flags in ([], ["-I"])]
    assert [(each.stdout, each.stderr) for each in said] == [(each.stdout, each.stderr) for each in plain]


def test_the_line_is_quiet_when_the_world_is_odd(root: Root) -> None:
    """A link that leads nowhere, a relative and an empty entry of PYTHONPATH, another program's ``current``: no error, and they stay usable."""
    (root.root / "loop").symlink_to("loop")
    (root.root / "other").mkdir()
    elsewhere = root.root.parent / "elsewhere" / "current" / "bin"
    elsewhere.mkdir(parents=True)
    entries = ["", "", "rel", f"{root.root}/loop/x", f"{root.root}/gone", f"{root.root}/current/src"]
    environment = {"PYTHONPATH": ":".join(entries), "PATH": f"{elsewhere}:{root.root}/current/venv/bin"}
    shown = subprocess.run(
        [f"{root.root}/current/venv/bin/python", "-c", "import lazy_src, os; print(lazy_src.WHICH, os.environ['PATH'])"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (shown.stdout, shown.stderr) == (f"a {elsewhere}:{root.root}/envs/key-a/bin\n", "")


def test_it_is_one_line_that_site_executes() -> None:
    """The text is a single ASCII line that begins with ``import``, and imports nothing but os and sys."""
    assert pin.PTH.endswith("\n")
    assert pin.PTH.count("\n") == 1
    assert pin.PTH.isascii()
    assert pin.PTH.startswith("import os, sys; ")
    assert pin.PTH.count("import ") == 1


def test_it_costs_little(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """It adds no module to a start, and takes under 3 ms even on a busy machine (it is 0.1 ms, or 0.5 through ``current``)."""
    root = Root(tmp_path, next(iter(interpreters.values())))
    line = root.site("a") / pin.NAME
    clock = "import sys, time; sys.took = getattr(sys, 'took', 0) - time.perf_counter()\n"
    line.write_text(clock + pin.PTH + clock.replace("- time", "+ time"))
    ask = [f"{root.root}/current/venv/bin/python", "-c", "import sys; print(sys.took, *sorted(set(sys.modules) - {'time'}))"]
    runs = [subprocess.run(ask, capture_output=True, text=True, check=True, env=root.environment).stdout.split() for _ in range(5)]
    line.unlink()
    (root.site("a") / "00_clock.pth").write_text(clock + clock)
    without = subprocess.run(ask, capture_output=True, text=True, check=True, env=root.environment).stdout.split()
    assert min(float(run[0]) for run in runs) < 0.003
    assert runs[0][1:] == without[1:]


@pytest.fixture(scope="module")
def gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that holds gunicorn, installed by pip from the machine's own index."""
    directory = tmp_path_factory.mktemp("gunicorn")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target", str(directory), "gunicorn"]
    done = subprocess.run(pip, env=MACHINE, capture_output=True, text=True)
    if done.returncode:
        missing(f"gunicorn can't be installed: {done.stderr.strip()[-200:]}")
    return directory


@pytest.fixture
def served(tmp_path: Path, gunicorn: Path) -> Iterator[tuple[Root, subprocess.Popen[bytes], Path]]:
    """gunicorn, started through ``current/venv/bin/python`` in ``current/src``, its application importing only when asked."""
    root = Root(tmp_path / "root", Path(sys.executable))
    for which in "ab":
        (root.site(which) / "gunicorn").symlink_to(gunicorn / "gunicorn")
        (root.site(which) / "packaging").symlink_to(gunicorn / "packaging")
        (root.root / "releases" / which / "src" / "app.py").write_text(
            f"BOOTED = {which!r}\n\ndef app(environ, start):\n    import late\n"
            "    start('200 OK', [])\n    return [(BOOTED + late.found()).encode()]\n"
        )
    address = tmp_path / "s"
    shell = f'cd "{root.root}/current/src" && exec ../venv/bin/python -m gunicorn -b "unix:{address}" --no-control-socket app:app'
    if "no-control-socket" not in (gunicorn / "gunicorn" / "config.py").read_text():
        shell = shell.replace("--no-control-socket ", "")
    process = subprocess.Popen(["/bin/sh", "-c", shell], env={**root.environment, "HOME": str(tmp_path)}, stderr=subprocess.DEVNULL)
    try:
        yield root, process, address
    finally:
        process.kill()
        process.wait()


def ask(address: Path) -> str:
    """The body of ``GET /``."""
    end = time.monotonic() + 20
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(address))
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                answer = b""
                while piece := connection.recv(4096):
                    answer += piece
                return answer.rpartition(b"\r\n\r\n")[2].decode()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_gunicorn_serves_its_release_after_a_flip_and_a_hup(served: tuple[Root, subprocess.Popen[bytes], Path]) -> None:
    """Neither lazy imports nor workers booted after a HUP see the next release: a new release means a restart."""
    root, process, address = served
    end = time.monotonic() + 20
    while not address.exists() and time.monotonic() < end:
        time.sleep(0.05)
    root.flip("b")
    assert ask(address) == "aaa"
    workers = children(process.pid)
    process.send_signal(signal.SIGHUP)
    while set(children(process.pid)) & set(workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert ask(address) == "aaa"


def children(pid: int) -> list[str]:
    """The process ids of a process's children."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_the_tests_see_the_interpreter_they_mean(root: Root) -> None:
    """Each environment runs the version it was made for."""
    shown = subprocess.run([f"{root.root}/current/venv/bin/python", "-V"], capture_output=True, text=True, check=True).stdout
    assert f"python{'.'.join(shown.split()[1].split('.')[:2])}" == root.name
    assert os.path.realpath(f"{root.root}/current/venv/bin/python") == str(root.python)
