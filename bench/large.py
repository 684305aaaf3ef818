"""``make bench-large``: the installer's memory and time against the number of files, and of bytes. Ten minutes, and 14 GiB of a disk."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import machine, measure, pages
from .application import GIT
from .measure import Bench, BenchError, Step

FILES = (12_500, 25_000, 50_000, 100_000, 200_000)
GIBIBYTES = (1, 2, 3, 5)
_BIG = 64 << 20  # bytes of a file, where bytes are what grows
_LOOK = 0.01  # seconds between two looks at the memory of all processes: one in fifty of them for that
_RECIPE = """\
name = "large"
version = "1.0"

[source]
include = ["/make.py"]

[python]
interpreter = "{python}"

[[build]]
run = "python make.py {files} {size}"
outputs = ["data"]
"""
_MAKE = '''\
"""Makes FILES files of SIZE bytes each, which don't compress, in directories of 500."""
import os
import random
import sys

files, size = int(sys.argv[1]), int(sys.argv[2])
for number in range(files):
    directory = f"data/{number // 500:03}"
    if number % 500 == 0:
        os.makedirs(directory)
    with open(f"{directory}/{number:06}", "wb") as file:
        left, rng = size, random.Random(number)
        while left:
            left -= file.write(rng.randbytes(min(left, 1 << 20)))
'''
BUILD = 'build-release "$REPO/large.toml" --allow-dirty -o "$HERE/out" >/dev/null && rm -rf "$BUILD_RELEASE_CACHE"'
_INSTALL = """
tar xzf "$HERE"/out/*.tgz --occurrence=1 release/install-release
"$PYTHON" release/install-release "$HERE"/out/*.tgz --root "$PWD/root" --allow-root
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.large", description=__doc__)
    parser.add_argument("--files", type=int, nargs="*", default=FILES, help="how many files of 2 KiB, install by install")
    parser.add_argument("--gib", type=int, nargs="*", default=GIBIBYTES, help="how many GiB in files of 64 MiB, install by install")
    options = parser.parse_args()
    whole = tuple(options.files) == FILES and tuple(options.gib) == GIBIBYTES
    sizes = [*((count, 2048) for count in options.files), *((gib * 2**30 // _BIG, _BIG) for gib in options.gib)]
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that gigabytes don't stay behind
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    place = Path(os.environ.get("TMPDIR", "/var/tmp"))
    # At most the files and their copy, or their layer and the artifact, or that and what is installed.
    room = 2 * max(map(_blocks, sizes)) + sum(_blocks(each) for each in sizes if each[1] < _BIG) + (2 << 30)
    if shutil.disk_usage(place).free < room:
        print(f"bench: {place} has less than {room >> 30} GiB free: name another directory in TMPDIR", file=sys.stderr)
        return 1
    begin = time.monotonic()
    python = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    table = Table(box=None, pad_edge=False, title=f"Install, durably, on {machine.file_system(place)}", title_justify="left")
    for heading in ("files", "GiB", "artifact GiB", "seconds", "CPU s", "peak MiB"):
        table.add_column(heading, justify="right")
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place, ignore_cleanup_errors=True) as name:
        work = Path(name)
        try:
            for files, size in sizes:
                with console.status(f"{files} files of {size} bytes"):
                    row = _one(work, python, files, size)
                console.print(f"{files} files of {size} bytes: {row['seconds']:.1f} s")
                rows.append(row)
                figures = (f"{files * size / 2**30:.2f}", f"{row['artifact'] / 2**30:.2f}", f"{row['seconds']:.2f}", f"{row['cpu']:.2f}")
                table.add_row(f"{files}", *figures, f"{row['peak'] / 2**20:.0f}")
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        console.print(table)
    console.print(f"\n{(time.monotonic() - begin) / 60:.0f} minutes")
    if not whole:
        console.print("A quick look: kept are the results of all sizes.")
        return 0
    out = Path(__file__).with_name("large.json")
    out.write_text(json.dumps({"file_system": machine.file_system(place), "installs": rows}, indent=1) + "\n")
    console.print(f"→ {out}, {', '.join(map(str, pages.write(out.parent.parent)))}")
    return 0


def _blocks(size: tuple[int, int]) -> int:
    """Bytes on disk of that many files of that many bytes."""
    return size[0] * -(-size[1] // 4096) * 4096


def _one(work: Path, python: Path, files: int, size: int) -> dict[str, float]:
    """Build it, install it once, and take away what the next one does not need there.

    Small files are built in memory, and stay where they are installed until the end: ext4 makes files slowly where as many were removed in the
    last minutes, whoever does it.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir=_memory() if size < _BIG else work) as name:
        return _measured(work / f"host-{files}", Path(name), python, files, size)


def prepare(scratch: Path, python: Path, files: int, size: int) -> dict[str, str]:
    """A repository below ``scratch`` whose build makes that many files; the variables under which ``BUILD`` builds it."""
    repository = scratch / "repository"
    repository.mkdir()
    (repository / "make.py").write_text(_MAKE)
    (repository / "large.toml").write_text(_RECIPE.format(python=python, files=files, size=size))
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Large"]):
        subprocess.run(["git", *words], cwd=repository, env={**os.environ, **GIT}, check=True)
    return {
        **GIT,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "REPO": str(repository),
        "PYTHON": str(python),
        "BUILD_RELEASE_CACHE": str(scratch / "cache"),
    }


def _measured(here: Path, scratch: Path, python: Path, files: int, size: int) -> dict[str, float]:
    variables = prepare(scratch, python, files, size)
    bench = Bench(here.parent, variables, python, runs=1, warm_up=0, offline=measure.can_jail())
    count = f"test $(find root/current/assets -type f | wc -l) = {files}"
    sample = bench.once(
        Step(f"{files} files of {size} bytes", here.name, _INSTALL, f'mkdir "$HERE" && cd "$HERE" && {BUILD} && sync', count), 0, weigh=_LOOK
    )
    (artifact,) = (here / "out").glob("*.tgz")
    row = {"files": files, "size": size, "artifact": artifact.stat().st_size, "seconds": round(sample.seconds, 2), "cpu": round(sample.cpu, 2)}
    shutil.rmtree(here / "out" if size < _BIG else here)
    return {**row, "peak": sample.peak}


def _memory() -> Path | None:
    """A file system in memory; None, the usual directory for temporary files, where there is none with room."""
    place = Path("/dev/shm")
    wanted = 3 * max(FILES) * 4096
    return place if place.is_dir() and shutil.disk_usage(place).free > wanted and machine.available() > wanted else None


if __name__ == "__main__":
    sys.exit(main())
