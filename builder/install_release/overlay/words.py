"""Why something is done to a file of the system, for people. Pure."""

from __future__ import annotations

from ..records import NamedTuple
from .decide import Case, Decision


class Story(NamedTuple):
    """What there is to tell of one file: ``modified`` when what is there was written, ``claimed``: the release ``version`` has it, ``made``: a
    directory that is made for it, or "". ``lost``: what was there when the release was left is not kept any more."""

    case: Case
    modified: str
    version: str
    claimed: bool
    made: str
    lost: bool = False

    @property
    def edited(self) -> str:
        """What this host did to it."""
        case = self.case
        if case.live is None:
            return "was removed here"
        if case.base is None:
            return f"was here already, of {self.modified}"
        if case.live.sha256 == case.base.sha256:
            return f"has another mode here ({case.base.mode} → {case.live.mode})"
        return f"was edited here on {self.modified}"

    @property
    def conflict(self) -> str:
        """What both did to it."""
        return f"{self.edited}, and {self.version} " + ("changes it" if self.claimed else "has it no more")


def words(story: Story, decision: Decision, policy: str) -> str:
    """Why, and what to do about it; "" where the kind of the decision says it all."""
    lost = f"what was there when {story.version} was left is not kept any more: its own counts" if story.lost else ""
    return "; ".join(filter(None, (_reason(story, decision, policy), lost)))


def _reason(story: Story, decision: Decision, policy: str) -> str:
    case, version = story.case, story.version
    if decision.kind == "kept":
        if case.base == case.claim:
            return f"{story.edited}, and {version} does not change it: it stays"
        if case.live == case.target:
            return f"as it was when {version} was left"
        return f"{story.conflict}: it stays ({policy})"
    if decision.kind == "beside":
        return f"{story.conflict}: it stays, and the new one is put beside it"
    if decision.kind == "conflict":
        return f"{story.conflict}: decide with --etc keep-local|take-new|beside"
    told = [f"{story.edited}; the edit is saved beside it"] if decision.save else []
    if decision.kind in ("restored", "removed"):
        back = ": what was there before comes back" if decision.kind == "restored" else ""
        told.append(f"as it was when {version} was left" if story.claimed else f"{version} has it no more{back}")
    if story.made and decision.put is not None:
        told.append(f"{story.made} is made")
    return "; ".join(told)
