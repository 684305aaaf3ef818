"""The invariants I1 to I10, asked of a host: at once after a fault, after recovery, and after the next installation."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator

from builder.install_release import floor, history, journal, recover, verify
from builder.install_release.errors import InstallError
from builder.install_release.host import Host

from .scenarios import Ready
from .world import Done, World

STATUSES = (0, 3, 4, 5, 7)
"""What a command may end with when a call fails. 1 is a bug, 2 usage, and 6 says that somebody else holds the lock, which nobody does."""

_VARIES = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"TIME"),
        (rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", b"TIME"),
        (rb'"tx":"[0-9a-f]{12}"', b'"tx":"TX"'),
        (rb"rel-new\.[0-9a-f]{12}", b"rel-new.TX"),
        (rb'"pid": ?\d+', b'"pid":0'),
        (rb'"(why|log)":(?:"(?:[^"\\]|\\.)*"|\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])', rb'"\1":""'),
        (rb"( by [^\n:]*):[^\n]*\n", rb"\1\n"),
    )
)
_TX = re.compile(rb"(?:^|(?<=rel-new\.))[0-9a-f]{12}$")


def fingerprint(world: World) -> str:
    """What all that may change looks like, without times, transactions' names, and the words for people."""
    found = hashlib.sha256()
    for top in (world.root, world.system, world.run_):
        for path, mode, data in _entries(os.fsencode(top)):
            found.update(b"%s\0%o\0%d\0" % (path, mode, len(data)))
            found.update(data)
    return found.hexdigest()[:16]


def _entries(top: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    waiting = [top] if os.path.lexists(top) else []
    while waiting:
        path = waiting.pop()
        mode = os.lstat(path).st_mode
        name = b"/".join(_TX.sub(b"TX", part) for part in path[len(top) :].split(b"/"))
        if stat.S_ISDIR(mode):
            yield name, mode, b""
            waiting += sorted(os.path.join(path, each) for each in os.listdir(path))
        elif stat.S_ISLNK(mode):
            yield name, mode, os.readlink(path)
        else:
            with open(path, "rb", 0) as file:
                data = file.readall() or b""
            yield name, mode, _without(data) if b"/.install/" in path or path.endswith(b".log") else data


def _without(data: bytes) -> bytes:
    """What it says; of a sealed file, whether the seal is whole instead of the seal."""
    body, _, seal = data.partition(b"\n")
    if len(seal) == 65 and not seal.endswith(b"}\n"):
        data = body + (b" sealed" if hashlib.sha256(body + b"\n").hexdigest().encode() + b"\n" == seal else b" broken")
    for pattern, text in _VARIES:
        data = pattern.sub(text, data)
    return data


def live(world: World) -> str:
    """The id that ``current`` leads to; "" for none; the whole target where that is no release."""
    path = world.root / "current"
    if not os.path.lexists(path):
        return ""
    target = os.readlink(path)
    return target.partition("/")[2] if target.startswith("releases/") else f"?{target}"


def untyped(done: Done) -> bool:
    """Whether it ended with a traceback. (What Python says of a generator that could not even be closed is none: it says that it ignores it.)"""
    return "Traceback" in re.sub(r"Exception ignored in.*\nTraceback .*\n(?:  .*\n)*.*\n", "", done.said)


def at_once(world: World, ready: Ready, done: Done) -> Iterator[str]:
    """What is wrong right after the fault, nothing repaired yet."""
    if done.status is None:
        yield "it did not end"
        return
    if untyped(done):
        yield f"an untyped error: {_tail(done)}"
    if done.status not in (-9, *STATUSES):
        yield f"status {done.status}: {_tail(done)}"
    now = live(world)
    legal = {ready.before, ready.after, ready.passing or ready.before}
    if now not in legal:
        yield f"I2: {now or 'nothing'} is live"
    yield from (f"I1: {each}" for each in _differences(world, now))
    if ready.either:
        yield from (f"FALSE SUCCESS: {each}" for each in (_complete(world, ready, now) if done.status == 0 else ()))
    elif done.status in (3, 4, 7):
        if now not in ((ready.before, ready.passing) if ready.passing and not ready.status else (ready.before,)):
            yield f"I4: status {done.status}, and {now or 'nothing'} is live: {_tail(done)}"
        if not ready.passing or ready.status:  # else files and service may be of another release than what is live, until it is recovered
            yield from (f"I4: status {done.status}: {each}: {_tail(done)}" for each in _etc(world, ready, ready.before))
            yield from (f"I6: status {done.status}: {each}: {_tail(done)}" for each in _service(world, ready, ready.before))
        yield from _left_by_a_refusal(world, ready) if done.status == 3 else ()
    elif done.status == 0:
        yield from (f"FALSE SUCCESS: {each}" for each in _complete(world, ready, ready.after))
    yield from _kept(world)
    yield from (f"I9: {each} was touched" for each in world.touched())


def recovered(world: World, ready: Ready, was: Done) -> Iterator[str]:
    """What is wrong after recovery. ``was``: how the command had ended that something happened to."""
    now = live(world)
    legal = (ready.after,) if was.status == 0 and not ready.either else (ready.before, ready.after)
    if now not in legal:
        yield f"I2: {now or 'nothing'} is live after recovery"
    yield from _complete(world, ready, now)
    yield from _previous(world, ready, now)
    yield from _floor(world, ready, now)
    yield from _tidy(world)
    yield from _kept(world)
    if was.status == 0 and not ready.either and ready.bad and _state(world, ready.bad) != "bad":
        yield f"I3: {ready.bad} is not marked bad"
    yield from (f"I9: {each} was touched" for each in world.touched())


def installed(world: World, ready: Ready, before: str, done: Done) -> Iterator[str]:
    """What is wrong after the installation that followed. ``before``: what was live before that."""
    if done.status != 0:
        yield f"I7: the next installation ended with status {done.status}: {_tail(done)}"
        return
    now = live(world)
    if world.versions.get(now) != "3.0":
        yield f"I7: {now} is live after the next installation"
    yield from _complete(world, ready, now)
    yield from _tidy(world)
    previous = world.root / "previous"
    if before and (not os.path.lexists(previous) or os.readlink(previous) != f"releases/{before}"):
        yield "I8: previous is not what was live before the next installation"
    yield from _kept(world)


def _complete(world: World, ready: Ready, now: str) -> Iterator[str]:
    """Whatever makes ``now`` live: link, whole release, files of the system, service, history, journal."""
    if live(world) != now:
        yield f"I3: {live(world) or 'nothing'} is live"
        return
    yield from (f"I1: {each}" for each in _differences(world, now))
    yield from (f"I5: {each}" for each in _etc(world, ready, now))
    yield from (f"I6: {each}" for each in _service(world, ready, now))
    if not world.root.exists() or not (world.root / ".install").exists():
        return
    with Host(str(world.root)) as host:
        transaction = journal.read(host)
        if transaction is not None:
            yield f"the journal says {transaction.state}"
        past = history.fold(history.read(host))
        if now != past.live:
            yield f"the history says that {past.live or 'nothing'} is live"
        if now and past.of(now).state != "good":
            yield f"the history says that {now} is {past.of(now).state}"
        if past.degraded:
            yield "the history says that it is degraded"


def _left_by_a_refusal(world: World, ready: Ready) -> Iterator[str]:
    """Status 3 says that nothing was changed: no release and no environment is here that was not."""
    for name in ("releases", "envs"):
        before = {path.partition("/")[2] for path in ready.saved["root"] if path.startswith(f"{name}/")}
        found = sorted(set(os.listdir(world.root / name)) - before) if (world.root / name).exists() else []
        yield from (f"I4: a refusal has left {name}/{each}" for each in found)


def _state(world: World, release: str) -> str:
    with Host(str(world.root)) as host:
        return history.fold(history.read(host)).of(release).state


def _tidy(world: World) -> Iterator[str]:
    """Nothing is left over."""
    if not (world.root / ".install").exists():
        return
    with Host(str(world.root)) as host:
        yield from (f"I7: recovery is due: {each}" for each in recover.due(host))
    found = [path for top in (world.root, world.system) for path in top.rglob(".*") if path.name.endswith(".new") or ".rel-new" in path.name]
    yield from (f"I7: {path.relative_to(world.directory)} is left" for path in found)
    tables = sorted(path.stem for path in (world.root / ".install/envs").glob("*.json"))
    if (world.root / "envs").exists() and sorted(os.listdir(world.root / "envs")) != tables:
        yield "I7: environments and their tables differ"


def _kept(world: World) -> Iterator[str]:
    """What is published is whole, and stays so: every release that is here, the previous one above all."""
    previous = world.root / "previous"
    if os.path.lexists(previous) and not previous.exists():
        yield f"I8: previous leads to {os.readlink(previous)}, which is gone"
    if (world.root / "releases").exists():
        for release in sorted(os.listdir(world.root / "releases")):
            yield from (f"I8: {each}" for each in _differences(world, release))


def _previous(world: World, ready: Ready, now: str) -> Iterator[str]:
    """``previous`` leads where it led when nothing came of it; else to what was live before."""
    wanted = ready.previous if now == ready.before else f"releases/{ready.before}" if ready.before else ""
    path = world.root / "previous"
    found = os.readlink(path) if os.path.lexists(path) else ""
    if found != wanted and not ready.passing:
        yield f"I8: previous leads to {found or 'nothing'} instead of {wanted or 'nothing'}"


def _floor(world: World, ready: Ready, now: str) -> Iterator[str]:
    """It never goes down, and what is live is not above it."""
    saved = ready.saved["root"].get(".install/floor.json", (0, b"{}\n"))[1]
    before = int(json.loads(saved.partition(b"\n")[0]).get("commit_time", 0))
    if not now:
        return
    with Host(str(world.root)) as host:
        lowest = max(before, host.manifest(now).commit_time)
        if (found := floor.read(host).commit_time) < lowest:
            yield f"I10: the floor is {found}, and was {before}; {lowest} is the least that it may be"


def _differences(world: World, release: str) -> Iterator[str]:
    if not release:
        return
    try:
        with Host(str(world.root)) as host:
            verdict = verify.verify(host, release)
    except (InstallError, OSError) as error:
        yield f"{release} can't be verified: {error}"
        return
    yield from (f"{release}: {each.kind} {each.path}" for each in verdict.differences[:3])


def _etc(world: World, ready: Ready, now: str) -> Iterator[str]:
    """The files of the system are those of ``now``; an edit of an operator is there, or beside."""
    if not ready.served:
        return
    found = {path.name: path.read_text() for path in world.system.rglob("*") if path.is_file()}
    version = world.versions.get(now, "")
    edited = bool(ready.edit) and now == ready.before
    wanted = {} if not now else {"stub.conf": ready.edit if edited else f"version = {version}\n", **world.more(version)}
    beside = {name: text for name, text in found.items() if name not in wanted}
    for name, text in wanted.items():
        if found.get(name) != text:
            yield f"{name} says {found.get(name)!r}, and {version} is live"
    if ready.edit and ready.edit not in found.values():
        yield "an edit is lost"
    if beside and not (ready.edit and set(beside.values()) == {ready.edit}):
        yield f"{', '.join(sorted(beside))}: left behind"


def _service(world: World, ready: Ready, now: str) -> Iterator[str]:
    if not ready.served:
        return
    said = world.serving.read_text() if world.serving.exists() else ""
    wanted = f"{now}\n{world.config.read_text() if world.config.exists() else ''}" if now else ""
    if ready.edit and now == ready.before and said == f"{now}\nversion = {world.versions[now]}\n":
        return  # it was started before somebody edited
    if said != wanted:
        yield f"{said.splitlines()[:2]} runs, and {now or 'nothing'} is live"


def _tail(done: Done) -> str:
    return " | ".join(done.said.strip().splitlines()[-6:])
