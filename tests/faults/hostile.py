"""Hostile artifacts, on every Python that the installer runs on: a typed refusal that says what is wrong, nothing written outside, nothing left over,
what was live stays live; in at most 2 seconds and 64 MiB. What can't be refused (a name like ``-rf``) does no harm.

The artifacts are described in ``hostile_manifests``, ``hostile_tables``, ``hostile_bytes``, ``hostile_headers`` and ``hostile_thin``;
``hostile_driver`` runs them.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from builder.artifact.verify import verify
from builder.errors import ArtifactError

from . import hostile_bytes, hostile_headers, hostile_manifests, hostile_readers, hostile_tables, hostile_thin
from .forge import LAYERS, Forged, honest
from .hostile_cases import Case
from .report import Report

ROW = "hostile"
SECONDS, KIBIBYTES = 2.0, 64 << 10
REPOSITORY = Path(__file__).parents[2]
DRIVER = Path(__file__).parent / "hostile_driver.py"
SYSTEM = Path("/usr/bin/python3")
VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
STATUSES = (2, 3, 4, 7)  # usage, refused, rolled back, damaged: what a failure may be
WAYS = ("file", "stdin", "plan", "config-diff", "bootstrap")  # how the installer may meet an artifact
_PROBE = "import sys; print(sys.version_info[:2] >= (3, 9), '%d.%d.%d' % sys.version_info[:3])"
_ALLOWED = "\n\t"  # beside what is printable
_SAMPLE = 90  # cases of a bounded run

Said = dict[str, Any]


def pythons() -> dict[str, Path]:
    """What runs here, by name: ``3.9`` to ``3.13`` from PATH or pyenv, and ``system``, the one of /usr/bin."""
    found = {}
    for version in VERSIONS:
        places = [shutil.which(f"python{version}"), *sorted(map(str, (Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python{version}")))]
        for place in filter(None, places):
            if _version(place):
                found[version] = Path(place)
                break
    if SYSTEM.exists() and _version(SYSTEM):
        found["system"] = SYSTEM
    return found


def _version(python: str | Path) -> str:
    """Like ``3.11.2``; "" for what does not run, or is older than 3.9."""
    done = subprocess.run([python, "-I", "-S", "-c", _PROBE], capture_output=True, text=True)
    good, _, version = done.stdout.strip().partition(" ")
    return version if done.returncode == 0 and good == "True" else ""


def corpus() -> list[Case]:
    """Every hostile artifact, each with a name of its own."""
    groups = (hostile_manifests, hostile_tables, hostile_bytes, hostile_headers, hostile_thin)
    found = [case for group in groups for case in group.cases()]
    names = Counter((case.group, case.name) for case in found)
    assert not [name for name, count in names.items() if count > 1], [name for name, count in names.items() if count > 1]
    return found


def sample(cases: Sequence[Case], most: int) -> list[Case]:
    """The light ones of every group, evenly, the same ones each time."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        if not case.heavy:
            groups.setdefault(case.group, []).append(case)
    chosen = random.Random(5)
    return [case for group in groups.values() for case in chosen.sample(group, min(len(group), -(-most // len(groups))))]


@contextmanager
def jail(python: Path) -> Iterator[Path]:
    """A directory with a release root in which a release is live, and around it what nobody may touch."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        place = Path(name) / "jail"
        outside = place / "outside"
        outside.mkdir(parents=True, mode=0o755)
        place.chmod(0o755)
        for path in (outside / "canary", outside / "evil", place / "app.py", place / "evil", place / "passwd"):
            path.write_text("nobody touches this\n")
        (outside / "link").symlink_to("canary")
        (outside / "directory").mkdir()
        first = Path(name) / "first.tgz"
        layers = (honest("src", {"app.py": b"VERSION = 0\n"}), honest("etc", {"shop.conf": b"server\n"}), LAYERS[1])
        first.write_bytes(Forged(layers=layers, change=lambda value: value.update(version="0.9", commit_time=value["commit_time"] - 9)).artifact())
        (done,) = drive(python, place, [{"name": "first", "way": "first", "path": str(first)}])
        assert done["status"] == 0, done
        yield place


def drive(python: Path, place: Path, cases: Iterable[Said]) -> Iterator[Said]:
    """What the driver says of each case, as it says it."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(place), "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    command = [python, "-I", "-S", DRIVER, REPOSITORY, place, sys.executable]
    words = "".join(json.dumps(case) + "\n" for case in cases)
    with tempfile.TemporaryFile("w+") as given:
        given.write(words)
        given.seek(0)
        with subprocess.Popen(command, stdin=given, stdout=subprocess.PIPE, text=True, env=environment) as driver:
            assert driver.stdout is not None
            yield from map(json.loads, driver.stdout)
        assert driver.returncode == 0, f"the driver itself failed: {driver.returncode}"


def _raw(text: str) -> str:
    """What of ``text`` a terminal might take for an order, or a person for something else."""
    return "".join(sorted({letter for letter in text if not letter.isprintable() and letter not in _ALLOWED}))


def judge(case: Case, said: Said) -> list[str]:
    """What is wrong with the way one case ended."""
    text, status = said["text"], said["status"]
    found = [*said["wrong"]]
    if "Traceback" in text or status not in (0, *STATUSES):
        found.append(f"status {status}: {text[-300:]!r}")
    if said["way"] == "file" and status not in case.statuses:
        found.append(f"ended with {status}, not {case.statuses}: {text[:300]!r}")
    if said["way"] == "file" and status != 0 and case.says not in " ".join(text.split()):
        found.append(f"does not say {case.says!r}: {text[:300]!r}")
    if raw := _raw(text):
        found.append(f"prints {raw!r}: {text[:200]!r}")
    if said["seconds"] > SECONDS:
        found.append(f"took {said['seconds']:.1f} s")
    if said["memory"] > KIBIBYTES:
        found.append(f"took {said['memory'] >> 10} MiB")
    return found


def run(report: Report, python: str, executable: Path, written: Sequence[tuple[Case, Path]], ways: Sequence[str]) -> dict[str, float]:
    """All cases in all ways on one Python, into the report; the worst of it."""
    worst = {"seconds": 0.0, "memory": 0.0}
    asked = [(case, {"name": case.name, "way": way, "path": str(path)}) for case, path in written for way in ways]
    with jail(executable) as place:
        for (case, _), said in zip(asked, drive(executable, place, [each for _, each in asked]), strict=True):
            report.count(ROW)
            for what in judge(case, said):
                report.violation(ROW, f"{python}, {said['way']}, {case.group}, {case.name}: {what}")
            worst = {key: max(worst[key], said[key]) for key in worst}
    return {"seconds": round(worst["seconds"], 2), "MiB": round(worst["memory"] / 1024, 1)}


def check_verify(report: Report, written: Iterable[tuple[Case, Path]]) -> int:
    """``build-release verify`` on each: it refuses, with a typed error; what it takes, the installer takes too. How many were refused."""
    refused = 0
    for case, path in written:
        report.count(ROW)
        try:
            verify(path)
        except ArtifactError as error:
            refused += 1
            said = " ".join([error.message, *map(str, error.problems)])
            if case.verified and case.verified not in said:
                report.violation(ROW, f"verify, {case.group}, {case.name}: does not say {case.verified!r}: {said[:300]!r}")
        except Exception as error:
            report.violation(ROW, f"verify, {case.group}, {case.name}: {type(error).__name__}: {error}")
        else:
            if case.verified or not (case.hosts or 0 in case.statuses):
                report.violation(ROW, f"verify, {case.group}, {case.name}: was not refused")
    return refused


def check_control(report: Report, python: Path) -> None:
    """Told the truth, the forger's artifact is installed, whichever way it comes; and ``verify`` finds nothing wrong with it."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as name, jail(python) as place:
        path = Path(name) / "honest.tgz"
        path.write_bytes(Forged().artifact())
        verify(path)
        for said in drive(python, place, [{"name": "honest", "way": way, "path": str(path)} for way in WAYS]):
            report.count(ROW)
            if said["status"] != 0 or said["wrong"]:
                report.violation(ROW, f"the control: {said}")


def check_command(report: Report, written: Sequence[tuple[Case, Path]], python: Path) -> None:
    """Some of them by the real command, to see that the driver's forks say what a process says."""
    with jail(python) as place:
        for case, path in written:
            words = [python, "-m", "builder.install_release", path, "--root", place / "root", "--allow-root", "--python", sys.executable]
            done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, errors="surrogateescape", timeout=120)
            report.count(ROW)
            text = done.stdout + done.stderr
            if done.returncode not in case.statuses or "Traceback" in text or _raw(text):
                report.violation(ROW, f"the command, {case.group}, {case.name}: {done.returncode}: {text[:300]!r}")


def check_readers(report: Report, count: int) -> None:
    """What is accepted, every reader of tar archives sees alike."""
    for program in hostile_readers.missing():
        report.violation(ROW, f"{program} is not installed")
    with tempfile.TemporaryDirectory(prefix="hostile-readers-") as name:
        for number in range(count):
            path = hostile_readers.write(Path(name) / f"{number}", number)
            verify(path)
            report.count(ROW)
            for what in hostile_readers.differences(path):
                report.violation(ROW, f"release {number} of hostile_readers: {what}")
            shutil.rmtree(path.parent)


def campaign(bounded: bool, report: Report) -> None:
    cases = corpus()
    chosen = sample(cases, _SAMPLE) if bounded else cases
    found = pythons()
    first = "system" if "system" in found else next(iter(found))
    if bounded:
        found = {first: found[first]}
    with tempfile.TemporaryDirectory(prefix="hostile-artifacts-") as name:
        written = []
        for number, case in enumerate(chosen):
            path = Path(name) / f"{number}.tgz"
            path.write_bytes(case.make())
            written.append((case, path))
        check_control(report, found[first])
        refused = check_verify(report, written)
        with ThreadPoolExecutor(2) as pool:
            begun = {
                python: pool.submit(run, report, python, executable, written, WAYS if python == first else ("file",))
                for python, executable in found.items()
            }
            worst = {python: each.result() for python, each in begun.items()}
        check_command(report, written[:: len(written) // (3 if bounded else 60)], found[first])
    check_readers(report, 8 if bounded else 150)
    report.detail(ROW, artifacts=len(chosen), pythons={python: _version(path) for python, path in found.items()}, verify=refused)
    report.detail(ROW, groups=dict(Counter(case.group for case in chosen)), **{f"worst on {python}": each for python, each in worst.items()})
