"""``build-release thin``: what a host has is left out of an artifact, what it lacks is copied as it is."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from builder import signing
from builder.artifact import thin
from builder.artifact.inspection import inspect
from builder.artifact.verify import verify
from builder.errors import ArtifactError
from builder.install_release.artifact import open_artifact
from builder.install_release.manifest import Env, Layer, Manifest, Range
from builder.report import inspection, inspection_value
from builder.store.layout import Unsigned
from tests.faults.forge import LAYERS, Forged
from tests.keys import key
from tests.releases import FACTS, write_release

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    layers = {
        "src": {"app.py": "1\n"},
        "etc": {"a.conf": "a\n"},
        "assets": {"logo": "x" * 5000},
        "wheel:a-1": {"a.py": ""},
        "wheel:b-1": {"b.py": ""},
    }
    return write_release(tmp_path, layers).path


def manifest(path: Path) -> Manifest:
    with open_artifact(path) as artifact:
        return artifact.manifest


def digests(path: Path, *names: str) -> frozenset[str]:
    return frozenset(layer.digest for layer in manifest(path).layers if layer.name in names)


def test_what_a_host_has_is_left_out(whole: Path, tmp_path: Path) -> None:
    """Whichever layers those are, and however they lie; id and signed bytes stay, what is left holds, lengths and digest are those of the file."""
    names = [layer.name for layer in manifest(whole).layers]
    assert names == ["src", "etc", "assets", "a-1", "b-1"]
    for number, have in enumerate(
        [("src",), ("assets",), ("b-1",), ("src", "a-1"), ("assets", "a-1", "b-1"), ("src", "assets", "b-1"), tuple(names)]
    ):
        out = tmp_path / f"{number}.tgz"
        made = thin.write(whole, digests(whole, *have) | {"0" * 64}, out)
        assert made.left_out == tuple(sorted(digests(whole, *have) - digests(whole, "etc")))
        assert (made.bytes, made.sha256) == (out.stat().st_size, hashlib.sha256(out.read_bytes()).hexdigest())
        assert made.whole_bytes == whole.stat().st_size
        with open_artifact(out) as one, open_artifact(whole) as other:
            assert (one.id, one.manifest_bytes) == (other.id, other.manifest_bytes)
            assert one.left_out == set(made.left_out)
            assert one.sha256() == made.sha256
            for layer in one.manifest.layers:
                if layer.digest not in one.left_out:
                    assert list(one.table(layer)) == list(other.table(layer))
        assert verify(out).left_out == set(made.left_out)
        assert thin.write(whole, digests(whole, *have), tmp_path / "again.tgz").sha256 == made.sha256


def test_where_nothing_can_be_left_out_it_is_the_whole(whole: Path, tmp_path: Path) -> None:
    """For a bare host, and for one that has nothing but an etc/: the same bytes, so that whatever comes of it can be installed."""
    for have in (frozenset[str](), digests(whole, "etc"), frozenset(["0" * 64])):
        made = thin.write(whole, have, tmp_path / "out.tgz")
        assert (tmp_path / "out.tgz").read_bytes() == whole.read_bytes()
        assert (made.left_out, made.bytes) == ((), made.whole_bytes)


def test_an_environment_that_a_host_makes_is_left_out_as_a_whole() -> None:
    """Of a pex or of wheels: all its layers, where releases share it and the host has them all; else none. An unpacked one by layers."""
    with_two = manifest_of("wheelhouse", "pex")
    source, *env = [layer.digest for layer in with_two.layers]
    for kind, share, have, expected in (
        ("wheelhouse", True, {source, *env}, {source, *env}),
        ("wheelhouse", True, {source, env[0]}, {source}),
        ("wheelhouse", False, {source, *env}, {source}),
        ("pex", True, {source, *env}, {source, *env}),
        ("pex", False, {*env}, set()),
        ("venv", True, {env[1]}, {env[1]}),
        ("venv", False, {source, env[1]}, {source, env[1]}),
    ):
        found = thin.droppable(with_two._replace(env=Env(kind, share)), frozenset(have))
        assert {layer.digest for layer in found} == expected


def manifest_of(*kinds: str) -> Manifest:
    layers = (Layer(kind, kind, 9, 1, 1, Range(number * 9, 4, 600, f"{number}" * 64)) for number, kind in enumerate(("src", *kinds)))
    return FACTS._replace(layers=tuple(layers))


def test_signatures_travel(whole: Path, tmp_path: Path) -> None:
    """Those of the whole artifact are in the thin one, which verifies; to sign, one signs the whole."""
    signing.add(whole, [key(tmp_path, "ci")])
    out = tmp_path / "thin.tgz"
    thin.write(whole, digests(whole, "assets"), out)
    with open_artifact(out) as one, open_artifact(whole) as other:
        assert one.signatures == other.signatures != ()
    verify(out)
    before, other_key = out.read_bytes(), key(tmp_path, "other")
    for detached in (False, True):
        with pytest.raises(ArtifactError, match="thin") as refused:
            signing.add(out, [other_key], detached=detached)
        assert "whole one" in refused.value.problems[0].remedy
    assert out.read_bytes() == before


def test_a_thin_artifact_is_no_artifact_to_build_on(whole: Path, tmp_path: Path) -> None:
    """It is not made thinner, and no store takes it: both name the whole one."""
    out = tmp_path / "thin.tgz"
    thin.write(whole, digests(whole, "assets"), out)
    for act in (lambda: thin.write(out, digests(whole, "src"), tmp_path / "thinner.tgz"), lambda: Unsigned(out)):
        with pytest.raises(ArtifactError, match="thin") as refused:
            act()
        assert "whole one" in refused.value.problems[0].remedy
    assert not (tmp_path / "thinner.tgz").exists()


def test_a_damaged_artifact_is_not_passed_on(whole: Path, tmp_path: Path) -> None:
    """Every part that would be copied is compared with its digest first; what stood in the output's place stays."""
    out = tmp_path / "thin.tgz"
    out.write_text("before\n")
    sound, have = whole.read_bytes(), digests(whole, "assets")
    with open_artifact(whole) as artifact:
        body, layers = artifact.body, {layer.name: layer for layer in artifact.manifest.layers}
    kept, gone = layers["src"].table, layers["assets"].table
    for place in (body + 99, body + kept.offset + 9, body + kept.offset + kept.bytes + 9, len(sound) - 12):
        whole.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(ArtifactError):
            thin.write(whole, have, out)
        assert sorted(each.name for each in tmp_path.iterdir() if "thin" in each.name) == ["thin.tgz"]
        assert out.read_text() == "before\n"
    place = body + gone.offset + 9
    whole.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
    thin.write(whole, have, out)
    verify(out)


def test_verify_finds_a_checksum_that_lies(tmp_path: Path) -> None:
    """``thin.json`` is not signed: what it says of what is left is compared with that. An installer, which has no use for it, does not ask."""
    base = Forged(left_out=(LAYERS[1].name,))
    path = tmp_path / "x.tgz"
    path.write_bytes(base.artifact())
    assert len(verify(path).left_out) == 1
    for key_ in ("crc32", "size"):
        path.write_bytes(base.but(thin=lambda said, key_=key_: said.update({key_: said[key_] + 1})).artifact())
        with pytest.raises(ArtifactError) as refused:
            verify(path)
        assert refused.value.problems[0].where == "tail"
        with open_artifact(path):
            pass


def test_inspect_says_what_is_left_out(whole: Path, tmp_path: Path) -> None:
    """By layer, for people and for programs; files of what is not there are not among the largest."""
    out = tmp_path / "thin.tgz"
    thin.write(whole, digests(whole, "assets"), out)
    found = inspect(out)
    assert [content.path for content in found.largest] == ["etc/a.conf", "src/app.py", "venv/a.py", "venv/b.py"]
    lines = "\n".join(inspection(found))
    assert "1 layer left out" in lines
    (line,) = [line for line in lines.splitlines() if line.strip().startswith("assets")]
    assert "left out" in line
    assert inspection_value(found)["left_out"] == sorted(digests(whole, "assets"))
    assert inspection_value(inspect(whole))["left_out"] == []


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"format":2,"layers":[]}',
        b'{"format":1,"layers":["x"]}',
        b'{"format":1,"layers":[1]}',
        b'{"format":1}',
        b"[" * 99_999,
    ],
)
def test_what_no_host_says_is_refused(said: bytes, whole: Path, tmp_path: Path) -> None:
    """From a file or from standard input, with where it came from."""
    (tmp_path / "have.json").write_bytes(said)
    for source, where in ((tmp_path / "have.json", str(tmp_path / "have.json")), (io.BytesIO(said), "standard input")):
        with pytest.raises(ArtifactError) as refused:
            thin.read_have(source)
        assert refused.value.problems[0].where == where


def build_release(*words: object, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "builder", *map(str, words)], input=given, capture_output=True, text=True, cwd=REPOSITORY, timeout=60
    )


def test_the_command(whole: Path, tmp_path: Path) -> None:
    """With what a host says in a file or on standard input; beside the artifact or where it shall go; verify says that it is thin."""
    have = {"format": 1, "layers": sorted(digests(whole, "assets")), "name": "shop", "more": "that a later one says"}
    (tmp_path / "have.json").write_text(json.dumps(have))
    done = build_release("thin", whole, "--have", tmp_path / "have.json")
    beside = whole.with_name(f"{whole.stem}.thin.tgz")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"→ {beside}   ")
    assert "1 layer left out" in done.stdout
    done = build_release("thin", whole, "--have", "-", "-o", tmp_path / "made/out.tgz", "--json", given=json.dumps(have))
    value = json.loads(done.stdout)
    assert (tmp_path / "made/out.tgz").read_bytes() == beside.read_bytes()
    assert value["sha256"] == hashlib.sha256(beside.read_bytes()).hexdigest()
    assert (value["bytes"], value["whole_bytes"], value["left_out"]) == (beside.stat().st_size, whole.stat().st_size, have["layers"])
    assert "it is thin, and leaves out 1 layer" in build_release("verify", beside).stdout
    for words, status in ((("thin", whole), 2), (("thin", whole, "--have", tmp_path / "none"), 3), (("thin", tmp_path, "--have", "-"), 3)):
        done = build_release(*words)
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
