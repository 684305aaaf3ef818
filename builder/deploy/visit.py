"""One host: look what it is, send what it lacks, let its installer work, hear what came of it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..errors import LostError
from ..frozen import frozen_by_name
from ..install_release.errors import DegradedError
from ..install_release.who import me
from ..report import count, size
from . import answer
from .load import Load, Parcel
from .session import PIECE, Reply, Session, connected
from .there import There, look

if TYPE_CHECKING:
    from ..report import Progress


@frozen_by_name
class Orders:
    """What the operator wants. ``options`` are the installer's own, each one word; ``once``: hooks are run that are for one host of several;
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
    """What came of one host. Of an artifact of ``whole`` bytes ``sent`` bytes went, ``left_out`` layers were there; ``brought``: the installer was
    sent too; ``again``: the whole one was sent after a thin one. ``said``: by the installer; ``lines``: of a plan."""

    host: str
    root: str
    status: int = 0
    sent: int = 0
    whole: int = 0
    left_out: int = 0
    brought: bool = False
    again: bool = False
    seconds: float = 0.0
    said: Mapping[str, Any]
    lines: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The release that is there."""
        return str(self.said.get("id") or "")

    @property
    def before(self) -> str:
        """The release that was live before, or ""."""
        return str(self.said.get("from") or "")

    @property
    def already(self) -> bool:
        """Whether there was nothing to do."""
        return bool(self.said.get("already"))


def visit(host: str, load: Load, orders: Orders, progress: Progress) -> Visit:
    """Make the release live on one host, or ask what would be done. Raises ``DeployError``."""
    begun = time.monotonic()
    with connected(host) as session:
        there = look(session, orders.root, load.manifest.root)
        if there.layers is None:
            progress.note(f"{host}: {there.installer} does not say what is there: all is sent")
        parcel = load.whole if orders.whole else load.without(there.layers or frozenset())
        reply = _send(session, there, load, parcel, orders, progress)
        sent, again = reply.sent, parcel.left_out > 0 and answer.lacks(reply)
        if again:
            progress.note(f"{host}: a layer that was there has gone: the whole artifact is sent")
            parcel = load.whole
            reply = _send(session, there, load, parcel, orders, progress)
            sent += reply.sent
    in_lines = orders.plan and not orders.as_json
    said = {} if in_lines else answer.value(reply)
    if not orders.plan and (reply.status or not said):
        for line in answer.log(said):
            progress.note(f"{host}: {line}")
        raise answer.refused(reply, said)
    return Visit(
        host=host,
        root=there.root,
        status=reply.status,
        sent=sent,
        whole=load.bytes,
        left_out=parcel.left_out,
        brought=not there.installer,
        again=again,
        seconds=round(time.monotonic() - begun, 3),
        said=said,
        lines=answer.lines(reply) if in_lines else (),
    )


def _send(session: Session, there: There, load: Load, parcel: Parcel, orders: Orders, progress: Progress) -> Reply:
    """Let the installer of the host, or the one that is brought along, read a parcel."""
    host, brought = session.name, b"" if there.installer else load.installer
    program = ["run", there.installer, str(len(brought)), str(int(orders.plan)), me(), *_words(there, parcel, orders)]
    try:
        with closing(_pieces(host, brought, parcel, load, progress)) as pieces:
            return session.run(program, pieces, lambda line: progress.note(f"{host}: {line}"), changes=not orders.plan)
    except LostError as error:
        if error.status == DegradedError.status:
            error.next_step = f"ssh {host} {there.root}/bin/install-release status, then the same command again"
        raise
    except BaseException as stop:
        if not isinstance(stop, Exception) and not orders.plan:
            stop.add_note(f"{host}: if all had arrived, its installer goes on: {there.root}/bin/install-release status there says what is live")
        raise


def _words(there: There, parcel: Parcel, orders: Orders) -> list[str]:
    words = ["install", f"--root={there.root}", *orders.options]
    words += [] if orders.once else ["--no-once"]
    words += [f"--expect-sha256={parcel.sha256}"] if parcel.sha256 else []
    words += ["--plan"] if orders.plan else []
    words += [] if orders.plan and not orders.as_json else ["--json"]
    return [*words, "-"]


def _pieces(host: str, installer: bytes, parcel: Parcel, load: Load, progress: Progress) -> Generator[bytes]:
    """The installer, if it is brought along, and the parcel; then a line that says so: what follows is the installer's time."""
    total = len(installer) + parcel.bytes
    with progress.transfer(f"{host}: send") as moved, parcel.path.open("rb", buffering=0) as file:
        moved("of", total)
        for start in range(0, len(installer), PIECE):
            yield (piece := installer[start : start + PIECE])
            moved("sent", len(piece))
        while piece := file.read(PIECE):
            yield piece
            moved("sent", len(piece))
    there = f", {count(parcel.left_out, 'layer')} of {len(load.manifest.layers)} there already" if parcel.left_out else ""
    progress.note(f"{host}: {size(total)} of {size(load.bytes)} sent{there}")
