"""The ledger: what was laid down on the system, by which release, and what was there before. ``.install/ledger.json`` proves itself by its sha256.

Ownership of a file comes from here, never from its name. Bytes that may be needed again are kept as ``.install/overlay/<sha256>``: what was
there before any release came, and what was there when a release was left, edits included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from .. import durable
from ..errors import DamagedError, Problem
from ..host import LEDGER, STATE, Host
from ..manifest import canonical
from ..records import NamedTuple, as_dict
from ..seal import seal, unseal
from ..typed import Any
from .change import Content, content_from_json

_FORMAT = 1
_MOST = 32 << 20


class Laid(NamedTuple):
    """A file that is ours: what was laid down there last, by which release, and what was there before (None: nothing). ``beside``: see ``Change``."""

    etc: str
    content: Content
    release: str
    before: Content | None
    beside: str = ""


class Left(NamedTuple):
    """A file when its release was left: what was there, and what had been there before any release came. ``beside``: see ``Change``."""

    live: Content | None
    before: Content | None
    beside: str = ""


class Ledger(NamedTuple):
    """``release``: the one that is laid down, ``tx``: the transaction that did it. ``left``: by release and path. ``directories``: made by us."""

    tx: str = ""
    release: str = ""
    files: Mapping[str, Laid] = {}
    left: Mapping[str, Mapping[str, Left]] = {}
    directories: tuple[str, ...] = ()

    def blobs(self) -> Iterator[str]:
        """The digests of all bytes that may be needed again."""
        contents = [laid.before for laid in self.files.values()]
        contents += [each for left in self.left.values() for file in left.values() for each in (file.live, file.before)]
        return (content.sha256 for content in contents if content is not None)


def read(host: Host) -> Ledger:
    """The ledger; an empty one where there is none. Raises ``DamagedError`` when it can't be trusted: then nothing may be changed."""
    data = host.read(STATE, LEDGER, most=_MOST)
    if data is None:
        return Ledger()
    try:
        return _from_json(json.loads(unseal(data)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        what = f"{host.path(STATE, LEDGER)} can't be trusted: {error}."
        remedy = (
            "Nothing was changed. Put it back from a backup; or move it away: what was laid down then counts as this host's own, and --etc decides."
        )
        raise DamagedError("the ledger of the overlay is damaged", [Problem("ledger", what, remedy)]) from None


def write(host: Host, ledger: Ledger) -> None:
    """Replace the ledger, durably."""
    with host.directory(STATE) as state:
        durable.write_file(state, LEDGER, seal(canonical({"format": _FORMAT, **as_dict(ledger)})), 0o640)


def _from_json(value: Any) -> Ledger:
    if value["format"] != _FORMAT or set(value) != {"format", *Ledger._fields}:
        raise ValueError("it is of another format than this installer knows")
    files = {path: Laid(**{**laid, **_contents(laid, "content", "before")}) for path, laid in value["files"].items()}
    left = {
        release: {path: Left(**{**file, **_contents(file, "live", "before")}) for path, file in found.items()}
        for release, found in value["left"].items()
    }
    return Ledger(value["tx"], value["release"], files, left, tuple(value["directories"]))


def _contents(value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: content_from_json(value[name]) for name in names}
