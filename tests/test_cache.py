"""cache: its bound, what goes first, and that no running build loses what it uses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder import cache
from builder.cache import EVERYTHING, LEFTOVERS, Entry, choose, in_use, prune, read, trim, used
from builder.cli import main
from builder.errors import UsageError

OLD = 1_000_000_000  # seconds since 1970
ENTRIES = st.lists(st.builds(Entry, st.sampled_from(["layers", "git", LEFTOVERS]), st.just(Path("x")), st.integers(0, 9), st.integers(0, 9)))


def add(root: Path, name: str, size: int = 100, age: int = 0) -> Path:
    """An entry as a stage publishes it, last used ``age`` seconds after OLD: a file, or a directory of ten if the name ends in a slash."""
    path = root / name
    for part in [path / f"{i}" for i in range(10)] if name.endswith("/") else [path]:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(bytes(size // 10 if name.endswith("/") else size))
    os.utime(path, (OLD + age, OLD + age))
    return path


def names(entries: tuple[Entry, ...]) -> list[str]:
    return sorted(entry.path.name for entry in entries)


@contextmanager
def child(program: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Another process that runs ``program``; the block begins when it has printed a line. Killed at the end if it has not ended."""
    with subprocess.Popen([sys.executable, "-c", program, *map(str, words)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


BUILD = (
    "import sys, time, pathlib; from builder.cache import in_use\nwith in_use(pathlib.Path(sys.argv[1])): print('runs', flush=True); time.sleep(60)"
)


# What goes


@given(ENTRIES, st.integers(0, 40), st.none() | st.integers(0, 10))
def test_what_is_chosen(entries: list[Entry], bound: int, held_since: int | None) -> None:
    """Nothing that is held; all other leftovers; of the rest the least recently used, no more than needed, and enough unless only held ones stay."""
    victims = choose(entries, bound, held_since=held_since)
    free = [entry for entry in entries if held_since is None or entry.used < held_since]
    stays = list(free)
    for victim in victims:
        stays.remove(victim)  # fails for one that is held
    assert all(entry.kind != LEFTOVERS for entry in stays)
    chosen = [entry for entry in victims if entry.kind != LEFTOVERS]
    left = sum(entry.bytes for entry in entries) - sum(entry.bytes for entry in victims)
    assert left <= bound or not stays
    if chosen:
        assert all(entry.used >= chosen[-1].used for entry in stays)
        assert left + chosen[-1].bytes > bound


def test_everything_goes_however_small() -> None:
    """The bound of --all leaves not even entries without bytes."""
    entries = (Entry("layers", Path("a"), 0, 1), Entry("layers", Path("b"), 0, 2))
    assert choose(entries, 0) == ()
    assert choose(entries, EVERYTHING) == entries


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("20G", 20 * 10**9), ("1.5 GB", 15 * 10**8), ("512MiB", 512 << 20), ("2k", 2000), ("7b", 7), ("0", 0)]
)
def test_sizes(text: str, size: int) -> None:
    """Decimal as everywhere here, binary where it says so."""
    assert cache.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-1", "1e9", "G", "10 PB", "1G2", "nan"])
def test_what_is_no_size(text: str) -> None:
    """Anything else is refused, and the bound in the environment by its name."""
    with pytest.raises(ValueError, match="is no size"):
        cache.parse_size(text)
    if text:
        with pytest.raises(UsageError) as caught:
            cache.cache_bound({"BUILD_RELEASE_CACHE_MAX": text})
        assert caught.value.problems[0].where == "BUILD_RELEASE_CACHE_MAX"


# On disk


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    """Files and directories of all kinds, by the time of their last use, down to the bound; using one again saves it."""
    add(tmp_path, "layers/a", age=1)
    add(tmp_path, "distributions/files/b/", age=2)
    add(tmp_path, "git/c.git/", age=3)
    add(tmp_path, "installers/d", age=4)
    assert used(tmp_path, tmp_path / "layers/a")
    done = prune(tmp_path, 250)
    assert names(done.removed) == ["b", "c.git"]
    assert names(done.kept) == ["a", "d"] == sorted(path.name for path in tmp_path.glob("[li]*/*"))
    assert list((tmp_path / "git").iterdir()) == list((tmp_path / "distributions/files").iterdir()) == []
    assert not used(tmp_path, tmp_path / "git/c.git")


def test_what_killed_builds_left_goes_at_any_size(tmp_path: Path) -> None:
    """Unfinished layers, clones and scratch directories, and what a killed prune had only renamed."""
    for name in ("layers/.layer-x", "git/a.x.new/", "distributions/scratch/x/", "distributions/files/.removed-x/", ".room.json.7"):
        add(tmp_path, name)
    add(tmp_path, "layers/a")
    done = prune(tmp_path, 10**9)
    assert len(done.removed) == 5
    assert names(done.kept) == ["a"]


def test_a_running_build_keeps_what_it_uses(tmp_path: Path) -> None:
    """Whatever was used or made since it began stays, of another process too; the rest goes."""
    unused, again = add(tmp_path, "layers/unused"), add(tmp_path, "layers/again")
    with child(BUILD, tmp_path):
        assert used(tmp_path, again)
        new = tmp_path / "layers/.layer-new"
        new.write_bytes(b"half of a layer")
        done = prune(tmp_path, EVERYTHING)
        assert names(done.removed) == [unused.name]
        assert names(done.held) == [".layer-new", "again"]
    assert len(prune(tmp_path, EVERYTHING).removed) == 2


def test_a_killed_build_holds_nothing(tmp_path: Path) -> None:
    """The kernel lets go of what it held, and its mark is removed."""
    layer = add(tmp_path, "layers/a")
    with child(BUILD, tmp_path) as build:
        used(tmp_path, layer)
        build.send_signal(signal.SIGKILL)
        build.wait()
        assert len(list((tmp_path / "running").iterdir())) == 1
        assert names(prune(tmp_path, EVERYTHING).removed) == ["a"]
    assert list((tmp_path / "running").iterdir()) == []


def test_a_build_that_ended_leaves_no_mark(tmp_path: Path) -> None:
    """While it runs it has one."""
    with in_use(tmp_path):
        assert len(list((tmp_path / "running").iterdir())) == 1
    assert list((tmp_path / "running").iterdir()) == []


def test_builds_and_prunes_at_once(tmp_path: Path) -> None:
    """While two processes remove everything again and again, whatever a build has found in the cache or put there is there until it ends."""
    pruner = """if True:
        import pathlib, sys
        from builder.cache import EVERYTHING, prune
        print("runs", flush=True)
        removed = 0
        while not pathlib.Path(sys.argv[2]).exists():
            removed += len(prune(pathlib.Path(sys.argv[1]), EVERYTHING).removed)
        print(removed)
    """
    root, end = tmp_path / "cache", tmp_path / "end"
    (root / "layers").mkdir(parents=True)
    places = [root / f"layers/{i}" for i in range(20)]
    with child(pruner, root, end) as one, child(pruner, root, end) as two:
        found = made = 0
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            with in_use(root):
                for place in places:
                    if used(root, place):
                        found += 1
                    else:
                        made += 1
                        scratch = place.with_name(f".{place.name}")
                        scratch.write_bytes(b"x")
                        scratch.replace(place)
                assert [place.read_bytes() for place in places] == [b"x"] * 20
        end.touch()
        removed = sum(int(process.communicate()[0]) for process in (one, two))
    assert found
    assert removed
    assert made


def test_a_killed_prune_leaves_whole_entries(tmp_path: Path) -> None:
    """At whatever moment: a distribution is there with all its files, or not at all; the next prune removes the rest."""
    program = "import sys, pathlib; from builder import cache; print('runs', flush=True); cache.prune(pathlib.Path(sys.argv[1]), -1)"
    caught = 0
    for attempt in range(4):
        root = tmp_path / f"{attempt}"
        files = root / "distributions/files"
        for i in range(60):
            add(root, f"distributions/files/{i}/")
        with child(program, root) as process:
            while len(list(files.glob("[0-9]*"))) > 59 - attempt:
                pass
            process.kill()
            process.wait()
        there = list(files.glob("[0-9]*"))
        assert {len(list(path.iterdir())) for path in there} <= {10}
        caught += len(there) > 0
        prune(root, EVERYTHING)
        assert list(files.iterdir()) == []
    assert caught


# After a build


def test_a_build_measures_the_cache_once_a_day(tmp_path: Path) -> None:
    """In between only when what was added since may have made it too large, or the bound is another."""
    add(tmp_path, "layers/a", 100, age=1)
    assert trim(tmp_path, 250, 100).removed == ()
    add(tmp_path, "layers/b", 200, age=2)
    assert trim(tmp_path, 250, 50).removed == ()  # said to be 50 only: nobody looks
    assert trim(tmp_path, 250, 50).removed == ()
    assert names(trim(tmp_path, 250, 51).removed) == ["a"]
    assert names(trim(tmp_path, 150, 0).removed) == ["b"]
    add(tmp_path, "layers/c", 200)
    stamp = tmp_path / "room.json"
    assert trim(tmp_path, 150, 0).removed == ()
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"measured": time.time() - 25 * 3600}))
    assert names(trim(tmp_path, 150, 0).removed) == ["c"]
    for damage in (b"", b"[]", b'{"room": "x"}'):
        stamp.write_bytes(damage)
        add(tmp_path, "layers/d", 200)
        assert names(trim(tmp_path, 150, 0).removed) == ["d"]


# The commands


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of the commands: a layer of 100 bytes, and a mirror of 1000 used an hour later."""
    root = tmp_path / "cache"
    monkeypatch.setenv("BUILD_RELEASE_CACHE", str(root))
    add(root, "layers/a", 100)
    add(root, "git/b.git/", 1000, age=3600)
    return root


def test_info(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind with entries, bytes, first and last use and place; the bound; and nothing changes."""
    monkeypatch.setenv("BUILD_RELEASE_CACHE_MAX", "20G")
    before = read(root)
    assert main(["cache", "info", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {key: said[key] for key in ("cache", "bound", "bytes")} == {"cache": str(root), "bound": 20 * 10**9, "bytes": 1100}
    assert said["kinds"] == [
        {"kind": "layers", "entries": 1, "bytes": 100, "oldest": "2001-09-09T01:46:40Z", "last": "2001-09-09T01:46:40Z", "where": [f"{root}/layers"]},
        {"kind": "git", "entries": 1, "bytes": 1000, "oldest": "2001-09-09T02:46:40Z", "last": "2001-09-09T02:46:40Z", "where": [f"{root}/git"]},
    ]
    assert main(["cache", "info"]) == 0
    text = capsys.readouterr().out
    assert "2 entries, 1.1 kB; a build trims it to 20.0 GB" in text
    assert "  git           1  1.0 kB  2001-09-09 02:46  2001-09-09 02:46\n" in text
    assert read(root) == before


def test_prune(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To a size, then all; it says what went and how much that was."""
    assert main(["cache", "prune"]) == 0
    assert "removed      0 entries, 0 B" in capsys.readouterr().out
    assert main(["cache", "prune", "--max-bytes", "1k", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["removed"] == [{"kind": "layers", "path": f"{root}/layers/a", "bytes": 100, "used": "2001-09-09T01:46:40Z"}]
    assert {key: said[key] for key in ("bound", "removed_bytes", "kept_bytes", "held_bytes")} == {
        **{"bound": 1000, "removed_bytes": 100, "kept_bytes": 1000, "held_bytes": 0}
    }
    assert main(["cache", "prune", "--all"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  removed      1 entry, 1.0 kB",
        "               git: 1 entry, 1.0 kB",
        "  kept         0 entries, 0 B",
    ]


def test_no_cache_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands say that there is nothing, and make nothing."""
    monkeypatch.setenv("BUILD_RELEASE_CACHE", str(tmp_path / "none"))
    for action in ("info", "prune"):
        assert main(["cache", action]) == 0
        assert "0 entries, 0 B" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["info", "--all"], "cache info removes nothing: --all and --max-bytes go with prune"),
        (["prune", "--all", "--max-bytes", "1"], "argument --max-bytes: not allowed with argument --all"),
        (["prune", "--max-bytes", "much"], "argument --max-bytes: 'much' is no size like 20G, 500M or 512MiB"),
        (["shrink"], "argument action: invalid choice: 'shrink' (choose from"),
    ],
)
def test_a_wrong_command_line(words: list[str], said: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is removed."""
    assert main(["cache", *words]) == 2
    assert capsys.readouterr().err.startswith(said)
    assert len(read(root)) == 2
