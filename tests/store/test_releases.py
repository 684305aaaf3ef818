"""Releases in a store, on a directory and on a real S3 server: pushed, pulled, signed, never half there, never replaced."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from builder.errors import AbsentError, ArtifactError, ChecksumError, MovedError, OccupiedError, UsageError
from builder.store import Store, catalog, channels
from builder.store.ledger import channel_key, reference, release_key
from builder.store.prune import prune
from builder.store.pull import Pulled, pull
from builder.store.push import Pushed, push
from tests.store.releases import LARGE, MIB, Wheels, release, sign

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
Push = Callable[..., Pushed]
Pull = Callable[..., Pulled]


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def do_push(store: Store) -> Push:
    def run(path: Path, channel: str = "", why: str = "") -> Pushed:
        return push(store, path, channel=channel, why=why, who="ci", now=NOW, moved=nothing)

    return run


@pytest.fixture
def do_pull(store: Store, tmp_path: Path) -> Pull:
    def run(what: str = "shop", out: str = "out", have: tuple[Path, ...] = (), cache: Path | None = None) -> Pulled:
        return pull(store, reference(what), tmp_path / out, have=have, cache=cache or tmp_path / "no-cache", moved=nothing)

    return run


def test_a_release_comes_back_as_it_was_pushed(tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """The same bytes, the same name, the same id, and a sum beside it that sha256sum reads."""
    built = release(tmp_path)
    done = do_push(built.path)
    assert done.new
    assert done.record.id == built.id
    assert done.record.sha256 == built.sha256
    got = do_pull()
    assert got.path.read_bytes() == built.path.read_bytes()
    assert got.path.name == built.path.name
    assert got.path.with_name(f"{got.path.name}.sha256").read_text() == f"{built.sha256}  {built.path.name}\n"
    assert sorted(each.name for each in got.path.parent.iterdir()) == [built.path.name, f"{built.path.name}.sha256"]


def test_what_lies_in_the_store(store: Store, tmp_path: Path, do_push: Push) -> None:
    """The objects of a release, by the names that docs/store.md gives them."""
    built = release(tmp_path)
    do_push(sign(built.path, b"a signature"))
    prefix = release_key("shop", built.id)
    name = hashlib.sha256(b"a signature").hexdigest()
    parts = sorted(each.key.removeprefix(prefix) for each in store.listing(prefix))
    assert parts == ["manifest.json", "pushed.json", "release.tgz", "sha256", f"signatures/{name}"]
    assert store.get(f"{prefix}sha256", 100) == f"{built.sha256}  release.tgz\n".encode()
    assert b"".join(store.read(f"{prefix}release.tgz", 0, built.bytes)) == built.path.read_bytes()


def test_the_same_bytes_again_are_a_success(tmp_path: Path, do_push: Push) -> None:
    """Pushed twice, nothing is sent the second time, and who pushed first stays the one who did."""
    built = release(tmp_path)
    do_push(built.path)
    again = do_push(built.path)
    assert not again.new
    assert again.sent == again.copied == 0


def test_signatures_are_objects_of_their_own(tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """One sha256 for an id, signed or not; each signature once, whoever brings it; pull puts all of them in."""
    built = release(tmp_path)
    assert do_push(sign(built.path, b"one")).new_signatures == 1
    done = do_push(sign(built.path, b"two", b"one"))
    assert (done.new, done.signatures, done.new_signatures, done.record.sha256) == (False, 2, 1, built.sha256)
    got = do_pull()
    ordered = sorted([b"one", b"two"], key=lambda each: hashlib.sha256(each).hexdigest())
    assert got.path.read_bytes() == sign(built.path, *ordered).read_bytes()
    assert got.release_sha256 == built.sha256 != got.sha256 == hashlib.sha256(got.path.read_bytes()).hexdigest()


def test_other_bytes_under_the_same_id_are_refused(store: Store, tmp_path: Path, do_push: Push) -> None:
    """Whatever of a release is there already and differs: it stays, and the second publisher is told."""
    built = release(tmp_path)
    prefix = release_key("shop", built.id)
    for part, data in (("release.tgz", b"other"), ("release.tgz", built.path.read_bytes()[:-1] + b"?"), ("manifest.json", b"{}"), ("sha256", b"?")):
        store.create(f"{prefix}{part}", data)
        with pytest.raises((OccupiedError, ChecksumError)) as refused:
            do_push(built.path)
        assert refused.value.problems
        assert store.get(f"{prefix}{part}", 10 * MIB) == data
        store.remove(f"{prefix}{part}")
        store.remove(f"{prefix}manifest.json")
        store.remove(f"{prefix}release.tgz")
    store.create(f"{prefix}sha256", b"0" * 64 + b"  release.tgz\n")
    with pytest.raises(OccupiedError, match="under the same id"):
        do_push(built.path)


def test_what_a_dead_publisher_left_is_finished(store: Store, tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """release.tgz is there, and no sum: the release is not; whoever pushes the same bytes makes it one."""
    built = release(tmp_path)
    store.create(release_key("shop", built.id, "release.tgz"), built.path.read_bytes())
    with pytest.raises(AbsentError):
        do_pull()
    with pytest.raises(AbsentError):
        do_pull(f"shop@{built.id}")
    assert do_push(built.path).new
    assert do_pull().sha256 == built.sha256


def test_a_damaged_artifact_is_not_pushed(store: Store, tmp_path: Path, do_push: Push) -> None:
    """A bit that flipped in any part of the file here never becomes a release there."""
    built = release(tmp_path, wheels=Wheels({"w": ("w", 9 * MIB)}))
    data = built.path.read_bytes()
    for position in (3, 200, len(data) // 2, len(data) - 20, len(data) - 3):
        built.path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(ArtifactError):
            do_push(built.path)
        assert not catalog.shelf(store, "shop").releases
        assert not [each for each in store.listing("") if each.key.endswith("release.tgz")]


def test_references(tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """A release is found by nothing (the newest), its id, the end of it, or a channel; what is not there is told."""
    old = release(tmp_path, source="old", time=1763892672)
    new = release(tmp_path, source="new", time=1763992672)
    do_push(new.path)
    do_push(old.path, channel="staging")
    assert do_pull("shop").id == new.id
    assert do_pull(f"shop@{old.id}").id == old.id
    assert do_pull(f"shop@{old.id[-12:]}").id == old.id
    assert do_pull("shop@staging").id == old.id
    for wrong in ("shop@production", "shop@20200101000000-000000000000", "shop@000000000000", "shopping"):
        with pytest.raises(AbsentError):
            do_pull(wrong)
    for wrong in ("Shop", "shop@", "shop@a/b", "../shop", "shop@..", "shop@-x"):
        with pytest.raises(UsageError):
            do_pull(wrong)


def test_only_what_is_not_here_is_read(store: Store, tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """An artifact in the output directory, one that is named, or the build's cache: each spares what it holds."""
    first = release(tmp_path / "one", source="one", wheels=LARGE)
    second = release(tmp_path / "two", source="two", wheels=LARGE, time=1763992672)
    do_push(first.path)
    do_push(second.path)
    assert do_pull(f"shop@{first.id}").read > 60 * MIB
    got = do_pull(f"shop@{second.id}")
    assert got.read < 0.03 * second.bytes
    assert got.sha256 == second.sha256
    named = do_pull(f"shop@{second.id}", out="elsewhere", have=(first.path,))
    assert named.read < 0.03 * second.bytes
    assert named.sha256 == second.sha256
    again = do_pull(f"shop@{second.id}")
    assert again.read == again.local == 0


def test_a_file_here_that_is_not_what_it_says_is_not_believed(tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """A flipped bit in a local artifact costs reading, not correctness."""
    built = release(tmp_path / "one", wheels=Wheels({"a": ("a", 9 * MIB), "b": ("b", 2 * MIB)}))
    do_push(built.path)
    data = bytearray(built.path.read_bytes())
    data[len(data) // 2] ^= 1
    built.path.write_bytes(data)
    got = do_pull(have=(built.path,))
    assert got.sha256 == built.sha256
    assert got.read > 9 * MIB


def test_a_file_that_is_no_artifact_is_told(tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """--have names a file: one that is no artifact is an error; in the output directory it is none of ours."""
    do_push(release(tmp_path).path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/shop-junk.tgz").write_bytes(b"junk")
    assert do_pull().id
    with pytest.raises(ArtifactError):
        do_pull(out="other", have=(tmp_path / "out/shop-junk.tgz",))


def test_an_interrupted_pull_goes_on(store: Store, tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """What had arrived is not read again; a journal that lies, or a file that changed, is found by the sum."""
    built = release(tmp_path / "one", wheels=LARGE)
    do_push(built.path)
    key = release_key("shop", built.id, "release.tgz")

    class Failing:
        """The store, until so many bytes have been read."""

        def __init__(self, left: int) -> None:
            self.left = left

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def read(self, name: str, offset: int, length: int) -> object:
            for piece in store.read(name, offset, length):
                self.left -= len(piece)
                if self.left < 0 and name == key:
                    raise ConnectionError
                yield piece

    def interrupted() -> None:
        with pytest.raises(ConnectionError):
            pull(Failing(40 * MIB), reference("shop"), tmp_path / "out", have=(), cache=tmp_path, moved=nothing)  # type: ignore[arg-type]
        assert not list((tmp_path / "out").glob("*.tgz"))

    interrupted()
    got = do_pull()
    assert got.kept >= 8 * MIB
    assert got.read + got.kept < built.bytes
    assert got.sha256 == built.sha256
    shutil.rmtree(tmp_path / "out")
    interrupted()
    (partial,) = (tmp_path / "out").glob(".*.partial")
    data = partial.read_bytes()
    partial.write_bytes(bytes(len(data)))
    got = do_pull()
    assert got.sha256 == built.sha256
    assert got.read > 60 * MIB
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_corrupted_object_is_found(store: Store, tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """Bytes that somebody changed in the store are not installed: pull says so and leaves nothing; verify names them."""
    built = release(tmp_path, wheels=Wheels({"w": ("w", 9 * MIB)}))
    do_push(built.path)
    key = release_key("shop", built.id, "release.tgz")
    data = bytearray(built.path.read_bytes())
    data[len(data) // 2] ^= 1
    store.remove(key)
    store.create(key, bytes(data))
    with pytest.raises(ChecksumError, match="not those that were pushed"):
        do_pull()
    assert not list((tmp_path / "out").iterdir())
    assert "sha256" in str(catalog.verify(store, (), nothing)[1])
    store.remove(key)
    store.create(key, bytes(data)[:-100])
    with pytest.raises(ChecksumError, match="cut off"):
        do_pull()
    assert "too early" in str(catalog.verify(store, (), nothing)[1])
    store.remove(key)
    with pytest.raises(AbsentError):
        do_pull()
    assert "not there" in str(catalog.verify(store, (), nothing)[1])


@pytest.mark.parametrize("part", ["manifest.json", "sha256", "pushed.json", "signatures", "channel"])
def test_a_spoilt_small_object_is_found(store: Store, tmp_path: Path, do_push: Push, part: str) -> None:
    """Whatever it is, verify names it and goes on with the rest."""
    built = release(tmp_path)
    do_push(sign(built.path, b"one"), channel="staging")
    do_push(release(tmp_path, source="two", time=1763992672).path)
    assert not catalog.verify(store, (), nothing)[1]
    key = release_key("shop", built.id, part)
    if part == "signatures":
        key = f"{key}/{hashlib.sha256(b'one').hexdigest()}"
    if part == "channel":
        found = store.pointer(channel_key("shop", "staging"))
        assert found
        assert store.swap(channel_key("shop", "staging"), b"{}", found.tag)
    else:
        store.remove(key)
        store.create(key, b"{}")
    shelves, problems = catalog.verify(store, (), nothing)
    assert len(shelves[0].releases) == (1 if part == "pushed.json" else 2)
    assert len(problems) == (2 if part == "pushed.json" else 1)  # the channel points to what can't be read
    assert part in str(problems) or "staging" in str(problems)


def test_promotion_moves_a_pointer(store: Store, tmp_path: Path, do_push: Push, do_pull: Pull) -> None:
    """The bytes that were tested are those that are promoted; history says who, when, from where and why."""
    built = release(tmp_path)
    do_push(built.path, channel="staging", why="nightly")
    channel, changed = channels.promote(store, "shop", "staging", "production", why="tested", who="ann", now=NOW)
    assert changed
    assert do_pull("shop@production").sha256 == do_pull("shop@staging", out="b").sha256 == built.sha256
    (move,) = channels.history(store, "shop", "production").moves
    assert (move.id, move.who, move.when, move.before, move.how, move.why) == (built.id, "ann", "2026-11-24T12:00:00Z", "", "promote", "tested")
    assert not channels.promote(store, "shop", "staging", "production", why="", who="bob", now=NOW)[1]
    assert len(channels.history(store, "shop", "production").moves) == 1
    assert channel.id == built.id


def test_what_a_release_has_lost_comes_back(store: Store, tmp_path: Path, do_push: Push) -> None:
    """The same artifact pushed again puts back what somebody removed, and leaves the rest."""
    built = release(tmp_path)
    do_push(built.path)
    for part, sent in (("manifest.json", 0), ("pushed.json", 0), ("sha256", 0), ("release.tgz", built.bytes)):
        store.remove(release_key("shop", built.id, part))
        assert part == "sha256" or catalog.verify(store, (), nothing)[1]
        assert do_push(built.path).sent == sent
        assert [each.id for each in catalog.shelf(store, "shop").releases] == [built.id]
        assert not catalog.verify(store, (), nothing)[1]


def test_a_promotion_that_is_taken_back_takes_back_nothing_else(store: Store, tmp_path: Path, do_push: Push) -> None:
    """A prune and another promotion come in between: theirs stays, and all three moves are in the history."""
    a, b, c = (release(tmp_path, source=str(number), time=1763892672 + number).path for number in range(3))
    ids = [do_push(path).record.id for path in (a, b, c)]
    channels.promote(store, "shop", ids[0], "live", why="", who="ann", now=NOW)

    class Busy:
        """The store, in which others are at work: right behind a move."""

        def __getattr__(self, name: str) -> object:
            return getattr(store, name)

        def swap(self, key: str, data: bytes, tag: str | None) -> bool:
            won = store.swap(key, data, tag)
            store.create(release_key("shop", ids[1], "going"), b"")
            channels.promote(store, "shop", ids[2], "live", why="", who="bob", now=NOW)
            return won

    with pytest.raises(MovedError, match="being removed"):
        channels.promote(Busy(), "shop", ids[1], "live", why="", who="ann", now=NOW)  # type: ignore[arg-type]
    assert [move.id for move in channels.history(store, "shop", "live").moves] == ids


def test_only_a_whole_release_is_promoted(store: Store, tmp_path: Path) -> None:
    """Not one that is not there, of which a part is there, or which is being removed."""
    built = release(tmp_path)
    with pytest.raises(AbsentError):
        channels.promote(store, "shop", built.id, "production", why="", who="ann", now=NOW)
    store.create(release_key("shop", built.id, "release.tgz"), b"")
    with pytest.raises(AbsentError):
        channels.promote(store, "shop", built.id, "production", why="", who="ann", now=NOW)
    store.create(release_key("shop", built.id, "sha256"), b"0" * 64 + b"  release.tgz\n")
    store.create(release_key("shop", built.id, "going"), b"")
    with pytest.raises(MovedError, match="being removed"):
        channels.promote(store, "shop", built.id, "production", why="", who="ann", now=NOW)
    with pytest.raises(AbsentError):
        channels.history(store, "shop", "production")


def test_rollback_goes_back_step_by_step(store: Store, tmp_path: Path, do_push: Push) -> None:
    """To what the channel pointed to before; again: further; a release after a rollback does not lead back to what was left."""
    ids = []
    for number in range(3):
        built = release(tmp_path, source=str(number), time=1763892672 + number)
        do_push(built.path, channel="live")
        ids.append(built.id)

    def back() -> str:
        return channels.rollback(store, "shop", "live", why="broken", who="ann", now=NOW).id

    assert back() == ids[1]
    assert back() == ids[0]
    with pytest.raises(AbsentError, match="nothing to roll back to"):
        back()
    channels.promote(store, "shop", ids[2], "live", why="", who="ann", now=NOW)
    assert back() == ids[0]
    assert [move.how for move in channels.history(store, "shop", "live").moves] == ["push"] * 3 + ["rollback"] * 2 + ["promote", "rollback"]


def test_prune_keeps_what_is_needed(store: Store, tmp_path: Path, do_push: Push) -> None:
    """The newest, what a channel points to or pointed to within the window, what is young; nothing goes unless it is asked for."""
    built = [release(tmp_path, source=str(number), time=1763892672 + number) for number in range(5)]
    for each in built:
        do_push(each.path)
    channels.promote(store, "shop", built[0].id, "live", why="", who="ann", now=NOW)
    channels.promote(store, "shop", built[1].id, "live", why="", who="ann", now=NOW)
    later = datetime.now(UTC) + timedelta(days=40)
    since = later - timedelta(days=30)

    def ids() -> list[str]:
        return [each.id for each in catalog.shelf(store, "shop").releases]

    assert not prune(store, "shop", newest=1, since=NOW - timedelta(days=1), now=later, who="ann", act=True).going  # all are young
    plan = prune(store, "shop", newest=1, since=since, now=later, who="ann", act=False)
    assert [each.id for each in plan.going] == [built[0].id, built[2].id, built[3].id]
    assert len(ids()) == 5
    channels.promote(store, "shop", built[2].id, "live", why="", who="ann", now=since + timedelta(days=1))
    done = prune(store, "shop", newest=1, since=since, now=later, who="ann", act=True)
    assert [each.id for each in done.going] == [built[0].id, built[3].id]
    assert ids() == [built[1].id, built[2].id, built[4].id]  # 1 was pointed to until yesterday, as it were
    assert not [each for each in store.listing("") if built[0].id in each.key]
    assert not catalog.verify(store, (), nothing)[1]
    assert do_push(built[0].path).new  # what went can come again


def test_prune_takes_what_dead_publishers_left(store: Store, tmp_path: Path, do_push: Push) -> None:
    """Parts of a release, once they are a day old; what a killed prune began, at once."""
    built = release(tmp_path)
    store.create(release_key("shop", built.id, "release.tgz"), b"half")
    soon, later = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) + timedelta(days=2)
    assert not prune(store, "shop", newest=1, since=soon, now=soon, who="ann", act=True).leftovers
    assert prune(store, "shop", newest=1, since=soon, now=later, who="ann", act=True).leftovers == (built.id,)
    assert not list(store.listing("shop/"))
    do_push(built.path)
    store.create(release_key("shop", built.id, "going"), b"")
    with pytest.raises(MovedError):
        do_push(built.path)
    assert prune(store, "shop", newest=1, since=soon, now=soon, who="ann", act=True).leftovers == (built.id,)
    assert do_push(built.path).new


def test_a_listing_says_all(store: Store, tmp_path: Path, do_push: Push) -> None:
    """Whole releases, oldest first, with their channels; a part of one is a part."""
    one, two = release(tmp_path, source="one"), release(tmp_path, source="two", time=1763992672, version="2.0")
    do_push(one.path, channel="live")
    do_push(two.path)
    store.create("shop/releases/20200101000000-000000000000/release.tgz", b"")
    shelf = catalog.shelf(store, "shop")
    assert [(each.id, each.record.version, each.record.who) for each in shelf.releases] == [(one.id, "1.0", "ci"), (two.id, "2.0", "ci")]
    assert shelf.pointing(one.id) == ("live",)
    assert [each for each, _ in shelf.parts] == ["20200101000000-000000000000"]
    assert catalog.names(store) == ("shop",)
    assert json.loads(store.get(release_key("shop", one.id, "pushed.json"), 10000) or b"")["sha256"] == one.sha256
