"""floor: how new the newest release is that was ever committed; it never goes down, and is there before anybody is told of a release."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from builder.install_release import floor, journal
from builder.install_release.artifact import open_artifact
from builder.install_release.declared import Health
from builder.install_release.errors import DamagedError, RefusedError, RolledBackError
from builder.install_release.floor import Floor
from builder.install_release.host import Host
from builder.install_release.release import activate, recover_now, rollback
from builder.install_release.release import install as install_release

from .policies import Authority, authority
from .roots import REPOSITORY, events, id_of, install, live, order, run

__all__ = ["authority"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "srv/shop"


def kept(root: Path) -> Floor:
    with Host(str(root)) as host:
        return floor.read(host)


def test_no_policy_keeps_no_floor(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Versions go back as they please."""
    for version in ("1.1", "1.0"):
        install(root, authority.artifact(tmp_path, version))
    assert not (root / ".install/floor.json").exists()


def test_it_rises_with_each_newer_release_and_never_sinks(tmp_path: Path, root: Path, authority: Authority) -> None:
    """A rollback to what was good is free, also by installing it again after it was pruned; anything else that is older is refused."""
    authority.policy("[releases]\nfloor = yes\n")
    paths = {version: authority.artifact(tmp_path, version, keep_releases=1) for version in ("1.0", "1.1", "1.2", "1.3")}
    first = install(root, paths["1.1"]).id
    assert kept(root).release == first
    second = install(root, paths["1.2"]).id
    third = install(root, paths["1.3"]).id
    assert kept(root).release == third
    assert not (root / "releases" / first).exists()
    with pytest.raises(RefusedError) as caught:
        install(root, paths["1.0"])
    assert caught.value.problems[0].where == "floor"
    assert install(root, paths["1.1"]).id == first
    assert kept(root).release == third
    assert install(root, paths["1.3"]).id == third
    assert rollback(order(root), keep=True).id == first
    assert second


def test_a_policy_that_comes_later_begins_with_what_is_live(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Nothing older than that, though nothing is recorded yet."""
    second = install(root, authority.artifact(tmp_path, "1.1")).id
    authority.policy("[releases]\nfloor = yes\n")
    with pytest.raises(RefusedError):
        install(root, authority.artifact(tmp_path, "1.0"))
    third = install(root, authority.artifact(tmp_path, "1.2")).id
    assert kept(root).release == third
    assert rollback(order(root)).id == second


def test_what_became_live_while_nobody_asked_for_a_floor_counts(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Asked for, not asked for, and asked for again: nothing older than what is live then."""
    authority.policy("[releases]\nfloor = yes\n")
    install(root, authority.artifact(tmp_path, "1.0"))
    authority.policy("[releases]\nfloor = no\n")
    install(root, authority.artifact(tmp_path, "1.2"))
    authority.policy("[releases]\nfloor = yes\n")
    with pytest.raises(RefusedError) as caught:
        install(root, authority.artifact(tmp_path, "1.1"))
    assert caught.value.problems[0].where == "floor"


def test_a_downgrade_has_to_be_allowed_and_asked_for(tmp_path: Path, root: Path, authority: Authority) -> None:
    """By the policy and by --allow-downgrade; the history says so, and the floor stays where it is, also when nothing was recorded before."""
    new, old = authority.artifact(tmp_path, "1.1"), authority.artifact(tmp_path, "1.0")
    install(root, new)
    authority.policy("[releases]\nfloor = yes\n")
    assert "does not allow a downgrade" in run(old, "--root", root, "--allow-downgrade").stderr
    authority.policy("[releases]\nfloor = yes\nallow_downgrade = yes\n")
    assert "If you mean it: --allow-downgrade." in run(old, "--root", root).stderr
    assert run(old, "--root", root, "--plan").returncode == 3
    assert run(old, "--root", root, "--allow-downgrade", "--why", "the new one is broken").returncode == 0
    assert live(root) == id_of(old)
    assert kept(root).release == id_of(new)
    event = [each for each in map(json.loads, (root / ".install/history.jsonl").read_text().splitlines()) if each["event"] == "activated"][-1]
    assert event["why"] == "the new one is broken (--allow-downgrade)"


def test_an_installed_release_below_the_floor_is_not_activated(tmp_path: Path, root: Path, authority: Authority) -> None:
    """It was never good here."""
    install(root, authority.artifact(tmp_path, "1.1"))
    old = install(root, authority.artifact(tmp_path, "1.0"), activate=False).id
    authority.policy("[releases]\nfloor = yes\n")
    with pytest.raises(RefusedError) as caught:
        activate(order(root), old)
    assert caught.value.problems[0].where == "floor"


def test_it_does_not_rise_with_what_was_not_well(tmp_path: Path, root: Path, authority: Authority) -> None:
    """A release that failed its check was never committed."""
    authority.policy("[releases]\nfloor = yes\n")
    first = install(root, authority.artifact(tmp_path, "1.0")).id
    health = Health(command=("false",), passes=1, deadline=1)
    with pytest.raises(RolledBackError):
        install(root, authority.artifact(tmp_path, "1.1", health=health))
    assert kept(root).release == first


def test_it_is_there_before_the_journal_says_committed(tmp_path: Path, root: Path, authority: Authority) -> None:
    """Killed between the two: the old release is live again, the floor has risen, what was good is legal, and the new one too."""
    authority.policy("[releases]\nfloor = yes\n")
    first = install(root, authority.artifact(tmp_path, "1.0")).id
    path = authority.artifact(tmp_path, "1.1")
    program = f"""
import os
from builder.install_release import floor, journal, release
from builder.install_release.artifact import open_artifact
from builder.install_release.release import Order
write = journal.write
def killed(host, transaction):
    if transaction is not None and transaction.state == "committed":
        os._exit(9)
    write(host, transaction)
journal.write = killed
with open_artifact({str(path)!r}) as artifact:
    release.install(artifact, Order({str(root)!r}, "test", "tester"))
"""
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n{program}"]) == 9
    assert kept(root).release == id_of(path)
    recover_now(order(root))
    assert live(root) == first
    with open_artifact(path) as opened:
        assert install_release(opened, order(root)).id == id_of(path)
    assert rollback(order(root)).id == first
    assert ("activated", id_of(path)) in events(root)
    with Host(str(root)) as host:
        assert journal.read(host) is None


def test_a_damaged_floor_allows_nothing(tmp_path: Path, root: Path, authority: Authority) -> None:
    """A byte that flipped, other keys, no JSON: status 7, nothing is changed, and what to do is said."""
    authority.policy("[releases]\nfloor = yes\n")
    first = install(root, authority.artifact(tmp_path, "1.0")).id
    path = root / ".install/floor.json"
    whole = path.read_bytes()
    for data in (b"", b"{}\n", whole[:-2], whole.replace(b"1", b"2", 1)):
        path.write_bytes(data)
        with pytest.raises(DamagedError) as caught:
            install(root, authority.artifact(tmp_path, "1.1"))
        assert "then move it away" in caught.value.problems[0].remedy
    assert live(root) == first
    path.unlink()
    assert install(root, authority.artifact(tmp_path, "1.1")).state == "good"


def test_each_part_rises_by_itself() -> None:
    """The time of a commit, and the version of a list."""
    assert Floor(5, "a", 3).raised(Floor(4, "b", 7)) == Floor(5, "a", 7)
    assert Floor(5, "a", 3).raised(Floor(6, "b", 1)) == Floor(6, "b", 3)
