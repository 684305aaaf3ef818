"""What an installer on a host says."""

from __future__ import annotations

import json

import pytest

from builder.deploy import answer, there
from builder.deploy.session import Reply
from builder.errors import NoRootError
from builder.install_release.artifact import REMEDY

ERROR = {"status": 3, "message": "no", "problems": [{"where": "python", "what": "none.", "remedy": "One."}], "log": ["seen"]}


def reply(status: int, *lines: object) -> Reply:
    said = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    return Reply(status, said.encode(), 0)


def test_a_profile_that_speaks_is_no_harm() -> None:
    """The installer's object is the last line."""
    assert answer.value(reply(0, "Welcome!", {"id": "x"})) == {"id": "x"}


@pytest.mark.parametrize("lines", [(), ("Traceback",), ([1],), ('{"id":',)])
def test_what_is_no_object_is_nothing(lines: tuple[object, ...]) -> None:
    """Nothing is guessed."""
    assert answer.value(reply(0, *lines)) == {}


def test_a_refusal_is_the_installers_own() -> None:
    """Message, reasons, remedies, status, and what it saw."""
    said = {"error": ERROR}
    error = answer.refused(reply(3, said), said)
    assert (error.status, error.message) == (3, "no")
    assert [str(problem) for problem in error.problems] == ["python: none. One."]
    assert answer.log(said) == ("seen",)


@pytest.mark.parametrize("status", [0, 127, 255])
def test_a_status_that_no_installer_has_is_unexpected(status: int) -> None:
    """Whatever ended there: it was no success."""
    error = answer.refused(reply(status), {})
    assert error.status == 1
    assert f"status {status}" in error.problems[0].what


def test_what_a_host_says_can_do_nothing_to_a_terminal() -> None:
    """What a terminal would take for an order is spelled out."""
    said = {"error": {**ERROR, "message": "\x1b[2J", "problems": [{"where": "\x9b", "what": "a\nb\x07", "remedy": 7}]}}
    error = answer.refused(reply(3, said), said)
    assert error.message == "\\x1b[2J"
    assert tuple(error.problems[0]) == ("\\x9b", "a\nb\\x07", "7")


@pytest.mark.parametrize(("status", "remedy", "expected"), [(3, REMEDY, True), (4, REMEDY, True), (0, REMEDY, False), (3, "Another.", False)])
def test_a_host_that_lacks_a_layer_says_so_by_the_remedy(status: int, remedy: str, expected: bool) -> None:
    """In JSON as in a plan's lines."""
    assert answer.lacks(reply(status, {"error": {**ERROR, "problems": [{"where": "w", "what": "gone.", "remedy": remedy}]}})) is expected
    assert answer.lacks(reply(status, f"refused: w: gone. {remedy}")) is expected


FACTS = {
    "root": "/srv/app",
    "place": "/srv/app",
    "writable": True,
    "uid": 1001,
    "installer": "/srv/app/bin/install-release",
    "have": {"layers": ["b", "a"]},
}


def test_a_host_has_what_its_installer_says() -> None:
    """Layers by their digests."""
    assert there.parse("web1", FACTS) == there.There("/srv/app", "/srv/app/bin/install-release", frozenset("ab"))


@pytest.mark.parametrize("have", [None, [], {}, {"layers": 7}, {"error": {}}])
def test_an_installer_that_does_not_know_have_is_sent_all(have: object) -> None:
    """An older one, or one that fails at it."""
    assert there.parse("web1", {**FACTS, "have": have}).layers is None


def test_a_bare_host_has_nothing() -> None:
    """And that is known."""
    assert there.parse("web1", {**FACTS, "installer": "", "have": None}) == there.There("/srv/app", "", frozenset())


@pytest.mark.parametrize(("place", "what"), [("/srv/app", "is not writable for"), ("/srv", "is not there, and /srv is not writable")])
def test_a_root_that_is_not_the_users_is_refused(place: str, what: str) -> None:
    """Before anything is sent."""
    with pytest.raises(NoRootError) as caught:
        there.parse("web1", {**FACTS, "place": place, "writable": False})
    assert caught.value.problems[0].where == "web1:/srv/app"
    assert what in caught.value.problems[0].what
