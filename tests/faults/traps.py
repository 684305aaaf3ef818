"""What somebody else has done to a host or an artifact: the installer refuses, in words, and touches nothing that is not its own."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress

from builder.install_release.artifact import open_artifact
from tests.install_release.roots import NEEDS_NOTHING, id_of
from tests.releases import write_release

from . import oracle
from .pool import pool
from .report import Report
from .world import Done, World


def campaign(bounded: bool, report: Report) -> None:
    """All of it takes seconds."""
    with pool(1, leases=True) as workers:
        for (_, name), answer in workers.each(("trap", name) for name in ALL):
            report.count("traps", answer["points"])
            for each in answer["wrong"]:
                report.violation("traps", f"{name}: {each}")


def tried(world: World, name: str) -> dict[str, object]:
    """One trap: how often something was tried in it, and what went wrong."""
    world.restore({"root": {}, "system": {"": (0o40755, b"")}, "run": {"": (0o40755, b"")}})
    found = list(ALL[name](world))
    found_wrong = [each for each in found if each]
    return {"points": len(found), "wrong": [*found_wrong, *(f"{each} was touched" for each in world.touched())]}


def _upgraded(world: World) -> tuple[str, str]:
    """A host with 1.0 live, and the keys of 1.0 and 2.0."""
    one, two = world.make("1.0"), world.make("2.0")
    assert world.run(world.install(one)).status == 0
    return one, two


def _refused(world: World, done: Done, before: str, *statuses: int) -> str:
    """ "" when it was: with one of ``statuses``, in words, and nothing else is live."""
    if done.status not in statuses or "Traceback" in done.said or oracle.live(world) != before:
        return f"status {done.status}, live {oracle.live(world)}: {done.said[-300:]}"
    return ""


def _planted(*parts: str, directory: bool = False) -> Callable[[World], Iterator[str]]:
    """In the place of a file below the root, or of a directory, a link that leads outside."""

    def trap(world: World) -> Iterator[str]:
        _, two = _upgraded(world)
        before, path = oracle.live(world), world.root.joinpath(*parts)
        if directory:
            moved = world.outside / "elsewhere"
            shutil.copytree(path, moved, symlinks=True)
            shutil.rmtree(path)
            path.symlink_to(moved)
            (moved / "victim").write_text("")
            kept = sorted(each.name for each in moved.rglob("*"))
        else:
            with suppress(FileNotFoundError):
                path.unlink()
            path.symlink_to(world.outside / "canary")
        yield _refused(world, world.run(world.install(two)), before, 3, 4, 5, 7)
        if directory:
            yield _refused(world, world.run(world.command("recover")), before, 0, 3, 5, 7)
            yield "" if sorted(each.name for each in moved.rglob("*")) == kept else "something was changed behind the link"
            shutil.rmtree(moved)
            world.canaries = world.canaries_now()

    return trap


def _overlay_link(world: World) -> Iterator[str]:
    """A file of the system is a link."""
    _, two = _upgraded(world)
    world.config.unlink()
    world.config.symlink_to(world.outside / "canary")
    yield _refused(world, world.run(world.install(two, "--etc", "take-new")), oracle.live(world), 3)


def _overlay_open(world: World) -> Iterator[str]:
    """A directory of the system can be written by everybody."""
    _, two = _upgraded(world)
    world.system.chmod(0o777)
    yield _refused(world, world.run(world.install(two)), oracle.live(world), 3)
    world.system.chmod(0o755)


def _busy(world: World) -> Iterator[str]:
    """Another installer holds the lock."""
    _, two = _upgraded(world)
    with open(world.root / ".install/lock", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield _refused(world, world.run(world.install(two, "--wait", "0")), oracle.live(world), 6)
        yield _refused(world, world.run(world.command("recover", "--wait", "0")), oracle.live(world), 6)


def _leased(world: World) -> Iterator[str]:
    """A process runs from a release that could go otherwise, and holds its lease."""
    keys = [world.make(version, keep_releases=1) for version in ("0.8", "0.9", "1.0")]
    assert world.run(world.install(keys[0])).status == 0
    lease = world.root / "releases" / oracle.live(world) / ".lease"
    with open(lease) as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        for key in keys[1:]:
            assert world.run(world.install(key)).status == 0
        assert world.run(world.command("prune")).status == 0
        yield "" if lease.exists() else "a release was pruned though a process holds its lease"
    assert world.run(world.command("prune")).status == 0
    yield "it is never pruned" if lease.exists() else ""


def _pinned(world: World) -> Iterator[str]:
    """Somebody has pinned a release."""
    keys = [world.make(version, keep_releases=1) for version in ("0.8", "0.9", "1.0")]
    assert world.run(world.install(keys[0])).status == 0
    pinned = oracle.live(world)
    assert world.run(world.command("pin", pinned)).status == 0
    for key in keys[1:]:
        assert world.run(world.install(key)).status == 0
    yield "" if (world.root / "releases" / pinned).exists() else "a pinned release was pruned"


def _flipped(world: World) -> Iterator[str]:
    """One bit of the artifact, at 60 places."""
    one = world.make("1.0")
    data = world.paths[one].read_bytes()
    path = world.directory / "flipped.tgz"
    for number in range(60):
        place = (2 * number + 1) * len(data) // 120
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << number % 8]) + data[place + 1 :])
        yield _refused(world, world.run(world.command("install", path, "--python", world.python)), "", 3)
        shutil.rmtree(world.root, ignore_errors=True)


def _layer(world: World) -> Iterator[str]:
    """One bit of each layer is another: of every byte of its segments, or of thirty of them; and in the middle of its table."""
    one = world.make("1.0")
    path, data, places = world.directory / "flipped.tgz", world.paths[one].read_bytes(), []
    with open_artifact(world.paths[one]) as artifact:
        for layer in artifact.manifest.layers:
            table, begin = artifact.body + layer.table.offset, artifact.body + layer.table.offset + layer.table.bytes
            end = table + layer.bytes
            places += [table + layer.table.bytes // 2, *range(begin, end, max(1, (end - begin) // 30))]
    for number, place in enumerate(places):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << number % 8]) + data[place + 1 :])
        yield _refused(world, world.run(world.command("install", path, "--python", world.python)), "", 3, 4)
        shutil.rmtree(world.root, ignore_errors=True)


def _claimed(world: World) -> Iterator[str]:
    """Two layers of an artifact have the same file, and differ."""
    layers = {"src": {"app.py": "1\n"}, "wheel:a": {"lib/x.py": "a\n"}, "wheel:b": {"lib/x.py": "b\n"}}
    path = write_release(world.directory, layers, requires=NEEDS_NOTHING).path
    yield _refused(world, world.run(world.command("install", path, "--python", world.python)), "", 3)
    path.unlink()


def _damaged(world: World) -> Iterator[str]:
    """A release that is here is no more what was installed: a byte, a file more, a mode."""
    one, two = _upgraded(world)
    assert world.run(world.install(two)).status == 0
    release, before = world.root / "releases" / id_of(world.paths[one]), oracle.live(world)
    saved = world.save()
    for hurt in (
        lambda: (release / "src/app.py").write_text("VERSION = '9.0'\n"),
        lambda: (release / "src/sitecustomize.py").write_text(""),
        lambda: (release / "bin/run").chmod(0o777),
    ):
        world.restore(saved)
        hurt()
        for words in (("rollback",), ("activate", release.name)):
            yield _refused(world, world.run(world.command(*words)), before, 7)


def _edited(world: World) -> Iterator[str]:
    """A file of the system was edited by hand, and nobody has said what is to become of that."""
    _, two = _upgraded(world)
    world.config.write_text("edited by hand\n")
    yield _refused(world, world.run(world.install(two)), oracle.live(world), 3)
    yield "" if world.config.read_text() == "edited by hand\n" else "the edit is lost"


def _journal(world: World) -> Iterator[str]:
    """The journal can't be trusted: nothing is changed, by any command."""
    _, two = _upgraded(world)
    path = world.root / ".install/journal.json"
    data = path.read_bytes()
    for broken in (b"", data[:-2], data.replace(b"idle", b"IDLE"), b"{}\n" + data.partition(b"\n")[2]):
        path.write_bytes(broken)
        before = oracle.fingerprint(world)
        for words in (world.install(two), world.command("recover"), world.command("prune"), world.command("rollback")):
            yield _refused(world, world.run(words), oracle.live(world), 7)
        yield "" if oracle.fingerprint(world) == before else "something was changed"


ALL: dict[str, Callable[[World], Iterator[str]]] = {
    "history is a link": _planted(".install/history.jsonl"),
    "lock is a link": _planted(".install/lock"),
    "revisions.log is a link": _planted("revisions.log"),
    "staging is a link": _planted(".install/staging", directory=True),
    "releases is a link": _planted("releases", directory=True),
    "envs is a link": _planted("envs", directory=True),
    "file of the system is a link": _overlay_link,
    "directory of the system is everybody's": _overlay_open,
    "busy": _busy,
    "leased": _leased,
    "pinned": _pinned,
    "flipped": _flipped,
    "layer": _layer,
    "claimed twice": _claimed,
    "damaged": _damaged,
    "edited": _edited,
    "journal": _journal,
}
