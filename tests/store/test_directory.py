"""What only a directory can do wrong: folders that can't be read, file systems that know less than a local one, versions that somebody took away."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from builder.errors import StoreError
from builder.store import catalog, channels, open_store
from builder.store.prune import prune
from builder.store.push import push
from tests.conftest import missing
from tests.store.releases import release

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def nothing(*_: object) -> None:
    pass


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    path = tmp_path / "shelf"
    path.mkdir()
    return path


def test_channels_that_cannot_be_read_are_not_channels_that_are_not_there(shelf: Path, tmp_path: Path) -> None:
    """A prune that can't see them removes nothing: what it takes may be what a channel points to."""
    store = open_store(str(shelf))
    built = [release(tmp_path, source=str(number), time=1763892672 + number) for number in range(2)]
    for each in built:
        push(store, each.path, channel="", why="", who="ci", now=NOW, moved=nothing)
    channels.promote(store, "shop", built[0].id, "live", why="", who="ann", now=NOW)
    (shelf / "shop/channels").rename(shelf / "shop/elsewhere")
    (shelf / "shop/channels").symlink_to("channels")  # whoever is root reads what nobody may; this loop nobody reads
    later = datetime.now(UTC) + timedelta(days=60)
    with pytest.raises(StoreError):
        prune(store, "shop", newest=1, since=later, now=later, who="ann", act=True)
    (shelf / "shop/channels").unlink()
    (shelf / "shop/elsewhere").rename(shelf / "shop/channels")
    assert [each.id for each in catalog.shelf(store, "shop").releases] == [each.id for each in built]
    assert not catalog.verify(store, (), nothing)[1]


def test_a_file_system_that_syncs_no_directories_will_do(shelf: Path, tmp_path: Path) -> None:
    """SMB and some of FUSE say EINVAL to that; the files themselves are synced all the same."""
    if not shutil.which("strace"):
        missing("strace not found")
    built = release(tmp_path)
    folders = [shelf, shelf / "shop", shelf / "shop/releases", shelf / "shop/releases" / built.id]
    traced = ["strace", "-f", "-qq", "-o", tmp_path / "trace", *[word for each in folders for word in ("-P", each)], "-e", "trace=fsync"]
    words = [*traced, "-e", "inject=fsync:error=EINVAL", sys.executable, "-m", "builder", "push", built.path, shelf]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "trace").read_text().count("INJECTED") > 4
    assert [each.id for each in catalog.shelf(open_store(str(shelf)), "shop").releases] == [built.id]


def test_versions_of_a_pointer_that_were_taken_away_are_not_missed(shelf: Path) -> None:
    """The last one counts: whoever restored only that has a channel that moves."""
    store, tag = open_store(str(shelf)), None
    for number in range(1, 12):
        assert store.swap("p", b"%d" % number, tag)
        tag = str(number)
        if number > 1:
            os.unlink(shelf / "p" / str(number - 1))
    found = store.pointer("p")
    assert found
    assert found.data == b"11"
