"""Thin artifacts: what a host has is taken from there, proven file by file; what it lacks is told before anything is changed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from builder import env
from builder.artifact import thin as thinning
from builder.artifact import write
from builder.artifact.layers import Tree, pack
from builder.artifact.verify import verify
from builder.install_release import interpreter as found
from builder.install_release import prune, release
from builder.install_release.artifact import open_artifact
from builder.install_release.errors import ArtifactError, RefusedError
from builder.install_release.host import Host
from builder.install_release.manifest import Env, Libc, Requires
from builder.recipe import PythonSpec
from builder.target import find
from tests.releases import FACTS, PROGRAM, VERSION, Content, lay, write_release
from tests.wheels import house, raw_wheel, recipe

from .policies import Authority, authority
from .roots import NEEDS_NOTHING, SITE, artifact, differences, events, id_of, install, live, order, run, snapshot, temporary_files, thin

__all__ = ["authority"]
NOISE = random.Random(3).randbytes(300_000)
WHEELS: Mapping[str, Mapping[str, Content]] = {
    "wheel:a-1-py3-none-any": {f"{SITE}/a.py": "A = 1\n", f"{SITE}/ns/__init__.py": "", f"{SITE}/ns/a.py": "x\n", "bin/a": (0o755, b"#!/bin/sh\n")},
    "wheel:b-1-py3-none-any": {f"{SITE}/ns/__init__.py": "", f"{SITE}/ns/b.so": NOISE, f"{SITE}/ns/link": Path("b.so"), "share/b/empty": None},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "srv"


def rich(directory: Path, version: str, wheel: str = "1", source: str = "", **facts: Any) -> Path:
    """An artifact with something of everything: three wheels, two of which share a file, large files, links, what is empty."""
    layers: dict[str, Mapping[str, Content]] = {
        "src": {"app.py": f"VERSION = {source or version!r}\n", "run": (0o755, b"#!/bin/sh\n"), "link": Path("app.py")},
        "etc": {"nginx/shop.conf": f"# {version}\n"},
        "assets": {"big": NOISE[::-1], "css/empty": "", "css/link": Path("../big"), "nothing": None},
        **WHEELS,
        f"wheel:c-{wheel}-py3-none-any": {f"{SITE}/c.py": f"C = {wheel}\n"},
    }
    moment = 1763892672 + sum(int(part) << 8 * place for place, part in enumerate(reversed(version.split("."))))
    return write_release(directory, layers, version=version, commit_time=moment, requires=facts.pop("requires", NEEDS_NOTHING), **facts).path


def names(path: Path) -> list[str]:
    """The layers that a thin artifact leaves out."""
    with open_artifact(path) as opened:
        return [layer.name for layer in opened.manifest.layers if layer.digest in opened.left_out]


def installed(root: Path) -> dict[str, tuple[int, str]]:
    """Every byte of releases and environments."""
    return {**snapshot(root / "releases"), **snapshot(root / "envs")}


@pytest.mark.parametrize(
    ("after", "left_out"),
    [
        ({"version": "1.1"}, ["assets", "a-1-py3-none-any", "b-1-py3-none-any", "c-1-py3-none-any"]),
        ({"version": "1.1", "wheel": "2", "source": "1.0"}, ["src", "assets", "a-1-py3-none-any", "b-1-py3-none-any"]),
    ],
    ids=["source only", "one wheel"],
)
def test_a_thin_artifact_makes_the_same_tree(tmp_path: Path, root: Path, after: dict[str, str], left_out: list[str]) -> None:
    """What is installed is byte for byte what the whole artifact makes; what was sent is what had changed; nothing shares an inode."""
    before, other = rich(tmp_path, "1.0"), tmp_path / "other"
    for each in (root, other):
        install(each, before)
    whole = rich(tmp_path, **after)
    path = thin(whole, root)
    assert names(path) == left_out
    outcome = install(root, path)
    assert outcome.id == install(other, whole).id == id_of(whole) == id_of(path)
    assert installed(root) == installed(other)
    assert differences(root, outcome.id) == []
    assert [str(each) for each in root.rglob("*") if each.is_file() and not each.is_symlink() and each.lstat().st_nlink != 1] == []
    assert temporary_files(root) == []
    assert path.stat().st_size + len(NOISE) < whole.stat().st_size


def test_every_reader_of_tar_archives_lists_it(tmp_path: Path, root: Path) -> None:
    """It is one gzip member and one tar: GNU tar, gzip and Python's tarfile as a stream see what was not left out; the installer can be taken out."""
    install(root, rich(tmp_path, "1.0"))
    path = thin(rich(tmp_path, "1.1"), root)
    with tarfile.open(path, "r|gz") as archive:
        members = archive.getnames()
    listed = subprocess.run(["tar", "tzf", path], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [each.rstrip("/") for each in listed] == members
    assert members[:3] == ["release/release.json", "release/thin.json", "release/install-release"]
    assert "release/src/app.py" in members
    assert not [each for each in members if each.startswith(("release/venv", "release/assets"))]
    subprocess.run(["gzip", "-t", path], check=True)
    subprocess.run(["tar", "xzf", path, "--occurrence=1", "release/install-release"], cwd=tmp_path, check=True)
    assert (tmp_path / "release/install-release").read_bytes() == PROGRAM
    subprocess.run(["tar", "xzf", path, "release/thin.json"], cwd=tmp_path, check=True)
    assert sorted(verify(path).left_out) == json.loads((tmp_path / "release/thin.json").read_bytes())["left_out"]


def test_all_that_is_lacking_is_told_at_once(tmp_path: Path, root: Path) -> None:
    """Layers that the host does not have are refused together with whatever else is wrong, by name, before anything is changed."""
    install(root, artifact(tmp_path, "1.0"))
    whole = rich(tmp_path, "1.1", requires=Requires((), (), (), ("no-such-command",), 1 << 16, 64))
    with open_artifact(whole) as opened:
        everything = frozenset(layer.digest for layer in opened.manifest.layers)
    path = tmp_path / "thin.tgz"
    assert thinning.write(whole, everything, path).left_out
    assert "etc" not in names(path)
    before = snapshot(root)
    with pytest.raises(RefusedError) as refused:
        install(root, path)
    assert [problem.where for problem in refused.value.problems] == ["src", "assets", *(f"{each}-1-py3-none-any" for each in "abc"), "commands"]
    assert {problem.remedy for problem in refused.value.problems[:-1]} == {"Send the whole artifact."}
    assert snapshot(root) == before
    done = run(path, "--root", root, "--json")
    assert (done.returncode, len(json.loads(done.stdout)["error"]["problems"])) == (3, 6)
    assert snapshot(root) == before


@pytest.mark.parametrize("way", ["file", "stdin", "plan", "plan of stdin"])
def test_a_bare_host_stays_bare(tmp_path: Path, root: Path, way: str) -> None:
    """Where nothing is installed a thin artifact is refused, whichever way it comes, and no root is made."""
    install(root, rich(tmp_path, "1.0"))
    path, bare = thin(rich(tmp_path, "1.1"), root), tmp_path / "bare"
    words = ["-" if "stdin" in way else path, "--root", bare, *(["--plan"] if "plan" in way else [])]
    with path.open("rb") as stream:
        done = run(*words, stdin=stream)
    assert done.returncode == 3
    assert (done.stdout + done.stderr).count("nothing here has it") == 4
    assert not bare.exists()


def test_it_may_be_piped_in_and_planned(tmp_path: Path, root: Path) -> None:
    """Through standard input it is installed like a file; a plan of either tells of it and changes nothing."""
    install(root, rich(tmp_path, "1.0"))
    path = thin(rich(tmp_path, "1.1", wheel="2"), root)
    before = snapshot(root)
    for word in ("-", path):
        with path.open("rb") as stream:
            done = run(word, "--root", root, "--plan", "--json", stdin=stream)
        assert (done.returncode, json.loads(done.stdout)["refusals"]) == (0, [])
    assert snapshot(root) == before
    with path.open("rb") as stream:
        done = run("-", "--root", root, stdin=stream)
    assert (done.returncode, live(root)) == (0, id_of(path))
    assert differences(root, live(root)) == []


def edited(place: Path) -> None:
    place.write_text(place.read_text().swapcase())


def longer(place: Path) -> None:
    place.write_text("longer than it was\n")


def linked(place: Path) -> None:
    shutil.copy2(place, place.with_name("copy"))
    place.unlink()
    place.symlink_to("copy")


def replaced(place: Path) -> None:
    place.unlink()
    place.mkdir()


DAMAGES: Mapping[str, tuple[str, Callable[[Path], object]]] = {
    "edited": (f"{SITE}/a.py", edited),
    "longer": (f"{SITE}/a.py", longer),
    "a link": (f"{SITE}/a.py", linked),
    "a directory": (f"{SITE}/a.py", replaced),
    "gone": (f"{SITE}/a.py", Path.unlink),
    "its directory gone": (f"{SITE}/ns", shutil.rmtree),
    "its table gone": (".tables/a-1-py3-none-any", Path.unlink),
    "its table another": (".tables/a-1-py3-none-any", lambda place: shutil.copyfile(place.with_name("b-1-py3-none-any"), place)),
    "its table cut": (".tables/a-1-py3-none-any", lambda place: os.truncate(place, 20)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_donor_is_refused(tmp_path: Path, root: Path, damage: str) -> None:
    """A layer of which something here is not as it was unpacked is lacking: nothing is changed. The host no longer says that it has it, and what is
    sent then holds it again."""
    install(root, rich(tmp_path, "1.0"))
    whole = rich(tmp_path, "1.1", wheel="2")
    path = thin(whole, root)
    (environment,) = (root / "envs").iterdir()
    where, harm = DAMAGES[damage]
    harm(environment / where)
    before = snapshot(root)
    with pytest.raises(RefusedError) as refused:
        install(root, path)
    assert "a-1-py3-none-any" in [problem.where for problem in refused.value.problems]
    assert str(environment) in refused.value.problems[0].what
    assert snapshot(root) == before
    again = thin(whole, root)
    assert "a-1-py3-none-any" not in names(again)
    outcome = install(root, again)
    assert differences(root, outcome.id) == []


@pytest.mark.parametrize("place", [f"envs/*/{SITE}/a.py", f"envs/*/{SITE}/ns/b.so", "releases/*/assets/big"])
def test_what_a_disk_has_changed_is_found_while_it_is_copied(tmp_path: Path, root: Path, place: str) -> None:
    """A file that differs though no time says so is not taken: what is live stays live, nothing is left but the history, and the path is named."""
    install(root, rich(tmp_path, "1.0"))
    path = thin(rich(tmp_path, "1.1", wheel="2"), root)
    for record in (*root.glob(".install/envs/*.json"), *root.glob("releases/*/install.json")):
        os.utime(record, (4e9, 4e9))  # written last, as it seems: after the change that comes now
    (file,) = root.glob(place)
    file.write_bytes(bytes(file.stat().st_size))
    before = installed(root)
    with pytest.raises(ArtifactError) as refused:
        install(root, path)
    (problem,) = refused.value.problems
    assert file.name in problem.what
    assert problem.remedy == "Send the whole artifact."
    assert installed(root) == before
    assert temporary_files(root) == []
    assert live(root) != id_of(path)


def test_the_second_donor_is_as_good_as_the_first(tmp_path: Path, root: Path) -> None:
    """Where one environment is damaged and another has the same layer whole, that is taken; where both are, it is lacking."""
    install(root, rich(tmp_path, "1.0"))
    install(root, rich(tmp_path, "1.1", wheel="2"))
    path = thin(rich(tmp_path, "1.2", wheel="3"), root)
    one, two = sorted(each.name for each in (root / "envs").iterdir())
    for hurt in ((one,), (two,), (one, two)):
        place = tmp_path / "-".join(hurt)
        shutil.copytree(root, place, symlinks=True)
        for each in hurt:
            edited(place / "envs" / each / SITE / "a.py")
        if len(hurt) == 1:
            assert differences(place, install(place, path).id) == []
        else:
            with pytest.raises(RefusedError):
                install(place, path)


def test_what_is_pruned_while_it_waits_is_refused(tmp_path: Path, root: Path) -> None:
    """Between the preflight and the lock another installer may prune what would be lent: that is looked at again, before anything is changed."""
    install(root, rich(tmp_path, "1.0"))
    install(root, rich(tmp_path, "1.1", wheel="2"))
    path = thin(rich(tmp_path, "1.2", source="1.0"), root)
    assert "src" in names(path)
    seen: list[dict[str, tuple[int, str]]] = []

    def another(line: str) -> None:
        """The preflight's last word."""
        if line.startswith("note: root") and not seen:
            with Host(str(root)) as host:
                (first,) = [each for each in host.releases() if host.version(each) == "1.0"]
                environment = str(host.record(first)["env"])
                prune.discard_release(host, first)
                prune.discard_environment(host, environment)
            seen.append(installed(root))

    with open_artifact(path) as opened, pytest.raises(RefusedError) as refused:
        release.install(opened, order(root, note=another))
    assert [problem.where for problem in refused.value.problems] == ["src", "c-1-py3-none-any"]
    assert seen == [installed(root)]
    assert events(root)[-1][0] == "good"


def test_a_damaged_release_is_not_taken_away_for_a_thin_one(tmp_path: Path, root: Path) -> None:
    """A release that is here and damaged is made again from its whole artifact only: what would be removed may be all that there is."""
    install(root, rich(tmp_path, "1.0"))
    whole = rich(tmp_path, "1.1")
    install(root, whole, activate=False)
    path = thin(whole, root)
    assert differences(root, install(root, path, activate=False).id) == []  # whole, it is used as it is
    (root / "releases" / id_of(whole) / "src/app.py").write_text("edited\n")
    before = snapshot(root / "releases")
    with pytest.raises(RefusedError) as refused:
        install(root, path)
    assert "Send the whole artifact." in str(refused.value.problems[0])
    assert snapshot(root / "releases") == before
    assert differences(root, install(root, whole).id) == []


def test_what_is_here_is_activated_without_any_layer(tmp_path: Path, root: Path) -> None:
    """Of a release that is installed nothing is needed; of the live one neither."""
    install(root, rich(tmp_path, "1.0"))
    whole = rich(tmp_path, "1.1", wheel="2")
    install(root, whole, activate=False)
    path = thin(whole, root)
    assert len(names(path)) == 5  # all but etc
    assert not install(root, path).already
    assert install(root, path).already
    assert live(root) == id_of(whole)


def test_a_lost_environment_is_made_again_from_others(tmp_path: Path, root: Path) -> None:
    """Somebody has deleted the live release's environment: what of it another one has need not be sent."""
    install(root, rich(tmp_path, "1.0"))
    whole = rich(tmp_path, "1.1", wheel="2")
    outcome = install(root, whole)
    path = thin(whole, root)
    shutil.rmtree(root / "envs" / outcome.env)
    with pytest.raises(RefusedError) as refused:
        install(root, path)
    assert [problem.where for problem in refused.value.problems] == ["c-2-py3-none-any"]
    path = thin(whole, root)
    install(root, path)
    assert differences(root, outcome.id) == []


def test_an_expected_digest_is_that_of_the_file(tmp_path: Path, root: Path) -> None:
    """``--expect-sha256`` is compared with the file that was sent; that of the whole artifact is another one, and the refusal says so."""
    install(root, rich(tmp_path, "1.0"))
    whole = rich(tmp_path, "1.1")
    path = thin(whole, root)
    done = run(path, "--root", root, "--expect-sha256", hashlib.sha256(whole.read_bytes()).hexdigest())
    assert done.returncode == 3
    assert "A thin artifact has another one" in done.stderr
    done = run(path, "--root", root, "--expect-sha256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert (done.returncode, live(root)) == (0, id_of(whole))
    assert "nobody has signed" not in done.stderr


def test_it_is_signed_as_the_whole_is(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Signatures travel in it, and a policy that demands one is asked as ever: of one without, nothing is installed."""
    install(root, authority.artifact(tmp_path, "1.0"))
    authority.allow("ci")
    authority.policy("", required=1)
    path = thin(authority.artifact(tmp_path, "1.1", "ci"), root)
    unsigned = thin(authority.artifact(tmp_path / "unsigned", "1.2"), root)
    with pytest.raises(RefusedError) as refused:
        install(root, unsigned)
    assert "signature" in str(refused.value.problems[0])
    assert differences(root, install(root, path).id) == []


def test_a_shared_path_in_a_source_that_was_left_out(tmp_path: Path, root: Path) -> None:
    """Its table is read where it was kept, to see what the source tracks; a source of which a placeholder gave way to a link can't be lent."""
    needs = Requires(("media",), (), (), (), 1 << 16, 64)
    for source, lent in (({"x": "x"}, True), ({"x": "x", "media/.gitkeep": ""}, False)):
        place = root / str(lent)
        layers = {"src": source, "wheel:a-1-py3-none-any": {f"{SITE}/a.py": "1\n"}}
        install(place, write_release(tmp_path, layers, version="1.0", requires=needs).path)
        layers["wheel:a-1-py3-none-any"] = {f"{SITE}/a.py": "2\n"}
        path = thin(write_release(tmp_path, layers, version="1.1", requires=needs).path, place)
        assert ("src" in names(path)) is lent
        assert differences(place, install(place, path).id) == []


def test_many_directories_are_made_from_their_table_alone(tmp_path: Path, root: Path) -> None:
    """The headers of directories and links lie in segments, which a thin artifact has not: the table says all of them."""
    tree: dict[str, Content] = {f"d{number}/e": None for number in range(1500)} | {f"d{number}/l": Path("e") for number in range(20)}
    other = tmp_path / "other"
    before = write_release(tmp_path, {"src": {"a": "1"}, "assets": tree}, version="1.0").path
    after = write_release(tmp_path, {"src": {"a": "2"}, "assets": tree}, version="1.1").path
    for each in (root, other):
        install(each, before)
    path = thin(after, root)
    assert names(path) == ["assets"]
    install(root, path)
    install(other, after)
    assert installed(root) == installed(other)


def built(kind: str, directory: Path, version: str, share: bool = True) -> Path:
    """An artifact for this Python whose environment is of ``kind``, from one wheel; its source says ``version``."""
    directory.mkdir(exist_ok=True)
    python = Path(found.resolve(shutil.which(f"python{VERSION}") or "", VERSION))
    builders = find(PythonSpec(version=VERSION, interpreter=str(python)))
    made = house(raw_wheel(directory / "wheels", "library", {"library/__init__.py": b"x = 1\n"}))
    made.wheels = tuple(replace(wheel, sha256=hashlib.sha256(wheel.path.read_bytes()).hexdigest()) for wheel in made.wheels)
    facts = FACTS._replace(
        target=builders.target("")._replace(libc=Libc(builders.libc, "")), env=Env(kind, share), version=version, requires=NEEDS_NOTHING
    )
    with TemporaryDirectory() as work:
        source = Tree("src", "src", "", partial(lay, {"app.py": f"VERSION = {version!r}\n"}, "src"))
        packed = pack([source, *env.trees(recipe(kind), made, builders)], Path(work) / "cache", Path(work), jobs=2)
        return write(facts, packed, PROGRAM, directory).path


@pytest.mark.parametrize("kind", ["venv", "pex", "wheelhouse"])
def test_every_kind_is_sent_once(kind: str, tmp_path: Path, root: Path) -> None:
    """An environment that is shared need not be sent again, whatever it is made of; on another host a pex or a wheelhouse is lacking as a whole."""
    install(root, built(kind, tmp_path / "one", "1.0"))
    path = thin(built(kind, tmp_path / "two", "1.1"), root)
    with open_artifact(path) as opened:
        assert names(path) == [layer.name for layer in opened.manifest.layers if layer.kind != "src"]
    outcome = install(root, path)
    assert differences(root, outcome.id) == []
    assert len(list((root / "envs").iterdir())) == 1
    other = tmp_path / "other"
    install(other, artifact(tmp_path, "1.0"))
    with pytest.raises(RefusedError) as refused:
        install(other, path)
    assert [problem.where for problem in refused.value.problems] == names(path)
    assert ("used as it is" in refused.value.problems[0].what) is (kind != "venv")


@pytest.mark.parametrize("kind", ["venv", "pex", "wheelhouse"])
def test_an_environment_of_its_own_is_sent_unless_it_is_unpacked(kind: str, tmp_path: Path, root: Path) -> None:
    """A release that does not share its environment makes one: from layers that another was unpacked from, never from what was made of a pex."""
    install(root, built(kind, tmp_path / "one", "1.0", share=False))
    path = thin(built(kind, tmp_path / "two", "1.1", share=False), root)
    with open_artifact(path) as opened:
        left_out = opened.left_out
    assert bool(left_out) is (kind == "venv")
    assert differences(root, install(root, path).id) == []
    assert len(list((root / "envs").iterdir())) == 2
