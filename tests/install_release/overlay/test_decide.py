"""The three-way table itself, and which rule decides a conflict. No file is touched."""

from __future__ import annotations

import itertools

import pytest

from builder.install_release.manifest import Conflict
from builder.install_release.overlay.change import Content
from builder.install_release.overlay.decide import Case, Decision, decide, policy

A, B, C, D = (Content(letter * 64, "644") for letter in "abcd")
ALL = (None, A, B, C, D)


@pytest.mark.parametrize(
    ("base", "live", "claim", "expected"),
    [
        (None, None, A, Decision("new", A)),
        (A, A, A, Decision("untouched", A)),
        (A, A, B, Decision("changed", B)),
        (A, B, B, Decision("untouched", B)),
        (A, B, A, Decision("kept", B)),
        (A, None, A, Decision("kept", None)),
        (A, A, None, Decision("removed", None)),
        (A, None, None, Decision("untouched", None)),
        (A, B, C, Decision("conflict", B)),
        (None, B, A, Decision("conflict", B)),
        (A, None, B, Decision("conflict", None)),
        (A, B, None, Decision("conflict", B)),
    ],
)
def test_the_table(base: Content | None, live: Content | None, claim: Content | None, expected: Decision) -> None:
    """Every row, where the target is what the release lays down and a conflict is refused."""
    assert decide(Case(base, live, claim, claim), "refuse") == expected


@pytest.mark.parametrize("rule", ["refuse", "keep-local", "take-new", "beside"])
def test_no_edit_is_ever_lost(rule: str) -> None:
    """Whatever is where: what is there stays, or is what was laid down last, or is saved, or is what will be there anyhow."""
    for base, live, claim, target in itertools.product(ALL, repeat=4):
        decision = decide(Case(base, live, claim, target), rule)
        assert decision.put == live or live == base or decision.save or live is None
        assert decision.put in (live, target)
        if decision.kind in ("kept", "untouched", "conflict", "beside"):
            assert decision.put == live
        if base == claim:
            assert decision.put == live, "what does not change between the releases is not touched"


def test_a_mode_alone_is_a_difference() -> None:
    """The same bytes with another mode are another content; another group is not."""
    moded, grouped = Content(A.sha256, "600"), Content(A.sha256, "644", 7)
    assert decide(Case(A, moded, B, B), "refuse").kind == "conflict"
    assert decide(Case(A, grouped, B, B), "refuse").kind == "changed"


@pytest.mark.parametrize(
    ("declared", "answers", "back", "expected"),
    [
        ([], [], False, "refuse"),
        ([], [], True, "take-new"),
        ([("**", "keep-local")], [], False, "keep-local"),
        ([("**", "keep-local")], [], True, "take-new"),
        ([("**", "keep-local"), ("a/b", "beside"), ("a/*", "take-new")], [], False, "beside"),
        ([("a/b", "beside")], [("**", "take-new")], False, "take-new"),
        ([("a/b", "beside")], [("a/b", "keep-local"), ("**", "refuse")], True, "keep-local"),
        ([("a/b", "beside")], [("/etc/b", "keep-local")], False, "keep-local"),
        ([("x/**", "beside")], [("x/**", "keep-local")], False, "refuse"),
        ([("a", "beside")], [], False, "beside"),
    ],
)
def test_which_rule_decides(declared: list[tuple[str, str]], answers: list[tuple[str, str]], back: bool, expected: str) -> None:
    """The operator before the recipe, the longest before the others, and the way back never asks."""
    assert policy("a/b", "/etc/b", [Conflict(*rule) for rule in declared], [Conflict(*answer) for answer in answers], back) == expected
