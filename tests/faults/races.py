"""Races: installers of one root at once, some of them killed; readers while it flips; builds of one cache at once. Rows ``races`` and ``opens``."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.install_release import history, journal, release
from builder.install_release.host import Host
from builder.install_release.verify import verify
from tests.install_release.roots import REPOSITORY, SITE, artifact, id_of, install, journal_state, order, snapshot, temporary_files
from tests.install_release.stub import hook

from .report import Report

AT_ONCE = 8
QUICK = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


def campaign(bounded: bool, report: Report) -> None:
    with scratch() as directory:
        installers(directory / "installers", report, rounds=2 if bounded else 40)
        turns(directory / "turns", report)
        holder(directory / "holder", report)
        opens(directory / "opens", report, flips=200 if bounded else 10_000, least=10_000 if bounded else 1_000_000)
        builds(directory / "builds", report, rounds=2 if bounded else 20)


@contextmanager
def scratch() -> Iterator[Path]:
    """A directory in memory where there is one: what is tried here needs no disk, and a disk would be the slowest part of it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = Path(tempfile.mkdtemp(prefix="races-", dir=memory))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def installers(directory: Path, report: Report, rounds: int) -> None:
    """Rounds of eight commands at once, by three ways to one root, about every third killed; after each round everything must hold."""
    directory.mkdir()
    place, paths = Place(directory), [artifact(directory, f"1.{number}", wheel=str(number % 3), keep_releases=2) for number in range(10)]
    ids = [id_of(path) for path in paths]
    install(place.root, paths[0])
    snapshots = (snapshot(place.canary), snapshot(place.root / "shared"))
    statuses: Counter[str] = Counter()
    for number in range(rounds):
        choose = random.Random(number)
        running = [place.start(choose, ids, paths) for _ in range(AT_ONCE)]
        kills = [(choose.uniform(0.02, 0.7), process) for process, _ in running if choose.random() < 0.4]
        began = time.monotonic()
        for moment, process in sorted(kills, key=lambda pair: pair[0]):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            process.kill()
        for process, words in running:
            out, err = process.communicate()
            statuses[f"{'killed' if process.returncode == -9 else process.returncode}"] += 1
            for wrong in judge(words, process.returncode, out, err):
                report.violation("races", f"round {number}: {wrong}")
            flips = words[0] in ("install", "activate") and not {"--plan", "--no-activate"} & set(words)
            if flips and process.returncode == 0 and ("activated", json.loads(out)["id"]) not in place.events():
                report.violation("races", f"round {number}: {words} said 0, and the history knows nothing of it")
        report.count("races", AT_ONCE)
        for wrong in place.wrong():
            report.violation("races", f"round {number}: {wrong}")
        install(place.root, paths[number % len(paths)])
        if (snapshot(place.canary), snapshot(place.root / "shared")) != snapshots:
            report.violation("races", f"round {number}: something beside the releases was changed")
    report.detail("races", statuses=dict(sorted(statuses.items())), rounds=rounds)


class Place:
    """One root and the three ways to it: its path, a link, and a directory that it is mounted on."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.root, self.canary = directory, directory / "root", directory / "canary"
        self.canary.mkdir()
        (self.canary / "file").write_text("as it was")
        (directory / "link").symlink_to("root")
        (directory / "mounted").mkdir()

    def command(self, way: str, *words: str) -> list[str]:
        program = [sys.executable, "-m", "builder.install_release", *words, "--root", str(self.directory / way), "--allow-root"]
        if way != "mounted":
            return program
        alone = ["unshare", "-m", *(["-r"] if os.geteuid() else [])]
        return [*alone, "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", str(self.root), str(self.directory / way), *program]

    def start(self, choose: random.Random, ids: Sequence[str], paths: Sequence[Path]) -> tuple[subprocess.Popen[str], list[str]]:
        """Any command, in any way."""
        path, wanted = map(str, choose.choice(list(zip(paths, ids, strict=True))))
        others = f"rollback,rollback --keep,prune,recover,pin {wanted},unpin {wanted},mark-bad {wanted},activate {wanted},status,log,verify"
        words = choose.choice(
            [*(["install", path],) * 8, ["install", path, "--no-activate"], ["install", path, "--plan"], *map(str.split, others.split(","))]
        )
        words = [*words, "--json", *(["--wait", choose.choice(["0", "60"])] if words[0] not in ("status", "log", "verify") else [])]
        command = self.command(choose.choice(["root", "root", "link", "mounted"]), *words)
        return subprocess.Popen(command, cwd=REPOSITORY, env=QUICK, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True), words

    def events(self) -> list[tuple[str, str]]:
        with Host(str(self.root)) as host:
            return [(event["event"], event["id"]) for event in history.read(host)]

    def wrong(self) -> Iterator[str]:
        """What does not hold, before recovery, after it, and after it was done again."""
        with Host(str(self.root)) as host:
            under_way = journal.read(host)
            before = host.current() or ""
            allowed = {under_way.before, under_way.to} if under_way else {before}
            yield from (f"before recovery, {each}" for each in self._whole(host))
            for _ in range(2):
                release.recover_now(order(self.root))
                after = host.current() or ""
                if not {before, after} <= allowed:
                    yield f"current was {before}, is {after} after recovery, and may be {allowed}"
                yield from self._whole(host)
                if history.fold(history.read(host)).live != after:
                    yield f"the history says {history.fold(history.read(host)).live}, current {after}"
            if journal_state(self.root) not in ("none", "idle"):
                yield "the journal is not idle"
            if left := temporary_files(self.root):
                yield f"left over: {left}"
            tables = sorted(name[:-5] for name in host.names(".install/envs"))
            if tables != host.environments():
                yield f"environments {host.environments()}, tables {tables}"

    @staticmethod
    def _whole(host: Host) -> Iterator[str]:
        pointer = host.pointer("current")
        if pointer.kind != "release":
            yield f"current is {pointer}"
        for each in host.releases():
            if differences := verify(host, each).differences:
                yield f"{each} is not whole: {differences[:3]}"


def judge(words: Sequence[str], status: int, out: str, err: str) -> Iterator[str]:
    """What an exit status may be when nothing is wrong but that others are at work."""
    waits = "60" in words
    allowed = {"status": {0}, "log": {0}, "verify": {0, 7}, "install": {0, 6}, "prune": {0, 6}, "recover": {0, 6}}.get(words[0], {0, 3, 6})
    if status == -9:
        return
    if status not in allowed or (status == 6 and waits):
        yield f"{' '.join(words)} ended with {status}: {out.strip()} {err.strip()}"
    elif "Traceback" in err:
        yield f"{' '.join(words)}: {err}"
    elif status == 0:
        json.loads(out)


def turns(directory: Path, report: Report) -> None:
    """Eight that wait, by all three ways, none killed: each gets its turn, and each release was live."""
    directory.mkdir()
    place, paths = Place(directory), [artifact(directory, f"1.{number}", keep_releases=9) for number in range(AT_ONCE + 1)]
    install(place.root, paths[0])
    running = []
    for number, path in enumerate(paths[1:]):
        command = place.command(("root", "link", "mounted")[number % 3], "install", str(path), "--wait", "120")
        running.append((path, subprocess.Popen(command, cwd=REPOSITORY, env=QUICK, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)))
    for path, process in running:
        out, _ = process.communicate()
        report.count("races")
        if process.returncode or ("activated", id_of(path)) not in place.events():
            report.violation("races", f"one that waited for its turn ended with {process.returncode}: {out}")
    for wrong in place.wrong():
        report.violation("races", f"after eight turns: {wrong}")


def holder(directory: Path, report: Report) -> None:
    """While a hook of one installer runs, others by every way are told 6 and by whom; once it is killed, the next one works, hook or not."""
    directory.mkdir()
    place = Place(directory)
    install(place.root, artifact(directory, "1.0"))
    os.mkfifo(place.root / "shared/started")
    slow = artifact(directory, "1.1", hooks=(hook("pre_flip", "sh", "-c", f"echo > {place.root}/shared/started; exec sleep 20"),))
    command = place.command("root", "install", str(slow))
    with subprocess.Popen(command, cwd=REPOSITORY, env=QUICK, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
        (place.root / "shared/started").read_text()
        for way in ("root", "link", "mounted"):
            done = subprocess.run(place.command(way, "rollback", "--wait", "0"), cwd=REPOSITORY, env=QUICK, capture_output=True, text=True)
            report.count("races")
            if done.returncode != 6 or f"pid {first.pid} (install" not in done.stderr:
                report.violation("races", f"by {way}, a held root said {done.returncode}: {done.stderr}")
        first.send_signal(signal.SIGKILL)
        first.communicate()
    done = subprocess.run(
        place.command("mounted", "install", str(artifact(directory, "1.2")), "--wait", "0"), cwd=REPOSITORY, env=QUICK, capture_output=True, text=True
    )
    report.count("races")
    if done.returncode:
        report.violation("races", f"after its holder was killed, a root said {done.returncode}: {done.stderr}")
    for wrong in place.wrong():
        report.violation("races", f"after a killed holder: {wrong}")


# One file through the path, or several below the directory that the path led to once: they are of one release. Of each, all bytes.
_READER = """
import json, os, sys, time
root, over, names, wanted = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), json.loads(sys.argv[4])
opens, wrong = 0, []
def read(name, directory=None):
    global opens
    opens += 1
    file = os.open(name, os.O_RDONLY, dir_fd=directory)
    try:
        return os.read(file, 1 << 16).decode("ascii")
    finally:
        os.close(file)
while not os.path.exists(over) and len(wrong) < 9:
    time.sleep(0.001)  # a million opens are wanted, and the flips want a processor, too
    for _ in range(40):
        try:
            if read(f"{root}/current/src/big") not in wanted:
                wrong.append("a file is that of no release")
            directory = os.open(f"{root}/current", os.O_RDONLY | os.O_DIRECTORY)
            opens += 1
            try:
                versions = {wanted.get(read(name, directory)) for name in names}
            finally:
                os.close(directory)
            if len(versions) != 1 or None in versions:
                wrong.append(f"one directory, files of {versions}")
            if os.path.basename(os.readlink(f"{root}/current")) not in wanted.values():
                wrong.append("current leads elsewhere")
        except OSError as error:
            wrong.append(str(error))
print(json.dumps([opens, wrong]))
"""


def opens(directory: Path, report: Report, flips: int, least: int) -> None:
    """Readers open what is live, over and over, while it flips: every one finds a file, whole, and whatever one path led to is of one release."""
    directory.mkdir()
    root, wanted = directory / "root", {}
    for version in ("1.0", "1.1"):
        text = version * 5000
        path = artifact(directory, version, {"big": text, "deep/er/big": text}, wheel=version)
        wanted[text] = wanted[f"WHEEL = {version!r}\n"] = install(root, path).id
    there, history_file = sorted(set(wanted.values())), root / ".install/history.jsonl"
    began = history_file.read_bytes()
    over = directory / "over"
    names = ["src/big", "src/deep/er/big", f"venv/{SITE}/lib.py"]
    words = [sys.executable, "-c", _READER, str(root), str(over), json.dumps(names), json.dumps(wanted)]
    readers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    count, end = 0, time.monotonic() + least / 20_000
    while count < flips or time.monotonic() < end:
        release.activate(order(root), there[count % 2])
        count += 1
        if count % 50 == 0:  # a history of ten thousand flips takes longer to read than a flip does
            history_file.write_bytes(began)
            (root / "revisions.log").write_bytes(b"")
    over.touch()
    found = [json.loads(reader.communicate()[0]) for reader in readers]
    report.count("opens", sum(opened for opened, _ in found))
    report.detail("opens", flips=count, readers=len(readers))
    for wrong in {each for _, several in found for each in several}:
        report.violation("opens", wrong)


# One build, of the layers alone: the same as every other, into the same cache and directory. Its number tells only which it is.
_BUILD = """
import sys, tempfile
from functools import partial
from pathlib import Path
from builder.artifact import write
from builder.artifact.layers import Tree, pack
from tests.releases import FACTS, lay
cache, out = map(Path, sys.argv[1:3])
trees = [Tree(f"w{n}", "wheel", f"{n:064x}", partial(lay, {f"lib/python3/site-packages/m{n}.py": f"{n}" * 200_000}, "venv")) for n in range(6)]
with tempfile.TemporaryDirectory(dir=cache.parent) as work:
    print(write(FACTS, pack(trees, cache, Path(work), jobs=2), b"installer", out).sha256)
"""


def builds(directory: Path, report: Report, rounds: int) -> None:
    """Builds of the same artifact at once, in one cache, into one directory, some killed: those that end have made the same bytes, all whole."""
    directory.mkdir()

    def run(cache: str, out: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", _BUILD, str(directory / cache), str(directory / out)]
        return subprocess.Popen(words, cwd=REPOSITORY, env=QUICK, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    alone = run("alone", "alone-out").communicate()[0].strip()
    for number in range(rounds):
        choose = random.Random(number)
        if number % 4 == 0:
            shutil.rmtree(directory / "cache", ignore_errors=True)
        running = [run("cache", "out") for _ in range(3)]
        time.sleep(choose.uniform(0.3, 0.7))
        killed = choose.choice(running)
        killed.kill()
        for process in running:
            out, err = process.communicate()
            report.count("races")
            if process.returncode != -9 and (process.returncode != 0 or out.strip() != alone):
                report.violation("races", f"builds, round {number}: {process.returncode} {out.strip()} instead of {alone}: {err}")
    last, err = run("cache", "out").communicate()
    (there,) = (directory / "out").glob("*.tgz")
    if last.strip() != alone or there.read_bytes() != next((directory / "alone-out").glob("*.tgz")).read_bytes():
        report.violation("races", f"what builds at once have made is not what one makes: {err}")
