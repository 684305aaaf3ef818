"""``make bench-large``: the installer's memory and time against the number of files, and of bytes. Some minutes, and 30 GiB of a disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import machine, measure
from .application import GIT
from .measure import Bench, BenchError, Step

FILES = (12_500, 25_000, 50_000, 100_000, 200_000)
GIBIBYTES = (1, 2, 4, 6)
_ROOM = 32 << 30
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
_BUILD = 'build-release "$REPO/large.toml" --allow-dirty -o "$HERE/out" >/dev/null && rm -rf "$BUILD_RELEASE_CACHE"'
_INSTALL = """
tar xzf "$HERE"/out/*.tgz --occurrence=1 release/install-release
"$PYTHON" release/install-release "$HERE"/out/*.tgz --root "$PWD/root" --allow-root
"""


def main() -> int:
    console = Console(highlight=False)
    place = Path(os.environ.get("TMPDIR", "/var/tmp"))
    if shutil.disk_usage(place).free < _ROOM:
        print(f"bench: {place} has less than {_ROOM >> 30} GiB free: name another directory in TMPDIR", file=sys.stderr)
        return 1
    python = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    table = Table(box=None, pad_edge=False, title=f"Install, durably, on {machine.file_system(place)}", title_justify="left")
    for heading in ("files", "GiB", "artifact GiB", "seconds", "CPU s", "peak MiB"):
        table.add_column(heading, justify="right")
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=place, ignore_cleanup_errors=True) as name:
        work = Path(name)
        try:
            for files, size in [*((count, 2048) for count in FILES), *((gib * 16, 64 << 20) for gib in GIBIBYTES)]:
                with console.status(f"{files} files of {size} bytes"):
                    row = _one(work, python, files, size)
                rows.append(row)
                figures = (f"{files * size / 2**30:.2f}", f"{row['artifact'] / 2**30:.2f}", f"{row['seconds']:.2f}", f"{row['cpu']:.2f}")
                table.add_row(f"{files}", *figures, f"{row['peak'] / 2**20:.0f}")
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        console.print(table)
    out = Path(__file__).with_name("large.json")
    out.write_text(json.dumps({"file_system": machine.file_system(place), "installs": rows}, indent=1) + "\n")
    console.print(f"→ {out}")
    return 0


def _one(work: Path, python: Path, files: int, size: int) -> dict[str, float]:
    """Build it, install it once, and take all of it away again."""
    repository, here = work / "repository", work / "host"
    repository.mkdir()
    (repository / "make.py").write_text(_MAKE)
    (repository / "large.toml").write_text(_RECIPE.format(python=python, files=files, size=size))
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "Large"]):
        subprocess.run(["git", *words], cwd=repository, env={**os.environ, **GIT}, check=True)
    variables = {
        **GIT,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(work),
        "TMPDIR": str(work),
        "LANG": "C.UTF-8",
        "REPO": str(repository),
        "PYTHON": str(python),
        "BUILD_RELEASE_CACHE": str(work / "cache"),
    }
    bench = Bench(work, variables, python, runs=1, warm_up=0, offline=measure.can_jail())
    count = f"test $(find root/current/assets -type f | wc -l) = {files}"
    sample = bench.once(Step(f"{files} files of {size} bytes", "host", _INSTALL, f'mkdir "$HERE" && cd "$HERE" && {_BUILD} && sync', count), 0)
    (artifact,) = (here / "out").iterdir()
    row = {"files": files, "size": size, "artifact": artifact.stat().st_size, "seconds": round(sample.seconds, 2), "cpu": round(sample.cpu, 2)}
    shutil.rmtree(repository)
    shutil.rmtree(here)
    return {**row, "peak": sample.peak}


if __name__ == "__main__":
    sys.exit(main())
