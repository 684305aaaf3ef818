"""From a release, the ledger and what is there: every change that making the release live takes, in one list that covers all that is ours.

Looks, and decides by ``decide``; changes nothing.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from ..errors import Problem
from ..host import BLOBS, RELEASES
from ..manifest import Conflict, Manifest, Overlay
from ..records import NamedTuple
from . import aside, decide, place
from .change import Change, Content, OverlayError, Proposal, Rendered, Verdict, Wanted
from .decide import BESIDE, KEEP, Case, Decision
from .ledger import Laid, Ledger, Left
from .words import Story, words

_MOST_FILES = 1000


class Question(NamedTuple):
    """A release that may become live at ``root``; ``kept``: bytes that are, as sources; ``answers``: of the operator; ``back``: it is a rollback."""

    root: str
    manifest: Manifest
    release: str
    ledger: Ledger
    kept: frozenset[str] = frozenset()
    answers: Sequence[Conflict] = ()
    back: bool = False

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def left(self) -> Mapping[str, Left]:
        """What was there when the release was left, if it was live before."""
        return self.ledger.left.get(self.release, {}) if self.ledger.release != self.release else {}


class _Draft:
    """A proposal in the making. ``decisions``: by path, what will be there and what the release lays down there."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.verdicts: list[Verdict] = []
        self.refusals: list[Problem] = []
        self.decisions: dict[str, tuple[Decision, Content | None]] = {}

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
    for path, left in sorted(question.left.items()):
        if left.beside in draft.decisions and path not in decided and path not in ledger.files:
            _restore_aside(draft, question, path, left)
    known = [(change.etc, change.path) for change in draft.changes] + [(each.etc, each.path) for each in draft.verdicts]
    for answer in question.answers:
        if answer.path != "**" and not any(decide.matches(answer, etc, path) for etc, path in known):
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
            draft.refusals.append(what._replace(remedy=f"{what.remedy} Or leave it alone: --etc {etc}=keep-local"))
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
    lost = left is not None and left.live is not None and not _is_kept(question, left.live, claim)
    case = Case(base, seen.content, claim, claim if left is None or lost else left.live)
    decision = decide.decide(case, policy if claimed or policy != BESIDE else KEEP)  # what comes back has no other version to put beside
    if not claimed and decision.kind in ("new", "changed"):
        decision = decision._replace(kind="restored")
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
    made = seen.missing[0] if seen.missing else ""
    story = Story(case, seen.modified, question.version, claimed, made, lost)
    draft.verdicts.append(Verdict(path, etc, decision.kind, words(story, decision, policy), lost=lost))
    if decision.kind == "conflict":
        how = f"Decide: --etc {etc}=keep-local, =take-new or =beside (without a path: for all). config-diff shows it."
        draft.refuse(f"{path} {story.conflict}.", how)
    if decision.save or decision.beside:
        _put_aside(draft, question, change, decision, claim)
    _check(draft, change, seen.writable)
    if change.old != change.new and change.source.startswith(BLOBS) and change.source not in question.kept:
        remedy = f"Put it there by hand; then say --etc {etc}=keep-local."
        draft.refuse(f"what was at {path} before is not in {BLOBS}/ any more.", remedy)
    draft.changes.append(change)


def _is_kept(question: Question, content: Content, claim: Content | None) -> bool:
    """Whether the bytes of what was there when the release was left are still here: kept, or those that it lays down itself."""
    return f"{BLOBS}/{content.sha256}" in question.kept or (claim is not None and claim.sha256 == content.sha256)


def _source(question: Question, etc: str, claim: Content | None, put: Content | None) -> str:
    if put is None:
        return ""
    if etc and claim is not None and put.sha256 == claim.sha256:
        return f"{RELEASES}/{question.release}/etc/{etc}"
    return f"{BLOBS}/{put.sha256}"


def _put_aside(draft: _Draft, question: Question, main: Change, decision: Decision, claim: Content | None) -> None:
    """The second file: the edit that gives way, or the release's file that does not."""
    content = main.old if decision.save else claim
    assert content is not None
    path = (aside.saved if decision.save else aside.offered)(main.path, content.sha256)
    source = f"{BLOBS}/{content.sha256}" if decision.save else f"{RELEASES}/{question.release}/etc/{main.etc}"
    try:
        seen = place.look(path, question.root)
    except OverlayError as error:
        draft.refusals += error.problems
        return
    there = seen.content
    if there is not None and there.sha256 != content.sha256:
        draft.refuse(f"{path} is in the way, and holds something else.", "Move it away.")
    kind = "saved" if decision.save else "beside"
    told = f"the edit of this host to {main.path}" if decision.save else f"what {question.version} has for {main.path}"
    draft.verdicts.append(Verdict(path, main.etc, kind, told))
    change = Change(path, main.etc, there, there or content, source, laid=content, beside=main.path, directories=seen.missing)
    _check(draft, change, seen.writable)
    draft.changes.append(change)


def _needed(draft: _Draft, path: str, main: str, content: Content) -> bool:
    """Whether a second file says what is not in the first one: an edit that is not there, or what the release has where an edit is kept."""
    decision, claim = draft.decisions.get(main, (Decision("kept", None), None))
    if decision.put is not None and decision.put.sha256 == content.sha256:
        return False
    return aside.is_saved(path, main) or (claim is not None and claim.sha256 == content.sha256)


def _restore_aside(draft: _Draft, question: Question, path: str, left: Left) -> None:
    """A second file that was there when the release was left."""
    main, content = left.beside, left.live
    if content is None or f"{BLOBS}/{content.sha256}" not in question.kept or not _needed(draft, path, main, content):
        return
    with suppress(OverlayError):
        seen = place.look(path, question.root)
        if seen.content is None and seen.writable:
            etc = next(change.etc for change in draft.changes if change.path == main)
            draft.verdicts.append(Verdict(path, etc, "restored", f"it lay beside {main} when {question.version} was left"))
            source = f"{BLOBS}/{content.sha256}"
            draft.changes.append(Change(path, etc, None, content, source, laid=content, beside=main, directories=seen.missing))


def _decide_aside(draft: _Draft, question: Question, path: str, laid: Laid) -> None:
    """A second file of an earlier release: it goes when it says nothing new any more. One that somebody has edited stays, and is nobody's."""
    try:
        seen = place.look(path, question.root)
    except OverlayError:  # what stands there now is not ours
        return
    live = seen.content
    put = None if live == laid.content and not _needed(draft, path, laid.beside, laid.content) else live
    ours = laid.content if put == laid.content and laid.beside in draft.decisions else None
    change = Change(path, laid.etc, live, put, laid=ours, beside=laid.beside)
    _check(draft, change, seen.writable)
    draft.changes.append(change)
    if put != live:
        draft.verdicts.append(Verdict(path, laid.etc, "removed", f"it lay beside {laid.beside}, and is needed no more"))


def _check(draft: _Draft, change: Change, writable: bool) -> None:
    """Whether this user can do it, and undo it."""
    if change.old == change.new:
        return
    if not writable:
        where = os.path.dirname(change.directories[0] if change.directories else change.path)
        remedy = "Copy to a directory of its own, which the script of install-release bootstrap --print makes for this user; or copy nothing."
        draft.refuse(f"{where} can't be written by this user.", remedy)
    mine = (-1, os.getegid(), *os.getgroups())
    for group in {content.group for content in (change.old, change.new) if content is not None and os.geteuid() != 0}.difference(mine):
        what = f"{change.path} belongs to group {group}, of which this user is no member: neither the new file nor the old one, put back, could."
        draft.refuse(what, "Make this user a member of it, or give the file another group (chgrp).")
