"""The journal: one transaction at most, in one file that is replaced by rename and proves itself by its own sha256.

    idle ──▶ prepared ──▶ switching ──▶ committed ──▶ idle

Until ``switching`` nothing that is live was touched; from then on until ``committed`` the way is back; after it, forward.
"""

from __future__ import annotations

import hashlib
import json

from . import durable
from .errors import DamagedError, Problem
from .host import JOURNAL, STATE, Host
from .manifest import canonical
from .overlay.change import Change
from .records import NamedTuple, as_dict
from .typed import Any

STATES = ("idle", "prepared", "switching", "committed")


class Transaction(NamedTuple):
    """A change of what is live: ``to`` instead of ``before`` ("" for none). ``previous`` is what that link said, to put it back.

    ``events`` are the lines of the history that belong to it, whole, as they are appended once it is committed, or undone. ``changes``: what it
    does to the files of the system.
    """

    tx: str
    state: str
    to: str
    before: str
    previous: str
    who: str
    events: tuple[dict[str, Any], ...] = ()
    changes: tuple[Change, ...] = ()

    def step(self, state: str, events: tuple[dict[str, Any], ...] = ()) -> Transaction:
        """The same transaction, one state on."""
        return self._replace(state=state, events=events or self.events)


def read(host: Host) -> Transaction | None:
    """The transaction that is under way, or None. Raises ``DamagedError`` when the journal can't be trusted: then nothing may be changed."""
    data = host.read(STATE, JOURNAL)
    if data is None:
        return None
    body = data.partition(b"\n")[0] + b"\n"
    try:
        if data != _sealed(body):
            raise ValueError("its digest does not match")
        value = json.loads(body)
        if value == {"state": "idle"}:
            return None
        if sorted(value) != sorted(Transaction._fields) or value["state"] not in STATES[1:]:
            raise ValueError("it has other keys or states than this installer knows")
        changes = tuple(map(Change.from_json, value["changes"]))
        return Transaction(**{**value, "changes": changes, "events": tuple(value["events"])})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"{host.path(STATE, JOURNAL)} can't be trusted: {error}."
        remedy = "Nothing was changed. Compare current with the history (log), then move the journal away."
        raise DamagedError("the journal is damaged", [Problem("journal", what, remedy)]) from None


def write(host: Host, transaction: Transaction | None) -> None:
    """Replace the journal, durably. None: nothing is under way."""
    body = canonical({"state": "idle"} if transaction is None else as_dict(transaction))
    with host.directory(STATE) as state:
        durable.write_file(state, JOURNAL, _sealed(body), 0o640)


def _sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).hexdigest().encode("ascii") + b"\n"
