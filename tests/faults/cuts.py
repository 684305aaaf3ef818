"""What power cuts are tried on: runs of the installer with files of the system, and what must hold of whatever a cut leaves of them.

The work directory of a run holds a release root, ``srv/shop``, and a directory of system configuration, ``system``, which hold everything that the
installer may change. A *side* is one of the two things that may be live: a release, and what the system's files then are.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from builder.install_release.declared import Conflict, Copied, Health, Overlay
from builder.install_release.manifest import Requires
from tests.install_release.roots import REPOSITORY, artifact, id_of

from .trace import Recording, record
from .volatile import Node, Tree, lay, scan

ROOT, SYSTEM = "srv/shop", "system"
STATE = f"{ROOT}/.install"
Files = dict[str, Node]


class Side(NamedTuple):
    """``release``: "" is none. ``system``: what is below ``system/``."""

    release: str
    system: Files


class Run(NamedTuple):
    """One command of the installer on a host as it was before: ``recording`` of it, and what may be live in it, and what at its end.

    ``whole``: what belongs to each release, by id. ``kept``: releases that no cut may hurt. ``following``: the artifact that is installed next.
    """

    name: str
    recording: Recording
    sides: tuple[Side, ...]
    end: Side
    whole: Mapping[str, Files]
    kept: tuple[str, ...]
    following: Path


class Installer:
    """The installer under test, in this process: the project's, or a changed copy of the directory ``install_release``."""

    def __init__(self, package: Path | None = None) -> None:
        if package is None:
            name, self.place = "builder.install_release", REPOSITORY
        else:
            name, self.place = package.name, package.parent
            sys.path.insert(0, str(package.parent))
        self.words = (sys.executable, "-m", name)
        self.release: Any = importlib.import_module(f"{name}.release")
        self.artifact: Any = importlib.import_module(f"{name}.artifact")
        self.errors: Any = importlib.import_module(f"{name}.errors")

    def order(self, root: Path, command: str) -> Any:
        return self.release.Order(str(root), command, "tester", wait=0.0)

    def install(self, root: Path, path: Path, **more: Any) -> str:
        with self.artifact.open_artifact(path) as opened:
            return str(self.release.install(opened, self.order(root, "install"), **more).id)

    def recover(self, root: Path) -> tuple[str, ...]:
        return tuple(self.release.recover_now(self.order(root, "recover")))


class Artifacts:
    """Small releases of ``shop``, whose files of the system go below ``system``. A version brings its own; ``edit.conf`` is what people edit."""

    def __init__(self, directory: Path, system: Path) -> None:
        self.directory, self.system = directory, system

    def make(self, version: str, only: str = "", *, wheel: str = "", keep: int = 1, healthy: bool = True, copied: bool = True) -> Path:
        """``only``: the path of a file that no other version has. ``wheel``: what makes the environment (the version)."""
        files = {"a.conf": f"version = {version}\n", "edit.conf": f"edit = {version}\n", **({only: f"only = {version}\n"} if only else {})}
        overlay = Overlay(tuple(Copied(path, str(self.system / path)) for path in sorted(files)), (Conflict("**", "take-new"),))
        directory = self.directory / f"{version}{'' if healthy else '-bad'}"
        directory.mkdir()
        return artifact(
            directory,
            version,
            {"static/style.css": "body {}\n", "broken": Path("nowhere")},
            wheel=wheel or version,
            keep_releases=keep,
            etc={"nginx/shop.conf": f"# {version}\n", **(files if copied else {})},
            overlay=overlay if copied else Overlay(),
            health=Health() if healthy else Health(command=("false",), passes=1, deadline=1),
            requires=Requires(("media",), (), (), (), 1 << 16, 64),
        )


class Bench:
    """A directory in memory in which runs are recorded and cuts are laid out. A policy asks for a floor, of the runs that are recorded."""

    def __init__(self, directory: Path, installer: Installer) -> None:
        self.installer, self.top = installer, directory / "w"
        self.root, self.system = self.top / ROOT, self.top / SYSTEM
        self.artifacts = Artifacts(directory, self.system)
        self.log, self.home = directory / "strace", directory / "home"
        policy = self.home / ".config/install-release/shop.ini"
        policy.parent.mkdir(parents=True)
        policy.write_text("[releases]\nfloor = yes\n")
        self.following = self.artifacts.make("9.0", keep=3)
        self.clear()

    def clear(self) -> None:
        """Empty the directory, which may be where something is mounted."""
        self.top.mkdir(exist_ok=True)
        for each in os.scandir(self.top):
            if each.is_dir(follow_symlinks=False):
                shutil.rmtree(each.path)
            else:
                os.unlink(each.path)

    def lay(self, tree: Tree) -> None:
        self.clear()
        lay(tree, self.top)

    def begin(self) -> None:
        """A host on which nothing was ever installed, with a configuration of its own."""
        self.clear()
        self.system.mkdir()
        (self.system / "edit.conf").write_text("as it was before any release\n")

    def install(self, path: Path, **more: Any) -> str:
        return self.installer.install(self.root, path, **more)

    def record(self, *words: str | Path, inject: str = "") -> Recording:
        root = ["--allow-root"] if os.geteuid() == 0 else []
        words = (*self.installer.words, *words, "--root", self.root, *root)
        return record(words, self.top, self.log, self.installer.place, self.home, inject)

    def run(self, name: str, *words: str | Path, status: int = 0, to: Side | None = None, inject: str = "") -> Run:
        """Record a command on the host as it is now. ``to``: what it wants to make live, where it doesn't end like that."""
        recording = self.record(*words, inject=inject)
        if recording.status != status:
            raise AssertionError(f"{name}: status {recording.status} instead of {status}: {recording.output}")
        before, after = side(recording.before), side(recording.after)
        sides = {each.release: each for each in (before, after, *([to] if to else []))}
        there, left = belongings(recording.before), belongings(recording.after)
        return Run(name, recording, tuple(sides.values()), after, {**there, **left}, tuple(sorted(set(there) & set(left))), self.following)


def runs(bench: Bench) -> dict[str, Callable[[], Run]]:
    """Every scenario, each made when it is asked for: they share one place."""
    make = bench.artifacts.make
    old, first, second = make("0.9"), make("1.0", "old/only.conf"), make("1.1", "new/deep/only.conf")
    shared = make("1.2", "new/deep/only.conf", wheel="1.0")
    bad = make("1.1", "new/deep/only.conf", healthy=False)
    flat, bad_flat = make("1.4", "only.conf"), make("1.4", "only.conf", healthy=False)
    bare = make("1.3", copied=False)
    python = ("--python", sys.executable)

    def edited() -> None:
        (bench.system / "edit.conf").write_text("edited by the operator\n")

    def upgraded() -> None:
        bench.begin()
        bench.install(old)
        bench.install(first)
        edited()

    def first_install() -> Run:
        bench.begin()
        return bench.run("first install", first, *python)

    def upgrade() -> Run:
        upgraded()
        return bench.run("upgrade", second, *python)

    def shared_env() -> Run:
        upgraded()
        return bench.run("upgrade, shared environment", shared, *python)

    def each_synced() -> Run:
        upgraded()
        return bench.run("upgrade, syncfs unknown", second, *python, inject="syncfs:error=ENOSYS")

    def fails(name: str, good: Path, bad: Path) -> Run:
        upgraded()
        before = scan(bench.top)
        bench.install(good)
        wanted = side(scan(bench.top))
        bench.lay(before)
        return bench.run(name, bad, *python, status=4, to=Side(id_of(bad), wanted.system))

    def failing() -> Run:
        return fails("failing check", second, bad)

    def failing_flat() -> Run:
        return fails("failing check, no new directory", flat, bad_flat)

    def without() -> Run:
        upgraded()
        return bench.run("upgrade, no files of the system any more", bare, "--etc", "take-new", *python)

    def staged() -> Run:
        upgraded()
        return bench.run("install, not activated", second, "--no-activate", *python)

    def activate() -> Run:
        upgraded()
        release = bench.install(second, activate=False)
        return bench.run("activate", "activate", release)

    def rollback() -> Run:
        upgraded()
        bench.install(second)
        edited()
        return bench.run("rollback", "rollback")

    def forward_again() -> Run:
        upgraded()
        bench.install(second)
        edited()
        bench.installer.release.rollback(bench.installer.order(bench.root, "rollback"), keep=True)
        return bench.run("activate what was left", "activate", "1.1")

    def prune() -> Run:
        bench.begin()
        for version in ("0.1", "0.2"):
            bench.install(make(version, f"{version}.conf", keep=5))
        bench.install(make("0.3", keep=5))
        release = bench.install(make("0.4", keep=1), activate=False)
        bench.installer.release.activate(bench.installer.order(bench.root, "activate"), release)
        return bench.run("prune", "prune")

    def pin() -> Run:
        upgraded()
        return bench.run("pin", "pin", "1.0")

    found = (first_install, upgrade, shared_env, each_synced, failing, failing_flat, without, staged, activate, rollback, forward_again, prune, pin)
    return {each.__name__: each for each in found}


def recovery(bench: Bench, run: Run, tree: Tree) -> Run:
    """The recovery from what a cut of ``run`` left, as a run of its own."""
    bench.lay(tree)
    recording = bench.record("recover")
    if recording.status != 0:
        raise AssertionError(f"recover: status {recording.status}: {recording.output}")
    return run._replace(name=f"recovery of {run.name}", recording=recording, end=side(recording.after))


def side(tree: Tree) -> Side:
    """What is live in a tree."""
    link = tree.get(f"{ROOT}/current")
    release = os.fsdecode(link.content).removeprefix("releases/") if link is not None and link.kind == "link" else "" if link is None else "?"
    return Side(release, below(tree, SYSTEM))


def below(tree: Tree, directory: str) -> Files:
    """What is below a directory, by path relative to it."""
    return {path[len(directory) + 1 :]: node for path, node in tree.items() if path.startswith(f"{directory}/")}


def belongings(tree: Tree) -> dict[str, Files]:
    """What each release is made of: its own directory, and its environment with the table."""
    releases = {path.split("/")[3] for path in tree if path.startswith(f"{ROOT}/releases/") and path.count("/") == 3}
    return {release: belonging(tree, release) for release in releases}


def belonging(tree: Tree, release: str) -> Files:
    files = {path: node for path, node in tree.items() if path.startswith(f"{ROOT}/releases/{release}/")}
    link = files.get(f"{ROOT}/releases/{release}/venv")
    if link is not None and link.kind == "link":
        key = os.path.basename(os.fsdecode(link.content))
        files |= {path: node for path, node in tree.items() if path.startswith((f"{ROOT}/envs/{key}/", f"{STATE}/envs/{key}.json"))}
    return files


def wrong(run: Run, tree: Tree, told: bool, recovered: bool) -> Iterator[str]:
    """What is wrong with what a cut left (I1 to I5, I8, I10), or with what recovery made of that (I7). ``told``: its end was reported."""
    found = side(tree)
    legal = {each.release: each for each in ((run.end,) if told else run.sides)}
    if found.release not in legal:
        yield f"current is {found.release or 'absent'}, of {', '.join(each or 'absent' for each in legal)}"
        return
    for release in {*run.kept, found.release} - {""}:
        there = belonging(tree, release)
        if there != run.whole[release]:
            hurt = sorted(path for path in {*there, *run.whole[release]} if there.get(path) != run.whole[release].get(path))
            yield f"{release} is not whole: {', '.join(hurt[:3])}"
    yield from torn(tree)
    if told:
        yield from forgotten(run.recording.after, tree)
    floor = [there.get(f"{STATE}/floor.json") for there in (run.recording.before, run.recording.after)]
    if tree.get(f"{STATE}/floor.json") not in floor[1 if told else 0 :]:
        yield "the floor is neither old nor new, or has gone down"
    program = f"{ROOT}/bin/install-release"
    if tree.get(program) not in (run.recording.before.get(program), run.recording.after.get(program)):
        yield "bin/install-release is neither old nor new"
    system = found.system
    if told or recovered:
        if system != legal[found.release].system:
            wanted = legal[found.release].system
            yield f"not all files of the system are of {found.release or 'before'}: {differing(system, wanted)}"
    else:
        for path, node in system.items():
            known = [each.system[path] for each in run.sides if path in each.system]
            if node not in known and node.kind == "file" and not re.search(r"/?\.[^/]+\.rel-tmp\.[0-9a-f]{12}~$", path):
                yield f"system/{path} is neither old nor new: {node}"
        for path in {path for each in run.sides for path in each.system} - set(system):
            if all(path in each.system for each in run.sides):
                yield f"system/{path} is gone"
    if recovered:
        yield from left_over(tree)


def torn(tree: Tree) -> Iterator[str]:
    """State that could not be trusted: a journal that does not prove itself, a whole line of the history that is no event."""
    journal, history = (tree[path].content if (path := f"{STATE}/{name}") in tree else b"" for name in ("journal.json", "history.jsonl"))
    body, _, seal = journal.partition(b"\n")
    if journal and seal != hashlib.sha256(body + b"\n").hexdigest().encode() + b"\n":
        yield f"the journal does not prove itself: {journal!r}"
    for line in history.split(b"\n")[:-1]:
        try:
            json.loads(line)
        except ValueError:
            yield f"the history has a torn line: {line!r}"


def forgotten(end: Tree, tree: Tree) -> Iterator[str]:
    """What had been done when it was reported, and is not there: lines of the history, the way back."""
    for name in (f"{STATE}/history.jsonl", f"{ROOT}/revisions.log"):
        if name in end and not tree.get(name, Node("file", 0, b"")).content.startswith(end[name].content):
            yield f"{name} has lost lines"
    if tree.get(f"{ROOT}/previous") != end.get(f"{ROOT}/previous"):
        yield f"previous is {tree.get(f'{ROOT}/previous')}"


def differing(here: Files, wanted: Files) -> str:
    return ", ".join(f"{path}: {here.get(path)} for {wanted.get(path)}" for path in sorted({*here, *wanted}) if here.get(path) != wanted.get(path))


def left_over(tree: Tree) -> Iterator[str]:
    """What no recovery may leave (I7)."""
    for path in tree:
        name = os.path.basename(path)
        if path.startswith(f"{STATE}/staging/") or (name.startswith(".") and name.endswith(".new")) or ".rel-tmp." in name:
            yield f"{path} is left over"
    journal = tree.get(f"{STATE}/journal.json")
    if journal is not None and not journal.content.startswith(b'{"state":"idle"}\n'):
        yield "the journal is not idle"
    envs = {path[len(f"{ROOT}/envs/") :].split("/")[0] for path in tree if path.startswith(f"{ROOT}/envs/")}
    tables = {path[len(f"{STATE}/envs/") : -len(".json")] for path in tree if path.startswith(f"{STATE}/envs/")}
    if envs != tables:
        yield f"environments {sorted(envs)}, tables {sorted(tables)}"
