"""The ledger: it proves itself, survives its own loss, and owns what it says, whatever a file is called."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from builder.install_release import overlay
from builder.install_release.errors import DamagedError
from builder.install_release.overlay import ledger
from builder.install_release.seal import seal, unseal

from .system import System, write


def path_of(system: System) -> Path:
    return system.root / ".install/ledger.json"


def test_it_says_what_was_laid_down(system: System) -> None:
    """Hash, mode, owning release, and what was there before, for each absolute path."""
    write(system.etc / "own", ("mine\n", 0o600))
    release = system.release("1", {"shop": ("one\n", 0o755), "own": "one\n", "new/deep": "one\n"})
    system.flip(release, [("sys/own", "take-new")])
    found = ledger.read(system.host)
    assert found.release == release
    assert {os.path.relpath(path, system.etc) for path, laid in found.files.items() if not laid.beside} == {"shop", "own", "new/deep"}
    own, shop = found.files[str(system.etc / "own")], found.files[str(system.etc / "shop")]
    assert own.before is not None
    assert (own.etc, own.release, own.content.mode, own.before.mode) == ("sys/own", release, "644", "600")
    assert (shop.content.mode, shop.before) == ("755", None)
    assert found.directories == (str(system.etc / "new"),)
    assert path_of(system).stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("damage", ["a byte", "cut", "empty", "other keys", "no content", "a directory", "a list", "deep"])
def test_damage_stops_everything(system: System, damage: str) -> None:
    """A ledger that can't be trusted is damage: nothing is decided and nothing is changed, and the way out is told."""
    system.flip(system.release("1", {"shop": "one\n"}))
    path = path_of(system)
    data = path.read_bytes()
    value = json.loads(unseal(data))
    if damage == "a directory":
        path.unlink()
        path.mkdir()
    else:
        other = {**value, "files": {name: {**laid, "content": {"sha256": "x", "mode": "644", "group": 0}} for name, laid in value["files"].items()}}
        path.write_bytes(
            {
                "a byte": data.replace(b"644", b"640"),
                "cut": data[:-10],
                "empty": b"",
                "other keys": seal(json.dumps({**value, "more": 1}).encode() + b"\n"),
                "no content": seal(json.dumps(other).encode() + b"\n"),
                "a list": seal(b"[]\n"),
                "deep": seal(b"[" * 100_000 + b"\n"),
            }[damage]
        )
    before = system.tree()
    for call in (
        lambda: system.propose(system.release("2", {"shop": "two\n"})),
        lambda: overlay.leftovers(system.host),
        lambda: overlay.clear(system.host),
    ):
        with pytest.raises(DamagedError) as caught:
            call()
        assert str(path) in str(caught.value.problems[0])
    assert system.tree() == before


def test_it_may_be_moved_away(system: System) -> None:
    """Without a ledger every file counts as the host's own: the same bytes are taken over, others are a question."""
    first = system.release("1", {"shop": "one\n", "same": "same\n"})
    system.flip(first)
    path_of(system).unlink()
    second = system.release("2", {"shop": "two\n", "same": "same\n"})
    [problem] = system.propose(second).refusals
    assert f"{system.etc / 'shop'} was here already" in problem.what
    assert system.flip(second, [("**", "take-new")]).items() >= {"shop": "changed", "same": "untouched"}.items()
    system.flip(first, back=True)
    assert {"shop": "one\n", "same": "same\n"}.items() <= system.tree().items()


def test_a_name_proves_nothing(system: System) -> None:
    """A file that only looks like ours, or like one that was saved beside, is not ours: it is never removed."""
    system.flip(system.release("1", {"shop": "one\n"}))
    write(system.etc / ".shop.rel-old.0123456789ab~", "not ours\n")
    write(system.etc / "shop-2", "not ours\n")
    system.flip(system.release("2", {}))
    assert system.tree() == {".shop.rel-old.0123456789ab~": "not ours\n", "shop-2": "not ours\n"}


def test_releases_that_are_gone_are_forgotten(system: System) -> None:
    """What was there under a release is known as long as the release is here, and for no longer."""
    releases = [system.release(str(n), {"shop": f"{n}\n"}) for n in range(4)]
    for release in releases:
        system.flip(release)
    assert set(ledger.read(system.host).left) == set(releases[:3])
    for release in releases[:2]:
        (system.root / "releases" / release).rename(system.root / f"away-{release}")
    system.flip(system.release("5", {"shop": "5\n"}))
    assert set(ledger.read(system.host).left) == {releases[2], releases[3]}


def test_no_ledger_where_nothing_is_copied(system: System) -> None:
    """A release that copies nothing writes none."""
    assert system.flip(system.release("1", {})) == {}
    assert not path_of(system).exists()
    assert overlay.leftovers(system.host) == ()
