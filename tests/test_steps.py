"""Build steps: run in a copy of the source, with the environment, without network; what they declare becomes the layer assets."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builder import steps
from builder.artifact.layers import Tree
from builder.errors import StepError
from builder.recipe import BuildStep, Recipe
from builder.source import Source
from builder.target import Interpreter
from tests.wheels import house, interpreter, raw_wheel, snapshot

__all__ = ["interpreter"]  # a fixture

TOOL = b"""
import os, pathlib, socket, sys
def main():
    name, *rest = sys.argv[1:]
    pathlib.Path(name).mkdir(parents=True)
    pathlib.Path(name, "made").write_text(" ".join(rest))
def env():
    pathlib.Path("env").write_text("\\n".join(f"{key}={value}" for key, value in sorted(os.environ.items())))
def online():
    names = [name for _, name in socket.if_nameindex()]
    pathlib.Path("online").write_text(str(len(names) > 1))
def key():
    pathlib.Path("static").mkdir()
    pathlib.Path("static/settings.js").write_text("// made\\nkey = '" + "AKIA" + "IUZ7QKEYWSTRMPDB" + "'\\n")
def secret():
    pathlib.Path("path").write_text("built in " + os.getcwd())
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    tree = tmp_path / "source"
    tree.mkdir()
    (tree / "manage.py").write_text("import lib, pathlib\npathlib.Path('managed').write_text(lib.text)\n")
    (tree / "lib.py").write_text("text = 'by the source'\n")
    (tree / "run.sh").write_text("#!/bin/sh\nmkdir -p out/deep && echo $1 > out/deep/file && ln -s deep/file out/link && chmod +x out/deep/file\n")
    (tree / "run.sh").chmod(0o755)
    return Source(commit="1" * 40, time=1700000000, version="1.0", dirty=False, tree=tree)


@pytest.fixture
def wheels(tmp_path: Path) -> Any:
    scripts = "".join(f"tool-{name} = tool:{name}\n" for name in ("main", "env", "online", "key", "secret"))
    info = {"tool-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{scripts}".encode()}
    return house(raw_wheel(tmp_path / "wheels", "tool", {"tool.py": TOOL, **info}))


def trees(source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path, *build: BuildStep) -> tuple[Tree, ...]:
    recipe = Recipe(name="shop", build=build)
    return steps.run(recipe, source, wheels, interpreter, tmp_path / "work")


def make(source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path, *build: BuildStep) -> Path:
    (tree,) = trees(source, wheels, interpreter, tmp_path, *build)
    assert (tree.name, tree.kind) == ("assets", "assets")
    before = snapshot(source.tree)
    (tmp_path / "made").mkdir()
    try:
        tree.make(tmp_path / "made")
    finally:
        assert snapshot(source.tree) == before
        assert list((tmp_path / "work").iterdir()) == []
    return tmp_path / "made" / "assets"


def test_no_steps_need_no_environment(source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path) -> None:
    """A recipe without build steps has no layer assets, and nothing is made."""
    assert trees(source, wheels, interpreter, tmp_path) == ()
    assert not (tmp_path / "work").exists()


def test_what_steps_declare_becomes_assets(source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path) -> None:
    """Console scripts, python with the source on its path, and the source's own programs; the source itself is never touched."""
    assets = make(
        source,
        wheels,
        interpreter,
        tmp_path,
        BuildStep(run=("tool-main", "static/a", "x", "$HOME"), outputs=("static",)),
        BuildStep(run=("python", "manage.py"), outputs=("managed",)),
        BuildStep(run=("./run.sh", "word"), outputs=("out/deep", "out")),
    )
    assert snapshot(assets).keys() == {"static/a/made", "managed", "out/deep/file", "out/link"}
    assert (assets / "static" / "a" / "made").read_text() == "x $HOME"
    assert (assets / "managed").read_text() == "by the source"
    assert (os.readlink(assets / "out" / "link"), os.access(assets / "out" / "deep" / "file", os.X_OK)) == ("deep/file", True)


def test_steps_know_little_of_the_machine(
    source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret of ours, one time for every commit (a cached layer may be older than the commit), the step's own variables."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    command = ("sh", "-c", "env | grep -v -e PATH -e HOME -e TMPDIR -e VIRTUAL_ENV -e FLAGS -e PWD > env; stat -c %Y lib.py >> env")
    step = BuildStep(run=command, outputs=("env",), env={"MODE": "build"})
    known = (make(source, wheels, interpreter, tmp_path, step) / "env").read_text()
    assert "SOURCE_DATE_EPOCH=315532800\n" in known
    assert known.endswith("\n315532800\n")
    assert "MODE=build\n" in known
    assert "secret" not in known


@pytest.mark.parametrize("network", [False, True])
def test_network_only_where_a_step_says_so(source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path, network: bool) -> None:
    """A step sees the loopback interface alone; with ``network = true`` it sees the machine's, and the layer is never cached."""
    step = BuildStep(run=("tool-online",), outputs=("online",), network=network)
    if network and len(os.listdir("/sys/class/net")) == 1:
        pytest.skip("this machine has no network interface")
    assert (make(source, wheels, interpreter, tmp_path, step) / "online").read_text() == str(network)
    assert bool(trees(source, wheels, interpreter, tmp_path, step)[0].key) is not network


@pytest.mark.parametrize("network", [False, True])
def test_proxies_where_a_step_may_use_the_network(
    source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: bool
) -> None:
    """A step with ``network = true`` is told this machine's proxies and certificates, another one is not."""
    monkeypatch.setenv("https_proxy", "http://proxy.test:3128")
    monkeypatch.setenv("SSL_CERT_FILE", "/certificates.pem")
    step = BuildStep(run=("sh", "-c", "env | grep -e proxy -e SSL > env; true"), outputs=("env",), network=network)
    known = (make(source, wheels, interpreter, tmp_path, step) / "env").read_text()
    assert ("https_proxy=http://proxy.test:3128\n" in known, "SSL_CERT_FILE=/certificates.pem\n" in known) == (network, network)


def test_the_key_holds_all_that_goes_in(source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path) -> None:
    """The same inputs, the same key, whatever the commit; another file, step, wheel or list of allowed secrets, another."""

    def key(step: BuildStep = BuildStep(run=("true",), outputs=("x",)), source: Source = source, wheels: Any = wheels) -> str:  # noqa: B008
        return trees(source, wheels, interpreter, tmp_path, step)[0].key

    first = key()
    assert first == key() == key(source=replace(source, commit="2" * 40, time=1800000000, version="2.0"))
    keys = {first, key(BuildStep(run=("true",), outputs=("y",))), key(BuildStep(run=("true",), outputs=("x",), env={"A": "b"})), key(wheels=house())}
    (source.tree / "new").write_text("")
    assert len({*keys, key()}) == 5


@pytest.mark.parametrize(
    ("step", "message", "problem"),
    [
        (BuildStep(run=("sh", "-c", "echo why; exit 3")), "build step 1 failed: exit status 3", "why"),
        (BuildStep(run=("no-such-tool",)), "a build step can't be started", "no-such-tool: is neither in the environment nor on PATH."),
        (BuildStep(run=("./absent",)), "a build step can't be started", "./absent: is no executable file of the source."),
        (BuildStep(run=("true",), outputs=("a", "b/c")), "did not make what they declare", "a: was declared and not made."),
        (BuildStep(run=("ln", "-s", "/etc", "out"), outputs=("out",)), "did not make what they declare", "out: leads out of the source tree."),
        (BuildStep(run=("tool-key",), outputs=("static",)), "made what must not be packed", "static/settings.js, line 2: holds a key id of AWS."),
        (BuildStep(run=("tool-secret",), outputs=("path",)), "can't be made again", "path: holds the path of the directory that it was made in"),
    ],
)
def test_a_step_that_fails_is_one_error(
    source: Source, wheels: Any, interpreter: Interpreter, tmp_path: Path, step: BuildStep, message: str, problem: str
) -> None:
    """Which step, why, and nothing is left behind."""
    with pytest.raises(StepError, match=message) as failure:
        make(source, wheels, interpreter, tmp_path, step)
    assert problem in "\n".join(map(str, failure.value.problems))
