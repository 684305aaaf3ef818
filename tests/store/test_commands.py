"""The commands as people and programs use them: what they print, on both kinds of store where it matters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.cli import main
from tests.store.releases import release

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture
def ask(run: Run) -> Callable[..., Any]:
    def call(*words: object) -> Any:
        status, out, err = run(*words, "--json")
        assert status == 0, err
        return json.loads(out)

    return call


@pytest.fixture
def shelf(tmp_path: Path) -> str:
    """A directory as a store: for what is the same on both."""
    (tmp_path / "shelf").mkdir()
    return str(tmp_path / "shelf")


def test_the_way_of_a_release(url: str, tmp_path: Path, run: Run) -> None:
    """From push to rollback, as docs/store.md shows it."""
    one, two = release(tmp_path, source="one"), release(tmp_path, source="two", time=1763992672, version="1.1")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    assert run("sign", one.path, "--key", key)[0] == 0
    status, out, _ = run("push", one.path, url, "--channel", "staging", "--why", "nightly")
    assert status == 0
    assert f"shop@{one.id}" in out
    assert one.sha256 in out
    assert "staging: first" in out
    assert f"next: build-release promote {url} shop staging CHANNEL" in out
    assert "was there already" in run("push", one.path, url, "--channel", "staging")[1]
    assert run("promote", url, "shop", "staging", "production", "--why", "tested")[0] == 0
    assert run("push", two.path, url, "--channel", "staging")[0] == 0
    assert f"{two.id}   from {one.id}" in run("promote", url, "shop", two.id[-12:], "production")[1]
    listed = run("list", url)[1]
    assert "2 releases" in listed
    (line,) = [line for line in listed.splitlines() if one.id in line]
    assert "ED25519 SHA256:" in line
    assert line.endswith("-")
    assert next(line for line in listed.splitlines() if two.id in line).endswith("production, staging")
    assert f"production   {one.id}" in run("rollback", url, "shop", "production", "--why", "carts are empty")[1]
    history = run("history", url, "shop", "production")[1]
    assert [line.split()[2] for line in history.splitlines()[2:]] == ["rollback", "promote", "promote"]
    assert "carts are empty" in history
    status, out, _ = run("pull", url, "shop@production", "-o", tmp_path / "out")
    assert status == 0
    assert "1 signature" in out
    assert "2 releases" in run("verify", url)[1]
    assert "verify" not in run("verify", tmp_path / "out" / one.path.name)[2]


def test_every_command_speaks_to_programs(shelf: str, tmp_path: Path, ask: Callable[..., Any]) -> None:
    """--json is one object with what people are told."""
    built = release(tmp_path)
    assert ask("push", built.path, shelf, "--channel", "staging")["move"]["id"] == built.id
    pulled = ask("pull", shelf, "shop", "-o", tmp_path / "out")
    assert (pulled["sha256"], pulled["read"] > 0, Path(pulled["artifact"]).name) == (built.sha256, True, built.path.name)
    (name,) = ask("list", shelf)["names"]
    assert name["channels"] == {"staging": built.id}
    assert name["releases"][0]["sha256"] == built.sha256
    assert ask("promote", shelf, "shop", "staging", "production")["changed"] is True
    assert ask("promote", shelf, "shop", "staging", "production")["changed"] is False
    assert ask("history", shelf, "shop", "production")["moves"][0]["how"] == "promote"
    assert ask("prune", shelf, "shop", "--keep", "1")["done"] is False
    assert ask("verify", shelf)["holds"] is True
    assert ask("url", shelf, "shop@staging")["url"].startswith("file://")


def test_what_would_be_done_is_shown_and_not_done(url: str, tmp_path: Path, ask: Callable[..., Any], run: Run) -> None:
    """push, promote and rollback with --plan say what they then do; until then nothing is there, and nothing moves."""
    one, two = release(tmp_path, source="one"), release(tmp_path, source="two", time=1763992672)
    planned = ask("push", one.path, url, "--channel", "staging", "--plan")
    assert (planned["plan"], planned["new"], planned["before"]) == (True, True, None)
    assert ask("list", url)["names"] == []
    done = ask("push", one.path, url, "--channel", "staging")
    assert (planned["id"], planned["sha256"], planned["sent"]) == (done["id"], done["sha256"], done["sent"])
    assert ask("push", one.path, url, "--plan")["new"] is False
    assert "would be pushed" in run("push", two.path, url, "--channel", "staging", "--plan")[1]
    ask("push", two.path, url, "--channel", "staging")
    for words, before, after in (
        (["promote", url, "shop", one.id, "production"], None, one.id),
        (["promote", url, "shop", "staging", "production"], one.id, two.id),
        (["rollback", url, "shop", "production"], two.id, one.id),
    ):
        planned = ask(*words, "--plan")
        assert (planned["before"], planned["id"], planned["changed"]) == (before, after, True)
        assert f"would point to {after}" in run(*words, "--plan")[1]
        assert ask("list", url)["names"][0]["channels"].get("production") == before
        assert ask(*words)["id"] == after
    assert f"points to {one.id} already" in run("promote", url, "shop", one.id, "production", "--plan")[1]
    assert run("rollback", url, "shop", "production", "--plan")[0] == 3


def test_an_error_speaks_to_programs_too(shelf: str, run: Run) -> None:
    """With status 3, the reasons, and what to do."""
    status, out, err = run("rollback", shelf, "shop", "production", "--json")
    assert status == 3
    assert json.loads(out)["error"]["problems"][0]["where"] == "production"
    assert "no such channel" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "ftp://x"], "no store that this program knows"),
        (["list", "/nowhere/at/all"], "no such store"),
        (["pull", "SHELF", "shop@staging"], "no such channel"),
        (["pull", "SHELF", "Shop"], "no release of that spelling"),
        (["promote", "SHELF", "shop", "staging", "20261123101112-1a2b3c4d5e6f"], "no such channel"),
        (["push", "nothing.tgz", "SHELF"], "can't be read"),
        (["prune", "SHELF", "shop", "--keep", "x"], "number from 0"),
        (["prune", "SHELF", "shop", "--keep", "1", "--older-than", "soon"], "no age like"),
        (["url", "SHELF", "shop"], "no release of shop"),
        (["verify", "SHELF", "x.tgz"], "verified by itself"),
    ],
)
def test_what_makes_no_sense_is_told(shelf: str, run: Run, words: list[str], said: str) -> None:
    """In words, with status 2 or 3, and nothing is made."""
    status, _, err = run(*[shelf if word == "SHELF" else word for word in words])
    assert status in (2, 3)
    assert said in err
    assert not list(Path(shelf).iterdir())


def test_prune_shows_before_it_does(shelf: str, tmp_path: Path, run: Run) -> None:
    """Without --yes nothing goes; with it, what was shown."""
    builds = [release(tmp_path, source=str(number), time=1763892672 + number) for number in range(3)]
    for built in builds:
        run("push", built.path, shelf)
    _, out, _ = run("prune", shelf, "shop", "--keep", "1", "--older-than", "0m")
    assert "would go" in out
    assert "say --yes" in out
    assert "2 releases removed" in run("prune", shelf, "shop", "--keep", "1", "--older-than", "0m", "--yes")[1]
    assert "1 release," in run("list", shelf)[1]


def test_a_damaged_store_is_told_whole(shelf: str, tmp_path: Path, run: Run) -> None:
    """Every reason of every release in one answer, status 3."""
    for number in range(2):
        built = release(tmp_path, source=str(number), time=1763892672 + number)
        run("push", built.path, shelf)
        (Path(shelf) / "shop/releases" / built.id / "release.tgz").write_bytes(b"")
    status, _, err = run("verify", shelf)
    assert status == 3
    assert err.count("too early") == 2


def test_boto3_is_not_imported_before_a_bucket_is_named(shelf: str) -> None:
    """A build, and a directory as a store, don't pay for it."""
    code = f"import sys; from builder.cli import main; main(['list', {shelf!r}]); sys.exit('boto3' in sys.modules or 'botocore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_presigned_address_gives_the_release(bucket: str, tmp_path: Path, ask: Callable[..., Any]) -> None:
    """To whoever has it, without credentials."""
    import urllib.request

    built = release(tmp_path)
    ask("push", built.path, bucket)
    with urllib.request.urlopen(ask("url", bucket, "shop", "--expires", "5m")["url"]) as answer:
        assert answer.read() == built.path.read_bytes()
