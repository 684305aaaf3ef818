"""What is live, since when and by whom; which releases are there; which processes still run an older one. Reads only."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from . import history, recover, trust
from .errors import DamagedError, InstallError
from .history import Past
from .host import CURRENT, ENVS, RELEASES, Host, pointer_problem
from .processes import Process, running
from .prune import environment_users
from .records import NamedTuple, as_dict
from .trust import By, Standing
from .typed import Any

_NOTE = 120  # letters of why a release is bad that fit beside it; log tells the rest


class Row(NamedTuple):
    """One release. Sizes are bytes on disk: its own, and its environment's, which it has together with ``shared_with``."""

    release: str
    live: bool
    past: Past
    seconds: int  # of having been live, up to now
    bytes: int
    env: str
    env_bytes: int
    shared_with: tuple[str, ...]
    in_use: bool
    signed: tuple[By, ...] = ()
    revoked: bool = False


class Status(NamedTuple):
    """All that ``status`` tells. ``current`` is "" when nothing is live; ``problems`` are facts that an operator should look at."""

    root: str
    name: str
    current: str
    rows: tuple[Row, ...]
    services: tuple[str, ...]  # of the live release: name and kind
    processes: tuple[Process, ...]
    hidden_processes: int
    recovery: tuple[str, ...]
    busy: str
    problems: tuple[str, ...]
    policy: Standing = Standing()


def gather(host: Host) -> Status:
    """Look at a root. Raises ``DamagedError`` when the history can't be read, ``PermissionError`` when this user may not see it."""
    now = history.now()
    past = history.past(host)
    pointer, problems = host.pointer(CURRENT), []
    current = pointer.id if pointer.kind == "release" else ""
    if pointer.kind not in ("release", "absent"):
        problems.append(str(pointer_problem(host, pointer)))
    if current != past.live and not (problems or host.holder()):
        problems.append(f"the history says that {past.live or 'nothing'} is live: {CURRENT} was set by hand")
    if past.degraded:
        problems.append(f"degraded: {past.degraded.get('why', '')} Mend that, then run install-release recover")
    users, present = environment_users(host), host.releases()
    sizes = {key: _size(host, f"{ENVS}/{key}") for key in host.environments()}
    env_of = {release: key for key, releases in users.items() for release in releases}
    name = _name(host, present)
    policy = trust.standing(host, name)
    problems += [f"{problem}" for problem in policy.problems]
    if current in policy.revoked:
        problems.append(f"{current} is live, and revoked ({policy.path}): install another one, or roll back")
    rows = []
    for release in present:
        env = env_of.get(release, "")
        mine, live = past.of(release), release == current
        mine = mine if mine.version else mine._replace(version=host.version(release))
        seconds = mine.seconds + (history.seconds_between(past.since, now) if live and past.live == release else 0)
        others = tuple(each for each in users.get(env, ()) if each != release)
        size, signed = _size(host, f"{RELEASES}/{release}"), _signed(host, release, past)
        rows.append(Row(release, live, mine, seconds, size, env, sizes.get(env, 0), others, host.leased(release), signed, release in policy.revoked))
    rows.sort(key=lambda row: row.past.order, reverse=True)
    seen = running(host, users)
    busy = host.holder()
    services = _services(host, current)
    return Status(host.root, name, current, tuple(rows), services, seen.processes, seen.hidden, due(host, busy), busy, tuple(problems), policy)


def to_json(status: Status) -> dict[str, Any]:
    """The same for programs: every field, and the state of each release beside it."""
    return as_dict(status)


def to_text(status: Status, now: str) -> Iterator[str]:
    """The lines of the screen."""
    by_id = {row.release: row for row in status.rows}
    live = by_id.get(status.current)
    head = f"{status.name or 'nothing installed'}   {status.root}"
    if live is None:
        yield f"{head}   nothing is live"
    else:
        active = live.past.active
        since = f" since {_when(active.time, now)}, by {active.who}" if active else ""
        yield f"{head}   current {live.past.version} ({live.release})   {live.past.state}{since}"
    if status.rows:
        yield from _table(status, now)
    if live is not None and (status.services or live.past.health):
        yield "     ".join([f"services: {', '.join(status.services) or 'none'}", *([live.past.health] if live.past.health else [])])
    if status.processes:
        yield from _processes(status, by_id)
    if status.hidden_processes:
        hidden = status.hidden_processes
        yield f"  {hidden} {'process' if hidden == 1 else 'processes'} of other users could not be looked at"
    if status.policy.path:
        signed = f"   {live.past.version} signed by {', '.join(map(str, live.signed))}" if live and live.signed else ""
        yield f"policy: {status.policy.path}: {status.policy.says}{signed}"
    for problem in status.problems:
        yield f"problem: {problem}"
    if status.busy:
        yield f"busy: {status.busy}"
    for each in status.recovery:
        yield f"recovery is due: {each}"
    if status.recovery:
        yield "  next: install-release recover (every command that changes something does it first)"


def _table(status: Status, now: str) -> Iterator[str]:
    rows = [("release", "version", "state", "installed", "active for", "own size", "environment")]
    for row in status.rows:
        past = row.past
        state = past.state + (", pinned" if past.pinned else "") + (", revoked" if row.revoked else "")
        installed = _when(past.installed.time, now) if past.installed else "?"
        active = _span(row.seconds) if past.active else "-"
        shared = f", shared with {', '.join(_version(status, each) for each in row.shared_with)}" if row.shared_with else ""
        env = f"{row.env[:4]} ({_bytes(row.env_bytes)}{shared})" if row.env else "damaged: see verify"
        cut = len(past.note) > _NOTE
        note = f"   {past.note[:_NOTE].rstrip()}… (see log {past.version})" if cut else f"   {past.note}" if past.note else ""
        rows.append((row.release, past.version, state, installed, active, _bytes(row.bytes), env + note))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for number, line in enumerate(rows):
        mark = "*" if number and status.rows[number - 1].live else " "
        yield f"{mark} " + "   ".join([cell.ljust(width) for cell, width in zip(line, widths)] + [line[-1]])


def _processes(status: Status, by_id: dict[str, Row]) -> Iterator[str]:
    pids = {process.pid for process in status.processes}
    workers = Counter((process.parent, process.release) for process in status.processes if process.parent in pids)
    told = {(process.pid, process.release) for process in status.processes}
    parts = []
    for process in status.processes:
        if (process.parent, process.release) in told:  # a worker: counted with its parent
            continue
        count = workers[(process.pid, process.release)]
        who = f"{process.name} {process.pid}" + (f" (+{count})" if count else "")
        if not process.release:
            parts.append(f"{who} from environment {process.env[:4]}" if process.env else f"{who} from a release that can't be told")
        elif process.release == status.current:
            parts.append(f"{who} from {_version(status, process.release)}")
        else:
            parts.append(f"{who} still runs {_version(status, process.release)}: restart pending")
    yield "processes: " + "     ".join(parts)


def _version(status: Status, release: str) -> str:
    """The version of a release, with its digits where several have the same."""
    version = next((row.past.version for row in status.rows if row.release == release), "")
    same = sum(row.past.version == version for row in status.rows)
    return f"{version} ({release[-12:]})" if version and same > 1 else version or release


def due(host: Host, busy: str) -> tuple[str, ...]:
    """What recovery would do, in words; a damaged journal is told like anything else."""
    if busy:  # what lies there belongs to the one that is at work
        return ()
    try:
        return recover.due(host)
    except DamagedError as error:
        return tuple(str(problem) for problem in error.problems)


def _name(host: Host, releases: list[str]) -> str:
    for release in reversed(releases):
        try:
            return host.manifest(release).name
        except InstallError:
            continue
    return ""


def _signed(host: Host, release: str, past: history.History) -> tuple[By, ...]:
    try:
        return trust.all_signers(host, release, past)
    except InstallError:
        return ()


def _services(host: Host, release: str) -> tuple[str, ...]:
    try:
        return tuple(f"{each.name} ({each.kind})" for each in host.manifest(release).services) if release else ()
    except InstallError:
        return ()


def _size(host: Host, path: str) -> int:
    """Bytes on disk of a tree; links are not followed."""
    total = 0
    try:
        with host.directory(path) as directory:
            for _, _, files, here in os.fwalk(".", follow_symlinks=False, dir_fd=directory):
                total += os.fstat(here).st_blocks * 512
                total += sum(os.stat(name, dir_fd=here, follow_symlinks=False).st_blocks * 512 for name in files)
    except OSError:
        return total
    return total


def _when(time: str, now: str) -> str:
    """A time as people say it: today 10:14, yesterday 10:14, 3 days ago. Always UTC."""
    days = history.seconds_between(f"{time[:10]}T00:00:00Z", f"{now[:10]}T00:00:00Z") // 86400
    if days < 2:
        return f"{('today', 'yesterday')[days]} {time[11:16]} UTC"
    return f"{days} days ago"


def _span(seconds: int) -> str:
    for unit, length in (("days", 2 * 86400), ("h", 2 * 3600), ("min", 120)):
        if seconds >= length:
            return f"{seconds // (length // 2)} {unit}"
    return f"{seconds} s"


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" or size >= 100 else f"{size:.1f} {units[0]}"
