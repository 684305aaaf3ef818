"""One host after the other, in the order given. The first that fails is the last; of a plan all are asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DeployError
from ..frozen import frozen
from .load import opened
from .visit import Orders, Visit, visit

if TYPE_CHECKING:
    from ..report import Progress


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
        return next((each.status for each in self.visits if each.status), 0)


def roll_out(artifact: Path, hosts: Sequence[str], orders: Orders, progress: Progress) -> Rollout:
    """Make the release live on ``hosts``, or only show what would be done there. Raises ``DeployError`` with what is known of every host."""
    visits: list[Visit] = []
    with opened(artifact, orders.expected) as load:
        for number, host in enumerate(hosts):
            try:
                visits.append(visit(host, load, replace(orders, once=orders.once and number == 0), progress))
            except DeployError as error:
                if not orders.plan:
                    raise _stopped(error, visits, host, hosts[number + 1 :]) from None
                visits.append(_not_asked(error, host, orders.root))
            except BaseException as stop:
                if not isinstance(stop, Exception):
                    known = "nothing was changed anywhere" if orders.plan else "; ".join(_others(visits, hosts[number + 1 :]))
                    stop.add_note(known or f"{host} was the only host")
                raise
    return Rollout(load.manifest.name, load.manifest.version, load.id, tuple(visits))


def _not_asked(error: DeployError, host: str, root: str) -> Visit:
    """A host that can't show a plan."""
    problems = [{"where": problem.where, "what": problem.what, "remedy": problem.remedy} for problem in error.problems]
    said = {"error": {"status": error.status, "message": error.message, "problems": problems}}
    lines = (error.message, *(f"  {problem}" for problem in error.problems))
    return Visit(host=host, root=root, status=error.status, said=said, lines=lines)


def _stopped(error: DeployError, done: Sequence[Visit], host: str, left: Sequence[str]) -> DeployError:
    """The same error, with what is known of all hosts."""
    hosts: list[dict[str, Any]] = [value(each) for each in done]
    hosts += [{"host": host, "state": "failed", "status": error.status}, *({"host": each, "state": "not reached"} for each in left)]
    error.facts = {"hosts": hosts}
    error.message = "; ".join([f"{host}: {error.message} (exit status {error.status})", *_others(done, left)])
    error.next_step = error.next_step or "mend that, then give the same command again: where this release is live, nothing is done"
    return error


def _others(done: Sequence[Visit], left: Sequence[str]) -> list[str]:
    words = [f"done: {', '.join(each.host for each in done)}"] if done else []
    return words + ([f"not reached: {', '.join(left)}"] if left else [])


def value(each: Visit) -> dict[str, Any]:
    """One host, for programs."""
    return {
        "host": each.host,
        "state": "failed" if each.status else "done",
        "status": each.status,
        "root": each.root,
        "sent": each.sent,
        "whole": each.whole,
        "left_out": each.left_out,
        "brought_installer": each.brought,
        "sent_again": each.again,
        "seconds": each.seconds,
        "installer": each.said,
    }
