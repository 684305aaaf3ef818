"""Signatures of an artifact: made by ssh-keygen, put into it at the build or later, or beside it; the rest stays byte for byte."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder import signing
from builder.artifact import verify
from builder.artifact.inspection import inspect
from builder.cli import main
from builder.errors import ArtifactError, SigningError
from builder.install_release.artifact import open_artifact
from builder.signing import _Copy
from builder.store.layout import Unsigned
from tests import keys
from tests.keys import NAMESPACE
from tests.releases import write_release

LAYERS = {"src": {"app.py": "app"}, "wheel:a-1-py3-none-any": {"lib/a.py": "a" * 100_000}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_release(tmp_path / "out", LAYERS).path


@pytest.fixture
def ci(tmp_path: Path) -> Path:
    return keys.key(tmp_path, "ci")


def holds(path: Path) -> bool:
    """Every law of the format, and a plain tar reads it."""
    verify.verify(path)
    listed = subprocess.run(["tar", "tzf", path], capture_output=True, text=True, check=True).stdout.split()
    with open_artifact(path) as artifact:
        return [name for name in listed if ".sig." in name] == [f"release/release.json.sig.{n}" for n in range(1, len(artifact.signatures) + 1)]


def verified(path: Path, key: Path) -> bool:
    """By ssh-keygen itself, over the manifest as tar gives it."""
    manifest = subprocess.run(["tar", "xzOf", path, "release/release.json"], capture_output=True, check=True).stdout
    (path.parent / "allowed").write_text(keys.allow(key))
    with open_artifact(path) as artifact:
        for data in artifact.signatures:
            (path.parent / "sig").write_bytes(data)
            words = ("-Y", "verify", "-f", path.parent / "allowed", "-I", f"{key.name}@example", "-n", NAMESPACE, "-s", path.parent / "sig")
            if keys.keygen(*words, input=manifest, check=False).returncode == 0:
                return True
    return False


def test_a_build_signs_what_it_writes(tmp_path: Path, ci: Path) -> None:
    """The signature lies in the artifact from the start, over exactly the manifest; id and body are those without it."""
    plain = write_release(tmp_path / "plain", LAYERS)
    signed = write_release(tmp_path / "signed", LAYERS, sign=lambda name, manifest: signing.make([ci, ci], name, manifest))
    assert (signed.id, signed.path.name, len(signed.signatures)) == (plain.id, plain.path.name, 1)
    assert holds(signed.path)
    assert verified(signed.path, ci)
    assert hashlib.sha256(signed.path.read_bytes()).hexdigest() == signed.sha256
    assert f"{signed.sha256}  {signed.path.name}\n" == signed.path.with_name(f"{signed.path.name}.sha256").read_text()


def test_a_signature_is_added_later(path: Path, ci: Path, tmp_path: Path) -> None:
    """A promotion key: the id stays, the body stays byte for byte, the digest beside it follows; the same key twice adds nothing."""
    before, other = path.read_bytes(), keys.key(tmp_path, "release")
    with open_artifact(path) as artifact:
        body, identity = before[artifact.body : -8], artifact.id
    first = signing.add(path, [ci])
    both = signing.add(path, [other, ci])
    assert [each.fingerprint for each in both.signatures] == [first.signatures[0].fingerprint, both.added[0].fingerprint]
    assert (first.id, both.id, len(both.added)) == (identity, identity, 1)
    assert path.read_bytes()[-8 - len(body) : -8] == body
    assert holds(path)
    assert verified(path, ci)
    assert verified(path, other)
    assert path.with_name(f"{path.name}.sha256").read_text().split()[0] == both.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    after = path.stat().st_mtime_ns
    assert signing.add(path, [ci]).files == ()
    assert path.stat().st_mtime_ns == after
    assert Unsigned(path).id == identity


def test_a_detached_signature_lies_beside(path: Path, ci: Path, tmp_path: Path) -> None:
    """The artifact is not touched; each further key has the next number; a key that has signed already, in it or beside it, writes nothing."""
    before, other, third = path.read_bytes(), keys.key(tmp_path, "release"), keys.key(tmp_path, "third")
    assert [each.name for each in signing.add(path, [ci], detached=True).files] == [f"{path.name}.sig.1"]
    assert [each.name for each in signing.add(path, [ci, other], detached=True).files] == [f"{path.name}.sig.2"]
    assert path.read_bytes() == before
    signing.add(path, [third])
    assert signing.add(path, [third], detached=True).files == ()


def test_what_stands_there_in_a_keys_name_and_is_of_something_else_is_replaced(path: Path, ci: Path, tmp_path: Path) -> None:
    """Beside an artifact that was built anew under its old name, or within one."""
    beside = signing.add(path, [ci], detached=True).files[0]
    old = beside.read_bytes()
    other = write_release(tmp_path / "other", {**LAYERS, "src": {"app.py": "another"}}).path
    other.replace(path)
    assert signing.add(path, [ci], detached=True).files == (beside,)
    with open_artifact(path) as artifact:
        assert beside.read_bytes() == keys.sign(ci, artifact.manifest_bytes) != old
        foreign = _Copy(artifact, [old])
        with (tmp_path / "foreign.tgz").open("wb") as out:
            foreign(out)
    assert not verified(tmp_path / "foreign.tgz", ci)
    assert len(signing.add(tmp_path / "foreign.tgz", [ci]).signatures) == 1
    assert verified(tmp_path / "foreign.tgz", ci)


def test_a_key_of_the_agent_signs(path: Path, ci: Path, agent: None, tmp_path: Path) -> None:
    """Only the public half is a file here: the secret stays in the agent."""
    subprocess.run(["ssh-add", "-q", ci], check=True)
    (tmp_path / "alone").mkdir()
    public = tmp_path / "alone/ci.pub"
    public.write_bytes(ci.with_name("ci.pub").read_bytes())
    ci.unlink()
    signing.add(path, [public])
    assert verified(path, ci)


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ssh-agent of the test's own."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    while not socket.exists():
        assert process.poll() is None
    monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
    yield
    process.terminate()
    process.wait()


def test_a_key_that_no_host_accepts_is_refused(path: Path, tmp_path: Path) -> None:
    """RSA; and nothing is written."""
    before = path.read_bytes()
    with pytest.raises(SigningError) as caught:
        signing.add(path, [keys.key(tmp_path, "rsa", "rsa", "-b", "2048")])
    assert "which is none of ssh-ed25519" in str(caught.value.problems[0])
    assert path.read_bytes() == before


def test_a_key_that_can_not_sign_is_told(path: Path, ci: Path, tmp_path: Path) -> None:
    """One that is not there, before anything is done; one with a passphrase, which is never asked for; a public one that no agent has."""
    with pytest.raises(SigningError, match="could not be signed") as caught:
        signing.add(path, [tmp_path / "nowhere", tmp_path / "neither"])
    assert len(caught.value.problems) == 2
    keys.keygen("-q", "-p", "-P", "", "-N", "secret", "-f", ci)
    with pytest.raises(SigningError) as locked:
        signing.add(path, [ci])
    assert "ssh-agent" in locked.value.next_step
    other = keys.key(tmp_path, "other")
    other.unlink()
    with pytest.raises(SigningError):
        signing.add(path, [other.with_name("other.pub")])


def test_no_more_than_a_host_reads(path: Path, tmp_path: Path) -> None:
    """Sixteen."""
    many = [keys.key(tmp_path, f"k{number}") for number in range(17)]
    assert len(signing.add(path, many[:16]).signatures) == 16
    assert holds(path)
    with pytest.raises(SigningError, match="could not be signed"):
        signing.add(path, many)


def test_what_is_no_artifact_is_not_signed(path: Path, ci: Path) -> None:
    """A file that is cut off, or none."""
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError):
        signing.add(path, [ci])


def test_a_killed_signing_leaves_the_artifact_whole(path: Path, ci: Path) -> None:
    """It is replaced by a rename: when that can't be made ready, the old one is there, and nothing else."""
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    program = "import sys; from builder.cli import main; sys.exit(main(sys.argv[1:]))"
    limit = f"ulimit -f 1; exec {sys.executable} -B -c '{program}' sign {path} --key {ci}"
    done = subprocess.run(["/bin/sh", "-c", limit], cwd=Path(signing.__file__).parents[1], capture_output=True)
    assert done.returncode != 0
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before


def test_the_command_says_what_it_did(path: Path, ci: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for programs; inspect names the keys."""
    shown = keys.keygen("-l", "-f", f"{ci}.pub").stdout.decode().split()[1]
    assert main(["sign", str(path), "--key", str(ci)]) == 0
    assert f"  signed by ED25519 {shown}\n" in capsys.readouterr().out
    assert main(["sign", str(path), "--key", str(ci)]) == 0
    assert f"  carries a signature by ED25519 {shown}, not verified\n" in capsys.readouterr().out
    assert main(["sign", str(path), "--key", str(ci), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["signatures"] == [{"kind": "ED25519", "key": shown, "added": False}]
    assert [each.fingerprint for each in inspect(path).signatures] == [shown]
    assert main(["inspect", str(path)]) == 0
    assert f"  signatures   ED25519 {shown}, not verified\n" in capsys.readouterr().out
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signatures"] == [{"kind": "ED25519", "key": shown, "verified": False}]
    assert main(["sign", str(path)]) == 2
