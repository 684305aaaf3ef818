"""A proposal for people: each file that is not simply left as it is, copied or linked, with its diff."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress

from ..errors import InstallError
from ..host import BLOBS, CURRENT, Host
from ..manifest import Manifest
from . import place, values
from .change import Change, Content, OverlayError, Proposal, Rendered, Verdict, Wanted
from .differences import Text, unified
from .proposal import copies
from .wanted import published


def show(host: Host | None, root: str, manifest: Manifest, proposal: Proposal, wanted: Wanted) -> tuple[Verdict, ...]:
    """What ``proposal`` would do, and how the files differ. ``host`` is None where there is no root yet."""
    known = values.read(root, manifest.name)[0].secrets
    changes = {change.path: change for change in proposal.changes}
    found = [
        verdict._replace(diff=_copied(host, changes.get(verdict.path), verdict, manifest, wanted, known))
        for verdict in proposal.verdicts
        if verdict.kind != "untouched"
    ]
    return (*found, *_linked(host, root, manifest, wanted, known))


def _copied(
    host: Host | None, change: Change | None, verdict: Verdict, manifest: Manifest, wanted: Wanted, secrets: Mapping[str, str]
) -> tuple[str, ...]:
    if change is None or change.beside:
        return ()
    found = None
    with suppress(OverlayError):
        found = place.read(verdict.path)
    here = _text(f"{verdict.path} (here)", found[0], found[1].mode) if found else Text("", b"")
    claim = wanted.files.get(verdict.etc) if change.laid else None
    theirs = f"{verdict.path} ({manifest.version})"
    if verdict.kind == "kept" and claim is not None:  # what was edited here
        return unified(_rendered(theirs, claim), here, secrets)
    if claim is not None and (verdict.kind in ("conflict", "beside") or change.new == change.laid):
        return unified(here, _rendered(theirs, claim), secrets)
    back = change.before if verdict.kind in ("conflict", "kept", "beside") else change.new
    return unified(here, _kept(host, f"{verdict.path} (before)", back), secrets)


def _linked(host: Host | None, root: str, manifest: Manifest, wanted: Wanted, secrets: Mapping[str, str]) -> Iterator[Verdict]:
    """Files that flip with the release, compared with those of the live one."""
    before, version = Wanted(), ""
    before_overlay = None
    with suppress(InstallError):
        live = host.current() if host else None
        if host and live:
            old = host.manifest(live)
            before, version, before_overlay = published(host, live), old.version, old.overlay
    copied = set(copies(manifest.overlay, wanted.files).values())
    copied_before = set(copies(before_overlay, before.files).values()) if before_overlay else set()
    for path in sorted((wanted.files.keys() - copied) | (before.files.keys() - copied_before)):
        old_file = before.files.get(path) if path not in copied_before else None
        new_file = wanted.files.get(path) if path not in copied else None
        if old_file and new_file and (old_file.data, old_file.mode) == (new_file.data, new_file.mode):
            continue
        kind = "new" if old_file is None else "removed" if new_file is None else "changed"
        words = f"mode {old_file.mode} → {new_file.mode}" if old_file and new_file and old_file.mode != new_file.mode else ""
        name = f"etc/{path}"
        diff = unified(_rendered(f"{name} ({version})", old_file), _rendered(f"{name} ({manifest.version})", new_file), secrets)
        yield Verdict(os.path.join(root, CURRENT, name), path, kind, words, linked=True, diff=diff)


def _rendered(name: str, rendered: Rendered | None) -> Text:
    if rendered is None:
        return Text("", b"", known=True)
    known = rendered.masked is not None
    return Text(name, rendered.masked if rendered.masked is not None else rendered.data, _private(rendered.mode), known)


def _text(name: str, data: bytes, mode: str) -> Text:
    return Text(name, data, _private(mode))


def _private(mode: str) -> bool:
    return not int(mode, 8) & 0o004


def _kept(host: Host | None, name: str, content: Content | None) -> Text:
    data = host.read(BLOBS, content.sha256, most=place.MOST) if host and content else None
    return Text("", b"") if content is None or data is None else _text(name, data, content.mode)
