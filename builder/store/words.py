"""What the store's commands say: to people, and to programs. Only words are made here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from ..report import count, labelled, size, table
from .catalog import Shelf
from .channels import Step
from .ledger import Channel, moment, stamp
from .prune import Pruning
from .pull import Pulled
from .push import Plan, Pushed


def pushed(url: str, done: Pushed) -> Iterator[str]:
    record = done.record
    yield f"→ {url}   {record.name}@{record.id}   {size(record.bytes)}{'' if done.new else '   was there already'}"
    yield f"  sha256 {record.sha256}"
    if done.new:
        ways = {"sent": done.sent, "copied in the store": done.copied, "there from an earlier try": done.kept}
        yield labelled("moved", ", ".join(f"{size(each)} {how}" for how, each in ways.items() if each))
    if done.signatures:
        yield labelled("signatures", f"{done.signatures}, {done.new_signatures} of them new")
    if done.channel:
        yield labelled("channel", f"{done.channel}: {_from(done.moved.before)}" if done.moved else f"{done.channel} pointed to it already")
        yield f"  next: build-release promote {url} {record.name} {done.channel} CHANNEL"
    else:
        yield f"  next: build-release promote {url} {record.name} {record.id} CHANNEL"


def pushed_value(url: str, done: Pushed) -> dict[str, Any]:
    return {
        "store": url,
        **asdict(done.record),
        "new": done.new,
        "sent": done.sent,
        "copied": done.copied,
        "kept": done.kept,
        "signatures": done.signatures,
        "new_signatures": done.new_signatures,
        "channel": done.channel or None,
        "move": asdict(done.moved) if done.moved else None,
    }


def push_plan(url: str, planned: Plan) -> Iterator[str]:
    record = planned.record
    yield f"{url}   {record.name}@{record.id}   {size(record.bytes)}   {'would be pushed' if planned.new else 'is there already'}"
    yield f"  sha256 {record.sha256}"
    if planned.new:
        ways = {"sent": planned.sent, "copied in the store": planned.copied}
        yield labelled("would move", ", ".join(f"{size(each)} {how}" for how, each in ways.items() if each))
    if planned.signatures:
        yield labelled("signatures", f"{planned.signatures}, {planned.new_signatures} of them new")
    if planned.channel:
        yield labelled("channel", f"{planned.channel} {_would_point(record.id, planned.before)}")
    yield "nothing was done"


def push_plan_value(url: str, planned: Plan) -> dict[str, Any]:
    return {
        "store": url,
        "plan": True,
        **{key: each for key, each in asdict(planned.record).items() if key not in ("who", "when")},
        "new": planned.new,
        "sent": planned.sent,
        "copied": planned.copied,
        "signatures": planned.signatures,
        "new_signatures": planned.new_signatures,
        "channel": planned.channel or None,
        "before": planned.before or None,
    }


def pulled(done: Pulled) -> Iterator[str]:
    yield f"→ {done.path}   {size(done.bytes)}   id {done.id}"
    yield f"  sha256 {done.sha256}" + (f"   {count(done.signatures, 'signature')}" if done.signatures else "")
    ways = {"read": done.read, "from files that were here": done.local, "there from an earlier try": done.kept}
    moved = [f"{size(each)} {how}" for how, each in ways.items() if each]
    yield labelled("moved", ", ".join(moved) or "nothing: it was here already")


def pulled_value(url: str, done: Pulled) -> dict[str, Any]:
    return {
        "store": url,
        "artifact": str(done.path.absolute()),
        "name": done.manifest.name,
        "version": done.manifest.version,
        "id": done.id,
        "bytes": done.bytes,
        "sha256": done.sha256,
        "release_sha256": done.release_sha256,
        "signatures": done.signatures,
        "read": done.read,
        "local": done.local,
        "kept": done.kept,
    }


def shelves(url: str, found: Sequence[Shelf], now: datetime) -> Iterator[str]:
    if not found:
        yield f"{url} holds no release"
    for number, shelf in enumerate(found):
        if number:
            yield ""
        yield f"{shelf.name}   {url}   {count(len(shelf.releases), 'release')}, {size(sum(each.record.bytes for each in shelf.releases))}"
        rows = [
            [
                release.id,
                release.record.version,
                release.record.commit[:12],
                size(release.record.bytes),
                _age(now - release.modified),
                release.record.who,
                ", ".join(_short(each) for each in release.signers) or "-",
                ", ".join(shelf.pointing(release.id)) or "-",
            ]
            for release in reversed(shelf.releases)
        ]
        if rows:
            yield from table(["release", "version", "commit", "size", "pushed", "by", "signed by", "channels"], rows, right={3})
        if shelf.parts:
            yield labelled("parts", f"of {count(len(shelf.parts), 'release')}: being pushed or removed, or left by a publisher that was killed")


def shelves_value(url: str, found: Sequence[Shelf]) -> dict[str, Any]:
    return {
        "store": url,
        "names": [
            {
                "name": shelf.name,
                "releases": [
                    {
                        **{key: each for key, each in asdict(release.record).items() if key != "name"},
                        "pushed": stamp(release.modified),
                        "signed_by": list(release.signers),
                        "channels": list(shelf.pointing(release.id)),
                    }
                    for release in reversed(shelf.releases)
                ],
                "channels": {channel.name: channel.id for channel in shelf.channels},
                "parts": [identity for identity, _ in shelf.parts],
            }
            for shelf in found
        ],
    }


def moved(name: str, channel: Channel, changed: bool) -> Iterator[str]:
    if not changed:
        yield f"{name}@{channel.name} points to {channel.id} already"
        return
    yield f"→ {name}@{channel.name}   {channel.id}   {_from(channel.moves[-1].before)}"


def moved_value(url: str, name: str, channel: Channel, changed: bool) -> dict[str, Any]:
    return {"store": url, "name": name, "channel": channel.name, "id": channel.id, "changed": changed, "move": asdict(channel.moves[-1])}


def step(name: str, planned: Step) -> Iterator[str]:
    yield f"{name}@{planned.before.name} {_would_point(planned.id, planned.before.id)}"
    yield "nothing was done"


def step_value(url: str, name: str, planned: Step) -> dict[str, Any]:
    return {
        "store": url,
        "plan": True,
        "name": name,
        "channel": planned.before.name,
        "id": planned.id,
        "before": planned.before.id or None,
        "how": planned.how,
        "changed": planned.changes,
    }


def history(name: str, channel: Channel) -> Iterator[str]:
    yield f"{name}@{channel.name}   {count(len(channel.moves), 'move')}"
    rows = [[_minute(move.when), move.how, move.id, move.before or "-", move.who, move.why or "-"] for move in reversed(channel.moves)]
    yield from table(["when (UTC)", "how", "to", "from", "by", "why"], rows)


def history_value(url: str, name: str, channel: Channel) -> dict[str, Any]:
    return {"store": url, "name": name, "channel": channel.name, "id": channel.id, "moves": [asdict(move) for move in channel.moves]}


def pruned(done: Pruning) -> Iterator[str]:
    going = [release for release in done.going if release.id not in done.spared]
    verb = "removed" if done.done else "would go"
    yield f"{done.name}   {count(len(going), 'release')} {verb}, {size(done.bytes)}; {len(done.staying) + len(done.spared)} stay"
    rows = [[release.id, release.record.version, size(release.record.bytes), verb] for release in going]
    rows += [[release.id, release.record.version, size(release.record.bytes), f"stays: {reason}"] for release, reason in done.staying]
    rows += [[identity, "", "", "stays: a channel was pointed to it meanwhile"] for identity in done.spared]
    rows += [[identity, "", "", f"{verb}: only a part of it is there"] for identity in done.leftovers if identity not in done.spared]
    if rows:
        yield from table(["release", "version", "size", ""], rows, right={2})
    if done.scraps:
        yield labelled("scraps", f"{count(done.scraps, 'upload or piece', 'uploads and pieces')} of publishers that were killed {verb} too")
    if not done.done:
        yield "nothing was done: say --yes to do it"


def pruned_value(url: str, done: Pruning) -> dict[str, Any]:
    return {
        "store": url,
        "name": done.name,
        "done": done.done,
        "going": [{"id": each.id, "version": each.record.version, "bytes": each.record.bytes} for each in done.going if each.id not in done.spared],
        "staying": [{"id": release.id, "reason": reason} for release, reason in done.staying],
        "spared": list(done.spared),
        "leftovers": list(done.leftovers),
        "scraps": done.scraps,
        "bytes": done.bytes,
    }


def verified(url: str, found: Sequence[Shelf]) -> Iterator[str]:
    whole = [release for shelf in found for release in shelf.releases]
    yield f"{url}: {count(len(whole), 'release')}, {size(sum(each.record.bytes for each in whole))}, hold"


def verified_value(url: str, found: Sequence[Shelf]) -> dict[str, Any]:
    return {"store": url, "holds": True, "releases": [{"name": shelf.name, "id": each.id} for shelf in found for each in shelf.releases]}


def address(url: str, identity: str, sha256: str, seconds: int) -> Iterator[str]:
    yield url
    yield f"  serves for {seconds // 60} minutes: release {identity} without signatures"
    yield f"  sha256 {sha256}"


def address_value(url: str, name: str, identity: str, sha256: str, seconds: int) -> dict[str, Any]:
    return {"url": url, "name": name, "id": identity, "sha256": sha256, "seconds": seconds}


def _would_point(to: str, before: str) -> str:
    return f"points to {to} already" if to == before else f"would point to {to}, {f'now {before}' if before else 'and points nowhere now'}"


def _from(before: str) -> str:
    return f"from {before}" if before else "first"


def _short(signer: str) -> str:
    return signer if len(signer) < 30 else f"{signer[:27]}…"


def _minute(when: str) -> str:
    return f"{moment(when):%Y-%m-%d %H:%M}"


def _age(age: Any) -> str:
    seconds = max(0, int(age.total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return "just now"
