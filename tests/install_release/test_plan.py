"""The plan: what would be done, in words and as data."""

from __future__ import annotations

import json

from builder.install_release import plan
from builder.install_release.errors import Problem, told
from builder.install_release.interpreter import Search
from builder.install_release.manifest import Layer, Manifest, Range
from tests.install_release.test_preflight import GOOD, ID, WANTED

OLD_ID = "20261121090001-aa10c2d3e4f5"


def layer(name: str, kind: str = "wheel", digest: str = "0") -> Layer:
    return Layer(name, kind, 1, 10, 1000, Range(0, 1, 1, digest * 64))


def release(version: str, *layers: Layer) -> Manifest:
    return WANTED._replace(version=version, layers=layers)


SIX = layer("six-1.0-py3-none-any")
OLD = release("1.4.1", layer("src", "src", "1"), layer("Django-6.1.2-py3-none-any"), layer("docopt-0.6.2-py3-none-any"), SIX)
NEW = release("1.4.2", layer("src", "src", "2"), layer("django-6.1.3-py3-none-any"), layer("rich_text-1-py3-none-any"), SIX)


def test_packages_are_compared_by_their_normalised_names() -> None:
    """Added, removed and changed versions are found whatever the spelling of the names; what stayed is not listed."""
    assert [str(change) for change in plan.changes(OLD.layers, NEW.layers)] == ["django 6.1.2 → 6.1.3", "- docopt 0.6.2", "+ rich-text 1"]


def test_an_upgrade_reads_from_and_to() -> None:
    """The lines say from which to which release, what changes, and what it takes, and that nothing was changed."""
    shown = "\n".join(plan.lines(plan.make(NEW, ID, GOOD, plan.Live(OLD_ID, OLD))))
    assert shown.startswith("shop: 20261121090001-aa10… (1.4.1) → 20261123101112-1a2b… (1.4.2)        nothing has been changed yet\n")
    for line in (
        "  python       /usr/bin/python3.11 (3.11.2)",
        "  environment  0123 will be made",
        "  packages     django 6.1.2 → 6.1.3",
        "  source       changed",
        "  shared       src/local.py, src/media",
    ):
        assert line in shown.splitlines()
    assert "refused" not in shown


def test_only_what_is_not_here_is_written() -> None:
    """With the environment here, its layers are not unpacked; with the release here, nothing is."""
    assert plan.make(NEW, ID, GOOD, None).layers == tuple(each.name for each in NEW.layers)
    reused = plan.make(NEW, ID, GOOD._replace(env_here=True), None)
    assert (reused.layers, reused.environment) == (("src",), "here")
    again = plan.make(NEW, ID, GOOD._replace(env_here=True, release_here=True), plan.Live(ID, NEW))
    assert (again.layers, again.bytes, again.inodes, again.already) == ((), 0, 0, True)
    assert "  release      it is live already: nothing would be done" in plan.lines(again)


def test_a_first_installation_has_no_from() -> None:
    """Where nothing is live, everything is new."""
    first = plan.make(NEW, ID, GOOD, None)
    assert (first.from_id, first.source) == ("", "new")
    assert plan.lines(first)[0].startswith("shop: nothing → 20261123101112-1a2b… (1.4.2)")
    assert "  packages     3, all new here" in plan.lines(first)


def test_refusals_stand_last_with_their_remedies() -> None:
    """What stands against it is counted and listed, and the interpreter that was not found does not hide the rest."""
    blocked = plan.make(NEW, ID, GOOD._replace(search=Search(None), env_key="", variables=None), None, activate=False)
    shown = plan.lines(blocked)
    assert "  activate     no: it is only installed" in shown
    start = shown.index("refused, 2 reasons:")
    assert [line.split()[0] for line in shown[start + 1 :]] == ["python", "shared/env"]
    assert blocked.environment == "unknown"


def test_a_remedy_that_several_have_in_common_stands_once() -> None:
    """Three in a row or more: below them, with their number; two keep theirs."""
    problems = [*(Problem("sudo", f"{each} is missing.", "Ask an administrator.") for each in "abc"), Problem("env", "d is missing", "Set it.")]
    assert told(problems, 4) == [
        "  sudo  a is missing.",
        "  sudo  b is missing.",
        "  sudo  c is missing.",
        "        These 3: Ask an administrator.",
        "  env   d is missing. Set it.",
    ]
    assert told(problems[1:], 4)[0] == "  sudo  b is missing. Ask an administrator."


def test_a_program_gets_every_field() -> None:
    """The JSON form has all of the plan, and whether it is refused."""
    value = json.loads(json.dumps(plan.to_json(plan.make(NEW, ID, GOOD, plan.Live(OLD_ID, OLD)))))
    assert value["from_id"] == OLD_ID
    assert value["refused"] is False
    assert value["packages"][0] == {"name": "django", "before": "6.1.2", "after": "6.1.3"}
    assert value["bytes"] > 0
