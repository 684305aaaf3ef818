"""The flows: install, again, activate, roll back, fail."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from builder.install_release import release
from builder.install_release.errors import ArtifactError, DamagedError, RefusedError
from builder.install_release.manifest import Requires

from .roots import artifact, differences, events, id_of, install, journal_state, live, order, past, snapshot, temporary_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "srv/shop"


def test_install_makes_the_layout(tmp_path: Path, root: Path) -> None:
    """What docs/host.md draws is there, links are relative, the modes are exact, and nothing is left over."""
    needs = Requires(("media", "var/log"), ("config/local.ini",), (), (), 1 << 16, 64)
    source = {"media/.gitkeep": "", "manage.py": (0o755, b"#!/usr/bin/env python\n")}
    path = artifact(tmp_path, "1.0", source, requires=needs)
    (root / "shared/config").mkdir(parents=True)
    (root / "shared/config/local.ini").write_text("[x]\n")
    before = os.umask(0o077)
    try:
        outcome = install(root, path)
    finally:
        os.umask(before)
    directory = root / "releases" / outcome.id
    assert (outcome.before, outcome.already, outcome.state, outcome.version) == ("", False, "good", "1.0")
    assert os.readlink(root / "current") == f"releases/{outcome.id}"
    assert not os.path.lexists(root / "previous")
    assert os.readlink(directory / "venv") == f"../../envs/{outcome.env}"
    assert (root / "current/REVISION").read_text() == "a" * 40 + "\n"
    assert (root / "current/etc/nginx/shop.conf").read_text() == "server {}\n"
    assert os.readlink(directory / "src/media") == "../../../shared/media"
    assert os.readlink(directory / "src/var/log") == "../../../../shared/var/log"
    assert (directory / "src/config/local.ini").read_text() == "[x]\n"
    for made in ("media", "var/log"):
        assert (directory / "src" / made).resolve() == (root / "shared" / made).resolve()
        assert stat.S_IMODE((root / "shared" / made).stat().st_mode) == 0o755
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in directory.rglob("*") if not path.is_symlink()}
    assert {name for name, mode in modes.items() if mode == 0o755 and (directory / "src" / name).is_file()} == {"manage.py"}
    assert modes["run"] == 0o755
    assert set(modes.values()) == {0o755, 0o644}
    assert (root / "bin/install-release").read_bytes().startswith(b"#!")
    assert [event for event, _ in events(root)] == ["staged", "installed", "activated", "good"]
    assert len((root / "revisions.log").read_text().splitlines()) == 4
    assert temporary_files(root) == []
    assert journal_state(root) == "idle"
    assert differences(root, outcome.id) == []


def test_install_json_lists_all_that_the_host_made(tmp_path: Path, root: Path) -> None:
    """Every path of a release is in a table of its artifact, or in install.json with its hash."""
    outcome = install(root, artifact(tmp_path, "1.0"))
    directory = root / "releases" / outcome.id
    made = {entry["path"]: entry for entry in json.loads((directory / "install.json").read_text())["made"]}
    artifact_paths = {"src", "src/app.py", "etc", "etc/nginx", "etc/nginx/shop.conf"}
    there = {str(path.relative_to(directory)) for path in directory.rglob("*")}
    assert there == artifact_paths | set(made) | {"install.json"}
    assert made["bin/run"]["sha256"]
    assert made["venv"]["target"]


def test_the_same_artifact_again_is_said_to_be_live(tmp_path: Path, root: Path) -> None:
    """Nothing is written the second time."""
    path = artifact(tmp_path, "1.0")
    install(root, path)
    before = snapshot(root)
    outcome = install(root, path)
    assert outcome.already
    assert (outcome.before, outcome.state) == (outcome.id, "good")
    after = snapshot(root)
    del before[".install/lock"], after[".install/lock"]
    assert after == before


def test_no_activate_leaves_what_is_live_and_a_second_call_activates(tmp_path: Path, root: Path) -> None:
    """Installed and active are two facts; an installed release is not unpacked again."""
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "2.0")
    install(root, first)
    outcome = install(root, second, activate=False)
    assert (outcome.state, outcome.already) == ("verified", False)
    assert live(root) == id_of(first)
    assert past(root).of(outcome.id).active is None
    assert install(root, second, activate=False).already
    inode = (root / "releases" / outcome.id).stat().st_ino
    assert install(root, second).before == id_of(first)
    assert live(root) == id_of(second)
    assert (root / "releases" / outcome.id).stat().st_ino == inode


def test_releases_with_the_same_layers_share_an_environment(tmp_path: Path, root: Path) -> None:
    """Only what differs is made; a release with other wheels, or one that does not share, has its own. No two share an inode."""
    shared = [install(root, artifact(tmp_path, version)).env for version in ("1.0", "2.0")]
    other = install(root, artifact(tmp_path, "3.0", wheel="2")).env
    assert shared[0] == shared[1] != other
    assert not [path for path in (root / "envs").rglob("*") if path.is_file() and path.lstat().st_nlink != 1]


def test_rollback_goes_back_and_marks_bad(tmp_path: Path, root: Path) -> None:
    """The release before is live again, from the history; what was left is bad; there is nothing before the first."""
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "2.0")
    install(root, first)
    install(root, second)
    outcome = release.rollback(order(root, "rollback", why="it is slow"))
    assert (outcome.id, outcome.before) == (id_of(first), id_of(second))
    assert live(root) == id_of(first)
    assert past(root).of(id_of(second)).state == "bad"
    assert "it is slow" in past(root).of(id_of(second)).note
    with pytest.raises(RefusedError, match="nothing to roll back to"):
        release.rollback(order(root))


def test_rollback_keep_leaves_the_other_good(tmp_path: Path, root: Path) -> None:
    """With --keep the release that is left stays good, and can be activated by its version."""
    install(root, artifact(tmp_path, "1.0"))
    second = install(root, artifact(tmp_path, "2.0")).id
    release.rollback(order(root), keep=True)
    assert past(root).of(second).state == "good"
    assert release.activate(order(root), "2.0").id == second


def test_rollback_to_a_named_one_that_is_bad_is_refused(tmp_path: Path, root: Path) -> None:
    """A bad release is only made live by activating it, on purpose."""
    first = install(root, artifact(tmp_path, "1.0")).id
    install(root, artifact(tmp_path, "2.0"))
    release.mark(order(root), "1.0", "bad")
    with pytest.raises(RefusedError, match="marked bad"):
        release.rollback(order(root), "1.0")
    assert release.activate(order(root), first[-12:]).id == first
    assert past(root).of(first).state == "good"


@pytest.mark.parametrize("wanted", ["nonsense", "2", "20251123"])
def test_a_release_that_can_not_be_told_is_refused(tmp_path: Path, root: Path, wanted: str) -> None:
    """Neither a part that several have nor one that none has is taken; all that there are are named."""
    ids = [install(root, artifact(tmp_path, version)).id for version in ("1.0", "1.1")]
    with pytest.raises(RefusedError) as caught:
        release.activate(order(root), wanted)
    assert any(release_id in caught.value.problems[0].what for release_id in ids)


def test_a_damaged_release_is_not_activated(tmp_path: Path, root: Path) -> None:
    """A file that was edited, even in an environment, keeps a release from becoming live; installing its artifact again makes it anew."""
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "2.0", wheel="2")
    one = install(root, first)
    install(root, second)
    for path in (root / "releases" / one.id / "src/app.py", next((root / "envs" / one.env).rglob("lib.py"))):
        path.write_text("edited\n")
        with pytest.raises(DamagedError):
            release.rollback(order(root))
        assert live(root) == id_of(second)
        assert install(root, first).id == one.id
        assert differences(root, one.id) == []
        install(root, second)


def test_a_damaged_environment_in_use_is_left_alone(tmp_path: Path, root: Path) -> None:
    """What the live release runs from is never taken away: a refusal that says what uses it."""
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "2.0")
    one = install(root, first)
    two = install(root, second)
    next((root / "envs" / one.env).rglob("lib.py")).write_text("edited\n")
    with pytest.raises(DamagedError) as caught:
        install(root, first)
    assert two.id in caught.value.problems[0].what
    assert (root / "releases" / one.id).is_dir()


@pytest.mark.parametrize("wheel", ["1", "2"])
def test_a_damaged_artifact_leaves_nothing(tmp_path: Path, root: Path, wheel: str) -> None:
    """A byte that flipped in the last layer: refused, the release and its new environment are gone, what was live is live."""
    good = install(root, artifact(tmp_path, "1.0"))
    path = artifact(tmp_path, "2.0", {"big.bin": os.urandom(50_000)}, wheel=wheel)
    data = bytearray(path.read_bytes())
    data[data.index(b"big.bin") if b"big.bin" in data else len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError) as caught:
        install(root, path)
    assert caught.value.status == 3
    assert live(root) == good.id
    assert os.listdir(root / "releases") == [good.id]
    assert os.listdir(root / "envs") == [good.env]
    assert temporary_files(root) == []


def test_a_first_installation_that_fails_leaves_no_current(tmp_path: Path, root: Path) -> None:
    """There is no link to nothing; the history says what was tried."""
    path = artifact(tmp_path, "1.0", {"big.bin": os.urandom(50_000)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        install(root, path)
    assert not os.path.lexists(root / "current")
    assert os.listdir(root / "releases") == os.listdir(root / "envs") == []
    assert [event for event, _ in events(root)] == ["staged", "failed"]


def test_refusals_come_together_and_before_anything_is_made(tmp_path: Path, root: Path) -> None:
    """A host that lacks several things hears of all of them, and there is still no root."""
    needs = Requires(("data", "data/cache", "app.py"), ("secrets.ini",), ("DATABASE_URL",), ("no-such-command",), 1 << 16, 64)
    with pytest.raises(RefusedError) as caught:
        install(root, artifact(tmp_path, "1.0", requires=needs))
    told = "\n".join(map(str, caught.value.problems))
    for part in ("secrets.ini is missing", "DATABASE_URL", "no-such-command", "src/data/cache", "the source has src/app.py"):
        assert part in told
    assert all(problem.remedy for problem in caught.value.problems)
    assert not root.exists()


@pytest.mark.parametrize("kind", ["directory", "foreign", "dangling"])
def test_a_current_that_is_not_ours_is_refused(tmp_path: Path, root: Path, kind: str) -> None:
    """It is neither followed nor replaced, and nothing is unpacked."""
    root.mkdir(parents=True)
    current = root / "current"
    gone = "releases/20200101000000-0123456789ab"
    {"directory": current.mkdir, "foreign": lambda: current.symlink_to("/srv"), "dangling": lambda: current.symlink_to(gone)}[kind]()
    with pytest.raises(RefusedError) as caught:
        install(root, artifact(tmp_path, "1.0"))
    assert any(problem.where == "current" and problem.remedy for problem in caught.value.problems)
    assert os.listdir(root) == ["current"]


def test_what_a_killed_installer_left_is_no_reason_against_a_release(tmp_path: Path, root: Path) -> None:
    """Recovery runs first, in every changing command, and says what it did."""
    install(root, artifact(tmp_path, "1.0"))
    (root / ".install/staging/dead/src").mkdir(parents=True)
    (root / ".install/.journal.json.new").write_text("torn")
    (root / "envs/abcdef0123456789/bin").mkdir(parents=True)
    (root / ".current.new").symlink_to("releases/x")
    (root / ".install/envs/feedfeedfeedfeed.json").write_text("{}")
    notes: list[str] = []
    release.mark(order(root, note=notes.append), "1.0", "pinned")
    assert len(notes) == 5
    assert temporary_files(root) == []
    assert len(os.listdir(root / "envs")) == len(os.listdir(root / ".install/envs")) == 1
    assert release.recover_now(order(root)) == ()


def test_a_journal_that_can_not_be_trusted_stops_everything(tmp_path: Path, root: Path) -> None:
    """No command changes anything then, not even recovery."""
    path = artifact(tmp_path, "2.0")
    install(root, artifact(tmp_path, "1.0"))
    (root / ".install/journal.json").write_text('{"state":"idle"}\nnot its digest\n')
    (root / ".install/staging/dead").mkdir()
    before = snapshot(root)
    for act in (lambda: install(root, path), lambda: release.recover_now(order(root)), lambda: release.rollback(order(root))):
        with pytest.raises(DamagedError):
            act()
    after = snapshot(root)
    del before[".install/lock"], after[".install/lock"]
    assert after == before


def test_the_newest_installer_stays(tmp_path: Path, root: Path) -> None:
    """An installer that is newer than the one in an artifact is not replaced by it; an older one is."""
    install(root, artifact(tmp_path, "1.0"))
    kept = root / "bin/install-release"
    ours = kept.read_bytes()
    kept.write_bytes(b'#!x\n__version__ = "99.0.0"\n')
    install(root, artifact(tmp_path, "2.0"))
    assert b"99.0.0" in kept.read_bytes()
    kept.write_bytes(b'#!x\n__version__ = "0.9.0"\n')
    install(root, artifact(tmp_path, "3.0"))
    assert kept.read_bytes() == ours
    assert stat.S_IMODE(kept.stat().st_mode) == 0o755


def test_a_shared_directory_behind_a_dangling_link_is_refused(tmp_path: Path, root: Path) -> None:
    """What an operator moved elsewhere is used when it is there, and never made outside the root."""
    (root / "shared").mkdir(parents=True)
    (tmp_path / "disk").mkdir()
    (root / "shared/data").symlink_to(tmp_path / "disk")
    needs = Requires(("data", "data-2"), (), (), (), 1 << 16, 64)
    assert install(root, artifact(tmp_path, "1.0", requires=needs)).version == "1.0"
    below = Requires(("data/below",), (), (), (), 1 << 16, 64)
    with pytest.raises(RefusedError, match="shared"):
        install(root, artifact(tmp_path, "2.0", requires=below))
    assert os.listdir(tmp_path / "disk") == []


def test_a_failure_late_in_the_stage_takes_back_what_was_published(tmp_path: Path, root: Path) -> None:
    """The release was there already when the installer could not be kept: it is removed again, and what was live is live."""
    install(root, artifact(tmp_path, "1.0"))
    (root / "bin/install-release").unlink()
    (root / "bin/install-release").mkdir()
    (root / "bin/install-release/x").touch()
    with pytest.raises(DamagedError):
        install(root, artifact(tmp_path, "2.0"))
    assert past(root).live == live(root)
    assert len(os.listdir(root / "releases")) == 1
    assert temporary_files(root) == []


def test_a_directory_behind_a_link_is_refused_by_the_preflight(tmp_path: Path, root: Path) -> None:
    """envs/ that leads elsewhere is named among the reasons; nothing is written through it."""
    install(root, artifact(tmp_path, "1.0"))
    (root / "envs").rename(root / "elsewhere")
    (root / "envs").symlink_to("elsewhere")
    with pytest.raises(RefusedError) as caught:
        install(root, artifact(tmp_path, "2.0", wheel="2"))
    assert any("envs is not a directory" in problem.what for problem in caught.value.problems)
    assert len(os.listdir(root / "elsewhere")) == 1


def test_a_release_whose_installer_was_killed_before_it_could_say_so(tmp_path: Path, root: Path) -> None:
    """It was published, and the history knows only that it was begun: whoever makes it live first writes down that it is installed, and as what."""
    path = artifact(tmp_path, "1.0")
    first = install(root, path, activate=False).id
    told = root / ".install/history.jsonl"
    whole = told.read_bytes()
    for act in (lambda: install(root, path), lambda: release.activate(order(root), first)):
        (root / "current").unlink(missing_ok=True)
        told.write_bytes(whole.splitlines(keepends=True)[0])
        assert past(root).of(first).state == "staged"
        act()
        assert [kind for kind, _ in events(root)] == ["staged", "installed", "activated", "good"]
        known = past(root).of(first)
        for name, digest in (("install.json", known.record), ("release.json", known.manifest)):
            assert digest == hashlib.sha256((root / "releases" / first / name).read_bytes()).hexdigest()


def test_a_damaged_installer_is_healed(tmp_path: Path, root: Path) -> None:
    """Damage that leaves length and mode as they were: the next release that brings the same installer puts it right."""
    install(root, artifact(tmp_path, "1.0"))
    kept = root / "bin/install-release"
    ours = kept.read_bytes()
    with kept.open("r+b") as file:
        file.seek(len(ours) // 2)
        file.write(bytes(64))
    install(root, artifact(tmp_path, "2.0"))
    assert kept.read_bytes() == ours
