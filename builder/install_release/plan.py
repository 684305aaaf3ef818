"""What an installation would do, decided before it is done: for people in lines, for programs as JSON. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from . import preflight
from .errors import Problem, told
from .facts import Facts
from .manifest import ENV_LAYERS, Health, Hook, Layer, Manifest
from .overlay import Verdict
from .records import NamedTuple, as_dict
from .trust import By, Trust
from .typed import Any
from .version import older


class Live(NamedTuple):
    """The release that ``current`` leads to; no manifest where that is damaged."""

    id: str
    manifest: Manifest | None


class Change(NamedTuple):
    """A package: ``before`` and ``after`` are versions, empty when it was not, or will not be there."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"+ {self.name} {self.after}"
        return f"{self.name} {self.before} → {self.after}" if self.after else f"- {self.name} {self.before}"


class Step(NamedTuple):
    """What is done about a service: ``verb`` is start, restart, reload, update or stop; ``why`` in words; ``changed``: its paths below etc/."""

    name: str
    verb: str
    why: str
    changed: tuple[str, ...]


class Intent(NamedTuple):
    """What making a release live takes beside the link. ``whole``: its etc/ could be looked at; else nothing is known of files and services."""

    steps: tuple[Step, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    refusals: tuple[Problem, ...] = ()
    whole: bool = True


class Installed(NamedTuple):
    """Where a release is that is here: its root, interpreter and environment, and the bytes that are free there."""

    root: str
    interpreter: str
    env_key: str
    free_bytes: int


class Plan(NamedTuple):
    """One installation, or one flip to a release that is here. ``environment``: here, new or unknown; ``source``: new, changed or the same;
    ``bytes`` and ``inodes``: to be written.

    ``etc``, ``services``, ``hooks`` and ``health`` are of making it live.
    """

    name: str
    from_id: str
    from_version: str
    to_id: str
    to_version: str
    already: bool
    root: str
    interpreter: str
    environment: str
    env_key: str
    packages: tuple[Change, ...]
    source: str
    layers: tuple[str, ...]
    links: tuple[str, ...]
    etc: tuple[Verdict, ...]
    etc_known: bool
    services: tuple[Step, ...]
    hooks: tuple[Hook, ...]
    health: Health | None
    rollback_safe_to: str
    bytes: int
    inodes: int
    free_bytes: int
    activate: bool
    refusals: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    policy: str
    signature: str
    signers: tuple[By, ...]


_NO_INTENT = Intent()
_NO_TRUST = Trust("")


def make(
    manifest: Manifest,
    release: str,
    facts: Facts,
    live: Live | None,
    *,
    activate: bool = True,
    refusals: Sequence[Problem] | None = None,
    intent: Intent = _NO_INTENT,
    trusted: Trust = _NO_TRUST,
) -> Plan:
    """The plan for installing ``manifest`` as ``release`` where ``facts`` were found and ``live`` is current.

    ``refusals`` are the reasons against it when more is known than ``preflight`` says; ``intent``: what goes with making it live; ``trusted``: by
    whom it is signed.
    """
    found = facts.search.interpreter
    size, files = preflight.needs(facts, manifest)
    before = live.manifest if live else None
    return Plan(
        name=manifest.name,
        from_id=live.id if live else "",
        from_version=before.version if before else "damaged" if live else "",
        to_id=release,
        to_version=manifest.version,
        already=live is not None and live.id == release,
        root=facts.root,
        interpreter=f"{found.executable} ({found.version})" if found else "",
        environment="unknown" if found is None else "here" if facts.env_here else "new",
        env_key=facts.env_key,
        packages=changes(before.layers if before else (), manifest.layers),
        source=_source(before, manifest),
        layers=tuple(layer.name for layer in to_write(facts, manifest)),
        links=tuple(f"src/{path}" for path in sorted((*manifest.requires.linked_dirs, *manifest.requires.linked_files))),
        etc=intent.verdicts,
        etc_known=intent.whole,
        services=intent.steps,
        hooks=tuple(hook for hook in manifest.hooks if activate and hook.when in ("pre_flip", "post_flip")),
        health=manifest.health if activate and manifest.health.declared else None,
        rollback_safe_to=manifest.rollback_safe_to,
        bytes=size,
        inodes=files,
        free_bytes=facts.free_bytes,
        activate=activate,
        refusals=tuple(preflight.refusals(facts, manifest) if refusals is None else refusals),
        warnings=(*trusted.warnings, *preflight.warnings(facts, manifest)),
        **_trust(trusted),
    )


def make_flip(
    manifest: Manifest, release: str, installed: Installed, live: Live | None, intent: Intent, hooks: Sequence[Hook], trusted: Trust
) -> Plan:
    """The plan for making a release live that is here already: nothing is unpacked."""
    before = live.manifest if live else None
    return Plan(
        name=manifest.name,
        from_id=live.id if live else "",
        from_version=before.version if before else "damaged" if live else "",
        to_id=release,
        to_version=manifest.version,
        already=live is not None and live.id == release,
        root=installed.root,
        interpreter=installed.interpreter,
        environment="here",
        env_key=installed.env_key,
        packages=changes(before.layers if before else (), manifest.layers),
        source=_source(before, manifest),
        layers=(),
        links=(),
        etc=intent.verdicts,
        etc_known=intent.whole,
        services=intent.steps,
        hooks=tuple(hooks),
        health=manifest.health if manifest.health.declared else None,
        rollback_safe_to=manifest.rollback_safe_to,
        bytes=0,
        inodes=0,
        free_bytes=installed.free_bytes,
        activate=True,
        refusals=intent.refusals,
        warnings=trusted.warnings,
        **_trust(trusted),
    )


def _trust(trusted: Trust) -> dict[str, Any]:
    return {"policy": trusted.policy.path if trusted.policy else "", "signature": trusted.told, "signers": trusted.signers}


def to_write(facts: Facts, manifest: Manifest) -> tuple[Layer, ...]:
    """The layers that will be unpacked: not those that are here."""
    if facts.release_here:
        return ()
    return tuple(layer for layer in manifest.layers if not (facts.env_here and layer.kind in ENV_LAYERS))


def changes(before: Iterable[Layer], after: Iterable[Layer]) -> tuple[Change, ...]:
    """How the packages differ, by the names of the layers of kind ``wheel``, sorted. (A pex or a wheelhouse is one layer: nothing is known of it.)"""
    old, new = _packages(before), _packages(after)
    return tuple(Change(name, old.get(name, ""), new.get(name, "")) for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name))


def _packages(layers: Iterable[Layer]) -> dict[str, str]:
    pairs = (f"{layer.name}-".split("-")[:2] for layer in layers if layer.kind == "wheel")
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pairs}


def _source(before: Manifest | None, manifest: Manifest) -> str:
    if before is None:
        return "new"
    return "the same" if _digests(before, "src") == _digests(manifest, "src") else "changed"


def _digests(manifest: Manifest, kind: str) -> list[str]:
    return [layer.digest for layer in manifest.layers if layer.kind == kind]


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan for a program: every field by its name."""
    return {**as_dict(plan), "refused": bool(plan.refusals)}


def lines(plan: Plan) -> list[str]:
    """The plan for a person: facts first, one line each; reasons against it last."""
    start = f"{short(plan.from_id)} ({plan.from_version}) → " if plan.from_id else "nothing → "
    shown = [f"{plan.name}: {start}{short(plan.to_id)} ({plan.to_version})        nothing has been changed yet"]
    if plan.already:
        shown.append(_line("release", "it is live already: nothing would be done"))
    if plan.signature:
        shown.append(_line("signature", plan.signature))
    shown.append(_line("root", plan.root))
    shown.append(_line("python", plan.interpreter or "none was found that fits"))
    state = {"here": "is here already", "new": "will be made", "unknown": "depends on the interpreter"}[plan.environment]
    shown.append(_line("environment", f"{plan.env_key[:4]} {state}".strip()))
    if plan.packages and plan.from_id:
        shown += [_line("packages" if number == 0 else "", str(change)) for number, change in enumerate(plan.packages)]
    elif plan.packages:
        shown.append(_line("packages", f"{len(plan.packages)}, all new here"))
    shown.append(_line("source", plan.source))
    if plan.links:
        shown.append(_line("shared", ", ".join(plan.links)))
    shown += _live(plan)
    shown.append(_line("disk", f"{preflight.megabytes(plan.bytes)} and {plan.inodes} files to write, {preflight.megabytes(plan.free_bytes)} free"))
    if not plan.activate:
        shown.append(_line("activate", "no: it is only installed"))
    shown += [_line("warning", f"{problem}") for problem in plan.warnings]
    shown += [line for verdict in plan.etc for line in verdict.diff]
    if plan.refusals:
        count = len(plan.refusals)
        shown.append(f"refused, {count} reason{'' if count == 1 else 's'}:")
        shown += told(plan.refusals, max(12, *(min(len(problem.where), 40) for problem in plan.refusals)))
    return shown


def _live(plan: Plan) -> Iterator[str]:
    """What making it live takes, beside the link."""
    for number, verdict in enumerate(verdict for verdict in plan.etc if verdict.kind != "untouched"):
        yield _line("" if number else "etc", verdict.line)
    if not plan.etc_known:
        yield _line("etc", "not looked at, in a stream or in what is not trusted: what becomes of files and services, the plan of a file tells")
    for number, step in enumerate(plan.services):
        yield _line("" if number else "services", f"{step.name}: {step.verb} ({step.why})")
    if plan.hooks:
        from .hooks import described as of_hook

        for number, hook in enumerate(plan.hooks):
            yield _line("" if number else "hooks", of_hook(hook))
    if plan.health:
        from .health import described as of_health

        yield _line("health", of_health(plan.health))
    if plan.from_version and plan.rollback_safe_to and older(plan.from_version, plan.rollback_safe_to) is not False:
        yield _line(
            "no way back", f"{plan.from_version} can't run with the data as {plan.to_version} leaves them (rollback_safe_to {plan.rollback_safe_to})"
        )


def short(release: str) -> str:
    """``20261123101112-5f0c…``: enough of an id to tell it by."""
    return f"{release[:19]}…" if len(release) > 20 else release


def _line(name: str, text: str) -> str:
    return f"  {name:<12} {text}"
