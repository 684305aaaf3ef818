"""One host after the other: look, send what it lacks, let its installer work, hear what came of it. The first that fails is the last."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BuildError, DeployError, HostRefusedError, Problem
from ..frozen import frozen, frozen_by_name
from ..install_release.artifact import REMEDY
from ..install_release.errors import RefusedError, RolledBackError
from ..install_release.who import me
from .load import Load, Parcel, opened
from .session import PIECE, Reply, Session, connected
from .there import There, look

if TYPE_CHECKING:
    from ..report import Progress


@frozen_by_name
class Orders:
    """What the operator wants. ``options`` are the installer's own, each one word; ``once``: the first host runs hooks that one of several shall run;
    ``as_json``: a plan as a value, not in lines."""

    root: str = ""
    expected: str | None = None
    plan: bool = False
    whole: bool = False
    once: bool = True
    options: tuple[str, ...] = ()
    as_json: bool = False


@frozen_by_name
class Visit:
    """What came of one host. ``sent`` bytes of an artifact of ``whole`` bytes; ``left_out`` layers were there; ``brought``: the installer was sent
    too; ``again``: the whole one was sent after a thin one. ``said``: by the installer, ``lines`` of a plan."""

    host: str
    root: str
    status: int = 0
    sent: int = 0
    whole: int = 0
    left_out: int = 0
    brought: bool = False
    again: bool = False
    seconds: float = 0.0
    said: Any = None
    lines: tuple[str, ...] = ()

    @property
    def before(self) -> str:
        """The release that was live before, or ""."""
        return str(self.said.get("from") or "")

    @property
    def already(self) -> bool:
        """Whether there was nothing to do."""
        return bool(self.said.get("already"))


@frozen
class Rollout:
    """All that came of it."""

    name: str
    version: str
    id: str
    visits: tuple[Visit, ...]

    @property
    def status(self) -> int:
        """That of the first host that has another one than 0."""
        return next((visit.status for visit in self.visits if visit.status), 0)


def roll_out(artifact: Path, hosts: Sequence[str], orders: Orders, progress: Progress) -> Rollout:
    """Make the release live on ``hosts``, or only show what would be done there. Raises ``DeployError`` with what is known of every host."""
    visits: list[Visit] = []
    with opened(artifact, orders.expected) as load:
        for number, host in enumerate(hosts):
            try:
                visits.append(_visit(host, load, replace(orders, once=orders.once and number == 0), progress))
            except DeployError as error:
                if not orders.plan:
                    raise _stopped(error, visits, host, hosts[number + 1 :]) from None
                visits.append(
                    Visit(host=host, root=orders.root, status=error.status, said=_value(error), lines=(error.message, *map(str, error.problems)))
                )
            except BaseException as stop:
                stop.add_note(_known(visits, host, hosts[number + 1 :], orders.plan))
                raise
    return Rollout(load.manifest.name, load.manifest.version, load.id, tuple(visits))


def _visit(host: str, load: Load, orders: Orders, progress: Progress) -> Visit:
    begun = time.monotonic()
    with connected(host) as session:
        there = look(session, orders.root, load.manifest.root)
        if there.layers is None:
            progress.note(f"{host}: {there.installer} does not say what is there: all is sent")
        parcel = load.whole if orders.whole else load.without(there.layers or frozenset())
        reply = _send(session, there, load, parcel, orders, progress)
        sent, again = reply.sent, parcel.left_out > 0 and _lacks(reply)
        if again:
            progress.note(f"{host}: a layer that was there has gone: the whole artifact is sent")
            parcel = load.whole
            reply = _send(session, there, load, parcel, orders, progress)
            sent += reply.sent
    visit = Visit(
        host=host,
        root=there.root,
        status=reply.status,
        sent=sent,
        whole=load.bytes,
        left_out=parcel.left_out,
        brought=not there.installer,
        again=again,
        seconds=round(time.monotonic() - begun, 3),
    )
    if orders.plan and not orders.as_json:
        return replace(visit, lines=tuple(reply.out.decode("utf-8", "replace").splitlines()))
    said = _said(reply)
    if orders.plan:
        return replace(visit, said=said)
    if reply.status or said is None:
        raise _refused(reply, said, progress, host)
    return replace(visit, said=said)


def _send(session: Session, there: There, load: Load, parcel: Parcel, orders: Orders, progress: Progress) -> Reply:
    """Let the installer of the host, or the one that is brought along, read a parcel."""
    words = ["install", f"--root={there.root}", *orders.options, *([] if orders.once else ["--no-once"])]
    words += ["--plan"] if orders.plan else []
    words += [] if orders.plan and not orders.as_json else ["--json"]
    brought = b"" if there.installer else load.installer
    program = ["run", there.installer, str(len(brought)), str(int(orders.plan)), me(), *words, "-"]
    with progress.transfer(f"{session.name}: send") as moved:
        moved("of", len(brought) + parcel.bytes)

        def pieces() -> Iterator[bytes]:
            for piece in _pieces(brought, parcel.path):
                yield piece
                moved("sent", len(piece))

        return session.run(program, pieces(), lambda line: progress.note(f"{session.name}: {line}"))


def _pieces(program: bytes, path: Path) -> Iterator[bytes]:
    for start in range(0, len(program), PIECE):
        yield program[start : start + PIECE]
    with path.open("rb", buffering=0) as file:
        while piece := file.read(PIECE):
            yield piece


def _said(reply: Reply) -> Any:
    """The one JSON object that an installer says; None: it said something else."""
    try:
        said = json.loads(reply.out)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _problems(said: Any) -> list[Problem]:
    error = said.get("error") if isinstance(said, dict) else None
    found = error.get("problems") if isinstance(error, dict) else None
    return [Problem(*(str(each.get(key, "")) for key in Problem._fields)) for each in found or () if isinstance(each, dict)]


def _lacks(reply: Reply) -> bool:
    """Whether a thin artifact left out what the host does not have, or no longer."""
    return reply.status in (RefusedError.status, RolledBackError.status) and any(REMEDY in problem.remedy for problem in _problems(_said(reply)))


def _refused(reply: Reply, said: Any, progress: Progress, host: str) -> HostRefusedError:
    """What the installer's own error says."""
    told = said.get("error") if isinstance(said, dict) else None
    told = told if isinstance(told, dict) else {}
    for line in told.get("log") or ():
        progress.note(f"{host}: {line}")
    problems = _problems(said) or [Problem("installer", f"ended with status {reply.status}.", "What it said stands above.")]
    error = HostRefusedError(str(told.get("message") or "its installer failed"), problems)
    error.status = reply.status or 1
    return error


def _stopped(error: DeployError, done: Sequence[Visit], host: str, left: Sequence[str]) -> DeployError:
    """The same error, with what is known of all hosts."""
    words = [f"{host}: {error.message} (exit status {error.status})"]
    words += [f"done: {', '.join(visit.host for visit in done)}"] if done else []
    words += [f"not reached: {', '.join(left)}"] if left else []
    hosts = [value(visit) for visit in done]
    hosts += [{"host": host, "state": "failed", "status": error.status}, *({"host": each, "state": "not reached"} for each in left)]
    error.facts = {"hosts": hosts}
    error.message = "; ".join(words)
    error.next_step = "mend that, then the same command again: where the release is live already, nothing is done"
    return error


def _known(done: Sequence[Visit], host: str, left: Iterable[str], plan: bool) -> str:
    """What somebody who has ended it wants to know."""
    if plan:
        return "nothing was changed anywhere"
    words = [f"done: {', '.join(visit.host for visit in done)}"] if done else []
    words += [f"{host}: what had arrived whole by then is installed to its end; install-release status there says what is live"]
    words += [f"not reached: {', '.join(left)}"] if left else []
    return "; ".join(words)


def value(visit: Visit) -> dict[str, Any]:
    """One host, for programs."""
    return {
        "host": visit.host,
        "state": "done" if not visit.status else "failed",
        "status": visit.status,
        "root": visit.root,
        "sent": visit.sent,
        "whole": visit.whole,
        "left_out": visit.left_out,
        "brought_installer": visit.brought,
        "sent_again": visit.again,
        "seconds": visit.seconds,
        "installer": visit.said,
    }


def _value(error: BuildError) -> dict[str, Any]:
    problems = [{"where": problem.where, "what": problem.what, "remedy": problem.remedy} for problem in error.problems]
    return {"error": {"status": error.status, "message": error.message, "problems": problems}}
