"""From a release, the ledger and what is there: every change that making the release live takes, in one list that covers all that is ours.

Looks, and decides by ``decide``; changes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import Problem
from ..host import RELEASES
from ..manifest import Conflict, Manifest, Overlay
from . import aside, decide, place
from .change import Change, Content, OverlayError, Proposal, Verdict
from .decide import KEEP, Case, Decision
from .ledger import BLOBS, Laid, Ledger, Left
from .place import Seen
from .render import Rendered, Wanted

_MOST_FILES = 1000


@dataclass(frozen=True)
class Question:
    """A release that may become live at ``root``; ``blobs``: whose bytes are kept; ``answers``: of the operator; ``back``: it is a rollback."""

    root: str
    manifest: Manifest
    release: str
    ledger: Ledger
    blobs: frozenset[str] = frozenset()
    answers: Sequence[Conflict] = ()
    back: bool = False

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def left(self) -> Mapping[str, Left]:
        """What was there when the release was left, if it was live before."""
        return self.ledger.left.get(self.release, {}) if self.ledger.release != self.release else {}


@dataclass
class _Draft:
    """A proposal in the making. ``decisions``: by path, what will be there and what the release lays down there."""

    changes: list[Change] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    refusals: list[Problem] = field(default_factory=list)
    decisions: dict[str, tuple[Decision, Content | None]] = field(default_factory=dict)

    def refuse(self, what: str, remedy: str) -> None:
        self.refusals.append(Problem("etc", what, remedy))


def copies(overlay: Overlay, paths: Iterable[str]) -> dict[str, str]:
    """Absolute path → path below etc/, of those of ``paths`` that are copied."""
    found = {}
    for path in paths:
        for copied in overlay.copied:
            if f"{path}/".startswith(f"{copied.path}/"):
                found[copied.to + path[len(copied.path) :]] = path
    return found


def propose(question: Question, wanted: Wanted) -> Proposal:
    """What making a release live would do; all that speaks against it, at once."""
    manifest, ledger = question.manifest, question.ledger
    draft, claims = _Draft(), copies(manifest.overlay, wanted.files)
    draft.refusals += _unfit(manifest.overlay, wanted, claims)
    ours = {path: laid for path, laid in ledger.files.items() if not laid.beside}
    for path in sorted(claims.keys() | ours.keys()):
        laid = ours.get(path)
        etc = claims.get(path) or (laid.etc if laid else "")
        claim = content_of(wanted.files[claims[path]]) if path in claims else None
        _decide_one(draft, question, path, etc, claim, laid)
    decided = {change.path for change in draft.changes}
    for path, laid in sorted(ledger.files.items()):
        if laid.beside and path not in decided:
            _decide_aside(draft, question, path, laid)
    known = [(change.etc, change.path) for change in draft.changes] + [(each.etc, each.path) for each in draft.verdicts]
    for answer in question.answers:
        if not any(decide.matches(answer, etc, path) for etc, path in known):
            problem = Problem("--etc", f"{answer.path} is no file that is copied.", "Name one as the plan does, below etc/ or by its absolute path.")
            draft.refusals.append(problem)
    refusals = {problem.what: problem for problem in reversed(draft.refusals)}  # one of a directory is that of each file in it: told once
    return Proposal(tuple(draft.changes), tuple(draft.verdicts), tuple(reversed(list(refusals.values()))))


def content_of(rendered: Rendered) -> Content:
    return Content(hashlib.sha256(rendered.data).hexdigest(), rendered.mode)


def _unfit(overlay: Overlay, wanted: Wanted, claims: Mapping[str, str]) -> Iterator[Problem]:
    """What can't be copied at all, whatever is there."""
    for copied in overlay.copied:
        below = [path for path in (*wanted.files, *wanted.links) if f"{path}/".startswith(f"{copied.path}/")]
        if not below:
            yield Problem("etc", f"etc/{copied.path} is to be copied to {copied.to}, and is not there.", "Correct overlay.copied in the recipe.")
        for path in below:
            if path in wanted.links:
                yield Problem("etc", f"etc/{path} is a link, and only files are copied.", "Put the file itself there, or don't copy it.")
    for path, etc in claims.items():
        if len(os.fsencode(os.path.basename(path))) > aside.LONGEST_NAME:
            yield Problem("etc", f"etc/{etc} has a name of more than {aside.LONGEST_NAME} bytes.", "Give it a shorter one.")
        elif wanted.files[etc].data and len(wanted.files[etc].data) > place.MOST:
            yield Problem("etc", f"etc/{etc} is longer than {place.MOST} bytes.", "Only configuration is copied.")
    if len(claims) > _MOST_FILES:
        yield Problem("etc", f"{len(claims)} files are to be copied; at most {_MOST_FILES} can be.", "Link them instead.")


def _decide_one(draft: _Draft, question: Question, path: str, etc: str, claim: Content | None, laid: Laid | None) -> None:
    policy = decide.policy(etc, path, question.manifest.overlay.on_conflict, question.answers, question.back)
    claimed = claim is not None
    try:
        seen = place.look(path, question.root)
    except OverlayError as error:
        what = error.problems[0]
        if policy != KEEP:
            draft.refusals.append(replace(what, remedy=f"{what.remedy} Or leave it alone: --etc {etc}=keep-local"))
            draft.verdicts.append(Verdict(path, etc, "conflict", what.what))
            return
        draft.verdicts.append(Verdict(path, etc, "kept", f"left alone: {what.what}"))
        draft.decisions[path] = (Decision("kept", None), claim)
        draft.changes.append(Change(path, etc, None, None, laid=claim, before=laid.before if laid else None, alone=True))
        return
    left = question.left.get(path)
    base = laid.content if laid else left.before if left else None
    before = laid.before if laid else seen.content
    claim = claim if claimed else before
    case = Case(base, seen.content, claim, _target(question, claim, left))
    decision = decide.decide(case, policy)
    if not claimed and decision.kind in ("new", "changed"):
        decision = replace(decision, kind="restored")
    draft.decisions[path] = (decision, claim)
    change = Change(
        path,
        etc,
        seen.content,
        decision.put,
        source=_source(question, etc if claimed else "", claim, decision.put),
        laid=claim if claimed else None,
        before=before,
        edited=seen.content != base,
        directories=seen.missing if decision.put is not None and decision.put != seen.content else (),
    )
    draft.verdicts.append(Verdict(path, etc, decision.kind, _words(question, case, seen, decision, claimed, policy)))
    if decision.kind == "conflict":
        edited = _edited(case, seen)
        how = f"and {question.version} changes it." if claimed else f"and {question.version} has it no more."
        draft.refuse(
            f"{path} {edited}, {how}", f"Decide: --etc {etc}=keep-local, =take-new or =beside (without a path: for all). config-diff shows it."
        )
    if decision.save or decision.beside:
        _put_aside(draft, question, change, seen, decision, claim)
    _check(draft, question, change, seen)
    draft.changes.append(change)


def _target(question: Question, claim: Content | None, left: Left | None) -> Content | None:
    """What shall be there: what was there when the release was left; else, or when the bytes of that are gone, what it lays down."""
    if left is None or left.live is None:
        return claim if left is None else None
    here = left.live.sha256 in question.blobs or (claim is not None and claim.sha256 == left.live.sha256)
    return left.live if here else claim


def _source(question: Question, etc: str, claim: Content | None, put: Content | None) -> str:
    if put is None:
        return ""
    if etc and claim is not None and put.sha256 == claim.sha256:
        return f"{RELEASES}/{question.release}/etc/{etc}"
    return f"{BLOBS}/{put.sha256}"


def _put_aside(draft: _Draft, question: Question, main: Change, seen: Seen, decision: Decision, claim: Content | None) -> None:
    """The second file: the edit that gives way, or the release's file that does not."""
    content = seen.content if decision.save else claim
    assert content is not None
    path = (aside.saved if decision.save else aside.offered)(main.path, content.sha256)
    kind = "saved" if decision.save else "beside"
    source = f"{BLOBS}/{content.sha256}" if decision.save else f"{RELEASES}/{question.release}/etc/{main.etc}"
    try:
        there = place.look(path, question.root).content
    except OverlayError as error:
        draft.refusals += error.problems
        return
    if there is not None and there.sha256 != content.sha256:
        draft.refuse(f"{path} is in the way, and holds something else.", "Move it away.")
    words = f"the edit of this host to {main.path}" if decision.save else f"what {question.version} has for {main.path}"
    draft.verdicts.append(Verdict(path, main.etc, kind, words))
    draft.changes.append(Change(path, main.etc, there, there or content, source, laid=content, beside=main.path, directories=main.directories))


def _decide_aside(draft: _Draft, question: Question, path: str, laid: Laid) -> None:
    """A second file of an earlier release: it goes when it says nothing new any more. One that somebody has edited stays, and is nobody's."""
    decision, claim = draft.decisions.get(laid.beside, (Decision("kept", None), None))
    if aside.is_saved(path, laid.beside):
        needed = decision.put is None or decision.put.sha256 != laid.content.sha256
    else:
        needed = decision.kind in ("kept", "beside", "conflict") and claim is not None and claim.sha256 == laid.content.sha256
    try:
        live = place.look(path, question.root).content
    except OverlayError:  # what stands there now is not ours
        live, needed = None, True
    put = live if needed or live != laid.content else None
    ours = laid.content if put == laid.content and laid.beside in draft.decisions else None
    draft.changes.append(Change(path, laid.etc, live, put, laid=ours, beside=laid.beside))
    if live is not None and put is None:
        draft.verdicts.append(Verdict(path, laid.etc, "removed", f"it lay beside {laid.beside}, and is needed no more"))


def _check(draft: _Draft, question: Question, change: Change, seen: Seen) -> None:
    """Whether this user can do it."""
    if change.old == change.new:
        return
    if not seen.writable:
        where = os.path.dirname(change.directories[0] if change.directories else change.path)
        remedy = (
            "Copy to a directory of its own, which the script of install-release bootstrap --print makes for this user; or link, and copy nothing."
        )
        draft.refuse(f"{where} can't be written by this user.", remedy)
    mine = (-1, os.getegid(), *os.getgroups())
    for group in {content.group for content in (change.old, change.new) if content is not None and os.geteuid() != 0}.difference(mine):
        what = f"{change.path} belongs to group {group}, of which this user is no member: neither the new file nor the old one, put back, could."
        draft.refuse(what, "Make this user a member of it, or give the file another group (chgrp).")
    if change.source.startswith(BLOBS) and change.new is not None and change.new.sha256 not in question.blobs:
        what = f"what was at {change.path} before is not in {BLOBS}/ any more."
        draft.refuse(what, f"Put it there by hand; then say --etc {change.etc}=keep-local.")


def _edited(case: Case, seen: Seen) -> str:
    if case.live is None:
        return "was removed here"
    if case.base is None:
        return f"was here already, of {seen.modified}"
    if case.live.sha256 == case.base.sha256:
        return f"has another mode here ({case.base.mode} → {case.live.mode})"
    return f"was edited here on {seen.modified}"


def _words(question: Question, case: Case, seen: Seen, decision: Decision, claimed: bool, policy: str) -> str:
    """Why, for people."""
    version, edited = question.version, _edited(case, seen)
    kind = decision.kind
    gone = "" if claimed else f"{version} has it no more"
    if kind == "kept":
        if case.base == case.claim:
            return f"{edited}, and not changed by {version}: it stays"
        if case.live == case.target:
            return f"as it was when {version} was left"
        return f"{edited}, and {'changed by ' + version if claimed else gone}: it stays ({policy})"
    if kind == "beside":
        return f"{edited}, and changed by {version}: it stays, and the new one is put beside it"
    if kind == "conflict":
        return f"{edited}, and {'changed by ' + version if claimed else gone}: decide with --etc keep-local|take-new|beside"
    words = []
    if decision.save:
        words.append(f"{edited}; the edit is saved beside it")
    if kind == "restored" and claimed:
        words.append(f"as it was when {version} was left")
    elif kind == "restored":
        words.append(f"{gone}: what was there before comes back")
    elif kind == "removed":
        words.append(gone or f"as it was when {version} was left")
    if seen.missing and case.target is not None:
        words.append(f"{seen.missing[0]} is made")
    return "; ".join(words)
