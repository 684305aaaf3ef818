"""What a command line names."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.deploy.destination import InStore, hosts, release
from builder.errors import UsageError


def test_a_file_is_an_artifact_whatever_its_name(tmp_path: Path) -> None:
    """What is there is taken as it is, a # in its name too."""
    path = tmp_path / "a#b.tgz"
    path.touch()
    assert release(str(path)) == path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://releases#shop@production", InStore("s3://releases", "shop@production")),
        ("s3://releases/x?addressing=path&patience=5#shop", InStore("s3://releases/x?addressing=path&patience=5", "shop")),
        ("/mnt/a#b#shop@0123456789ab", InStore("/mnt/a#b", "shop@0123456789ab")),
    ],
)
def test_what_is_behind_the_last_mark_is_a_release_of_a_store(text: str, expected: InStore) -> None:
    """A store's address as everywhere, its settings too, and a release as pull takes it."""
    assert release(text) == expected


@pytest.mark.parametrize("text", ["nothing.tgz", "s3://releases", "#shop", "s3://releases#", ""])
def test_anything_else_is_refused(text: str) -> None:
    """With both ways to say it."""
    with pytest.raises(UsageError) as caught:
        release(text)
    assert "STORE#NAME@CHANNEL" in str(caught.value.problems[0])


def test_a_directory_is_no_artifact(tmp_path: Path) -> None:
    """A store's directory alone names no release."""
    with pytest.raises(UsageError):
        release(str(tmp_path))


def test_hosts_stay_in_order() -> None:
    """As ssh takes them."""
    given = ["web2", "deploy@web1", "deploy@web3:2222", "::1"]
    assert hosts(given) == tuple(given)


@pytest.mark.parametrize("text", ["", "-oProxyCommand=x", "web 1", "web1\n", "web1:", "deploy@"])
def test_what_is_no_host_is_refused(text: str) -> None:
    """Before anything is sent anywhere."""
    with pytest.raises(UsageError) as caught:
        hosts(["web1", text])
    assert caught.value.problems[0].where == repr(text)


def test_a_host_that_is_named_twice_is_refused() -> None:
    """A second visit would find nothing to do, and say so."""
    with pytest.raises(UsageError) as caught:
        hosts(["web1", "web2", "web1"])
    assert [problem.where for problem in caught.value.problems] == ["web1"]
