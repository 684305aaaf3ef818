"""THE FLOWS of the install half: install, activate, rollback, and the small ones. Each reads as the list of its steps.

Every one that changes something: lock → recover → decide → act; it returns once what it did would survive a power cut.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from . import (
    durable,
    environment,
    facts,
    flip,
    history,
    installer,
    interrupts,
    overlay,
    plan,
    preflight,
    prune,
    recover,
    serving,
    stage,
    trust,
    verify,
)
from .artifact import REMEDY, Artifact
from .errors import DamagedError, DegradedError, InstallError, Problem, RefusedError, RolledBackError
from .flip import Switch
from .history import Event, History
from .host import CURRENT, ENVS, INSTALL_JSON, RELEASE_JSON, RELEASES, SHARED, STATE, Host
from .interpreter import Interpreter
from .manifest import Conflict, Hook, Manifest
from .overlay import OverlayError, Proposal, Wanted
from .plan import Intent, Live, Plan, Step
from .prune import Pruned
from .records import NamedTuple, as_dict
from .recover import Recovered
from .serving import Side
from .stage import Staging
from .trust import By, Judgement, Trust
from .typed import TYPE_CHECKING, Any
from .version import older

if TYPE_CHECKING:
    from .donors import Lender


class Order(NamedTuple):
    """Who wants what of which root. ``wait``: seconds for the lock. ``say`` takes a line of progress, ``note`` one that must be seen.

    ``hooks``: they run, without ``once`` not those for one host of several. ``unsafe``: whatever the data are like. ``answers``: what to do about
    files of the system that were edited here. ``vouched``: somebody has compared the artifact's digest; ``signatures``: detached ones that belong
    to it; ``downgrade``: below the floor, where the policy allows that.
    """

    root: str
    command: str
    who: str
    why: str = ""
    wait: float = 10.0
    hooks: bool = True
    once: bool = True
    unsafe: bool = False
    answers: tuple[Conflict, ...] = ()
    vouched: bool = False
    signatures: tuple[bytes, ...] = ()
    downgrade: bool = False
    say: Callable[[str], None] = lambda line: None
    note: Callable[[str], None] = lambda line: None

    def event(self, kind: str, release: str, **more: Any) -> Event:
        """A line of the history about this order."""
        return {"time": history.now(), "event": kind, "id": release, "who": self.who, "why": self.why or self.command, **more}


class Outcome(NamedTuple):
    """What came of it. ``before``: what was live ("" for nothing). ``already``: there was nothing to do. ``seconds`` by step."""

    id: str
    name: str
    version: str
    state: str
    root: str
    before: str
    env: str
    already: bool
    seconds: Mapping[str, float] = {}
    notes: tuple[str, ...] = ()


Problems = tuple[Problem, ...]


class _Clock:
    """Seconds by step, as they pass."""

    def __init__(self) -> None:
        self.start = self.last = time.monotonic()
        self.seconds: dict[str, float] = {}

    def lap(self, step: str) -> Mapping[str, float]:
        now = time.monotonic()
        self.seconds[step] = round(now - self.last, 3)
        self.seconds["total"] = round(now - self.start, 3)
        self.last = now
        return self.seconds


@contextmanager
def changing(order: Order, create: bool = False, *, boot: bool = False, told: Callable[[Recovered], None] | None = None) -> Iterator[Host]:
    """A root that nobody else changes, and in which nothing is left over. ``create`` makes what is missing of it. ``told``: what was recovered."""
    with Host.create(order.root) if create else Host(order.root) as host:
        if not host.prepared:
            if host.releases():
                remedy = "Put it back from a backup; or install a release again, which begins a new history."
                raise DamagedError("the state below the root is gone", [Problem(host.path(STATE), "is missing, though releases are here.", remedy)])
            raise RefusedError("nothing is installed here", [Problem("root", f"{host.root} holds no releases.", "Name another with --root.")])
        with host.lock(order.command, order.wait):
            if not boot and (problems := preflight.untrusted(facts.ancestors(host.root), facts.trusted())):  # at boot nothing of a release is run
                raise RefusedError("this root can't be trusted", problems)
            try:
                (told or _note(order))(recover.recover(host, order.say, boot=boot))
            except OSError as error:
                what = f"{error.strerror or error} ({error.filename or host.root})."
                remedy = "Mend that, then run install-release recover."
                raise DegradedError("recovery could not be finished", [Problem("recovery", what, remedy)]) from None
            except OverlayError as error:
                raise DegradedError("recovery could not be finished", error.problems) from None
            try:
                yield host
            except interrupts.Interrupted as stop:
                problem = Problem("signal", f"{stop}.", "Run this again when it may take its time.")
                raise RolledBackError("stopped; what was live is live", [problem]) from None


def _note(order: Order) -> Callable[[Recovered], None]:
    """What was recovered is told; what would not follow stops nothing: the next release may be what mends it."""

    def note(recovered: Recovered) -> None:
        for done in recovered.done:
            order.note(f"recovered: {done}")
        for problem in recovered.problems:
            order.note(f"not recovered: {problem}")

    return note


def install(artifact: Artifact, order: Order, *, python: str | None = None, activate: bool = True) -> Outcome:
    """Check, unpack, publish and activate a release. Raises an ``InstallError``; what was live is then live, or the error says otherwise."""
    clock = _Clock()
    artifact.borrow(order.root)
    trusted = _trusted(artifact, order)
    before = _prepare(order)
    if untrusted := judged(trusted, artifact.manifest, artifact.id, order).problems:
        check(artifact.manifest, artifact.id, order, python, untrusted, artifact.lender)  # raises; nothing else of the artifact is read
    for warning in trusted.warnings:
        order.note(f"note: {warning}")
    if before == artifact.id:
        with changing(order) as host:
            if not _lost_environment(host, artifact.id):
                for note in _other_values(host, artifact):
                    order.note(note)
                return _already(host, artifact.id, clock.lap("preflight"))
    wanted = overlay.rendered(artifact, order.root)
    against = _intent(artifact.manifest, artifact.id, order, wanted).refusals if activate else wanted.problems
    chosen = check(artifact.manifest, artifact.id, order, python, (*stage.conflicts(artifact), *against), artifact.lender)
    clock.lap("preflight")
    with changing(order, create=True) as host:
        if artifact.lender:
            _insist(host, artifact, chosen)
        if (lost := _lost_environment(host, artifact.id)) and lost == environment.place(artifact.manifest, host, chosen, artifact.id):
            order.note(f"note: the environment of {artifact.id} was gone, and is made again")
            environment.make(artifact, host, chosen)
        before, there = host.current() or "", _is_whole(host, artifact)
        made = None if there else _stage(host, artifact, _staging(host, artifact, chosen, wanted, trusted), order, clock)
        try:
            _record(host, artifact.id, order, trusted if there else None)
            if not activate or (there and before == artifact.id):  # live already: another installer was quicker
                return _outcome(host, artifact.id, before, already=there, seconds=clock.seconds)
            switch = _decide(host, artifact.id, order, "activate", trusted=_trusted(artifact, order))
            outcome = _outcome(host, artifact.id, before)
        except (RefusedError, OSError) as error:
            if made is not None:
                event = order.event("failed", artifact.id, version=artifact.manifest.version, why=_reason(error))
                with interrupts.held():
                    trouble = _take_back(host, artifact.id, made, event)
                if trouble or isinstance(error, OSError):
                    raise _failed(error, trouble) from error
            raise
        clock.lap("checks")
        outcome = _flip(host, switch, order, outcome)
        clock.lap("flip")
        notes = _clean(host, order)
        return outcome._replace(seconds=clock.lap("prune"), notes=notes)


def _trusted(artifact: Artifact, order: Order) -> Trust:
    """As of now: while others held the lock, or all of it was unpacked, a key or the release itself may have been revoked."""
    return trust.of_artifact(artifact.manifest, artifact.manifest_bytes, (*artifact.signatures, *order.signatures), order.vouched)


def propose(
    manifest: Manifest,
    release: str,
    order: Order,
    wanted: Wanted | None,
    trusted: Trust,
    *,
    python: str | None = None,
    activate: bool = True,
    more: Problems = (),
    lender: Lender | None = None,
) -> tuple[Plan, tuple[str, ...]]:
    """What ``install`` would do, and what recovery would do before it. Changes nothing.

    ``wanted``: its etc/, as it would be rendered here; None where only the manifest is known. ``lender``: of what a thin artifact leaves out.
    """
    found = facts.gather(manifest, release, order.root, python, lender)
    live, due = None, tuple[str, ...]()
    if os.access(os.path.join(order.root, STATE), os.R_OK | os.X_OK):
        with Host(order.root) as host:
            due, pointer = recover.due(host), host.pointer(CURRENT)
            history.read(host)  # a damaged one would stop the installation
            if pointer.kind == "release":
                live = Live(pointer.id, _manifest(host, pointer.id))
    if wanted is None:
        intent = Intent(whole=False)
    else:
        intent = _intent(manifest, release, order, wanted, found.env_key, shown=True) if activate else Intent(refusals=wanted.problems)
    refusals = (*judged(trusted, manifest, release, order).problems, *preflight.refusals(found, manifest), *more, *intent.refusals)
    return plan.make(manifest, release, found, live, activate=activate, refusals=refusals, intent=intent, trusted=trusted), due


def activate(order: Order, wanted: str) -> Outcome:
    """Make an installed release live, once it is proven to be what was installed."""
    with changing(order) as host:
        before, release = host.current() or "", resolve(host, wanted)
        if release == before:
            return _already(host, release)
        verify.insist(host, release)
        _record(host, release, order)
        return _flip(host, _decide(host, release, order, "activate"), order)


def rollback(order: Order, wanted: str | None = None, *, keep: bool = False) -> Outcome:
    """Go back to ``wanted``, or to the last good release before the live one. What is left is bad from now on, unless ``keep``."""
    with changing(order) as host:
        release = _way_back(host, wanted)
        if release == host.current():
            return _already(host, release)
        verify.insist(host, release)
        return _flip(host, _decide(host, release, order, "rollback", marks_bad=not keep), order)


def _way_back(host: Host, wanted: str | None) -> str:
    """The release that a rollback goes to; the live one when that is named. Raises ``RefusedError``."""
    before, past = host.current(), _past(host)
    if before is None:
        raise RefusedError("there is nothing to roll back", [Problem("current", "nothing is live here.", "Use activate ID (see status).")])
    release = resolve(host, wanted) if wanted else history.rollback_target(past, before, trust.not_revoked(host, host.releases()))
    if release is None:
        what = f"no good release that came before {before} is still here."
        remedy = "Install an older artifact, or activate ID (see status)."
        raise RefusedError("there is nothing to roll back to", [Problem("history", what, remedy)])
    if release != before and past.of(release).state == "bad":
        what = f"{release} is bad: {past.of(release).note}."
        raise RefusedError("that release is marked bad", [Problem("history", what, f"If you mean it: install-release activate {release}.")])
    return release


def propose_flip(order: Order, wanted: str | None, how: str) -> tuple[Plan, tuple[str, ...]]:
    """What ``activate`` or ``rollback`` (``how``) would do, and what recovery would do before it. Changes nothing.

    The release is verified; what the services' own programs say of its configuration is asked only when it is done.
    """
    with Host(order.root) as host:
        due, pointer = recover.due(host), host.pointer(CURRENT)
        live = Live(pointer.id, _manifest(host, pointer.id)) if pointer.kind == "release" else None
        release = resolve(host, wanted) if how == "activate" and wanted else _way_back(host, wanted)
        verify.insist(host, release)
        manifest, record = host.manifest(release), host.record(release)
        left, to = serving.side(host, live.id if live else ""), serving.side(host, release)
        intent, hooks = Intent(), tuple[Hook, ...]()
        past = _past(host)
        trusted = trust.of_installed(host, release, manifest, past)
        if live is None or release != live.id:
            proposal = overlay.propose(host, manifest, release, to.etc, order.answers, how == "rollback")
            refusals = (*_guard(past, release, manifest.version, order), *proposal.refusals, *serving.problems(host.root, left, to))
            against = trust.judge(trusted, manifest, release, host, past, order.downgrade).problems
            refusals = (*against, *_other_name(host, left.manifest, to), *refusals)
            intent = Intent(_steps(left, to, proposal), overlay.show(host.root, manifest, proposal, to.etc), refusals)
            switch = Switch(release, manifest.version, how, order.who, "", hooks=order.hooks, once=order.once)
            hooks = flip.due(left, to, switch._replace(parting=_parting(host, left, trusted, how, order)))
        interpreter = f"{record['interpreter']['executable']} ({record['interpreter']['version']})"
        room = os.fstatvfs(host.fd)
        installed = plan.Installed(host.root, interpreter, str(record["env"]), room.f_bavail * room.f_frsize)
        return plan.make_flip(manifest, release, installed, live, intent, hooks, trusted), due


def mark(order: Order, wanted: str, kind: str) -> Outcome:
    """Write one event about an installed release: ``pinned``, ``unpinned`` or ``bad``."""
    with changing(order) as host:
        release, past = resolve(host, wanted), _past(host)
        known = past.of(release)
        already = {"pinned": known.pinned, "unpinned": not known.pinned, "bad": known.state == "bad"}[kind]
        if not already:
            history.append(host, [order.event(kind, release, version=host.manifest(release).version)])
        return _outcome(host, release, host.current() or "", already=already)


def prune_now(order: Order) -> Pruned:
    """Remove what need not stay."""
    with changing(order) as host:
        return prune.prune(host, order.who)


def propose_prune(order: Order) -> tuple[prune.Proposal, tuple[str, ...]]:
    """What ``prune_now`` would do, and what recovery would do before it. Changes nothing."""
    with Host(order.root) as host:
        return prune.propose(host), recover.due(host)


def recover_now(order: Order, *, boot: bool = False) -> tuple[str, ...]:
    """Finish or undo what a killed installer left, and try again what a way back could not do; what was done, in words.

    ``boot``: only links and files; services are about to be started. Raises ``DegradedError`` when something would not follow.
    """
    found: list[Recovered] = []
    with changing(order, boot=boot, told=found.append) as host:
        if not boot and not found[0].problems:
            found.append(recover.mend(host, order.who, order.say))
    problems = [problem for each in found for problem in each.problems]
    if problems:
        raise DegradedError("what is live is live, but not everything follows", problems)
    return tuple(done for each in found for done in each.done)


def check_head(manifest: Manifest, release: str, trusted: Trust, order: Order, python: str | None, lender: Lender | None = None) -> None:
    """The preflight of what has begun to arrive: its manifest and signatures, and nothing else yet. Raises ``RefusedError``."""
    check(manifest, release, order, python, judged(trusted, manifest, release, order).problems, lender)


def check(
    manifest: Manifest, release: str, order: Order, python: str | None, more: tuple[Problem, ...] = (), lender: Lender | None = None
) -> Interpreter:
    """The preflight: every reason against this release on this host (``more``: those found elsewhere), raised together; or its interpreter."""
    found = facts.gather(manifest, release, order.root, python, lender)
    problems = (*preflight.refusals(found, manifest), *more)
    if problems or found.search.interpreter is None:
        raise RefusedError("refused before anything was changed", problems)
    for warning in preflight.warnings(found, manifest):
        order.note(f"note: {warning}")
    return found.search.interpreter


def _prepare(order: Order) -> str:
    """What a killed installer left is no reason against a release: recover now if it is due. What is live; "" for nothing, or no root yet."""
    if not os.access(os.path.join(order.root, STATE), os.R_OK | os.W_OK | os.X_OK):  # of somebody else's root the preflight tells
        return ""
    with Host(order.root) as host:
        if recover.due(host):
            with changing(order):
                pass
        pointer = host.pointer(CURRENT)
    return pointer.id if pointer.kind == "release" else ""


def resolve(host: Host, wanted: str) -> str:
    """The id of the installed release that is meant: an id, the beginning or end of one, or a version."""
    releases = host.releases()
    if wanted in releases:
        return wanted
    found = [release for release in releases if release.startswith(wanted) or release.endswith(wanted)]
    if not found:
        past = _past(host)
        found = [release for release in releases if (past.of(release).version or host.version(release)) == wanted]
    if len(found) == 1:
        return found[0]
    what = f"{wanted!r} is {'none' if not found else 'more than one'} of the releases here: {', '.join(found or releases) or 'there are none'}."
    raise RefusedError("which release is meant can't be told", [Problem("release", what, "Name one by its id, as status shows it.")])


def resolve_past(host: Host, wanted: str) -> str:
    """Like ``resolve``, for a release that may be gone, but is in the history."""
    known = sorted({event["id"] for event in history.read(host)} - set(host.releases()))
    found = [release for release in known if release.startswith(wanted) or release.endswith(wanted)]
    return found[0] if len(found) == 1 else resolve(host, wanted)


def _intent(manifest: Manifest, release: str, order: Order, wanted: Wanted, env: str = "", shown: bool = False) -> Intent:
    """What making it live here takes beside the link, and every reason against that, as far as it is known before anything is unpacked.

    ``shown``: with a diff for each file.
    """
    left, problems = serving.Side(""), list(wanted.problems)
    if os.access(os.path.join(order.root, STATE), os.R_OK | os.X_OK):
        with Host(order.root) as host:
            problems += _guard(_past(host), release, manifest.version, order)
            pointer = host.pointer(CURRENT)
            left = serving.side(host, pointer.id if pointer.kind == "release" else "")
    to = serving.Side(release, manifest, wanted, env)
    proposal = overlay.survey(order.root, manifest, release, wanted, order.answers)
    problems += [*proposal.refusals, *serving.problems(os.path.realpath(order.root), left, to)]
    verdicts = overlay.show(order.root, manifest, proposal, wanted) if shown else proposal.verdicts
    return Intent(_steps(left, to, proposal), verdicts, tuple(problems))


def judged(trusted: Trust, manifest: Manifest, release: str, order: Order) -> Judgement:
    """What this host's policy says of a release that may not be here yet; of a root that is not ours the preflight tells."""
    if trusted.policy is None or not os.access(os.path.join(order.root, STATE), os.R_OK | os.X_OK):
        return trust.judge(trusted, manifest, release, None, History(), order.downgrade)
    with Host(order.root) as host:
        return trust.judge(trusted, manifest, release, host, _past(host), order.downgrade)


def _signed(signers: Sequence[By]) -> dict[str, list[str]]:
    """For the history."""
    return {"signed": [str(each) for each in signers]} if signers else {}


def _steps(left: Side, to: Side, proposal: Proposal) -> tuple[Step, ...]:
    return tuple(Step(each.service.name, each.verb, each.why, each.changed) for each in serving.actions(left, to, proposal.changes))


def _guard(past: History, release: str, version: str, order: Order) -> Iterator[Problem]:
    """Nothing goes back across what a later release did to the data, unless somebody says that it may."""
    for later in history.demands(past, release):
        if not order.unsafe and older(version, later.safe_to) is not False:
            what = f"{later.version} ran here, and says that no version before {later.safe_to} can run with its data; this is {version}."
            yield Problem("rollback_safe_to", what, "Put the data back first, then say --unsafe; or install a release that can.")


def _decide(host: Host, release: str, order: Order, how: str, marks_bad: bool = False, trusted: Trust | None = None) -> Switch:
    """All that making an installed release live takes. Raises ``RefusedError`` with every reason against it, the services' own checks included.

    ``trusted``: what is known of its artifact, when that has just been read.
    """
    past = _past(host)
    manifest, before, to = host.manifest(release), host.current() or "", serving.side(host, release)
    left = serving.side(host, before)
    trusted = trusted or trust.of_installed(host, release, manifest, past)
    judged = trust.judge(trusted, manifest, release, host, past, order.downgrade)
    wanted = overlay.published(host, release)
    proposal = overlay.propose(host, manifest, release, wanted, order.answers, how == "rollback")
    problems = [*judged.problems, *_other_name(host, left.manifest, to), *_guard(past, release, manifest.version, order)]
    problems += [*proposal.refusals, *serving.problems(host.root, left, to)]
    problems = problems or list(serving.checks(host.root, left, to, order.say))
    flip.restore_current(host, before)  # the checks are the release's own programs
    if problems:
        raise RefusedError("refused before anything that is live was touched", problems)
    for verdict in proposal.verdicts:
        if verdict.kind == "kept" or verdict.lost:
            order.note(f"etc: {verdict.line}")
    why = (order.why or order.command) + (" (--allow-downgrade)" if judged.downgrade else "")
    more = _signed(trusted.signers)
    switch = Switch(release, manifest.version, how, order.who, why, marks_bad, proposal.changes, order.hooks, order.once, judged.floor, more)
    return switch._replace(parting=_parting(host, left, trusted, how, order))


def _other_name(host: Host, live: Manifest | None, to: Side) -> Iterator[Problem]:
    """A root is one application's: its policy, its files of the system and its services go by that name."""
    if live and to.manifest and live.name != to.manifest.name:
        yield Problem("root", f"{host.root} holds {live.name}; {to.id} is {to.manifest.name}.", "Install it in its own root, with --root.")


def _parting(host: Host, left: Side, trusted: Trust, how: str, order: Order) -> bool:
    """Whether the release that is left may run its own hooks before a rollback: the policy may have something against it since it was made live."""
    if how != "rollback" or left.manifest is None or not trust.against_hooks(host, trusted, left.id, left.manifest):
        return True
    order.note(f"note: hooks of {left.id}, which is left, are not run: the policy does not allow that any more")
    return False


def _flip(host: Host, switch: Switch, order: Order, outcome: Outcome | None = None) -> Outcome:
    """Make it live. What is told of it is gathered before: an error of a disk may not make a failure of what is done."""
    outcome = outcome or _outcome(host, switch.to, host.current() or "")
    flip.flip(host, switch, order.note)
    for words in overlay.set_aside(switch.changes):
        order.note(f"etc: {words}")
    return outcome._replace(state="good")


def _staging(host: Host, artifact: Artifact, chosen: Interpreter, wanted: Wanted, trusted: Trust) -> Staging:
    return Staging(flip.new_tx(), environment.place(artifact.manifest, host, chosen, artifact.id), chosen, wanted.files, trusted.signers)


def _stage(host: Host, artifact: Artifact, staging: Staging, order: Order, clock: _Clock) -> str:
    """Environment first, then the release, then the installer: when this returns, all of it is there for good; when it raises, none of it.

    The key of the environment, if that was made for it; else "".
    """
    key = staging.env
    fresh = not host.has_environment(key)
    about: dict[str, Any] = {"version": artifact.manifest.version, "tx": staging.tx}
    try:
        history.append(host, [order.event("staged", artifact.id, **about)])
        stage.make_shared(host, artifact.manifest)
        order.say(f"environment {key[:4]}: {'making it' if fresh else 'is here already'}")
        environment.make(artifact, host, staging.interpreter)
        clock.lap("environment")
        order.say(f"release {artifact.id}: unpacking it")
        record = stage.publish(host, artifact, staging)
        installer.accept(host, artifact)
        manifest = hashlib.sha256(artifact.manifest_bytes).hexdigest()
        about |= {"record": record, "env": key, "commit": artifact.manifest.commit, "manifest": manifest, **_signed(staging.signers)}
        history.append(host, [order.event("installed", artifact.id, **about)])
        clock.lap("release")
        return key if fresh else ""
    except (Exception, interrupts.Interrupted) as error:
        with interrupts.held():
            trouble = _take_back(host, artifact.id, key if fresh else "", order.event("failed", artifact.id, **{**about, "why": _reason(error)}))
        raise _failed(error, trouble) from error


def _record(host: Host, release: str, order: Order, trusted: Trust | None = None) -> None:
    """A release that is here and whole is in the history as installed, also when whoever published it was killed before he could say so; and so is
    by whom its artifact is signed now (``trusted``), if it was not when it was put here."""
    past = _past(host)
    if past.of(release).installed is None:
        manifest, record = host.manifest(release), host.record(release)
        names = {"record": INSTALL_JSON, "manifest": RELEASE_JSON}
        digests = {key: hashlib.sha256(host.read(RELEASES, release, name) or b"").hexdigest() for key, name in names.items()}
        about = {"version": manifest.version, "commit": manifest.commit, "env": record["env"], **digests, **_signed(trust.recorded(record))}
        history.append(host, [order.event("installed", release, **about)])
    if trusted and trusted.signers:
        known = {each.key for each in trust.all_signers(host, release, past)}
        new = [each for each in trusted.signers if each.key not in known]
        about = {"version": host.manifest(release).version, "manifest": trusted.sha256}
        if new:
            history.append(host, [order.event("signed", release, **about, by=as_dict(each), **_signed([each])) for each in new])


def _reason(error: BaseException) -> str:
    """Why it failed, for the history: with the first of the problems."""
    problems = error.problems if isinstance(error, InstallError) else ()
    return f"{error}: {problems[0].where}: {problems[0].what}" if problems else str(error)


def _take_back(host: Host, release: str, env: str, event: Event) -> str:
    """Remove what a failed stage has published, and tell the history; what could not be done, in words."""
    trouble = ""
    try:
        if host.has_release(release):
            prune.discard_release(host, release)
        if env:
            prune.discard_environment(host, env)
    except (OSError, InstallError) as error:
        trouble = str(error)
    with suppress(OSError, InstallError):  # on a full disk there is no room to say so
        history.append(host, [event])
    return trouble


def _failed(error: BaseException, trouble: str) -> BaseException:
    """The error that an operator sees for one that a stage raised."""
    remedies = {
        errno.ENOSPC: "Free some space, then run this again.",
        errno.EDQUOT: "Free some of this user's quota, then run this again.",
        errno.EXDEV: "Nothing may be mounted below the root: put all of it on one file system; only shared/ may lie elsewhere.",
        errno.EMFILE: "Raise the limit of open files (ulimit -n), then run this again.",
        errno.EFBIG: "Raise the limit of a file's size (ulimit -f), then run this again.",
        errno.EROFS: "The file system is read-only: mount it for writing, then run this again.",
        errno.EIO: "The disk reports errors: look at the system's log before anything else.",
    }
    left = [Problem("recovery", f"is unfinished: {trouble}.", "Run install-release recover once that is mended.")] if trouble else []
    if isinstance(error, OSError):
        where = str(error.filename or "disk")
        problem = Problem(where, f"{error.strerror or error}.", remedies.get(error.errno or 0, "Mend that, then run this again."))
    elif isinstance(error, interrupts.Interrupted):
        problem = Problem("install", f"{error}.", "Run this again when it may take its time.")
    elif trouble and isinstance(error, RefusedError):
        return RolledBackError("refused, and not all that it had made could be removed", [*error.problems, *left])
    else:
        return error
    return RolledBackError("it failed before anything that is live was touched; what it had made was removed", [problem, *left])


def _clean(host: Host, order: Order) -> tuple[str, ...]:
    """Prune after a deployment, which it can't fail any more; what went wrong, in words."""
    try:
        return prune.prune(host, order.who).problems
    except (OSError, InstallError) as error:
        return (f"pruning stopped: {error}",)


def _lost_environment(host: Host, release: str) -> str:
    """The environment of a release that is here, if somebody has deleted it: nothing runs from it any more. Else ""."""
    try:
        env = str(host.record(release)["env"])
    except DamagedError:  # not here, or no word of it can be trusted
        return ""
    return "" if durable.exists(host.fd, f"{ENVS}/{env}") else env


def _already(host: Host, release: str, seconds: Mapping[str, float] | None = None) -> Outcome:
    """There is nothing to do: it is live. Raises ``DegradedError`` when not all that runs is."""
    degraded = _past(host).degraded
    if degraded:
        what = f"{release} is live, but what runs did not all follow when {degraded['id']} was taken back: {degraded.get('why', '')}"
        raise DegradedError("it is live already, and degraded", [Problem("services", what, "Mend that, then run install-release recover.")])
    return _outcome(host, release, release, already=True, seconds=seconds)


def _other_values(host: Host, artifact: Artifact) -> tuple[str, ...]:
    """What is to be said of a live release whose etc/ would be another one now: what is installed is never changed in place."""
    wanted, here = overlay.rendered(artifact, host.root).files, overlay.published(host, artifact.id).files
    differ = sorted(path for path in wanted if path in here and wanted[path].data != here[path].data)
    if not differ:
        return ()
    values = host.path(SHARED, "host.ini")
    return (f"note: {values} has changed what etc/{differ[0]} says since it was installed: that takes effect with the next release",)


def _insist(host: Host, artifact: Artifact, chosen: Interpreter) -> None:
    """What a thin artifact leaves out is still here, now that nobody else can prune it. Raises ``RefusedError``."""
    env_here = host.has_environment(environment.place(artifact.manifest, host, chosen, artifact.id))
    lacking = artifact.lender.lacking(artifact.manifest, env_here, host.has_release(artifact.id)) if artifact.lender else ()
    if lacking:
        raise RefusedError("refused before anything was changed", preflight.left_out(lacking))


def _is_whole(host: Host, artifact: Artifact) -> bool:
    """Whether a release is installed and exactly what its artifact says. A damaged one that nobody uses is taken away, to be made again."""
    release = artifact.id
    if not host.has_release(release):
        return False
    verdict = verify.verify(host, release)
    if verdict.good:
        return True
    hurt = [each.path for each in verdict.differences]
    if artifact.left_out:  # what it lacks may be in what would be taken away
        what = f"is here, and differs from what was installed ({hurt[0]} and {len(hurt) - 1} more): it is made again from all of its artifact."
        raise RefusedError("a thin artifact is not enough here", [Problem(host.path(RELEASES, release), what, REMEDY)])
    env_hurt = verdict.env if any(path.startswith(f"{ENVS}/{verdict.env}") for path in hurt) else ""
    others = [each for each in prune.environment_users(host).get(env_hurt, ()) if each == host.current() or host.leased(each)]
    if host.leased(release) or others:
        what = f"differs from what was installed ({hurt[0]} and {len(hurt) - 1} more), and is in use by {', '.join(others) or 'a process'}."
        remedy = "Stop what runs from it, then run this again."
        raise DamagedError("a damaged release is in use", [Problem(host.path(RELEASES, release), what, remedy)])
    prune.discard_release(host, release)
    if env_hurt:
        prune.discard_environment(host, env_hurt)
    return False


def _manifest(host: Host, release: str) -> Manifest | None:
    try:
        return host.manifest(release)
    except DamagedError:
        return None


def _past(host: Host) -> History:
    return history.past(host)


def _outcome(
    host: Host, release: str, before: str, *, already: bool = False, seconds: Mapping[str, float] | None = None, notes: tuple[str, ...] = ()
) -> Outcome:
    manifest = host.manifest(release)
    state, env = _past(host).of(release).state, str(host.record(release)["env"])
    return Outcome(release, manifest.name, manifest.version, state, host.root, before, env, already, seconds or {}, notes)
