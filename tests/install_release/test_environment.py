"""Environments on the host: three kinds with one end, made whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from builder import env
from builder.artifact import write
from builder.artifact.layers import pack
from builder.env.wheelhouse import pip_wheel
from builder.install_release import environment, inventory, pin
from builder.install_release import interpreter as found
from builder.install_release.artifact import Artifact, open_artifact
from builder.install_release.errors import ArtifactError, DamagedError, RolledBackError
from builder.install_release.host import Host
from builder.install_release.manifest import Env, Libc
from builder.recipe import PythonSpec
from builder.target import find
from builder.zipapp import installer
from tests.conftest import PYTHONS
from tests.releases import FACTS, VERSION, write_release
from tests.wheels import console, house, raw_wheel, recipe

KINDS = ("venv", "pex", "wheelhouse")


def wheels(folder: Path) -> tuple[Path, Path]:
    """Two wheels: one with a console script and a script of its own, which imports the other; a file of it can't be compiled."""
    app = {
        "app.py": b"def main():\n    import library, sys; print(library.__file__, sys.argv[1:])\n",
        "template.py": b"this is {{ no python\n",
        "app-1.0.data/scripts/own": b"#!python\nimport library; print(library.__name__)\n",
        **console("app", "app-x", "app:main"),
    }
    library = raw_wheel(folder, "library", {"library/__init__.py": b"", "library/x.py": b""})
    return raw_wheel(folder, "app", app, metadata=b"Requires-Dist: library\n", executable=["app-1.0.data/scripts/own"]), library


def release(kind: str, python: Path, directory: Path, share: bool = True, damage: str = "") -> Artifact:
    """An artifact for ``python`` whose environment is of this kind. ``damage`` is written into the wheelhouse's requirements."""
    directory.mkdir(exist_ok=True)
    builders = find(PythonSpec(version=python.name[6:], interpreter=str(python)))
    made = house(*wheels(directory / "wheels"))
    made.wheels = tuple(replace(wheel, sha256=hashlib.sha256(wheel.path.read_bytes()).hexdigest()) for wheel in made.wheels)
    if damage:
        made.wheels = tuple(replace(wheel, sha256=hashlib.sha256(damage.encode()).hexdigest()) for wheel in made.wheels)
    target = builders.target("")._replace(libc=Libc(builders.libc, ""))
    with TemporaryDirectory() as work:
        packed = pack(env.trees(recipe(kind), made, builders), Path(work) / "cache", Path(work), jobs=2)
        return open_artifact(write(FACTS._replace(target=target, env=Env(kind, share)), packed, installer(), directory).path)


Shelf = Callable[[str, Path], Artifact]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """Artifacts by kind and interpreter, each built once; every call opens one anew."""
    built: dict[tuple[str, Path], str] = {}

    def opened(kind: str, python: Path) -> Artifact:
        if (kind, python) not in built:
            with release(kind, python, tmp_path_factory.mktemp("built")) as artifact:
                built[kind, python] = artifact.name
        return open_artifact(built[kind, python])

    return opened


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Host]:
    """A prepared root."""
    with Host.create(str(tmp_path / "root")) as host:
        yield host


def python_of(version: str, interpreters: Mapping[str, Path]) -> Path:
    """The physical interpreter of that version."""
    if version not in interpreters:
        pytest.skip(f"no Python {version} here")
    path = found.resolve(str(interpreters[version]), version)
    return Path(path)


def leftovers(root: Host) -> list[str]:
    """What lies in the staging directory, and environments that have no table."""
    return [*os.listdir(root.path(".install/staging")), *(key for key in os.listdir(root.path("envs")) if not root.has_environment(key))]


def differences(root: Host, key: str) -> list[str]:
    """How the environment differs from its table."""
    with root.directory("envs", key) as fd:
        return [
            f"{each.kind} {each.path}"
            for each in inventory.compare(environment.expected(root, environment.read(root, key)).values(), inventory.scan(fd))
        ]


def test_a_path_with_spaces_is_no_obstacle(shelf: Shelf, tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """Scripts of the kinds that can be made below any path run from a root with a space and a quote. (For a pex, preflight refuses it.)"""
    interpreter = found.ask(str(python_of(VERSION, interpreters)))
    for kind in ("venv", "wheelhouse"):
        with shelf(kind, Path(interpreter.executable)) as artifact, Host.create(str(tmp_path / "it's a root")) as root:
            key = environment.make(artifact, root, interpreter)
            shown = subprocess.run([root.path("envs", key, "bin", "app-x")], capture_output=True, text=True, check=True)
            assert shown.stdout.startswith(root.path("envs", key))


COMBINATIONS = [(kind, version) for kind in KINDS for version in (PYTHONS if kind == "venv" else (PYTHONS[0], VERSION, PYTHONS[-1]))]


@pytest.mark.parametrize(("kind", "version"), dict.fromkeys(COMBINATIONS))
def test_every_kind_ends_at_the_same_commands(kind: str, version: str, shelf: Shelf, root: Host, interpreters: Mapping[str, Path]) -> None:
    """In each kind, on old and new Pythons, scripts run from anywhere and are pinned, nothing is left over, and the table says what is there."""
    python = python_of(version, interpreters)
    umask = os.umask(0o077)
    try:
        with shelf(kind, python) as artifact:
            interpreter = found.ask(str(python))
            assert found.mismatches(artifact.manifest.target, interpreter) == ()
            key = environment.make(artifact, root, interpreter)
    finally:
        os.umask(umask)
    there = Path(root.path("envs", key))
    shown = subprocess.run([there / "bin" / "app-x", "a b"], cwd="/", capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert (shown.stdout, shown.stderr) == (f"{there}/lib/{python.name}/site-packages/library/__init__.py ['a b']\n", "")
    assert subprocess.run([there / "bin" / "own"], capture_output=True, text=True, check=True).stdout == "library\n"
    assert [os.readlink(there / "bin" / name) for name in ("python", "python3", python.name)] == [str(python), "python", "python"]
    assert (there / "lib" / python.name / "site-packages" / pin.NAME).read_text() == pin.PTH
    assert not list(there.glob("bin/[aA]ctivate*"))
    cached = {path.name.partition(".")[0] for path in there.rglob("site-packages/**/*.pyc")}
    assert {"app", "__init__", "x"} <= cached
    assert {path.read_bytes()[4:8] for path in there.rglob("library/__pycache__/*.pyc")} == {b"\1\0\0\0"}  # never compared with its source
    assert leftovers(root) == []
    assert differences(root, key) == []
    modes = {path.lstat().st_mode & 0o7777 for path in there.rglob("*") if not path.is_symlink()}
    assert modes == {0o644, 0o755}


def test_an_environment_that_is_there_is_used(shelf: Shelf, root: Host, interpreters: Mapping[str, Path]) -> None:
    """Made twice it is one, untouched; another interpreter, or a release that does not share, gets its own."""
    interpreter = found.ask(str(python_of(VERSION, interpreters)))
    with shelf("venv", Path(interpreter.executable)) as artifact:
        key = environment.make(artifact, root, interpreter)
        before = Path(root.path("envs", key)).stat()
        assert environment.make(artifact, root, interpreter) == key
        assert Path(root.path("envs", key)).stat() == before
        assert environment.key(artifact.manifest, interpreter._replace(version="3.99.1"), artifact.id) != key
        assert environment.key(artifact.manifest, interpreter, "another") == key
        alone = artifact.manifest._replace(env=Env("venv", False))
        assert environment.key(alone, interpreter, "one") != environment.key(alone, interpreter, "another")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_crash_left_is_made_again(kind: str, shelf: Shelf, root: Host, interpreters: Mapping[str, Path]) -> None:
    """A directory without a table, and a stage, are removed and the environment is made whole."""
    interpreter = found.ask(str(python_of(VERSION, interpreters)))
    with shelf(kind, Path(interpreter.executable)) as artifact:
        key = environment.key(artifact.manifest, interpreter, artifact.id)
        for left in (root.path("envs", key, "bin"), root.path(".install/staging", f"env-{key}", "pex-root")):
            os.makedirs(left)
            Path(left, "half").write_text("")
        assert environment.make(artifact, root, interpreter) == key
    assert differences(root, key) == []
    assert leftovers(root) == []
    assert not Path(root.path("envs", key, "bin/half")).exists()


def test_a_wheel_that_is_not_what_was_locked_is_refused(tmp_path: Path, root: Host, interpreters: Mapping[str, Path]) -> None:
    """pip demands every hash; what it says is passed on, and nothing is left behind."""
    interpreter = found.ask(str(python_of(VERSION, interpreters)))
    with release("wheelhouse", Path(interpreter.executable), tmp_path, damage="other") as artifact, pytest.raises(RolledBackError) as failed:
        environment.make(artifact, root, interpreter)
    assert failed.value.status == 4
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in str(failed.value.problems[0])
    assert os.listdir(root.path("envs")) == os.listdir(root.path(".install/staging")) == os.listdir(root.path(".install/envs")) == []


def test_an_artifact_that_claims_what_the_host_makes_is_refused(tmp_path: Path, root: Host) -> None:
    """A layer with ``bin/python`` or ``pyvenv.cfg`` is no valid one, and leaves nothing."""
    interpreter = found.ask(found.resolve(sys.executable, VERSION))
    for number, claimed in enumerate(("bin/python", "pyvenv.cfg")):
        directory = tmp_path / str(number)
        directory.mkdir()
        with open_artifact(write_release(directory, {"env": {claimed: "x"}}).path) as artifact, pytest.raises(ArtifactError) as refused:
            environment.make(artifact, root, interpreter)
        assert "the host's to make" in str(refused.value.problems[0])
    assert leftovers(root) == []


def test_a_wheel_that_brings_a_pin_is_refused(tmp_path: Path, root: Host) -> None:
    """The line that pins a process to its release is the installer's, or the builder's own in the layer that is of no wheel."""
    interpreter = found.ask(found.resolve(sys.executable, VERSION))
    path = f"lib/python{VERSION}/site-packages/{pin.NAME}"
    for number, layers in enumerate(({"wheel:a-1-py3-none-any": {path: "x"}}, {"env": {path: pin.PTH}, "wheel:a-1-py3-none-any": {path: "x"}})):
        directory = tmp_path / str(number)
        directory.mkdir()
        with open_artifact(write_release(directory, layers).path) as artifact, pytest.raises(ArtifactError):
            environment.make(artifact, root, interpreter)
        assert leftovers(root) == []
    with open_artifact(write_release(tmp_path, {"env": {path: pin.PTH}}).path) as artifact:
        key = environment.make(artifact, root, interpreter)
    assert Path(root.path("envs", key, path)).read_text() == pin.PTH


def test_a_wheel_that_pip_would_lay_over_the_pin_is_refused(tmp_path: Path, root: Host) -> None:
    """Also where the host itself makes the environment, of wheels that no builder has looked at."""
    interpreter = found.ask(found.resolve(sys.executable, VERSION))
    bad = raw_wheel(tmp_path, "bad", {pin.NAME: b"import bad\n", "bad.py": b""})
    pip = pip_wheel(find(PythonSpec(version=VERSION, interpreter=sys.executable)))
    requirements = f"bad==1.0 --hash=sha256:{hashlib.sha256(bad.read_bytes()).hexdigest()}\n"
    wheelhouse = {bad.name: bad.read_bytes(), pip.name: pip.read_bytes(), "requirements.txt": requirements}
    path = write_release(tmp_path, {"wheelhouse": wheelhouse}, env=Env("wheelhouse", True)).path
    with open_artifact(path) as artifact, pytest.raises(ArtifactError) as refused:
        environment.make(artifact, root, interpreter)
    assert str(refused.value.problems[0]).startswith(f"venv/lib/python{VERSION}/site-packages/{pin.NAME}: is the host's to make.")
    assert leftovers(root) == []


def test_an_environment_without_packages_is_legal(tmp_path: Path, root: Host) -> None:
    """An application that depends on nothing gets an interpreter of its own, pinned."""
    interpreter = found.ask(found.resolve(sys.executable, VERSION))
    with open_artifact(write_release(tmp_path, {"src": {"a.py": ""}}).path) as artifact:
        key = environment.make(artifact, root, interpreter)
    shown = subprocess.run([root.path("envs", key, "bin/python"), "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True)
    assert shown.stdout == f"{root.path('envs', key)}\n"
    assert differences(root, key) == []


def test_every_change_is_found(tmp_path: Path, root: Host) -> None:
    """Added, removed, edited, re-moded, re-linked and replaced paths are each told by their name and kind."""
    interpreter = found.ask(found.resolve(sys.executable, VERSION))
    files = {f"lib/{name}": "same length" for name in ("edited", "grown", "removed", "moded", "replaced", "kept")}
    with open_artifact(write_release(tmp_path, {"env": {**files, "lib/link": Path("kept")}}).path) as artifact:
        key = environment.make(artifact, root, interpreter)
    lib = Path(root.path("envs", key, "lib"))
    (lib / "edited").write_text("SAME LENGTH")
    (lib / "grown").write_text("longer than it was")
    (lib / "removed").unlink()
    (lib / "moded").chmod(0o664)
    (lib / "replaced").unlink()
    (lib / "replaced").mkdir()
    (lib / "link").unlink()
    (lib / "link").symlink_to("edited")
    (lib / "added.pth").write_text("import evil")
    os.mkfifo(lib / "pipe")
    assert differences(root, key) == [
        "added lib/added.pth",
        "edited lib/edited",
        "edited lib/grown",
        "re-linked lib/link",
        "re-moded lib/moded",
        "added lib/pipe",
        "removed lib/removed",
        "replaced lib/replaced",
    ]


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"not json\n", b'{"format":2,"key":"k","interpreter":"i","layers":[],"entries":[\n]}\n'])
def test_a_damaged_table_is_said_to_be_one(damage: bytes, root: Host) -> None:
    """A table that is torn, of another format or no JSON is a typed error."""
    Path(root.path(".install/envs/0123.json")).write_bytes(damage)
    with pytest.raises(DamagedError):
        environment.read(root, "0123")


def test_the_table_is_one_json_object_with_an_entry_a_line(tmp_path: Path, root: Host) -> None:
    """Any JSON reader reads it whole, and ours line by line; both see the same. What came in layers is in their own tables."""
    interpreter = found.ask(found.resolve(sys.executable, VERSION))
    with open_artifact(write_release(tmp_path, {"env": {"lib/é ü\u4e2d": "x"}}).path) as artifact:
        key = environment.make(artifact, root, interpreter)
    data = Path(root.path(".install/envs", f"{key}.json")).read_bytes()
    table = environment.read(root, key)
    assert [entry["path"] for entry in json.loads(data)["entries"]] == [entry.path for entry in table.entries]
    assert environment.to_bytes(table) == data
    assert "lib/é ü\u4e2d" in environment.expected(root, table)


PROGRAM = """
import sys
import time
sys.path.insert(0, sys.argv[1])
from builder.install_release import environment, interpreter
from builder.install_release.artifact import open_artifact
from builder.install_release.host import Host
with open_artifact(sys.argv[2]) as artifact, Host.create(sys.argv[3]) as host:
    print(environment.make(artifact, host, interpreter.find(artifact.manifest.target, sys.argv[4]).interpreter))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("kind", KINDS)
def test_an_ordinary_user_without_network_makes_each_kind(kind: str, shelf: Shelf) -> None:
    """As a user without a passwd entry's home, in an empty network namespace, on the system's own Python in isolated mode."""
    system = Path(found.resolve("/usr/bin/python3", VERSION)) if os.path.exists("/usr/bin/python3") else None
    if system is None or system.name != f"python{VERSION}":
        pytest.skip(f"no Python {VERSION} in /usr/bin")
    with TemporaryDirectory() as name:
        public = Path(name)
        public.chmod(0o755)
        with shelf(kind, system) as artifact:
            path = shutil.copy(artifact.name, public)
        installer = public / "installer" / "builder"
        subprocess.run(["cp", "-r", Path(environment.__file__).parent.parent / "install_release", "."], cwd=_made(installer), check=True)
        (installer / "__init__.py").write_text("")
        own = public / "own"
        own.mkdir()
        os.chown(own, 65534, 65534)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-c", "-n"]
        command = [*nobody, str(system), "-I", "-S", "-B", "-c", PROGRAM, str(public / "installer"), str(path), str(own / "root"), str(system)]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, cwd="/")
        assert done.returncode == 0, done.stderr
        shown = subprocess.run([own / "root" / "envs" / done.stdout.strip() / "bin" / "app-x"], capture_output=True, text=True, check=True)
        assert "library/__init__.py" in shown.stdout


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True)
    return directory


def test_the_stage_is_private_and_its_children_write_only_there(shelf: Shelf, tmp_path: Path, root: Host, interpreters: Mapping[str, Path]) -> None:
    """HOME, TMPDIR and pex's root of a child are below the stage: nothing outside the root is written."""
    interpreter = found.ask(str(python_of(VERSION, interpreters)))
    with shelf("pex", Path(interpreter.executable)) as artifact:
        before = {path for place in (tmp_path, Path.home()) for path in place.rglob("*") if not str(path).startswith(root.root)}
        environment.make(artifact, root, interpreter)
        after = {path for place in (tmp_path, Path.home()) for path in place.rglob("*") if not str(path).startswith(root.root)}
    assert after == before


def test_a_wheel_that_another_environment_has_is_copied_but_never_shared(root: Host, tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """The second environment is whole and has files of its own; what somebody edited in the first one does not come over."""
    interpreter = found.ask(str(python_of(VERSION, interpreters)))
    site = f"lib/python{VERSION}/site-packages"
    same = {"wheel:same-1-py3-none-any": {f"{site}/same/a.py": "a = 1\n", f"{site}/same/b.py": "b = 1\n"}}
    keys = []
    for version in ("1", "2"):
        built = write_release(tmp_path, {**same, f"wheel:other-{version}-py3-none-any": {f"{site}/other.py": version}}, version=version)
        with open_artifact(built.path) as artifact:
            keys.append(environment.make(artifact, root, interpreter))
        if version == "1":
            edited = Path(root.path("envs", keys[0], site, "same/b.py"))
            edited.write_text("b = 2\n")
    assert differences(root, keys[1]) == []
    first, second = (Path(root.path("envs", key, site)) for key in keys)
    assert [(second / name).read_text() for name in ("same/a.py", "same/b.py", "other.py")] == ["a = 1\n", "b = 1\n", "2"]
    assert (first / "same/a.py").stat().st_ino != (second / "same/a.py").stat().st_ino
