"""Unpacking: exact modes, large files, files that two layers claim, and nothing outside."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from builder.artifact.verify import verify
from builder.install_release.artifact import open_artifact
from builder.install_release.errors import ArtifactError
from builder.install_release.table import to_line
from builder.install_release.unpack import Destination, unpack
from tests.faults.forge import Content, Forged, entries, honest, laid
from tests.releases import write_release

from .roots import snapshot


def unpack_to(path: Path, to: Path, *, strip: bool = False, processes: int | None = None) -> None:
    to.mkdir()
    fd = os.open(to, os.O_RDONLY)
    try:
        with open_artifact(path) as artifact:
            unpack(artifact, artifact.manifest.layers, Destination(fd, strip), processes=processes)
    finally:
        os.close(fd)


def test_long_names_links_empty_files_and_directories_travel(tmp_path: Path) -> None:
    """Whatever a tree may hold comes out alike, and GNU tar sees the same."""
    deep = "/".join(["d" * 60] * 5)
    files = {
        "empty": b"",
        "nothing": None,
        deep + "/f" + "g" * 200: "deep",
        "link": Path("nothing"),
        "long": Path(deep),
        "käse/ø": "ü",
        "run": (0o755, b"#!/bin/sh\n"),
    }
    built = write_release(tmp_path, {"src": files})
    unpack_to(built.path, tmp_path / "ours")
    (tmp_path / "tar").mkdir()
    subprocess.run(["tar", "xzf", str(built.path), "-C", str(tmp_path / "tar")], check=True)
    subprocess.run(["diff", "-r", "--no-dereference", str(tmp_path / "ours/src"), str(tmp_path / "tar/release/src")], check=True)
    assert (tmp_path / "ours/src/run").stat().st_mode & 0o777 == 0o755
    assert verify(built.path).manifest.name == "shop"


@pytest.mark.parametrize("size", [(4 << 20) - 512, (4 << 20) - 511, 4 << 20, (8 << 20) - 512, (13 << 20) + 7])
def test_a_file_may_span_segments(tmp_path: Path, size: int) -> None:
    """Around and beyond the length of a segment, contents survive, with small neighbours before and after."""
    data = random.Random(size).randbytes(size)
    built = write_release(tmp_path, {"src": {"a": "before", "b": data, "c": "after"}})
    unpack_to(built.path, tmp_path / "out", strip=True)
    assert hashlib.sha256((tmp_path / "out/b").read_bytes()).digest() == hashlib.sha256(data).digest()
    assert (tmp_path / "out/a").read_text() + (tmp_path / "out/c").read_text() == "beforeafter"
    verify(built.path)


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    """644, 755 and nothing else, under umask 000 and 077."""
    built = write_release(tmp_path, {"src": {"d/a": "x", "b": (0o755, b"x")}})
    for umask in (0o000, 0o077, 0o027):
        before = os.umask(umask)
        try:
            unpack_to(built.path, tmp_path / f"{umask}")
        finally:
            os.umask(before)
        modes = {str(p.relative_to(tmp_path / f"{umask}")): stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / f"{umask}").rglob("*")}
        assert modes == {"src": 0o755, "src/d": 0o755, "src/d/a": 0o644, "src/b": 0o755}


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_a_file_that_two_layers_hold_alike_is_written_once(tmp_path: Path, processes: int) -> None:
    """Namespace packages of old ship the same __init__.py in many wheels."""
    same = {"lib/ns/__init__.py": "# namespace\n", "lib/ns/link": Path("__init__.py")}
    built = write_release(tmp_path, {"wheel:a-1": {**same, "lib/ns/a.py": "a"}, "wheel:b-1": {**same, "lib/ns/b.py": "b"}})
    unpack_to(built.path, tmp_path / "out", strip=True, processes=processes)
    assert sorted(os.listdir(tmp_path / "out/lib/ns")) == ["__init__.py", "a.py", "b.py", "link"]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_that_two_layers_hold_differently_is_refused(tmp_path: Path, processes: int) -> None:
    """It isn't clear which one is meant, whichever was written first, and by whom."""
    for number, other in enumerate(("two", (0o755, b"one"), Path("y"))):
        (tmp_path / f"{number}").mkdir()
        built = write_release(tmp_path / f"{number}", {"wheel:a-1": {"lib/x": "one"}, "wheel:b-1": {"lib/x": other}})  # type: ignore[dict-item]
        with pytest.raises(ArtifactError) as refused:
            unpack_to(built.path, tmp_path / f"{number}/out", processes=processes)
        assert "lib/x" in str(refused.value.problems[0])


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("other", [{"lib/x/y": "directory"}, {"lib/x": Path("y")}, {"lib/x": None}])
def test_layers_that_contradict_each_other_are_refused(tmp_path: Path, other: dict[str, object], processes: int) -> None:
    """A path that is a file in one layer and a directory or link in another, whoever comes first."""
    built = write_release(tmp_path, {"wheel:a-1": {"lib/x": "file"}, "wheel:b-1": other})  # type: ignore[dict-item]
    with pytest.raises(ArtifactError):
        unpack_to(built.path, tmp_path / "out", processes=processes)


def test_links_to_two_places_are_refused_though_two_processes_saw_them(tmp_path: Path) -> None:
    """Each process knows one of them; the one that makes links knows both."""
    built = write_release(tmp_path, {"wheel:a-1": {"lib/x": Path("a")}, "wheel:b-1": {"lib/x": Path("b")}})
    for processes in (1, 2):
        with pytest.raises(ArtifactError, match="not valid") as refused:
            unpack_to(built.path, tmp_path / f"{processes}", processes=processes)
        assert "two different places" in str(refused.value.problems[0])


def test_the_tree_is_the_same_however_many_processes_make_it(tmp_path: Path) -> None:
    """1, 2 or 4: the same paths, modes, contents and links, under any umask; also where a layer is so large that it is divided."""
    rng = random.Random(4)
    large = {f"d{n // 9}/f{n}": rng.randbytes(rng.choice([0, 1, 700, 90_000, 400_000])) for n in range(120)}
    layers = {
        "src": {**large, "huge": rng.randbytes((9 << 20) + 5), "empty": None, "to": Path("d1/f10"), "run": (0o755, b"#!\n")},
        **{f"wheel:w{n}-1": {f"lib/w{n}/{m}.py": f"{n} {m}" for m in range(9)} for n in range(9)},
    }
    built = write_release(tmp_path, layers)  # type: ignore[arg-type]
    seen = []
    for processes, umask in ((1, 0o022), (2, 0o077), (4, 0o000)):
        before = os.umask(umask)
        try:
            unpack_to(built.path, tmp_path / f"{processes}", processes=processes)
            assert os.umask(umask) == umask
        finally:
            os.umask(before)
        seen.append(snapshot(tmp_path / f"{processes}"))
    assert len(seen[0]) > 230
    assert seen[0] == seen[1] == seen[2]


def test_an_empty_file_is_not_a_directory(tmp_path: Path) -> None:
    """A directory in one layer is no reason to leave out the empty file that another has there, though both hold nothing and can be passed."""
    built = write_release(tmp_path, {"wheel:a-1": {"lib/x": None}, "wheel:b-1": {"lib/x": (0o755, b"")}})
    with pytest.raises(ArtifactError):
        unpack_to(built.path, tmp_path / "out")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_is_an_os_error_and_stops_every_process(tmp_path: Path, processes: int) -> None:
    """What the disk says reaches the caller as it is."""
    built = write_release(tmp_path, {"src": {f"f{n}": b"x" * 300_000 for n in range(40)}})
    program = (
        "import resource, signal; from pathlib import Path\n"
        "from tests.install_release.test_unpack import unpack_to\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        f"unpack_to(Path({str(built.path)!r}), Path({str(tmp_path / 'out')!r}), processes={processes})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert "File too large" in done.stderr


def test_memory_does_not_grow_with_the_artifact(tmp_path: Path) -> None:
    """A 300 MB file, and small ones beside it, pass through processes that peak below 64 MiB together."""
    with (tmp_path / "big").open("wb") as big:
        big.truncate(300 << 20)
    from functools import partial

    from builder.artifact import write
    from builder.artifact.layers import Tree, pack
    from tests.releases import FACTS, PROGRAM

    def make(source: Path, root: Path) -> None:
        (root / "src").mkdir()
        os.rename(source, root / "src/big")
        for number in range(2000):
            (root / f"src/{number}").write_bytes(random.Random(number).randbytes(9000))

    packed = pack([Tree("src", "src", "", partial(make, tmp_path / "big"))], tmp_path / "cache", tmp_path, jobs=1)
    built = write(FACTS, packed, PROGRAM, tmp_path)
    program = (
        "import os, resource\n"
        "from builder.install_release.artifact import open_artifact; from builder.install_release.unpack import Destination, unpack\n"
        f"os.mkdir({str(tmp_path / 'out')!r}); fd = os.open({str(tmp_path / 'out')!r}, os.O_RDONLY)\n"
        f"a = open_artifact({str(built.path)!r}); unpack(a, a.manifest.layers, Destination(fd), processes=2)\n"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))\n"  # ru_maxrss counts the parent's
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[2])
    own, other = map(int, done.stdout.split())
    assert other > 5 << 10
    assert own + other <= 64 << 10
    assert (tmp_path / "out/src/big").stat().st_size == 300 << 20


def test_a_layer_that_the_host_has_is_copied_and_what_was_touched_there_is_not(tmp_path: Path) -> None:
    """Files come from a donor only as they were made: an edited, missing or replaced one comes from the artifact instead."""
    names = ("same", "flipped", "edited", "remoded", "missing", "linked", "grown", "folder", "large")
    texts = {name: name for name in (*names, "run")} | {"large": "large" * 99_999}
    built = write_release(tmp_path, {"wheel:a-1": {**{f"lib/{name}": texts[name] for name in names}, "lib/run": (0o755, b"run")}})
    unpack_to(built.path, tmp_path / "donor", strip=True)
    donor = tmp_path / "donor/lib"
    (donor / "flipped").write_text("flippes")
    (donor / "edited").write_text("EDITED")
    (donor / "remoded").chmod(0o600)
    (donor / "missing").unlink()
    (donor / "linked").unlink()
    (donor / "linked").symlink_to("same")
    (donor / "grown").write_text("grown and more")
    for name in ("folder", "large"):
        (donor / name).unlink()
        (donor / name).mkdir()
    source, to = os.open(tmp_path / "donor", os.O_RDONLY), tmp_path / "out"
    to.mkdir()
    target = os.open(to, os.O_RDONLY)
    with open_artifact(built.path) as artifact:
        (layer,) = artifact.manifest.layers
        unpack(artifact, [layer], Destination(target, strip=True), donors={layer.digest: source})
    os.close(source)
    os.close(target)
    assert {name: (to / "lib" / name).read_text() for name in (*names, "run")} == texts
    assert (to / "lib/run").stat().st_mode & 0o777 == 0o755
    assert (to / "lib/same").stat().st_ino != (donor / "same").stat().st_ino


def test_what_a_donor_has_is_not_read_from_the_artifact(tmp_path: Path) -> None:
    """A whole donor makes the segments needless: they may even be damaged."""
    built = write_release(tmp_path, {"wheel:a-1": {"lib/a": b"a" * 99_999, "lib/b": random.Random(1).randbytes((5 << 20) + 1)}})
    unpack_to(built.path, tmp_path / "donor", strip=True)
    with open_artifact(built.path) as artifact:
        (layer,) = artifact.manifest.layers
        first = artifact.body + layer.table.offset + layer.table.bytes
    data = bytearray(built.path.read_bytes())
    data[first : first + layer.bytes - layer.table.bytes] = bytes(layer.bytes - layer.table.bytes)
    built.path.write_bytes(data)
    source, to = os.open(tmp_path / "donor", os.O_RDONLY), tmp_path / "out"
    to.mkdir()
    target = os.open(to, os.O_RDONLY)
    with open_artifact(built.path) as artifact:
        unpack(artifact, [layer], Destination(target, strip=True), donors={layer.digest: source})
    os.close(source)
    os.close(target)
    subprocess.run(["diff", "-r", str(tmp_path / "donor"), str(to)], check=True)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("files", [{"d/e": None}, {"d/e": None, "f": b""}])
def test_segments_of_headers_alone_are_read_too(tmp_path: Path, files: dict[str, Content], processes: int) -> None:
    """What a table says of them is no more to be believed: a segment of another length is refused, though nothing is to be had from it."""
    sound = honest("src", files)
    (piece,) = sound.segments
    for size, good in ((piece.size, True), (piece.size + 512, False)):
        entries_, _ = entries("src", files)
        layer = laid("src", [piece.line(0, size=size), *(json.loads(to_line(entry)) for entry in entries_)], (piece,))
        path = tmp_path / f"{size}.tgz"
        path.write_bytes(Forged(layers=(layer,)).artifact())
        if good:
            unpack_to(path, tmp_path / f"{size}", processes=processes)
        else:
            with pytest.raises(ArtifactError):
                unpack_to(path, tmp_path / f"{size}", processes=processes)
