"""The overlay on the whole way: real artifacts, installed, planned, rolled back; what the screen and the history say."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.install_release import release
from builder.install_release.artifact import open_artifact
from builder.install_release.declared import Hook
from builder.install_release.errors import DamagedError, RefusedError
from builder.install_release.host import Host
from builder.install_release.manifest import Conflict, Copied, Overlay

from ..roots import artifact, differences, events, id_of, install, live, order, run, snapshot, temporary_files
from .system import tree, write


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """A root that is to be, and a directory that stands for /etc."""
    etc = tmp_path / "etc"
    etc.mkdir(mode=0o755)
    return tmp_path / "root", etc


def shop(tmp_path: Path, version: str, files: dict[str, Any], **facts: Any) -> Path:
    """An artifact that copies its ``sys/`` to the system."""
    copied = Overlay((Copied("sys", str(tmp_path / "etc")),), facts.pop("on_conflict", ()))
    layer = {f"sys/{name}": text for name, text in files.items()}
    return artifact(tmp_path, version, etc={**layer, **facts.pop("linked", {})}, overlay=copied, **facts)


def values(root: Path, text: str) -> None:
    write(root / "shared/host.ini", (text, 0o640))


def test_install_upgrade_rollback(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """Rendered when it is staged, laid down when it is made live, put back by the rollback; verify finds nothing to say about either."""
    root, etc = place
    values(root, "[values]\nport = 8000\n[secrets]\nkey = hush\n")
    first = install(root, shop(tmp_path, "1.0", {"shop": "@root@ @port@ a@b.c\n", "db": (0o755, b"@key@\n")}, linked={"nginx/x": "@name@\n"})).id
    assert tree(etc) == {"shop": f"{root} 8000 a@b.c\n", "db": "hush\n 750"}
    assert (root / "current/etc/nginx/x").read_text() == "shop\n"
    assert differences(root, first) == []
    write(etc / "shop", "by hand\n")
    values(root, "[values]\nport = 9000\n")
    path = shop(tmp_path, "2.0", {"shop": "@port@\n", "new": "new\n"})
    with pytest.raises(RefusedError) as caught:
        install(root, path)
    assert "--etc sys/shop=keep-local, =take-new or =beside" in caught.value.problems[0].remedy
    assert live(root) == first
    assert [name.name for name in (root / "releases").iterdir()] == [first], "refused before anything is unpacked"
    notes: list[str] = []
    with open_artifact(path) as opened:
        release.install(opened, order(root, note=notes.append, answers=(Conflict("sys/shop", "take-new"),)))
    second = live(root)
    [saved] = [name for name in tree(etc) if "rel-old" in name]
    assert tree(etc) == {"shop": "9000\n", "new": "new\n", saved: "by hand\n"}
    assert notes[-1] == f"etc: the edit of {etc}/shop is saved as {etc}/{saved}"
    assert ("saved", second) in events(root)
    assert f"the edit of {etc}/shop is saved as {etc}/{saved}" in (root / "revisions.log").read_text()
    release.rollback(order(root))
    assert live(root) == first
    assert tree(etc) == {"shop": "by hand\n", "db": "hush\n 750"}, "what was there under it, by its own values and edits"
    assert differences(root, first) == differences(root, second) == []
    assert temporary_files(root) == []


def test_a_missing_key_is_refused_before_anything_is_written(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """No root is made for a release that can't be rendered; with --no-activate neither."""
    root, etc = place
    path = shop(tmp_path, "1.0", {"shop": "@port@ @host@\n"})
    for activate in (True, False):
        with pytest.raises(RefusedError) as caught:
            install(root, path, activate=activate)
        assert [problem.where for problem in caught.value.problems] == ["etc", "etc"]
        assert f"etc/sys/shop, line 1: @port@ is not set in {root}/shared/host.ini." in caught.value.problems[0].what
    assert not root.exists()
    assert tree(etc) == {}


def test_only_installing_asks_nothing_of_the_system(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """With --no-activate a conflict is no reason against it; activating it then is where that is asked."""
    root, etc = place
    write(etc / "shop", "own\n")
    path = shop(tmp_path, "1.0", {"shop": "one\n"})
    wanted = install(root, path, activate=False).id
    with pytest.raises(RefusedError):
        release.activate(order(root), wanted)
    release.activate(order(root, answers=(Conflict("**", "beside"),)), wanted)
    assert live(root) == wanted
    assert (etc / "shop").read_text() == "own\n"


def test_a_damaged_ledger_stops_every_flip(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """Install, activate, rollback: status 7, and nothing is changed; status still answers."""
    root, etc = place
    first = install(root, shop(tmp_path, "1.0", {"shop": "one\n"})).id
    install(root, shop(tmp_path, "2.0", {"shop": "two\n"}))
    ledger = root / ".install/ledger.json"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-5])
    third = shop(tmp_path, "3.0", {"shop": "three\n"})
    calls: list[Callable[[], object]] = [
        lambda: release.rollback(order(root)),
        lambda: release.activate(order(root), first),
        lambda: install(root, third),
    ]
    for call in calls:
        with pytest.raises(DamagedError, match="ledger"):
            call()
    assert (etc / "shop").read_text() == "two\n"
    done = run("status", "--root", root)
    assert done.returncode == 0
    assert "recovery is due: ledger" in done.stdout
    ledger.write_bytes(whole)
    release.rollback(order(root))
    assert (etc / "shop").read_text() == "one\n"


def test_the_plan_on_the_screen(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """Each file with its mark, the reason, a unified diff; conflicts make it a refusal; nothing is changed; the same as JSON, and no secret in it."""
    root, etc = place
    values(root, "[secrets]\nkey = hush-hush\n")
    install(root, shop(tmp_path, "1.0", {"shop": "a\nb\n", "hand": "one\n", "gone": "x\n", "db": "@key@\n"}, linked={"nginx/x": "one\n"}))
    write(etc / "hand", "by hand\n")
    files = {"shop": "a\nB\n", "hand": "two\n", "new": "n\n", "db": "@key@\nmore\n"}
    path = shop(tmp_path, "2.0", files, linked={"nginx/x": "two\n"})
    before = snapshot(root), tree(etc)
    done = run(path, "--root", root, "--plan")
    assert done.returncode == 3
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert f"etc          M {etc}/db" in lines
    for line in (
        f"M {etc}/shop",
        f"+ {etc}/new",
        f"- {etc}/gone   2.0 has it no more",
        "M nginx/x (linked)",
        "-b",
        "+B",
        "@key@",
        "+more",
        "-one",
        "+two",
    ):
        assert line in lines, done.stdout
    assert any(line.startswith(f"! {etc}/hand   was edited here on 2") for line in lines)
    assert "hush" not in done.stdout
    done = run("--plan", path, "--root", root, "--json", "--etc", "keep-local")
    assert done.returncode == 0, done.stdout
    found = {each["etc"]: each for each in json.loads(done.stdout)["etc"]}
    assert {name: each["kind"] for name, each in found.items()} == {
        **{"sys/shop": "changed", "sys/hand": "kept", "sys/new": "new", "sys/gone": "removed", "sys/db": "changed"},
        "nginx/x": "changed",
    }
    assert found["nginx/x"]["linked"]
    assert found["sys/shop"]["diff"][-2:] == ["-b", "+B"]
    assert "hush" not in done.stdout
    assert (snapshot(root), tree(etc)) == before


def test_the_plan_of_a_first_installation(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """Before there is a root: what would be laid down, and what is missing."""
    root, etc = place
    done = run(shop(tmp_path, "1.0", {"shop": "one\n"}), "--root", root, "--plan")
    assert done.returncode == 0, done.stdout
    assert f"etc          + {etc}/shop" in done.stdout
    done = run(shop(tmp_path, "1.1", {"shop": "@port@\n"}), "--root", root, "--plan")
    assert done.returncode == 3
    assert "@port@ is not set" in done.stdout
    assert not root.exists()


def test_config_diff(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """Without more: what was edited here. With a release or an artifact: what it would change; a conflict is status 3, and --etc is tried on."""
    root, etc = place
    first = install(root, shop(tmp_path, "1.0", {"shop": "one\n", "hand": "one\n"})).id
    done = run("config-diff", "--root", root)
    assert (done.returncode, done.stdout) == (0, f"shop 1.0 ({first}) and this host: nothing differs\n")
    write(etc / "hand", "by hand\n")
    done = run("config-diff", "--root", root)
    assert done.returncode == 0
    assert "-one\n+by hand\n" in done.stdout
    assert f"= {etc}/hand   was edited here on 2" in done.stdout
    path = shop(tmp_path, "2.0", {"shop": "two\n", "hand": "two\n"})
    done = run("config-diff", path, "--root", root)
    assert done.returncode == 3
    assert "-by hand\n+two\n" in done.stdout
    done = run("config-diff", path, "--root", root, "--etc", "sys/hand=take-new", "--json")
    value = json.loads(done.stdout)
    assert (done.returncode, value["refused"], value["id"]) == (0, False, id_of(path))
    assert {each["kind"] for each in value["etc"]} == {"changed", "saved"}
    install(root, path, activate=False)
    assert run("config-diff", "2.0", "--root", root).returncode == 3
    assert run("config-diff", "9.9", "--root", root).returncode == 3


@pytest.mark.parametrize("word", ["take-it", "a=b=take-it", "../x=take-new", "=refuse-it", ""])
def test_an_answer_that_makes_no_sense(tmp_path: Path, word: str) -> None:
    """What --etc takes is spelled out when it is spelled wrongly: usage."""
    done = run("rollback", "--root", tmp_path, "--etc", word)
    assert done.returncode == 2
    assert "--etc" in done.stderr


def test_a_failed_flip_leaves_the_system_as_it_was(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """A release whose hook fails after the files were swapped: byte for byte as before, the ledger too."""
    root, etc = place
    install(root, shop(tmp_path, "1.0", {"shop": "one\n", "gone": "one\n"}))
    write(etc / "shop", ("by hand\n", 0o600))
    before, ledger = tree(etc), (root / ".install/ledger.json").read_bytes()
    path = shop(tmp_path, "2.0", {"shop": "two\n", "deep/new": "two\n"}, hooks=(Hook("post_flip", ("/bin/false",)),))
    done = run(path, "--root", root, "--etc", "take-new")
    assert done.returncode == 4, done.stderr
    assert tree(etc) == before
    assert (root / ".install/ledger.json").read_bytes() == ledger
    with Host(str(root)) as host:
        assert host.names(".install/overlay") == [] or run("recover", "--root", root).returncode == 0
        assert host.names(".install/overlay") == []


def test_values_that_changed_since_are_told(tmp_path: Path, place: tuple[Path, Path]) -> None:
    """Installing what is live already changes nothing, and says that host.ini would make another configuration of it now."""
    root, etc = place
    values(root, "[values]\nport = 8000\n")
    path = shop(tmp_path, "1.0", {"shop": "@port@\n"})
    install(root, path)
    notes: list[str] = []
    for port in (8000, 9000):
        values(root, f"[values]\nport = {port}\n")
        with open_artifact(path) as opened:
            release.install(opened, order(root, note=notes.append))
    [note] = [each for each in notes if "host.ini" in each]
    assert note.startswith(f"note: {root}/shared/host.ini has changed what etc/sys/shop says since it was installed")
    assert tree(etc) == {"shop": "8000\n"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give itself a second group")
def test_who_may_read_host_ini_may_read_what_its_secrets_were_filled_into(place: tuple[Path, Path], tmp_path: Path) -> None:
    """Its group is that of host.ini, so that a service's own user can read it; a group that this user is not in is not given."""
    root, _ = place
    values(root, "[values]\nport = 1\n[secrets]\npassword = hush\n")
    os.chown(root / "shared/host.ini", -1, 54321)
    linked = {"shop.ini": "password=@password@\n", "open.ini": "port=@port@\n"}
    mine = os.getgroups()
    for version, groups in (("1.0", [*mine, 54321]), ("1.1", mine)):
        os.setgroups(groups)
        try:
            release_id = install(root, artifact(tmp_path, version, etc=linked)).id
        finally:
            os.setgroups(mine)
        shut, public = ((root / "releases" / release_id / "etc" / name).stat() for name in linked)
        assert (shut.st_mode & 0o777, shut.st_gid) == (0o640, 54321 if 54321 in groups else os.getegid())
        assert (public.st_mode & 0o777, public.st_gid) == (0o644, os.getegid())
        assert differences(root, release_id) == []
