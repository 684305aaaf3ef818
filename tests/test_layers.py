"""Layers: the same bytes every time, cached by what went in, healed when damaged."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from builder.artifact import write
from builder.artifact.contents import File
from builder.artifact.layers import SEGMENT_BYTES, PackedLayer, Tree, compress, pack
from builder.artifact.verify import verify
from builder.errors import ArtifactError, DamagedLayerError
from tests.releases import FACTS, PROGRAM, lay

FILES = {"a.py": "a = 1\n", "static/x.css": "body {}\n", "run": (0o755, b"#!/bin/sh\n"), "empty": None, "link": Path("a.py")}


class Counted:
    """Lays FILES out, and counts how often it was asked to."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, root: Path) -> None:
        self.count += 1
        lay(FILES, "src", root)


def pack_one(tree: Tree, tmp_path: Path) -> PackedLayer:
    (tmp_path / "work").mkdir(exist_ok=True)
    return pack([tree], tmp_path / "cache", tmp_path / "work", jobs=2)[0]


def test_a_layer_that_is_cached_is_not_laid_out_again(tmp_path: Path) -> None:
    """The second time costs nothing, and says that it came from the cache."""
    make = Counted()
    first = pack_one(Tree("src", "src", "k1", make), tmp_path)
    again = pack_one(Tree("src", "src", "k1", make), tmp_path)
    assert (first.cached, again.cached, make.count) == (False, True, 1)
    assert again.table_sha256 == first.table_sha256
    assert not list((tmp_path / "work").iterdir())


def test_files_in_memory_are_packed_as_if_they_lay_on_a_disk(tmp_path: Path) -> None:
    """The directories that they need come with them; a file that is larger than a segment is cut alike."""
    files = {"a.py": b"a = 1\n", "deep/er/b.py": b"", "deep/large": os.urandom(SEGMENT_BYTES + 5), "run": b"#!/bin/sh\n"}
    laid = pack_one(Tree("src", "src", "", partial(lay, {**files, "run": (0o755, files["run"])}, "src")), tmp_path)
    made = [File.of(f"src/{path}", data, path == "run") for path, data in files.items()]
    packed = pack_one(Tree("src", "src", "", lambda root: made), tmp_path)
    assert (packed.table_sha256, packed.check, packed.crc32) == (laid.table_sha256, laid.check, laid.crc32)


def test_files_that_no_layer_can_hold_are_refused(tmp_path: Path) -> None:
    """One below another file, one with a bad name, one that is not as long as it says."""

    def make(root: Path) -> list[File]:
        lay({"a": "", "a.py": ""}, "src", root)
        return [File.of("src/a/b", b""), File.of("src/new\nline", b"")]

    with pytest.raises(ArtifactError) as caught:
        pack_one(Tree("src", "src", "", make), tmp_path)
    assert len(caught.value.problems) == 2
    for said in (1, 3):
        wrong = File("src/a", False, said, lambda: (b"ab",))
        with pytest.raises(ArtifactError, match="changed while it was packed"):
            pack_one(Tree("src", "src", "", lambda root, wrong=wrong: [wrong]), tmp_path)  # type: ignore[misc]


def test_another_key_is_another_layer(tmp_path: Path) -> None:
    """What went in decides, not the name."""
    make = Counted()
    for key in ("k1", "k2", "", ""):
        pack_one(Tree("src", "src", key, make), tmp_path)
    assert make.count == 4


def test_bytes_depend_on_neither_directory_nor_order_nor_umask_nor_time(tmp_path: Path) -> None:
    """Two layers from the same contents, made differently, have the same digest."""
    one = pack_one(Tree("src", "src", "", partial(lay, FILES, "src")), tmp_path)
    before = os.umask(0o077)
    try:
        reverse = dict(reversed(FILES.items()))
        (tmp_path / "elsewhere/much/deeper").mkdir(parents=True)
        two = pack_one(Tree("src", "src", "", partial(lay, reverse, "src")), tmp_path / "elsewhere/much/deeper")
    finally:
        os.umask(before)
    assert (one.table_sha256, one.check, one.crc32) == (two.table_sha256, two.check, two.crc32)


def test_a_damaged_layer_is_made_again(tmp_path: Path) -> None:
    """One flipped bit in the cache never reaches an artifact: the layer is made anew, and the artifact is the same."""
    tree = Tree("src", "src", "k", Counted())
    layer = pack_one(tree, tmp_path)
    good = write(FACTS, [layer], PROGRAM, tmp_path / "good").sha256
    for position in (3, layer.bytes - 1, layer.bytes + 20, -15):
        data = bytearray(layer.path.read_bytes())
        data[position] ^= 2
        layer.path.write_bytes(data)
        again = pack_one(tree, tmp_path)
        if again.cached:
            with pytest.raises(DamagedLayerError):
                write(FACTS, [again], PROGRAM, tmp_path / "again")
            again = pack_one(tree, tmp_path)
        assert not again.cached
        assert write(FACTS, [again], PROGRAM, tmp_path / "again").sha256 == good


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:3], lambda data: data[:3] + bytes(1) + data[4:], lambda data: None])
def test_a_layer_that_is_damaged_while_it_is_used_is_noticed(tmp_path: Path, damage: Callable[[bytes], bytes | None]) -> None:
    """Cut off, changed or gone after it was found: the writer says so in words, leaves nothing, and the next one is right."""
    tree = Tree("src", "src", "k", Counted())
    layer = pack_one(tree, tmp_path)
    data = damage(layer.path.read_bytes())
    layer.path.unlink() if data is None else layer.path.write_bytes(data)
    with pytest.raises(DamagedLayerError) as caught:
        write(FACTS, [layer], PROGRAM, tmp_path / "bad")
    assert (caught.value.layer, caught.value.cached) == ("src", False)
    assert "damaged" in caught.value.message
    assert [path.name for path in (tmp_path / "bad").iterdir()] == [".gitignore"]
    assert not pack_one(tree, tmp_path).cached


def test_a_layer_that_is_cut_off_while_it_is_copied_is_noticed(tmp_path: Path) -> None:
    """When the head is made already, and most of it is written: words, and no signal; nothing stays."""
    made = [File.of(f"src/{number}", os.urandom(1 << 20)) for number in range(8)]
    layer = pack_one(Tree("src", "src", "k", lambda root: made), tmp_path)

    def cut(name: str, manifest: bytes) -> tuple[()]:
        os.truncate(layer.path, layer.segments_bytes + layer.table_bytes // 2)
        return ()

    with pytest.raises(DamagedLayerError) as caught:
        write(FACTS, [layer], PROGRAM, tmp_path / "bad", cut)
    assert caught.value.problems[0].what == "is shorter than what was made"
    assert [path.name for path in (tmp_path / "bad").iterdir()] == [".gitignore"]


def test_many_layers_need_few_descriptors(tmp_path: Path) -> None:
    """A hundred, where a process may have 64 open: each is closed before the next one is opened."""
    (tmp_path / "work").mkdir()
    trees = [Tree(f"p{number}-1-py3-none-any", "wheel", str(number), partial(lay, {"a.py": f"{number}"}, "venv")) for number in range(100)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        for _ in range(2):
            built = write(FACTS, pack(trees, tmp_path / "cache", tmp_path / "work", jobs=2), PROGRAM, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(built.layers) == 100
    assert all(layer.cached for layer in built.layers)


@pytest.mark.parametrize("damage", [b"", b"short", b"\xff" * 400, b"{}\n" + (3).to_bytes(8, "little")])
def test_an_entry_that_is_no_layer_is_made_again(tmp_path: Path, damage: bytes) -> None:
    """A truncated or foreign file in the cache is not an error."""
    tree = Tree("src", "src", "k", Counted())
    layer = pack_one(tree, tmp_path)
    layer.path.write_bytes(damage)
    assert not pack_one(tree, tmp_path).cached


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    """Neither in the cache nor in the work directory."""

    def make(root: Path) -> None:
        lay(FILES, "src", root)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        pack_one(Tree("src", "src", "k", make), tmp_path)
    assert not list((tmp_path / "work").iterdir())
    assert not list((tmp_path / "cache/layers").iterdir())


def test_two_builds_may_share_a_cache(tmp_path: Path) -> None:
    """Made at the same time by several threads: each gets a whole layer, the same one."""
    found: list[str] = []
    tree = Tree("src", "src", "k", Counted())
    threads = [threading.Thread(target=lambda: found.append(pack_one(tree, tmp_path).table_sha256)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_what_no_layer_can_hold_is_named_all_at_once(tmp_path: Path) -> None:
    """Names with control characters, links that leave, fifos: one error lists them."""

    def make(root: Path) -> None:
        lay({"ok": "", "bad\n": "", "out": Path("../../etc"), "root": Path("/etc")}, "src", root)
        os.mkfifo(root / "src/fifo")
        (root / os.fsdecode(b"src/\xff")).write_text("")

    with pytest.raises(ArtifactError) as caught:
        pack_one(Tree("src", "src", "", make), tmp_path)
    assert len(caught.value.problems) == 5


def test_an_empty_tree_is_a_layer_of_one_directory(tmp_path: Path) -> None:
    """Nothing in it is still something."""
    layer = pack_one(Tree("src", "src", "", lambda root: None), tmp_path)
    assert (layer.files, layer.inodes) == (0, 1)
    verify(write(FACTS, [layer], PROGRAM, tmp_path / "out").path)


def test_compressing_is_the_same_everywhere() -> None:
    """The pinned compressor gives these bytes: another version or level is another format."""
    import hashlib

    plain = bytes(range(256)) * 4096 + b"the quick brown fox " * 9999
    assert hashlib.sha256(compress(plain)).hexdigest()[:16] == "06a18272fe352701"
