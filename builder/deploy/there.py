"""What a host is, before anything is sent to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import DeployError, NoRootError, Problem
from ..frozen import frozen
from . import answer
from .session import Session


@frozen
class There:
    """``root`` is where the release goes, ``installer`` the program that puts it there ("": none yet). ``layers``: digests of those that need not be
    sent; None: its installer does not say."""

    root: str
    installer: str
    layers: frozenset[str] | None


def look(session: Session, root: str, default: str) -> There:
    """Ask a host. ``root``: as the operator says, else what the host says, else ``default``. Raises ``DeployError``."""
    reply = session.run(["look", root, default])
    facts = answer.value(reply)
    if not facts:
        what = f"a first look, by its python3, ended with status {reply.status}."
        raise DeployError("the host does not say what it is", [Problem(session.name, what, "What stands above is what it said.")])
    return parse(session.name, facts)


def parse(host: str, facts: Mapping[str, Any]) -> There:
    """What ``on_host look`` found. Raises ``NoRootError`` where its user can't make or change the root."""
    root, place = facts["root"], facts["place"]
    if not facts["writable"]:
        where = "is not writable" if place == root else f"is not there, and {place} is not writable"
        remedy = f"Once, as its administrator: install -d -o USER {root}, or what install-release bootstrap --print writes."
        raise NoRootError("there is no place for the release", [Problem(f"{host}:{root}", f"{where} for uid {facts['uid']}.", remedy)])
    have = facts["have"] if facts["installer"] else {"layers": []}
    layers = have.get("layers") if isinstance(have, dict) else None
    return There(root, facts["installer"], frozenset(map(str, layers)) if isinstance(layers, list) else None)
