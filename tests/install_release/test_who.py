"""Who is at work."""

from __future__ import annotations

import os

import pytest

from builder.install_release.who import account, who


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"GITHUB_ACTOR": "octocat", "GITHUB_RUN_ID": "17", "SUDO_USER": "x"}, "octocat (GitHub run 17)"),
        ({"GITLAB_USER_LOGIN": "ada", "CI_JOB_ID": "4711"}, "ada (GitLab job 4711)"),
        ({"CI_JOB_ID": "4711"}, "ci (GitLab job 4711)"),
        ({"BUILD_TAG": "jenkins-shop-12"}, "ci (Jenkins jenkins-shop-12)"),
        ({"INSTALL_RELEASE_WHO": "ada", "SUDO_USER": "x", "CI_JOB_ID": "1"}, "ada (as uid 54321)"),
        ({"SUDO_USER": "ada"}, "ada (as uid 54321)"),
        ({}, "uid 54321"),
        ({"GITHUB_ACTOR": "a\nb\x1b[31m", "GITHUB_RUN_ID": "1" * 500}, ("a?b?[31m (GitHub run " + "1" * 500)[:120]),
    ],
)
def test_who(environ: dict[str, str], expected: str) -> None:
    """Who came over ssh is first, then CI, then who is behind sudo; a uid without a passwd entry is a number; nothing unprintable gets through."""
    assert who(environ, 54321) == expected


def test_a_user_has_a_name() -> None:
    """A uid that passwd knows is shown by its name."""
    assert who({}, 0) == "root"
    assert who({}, os.getuid())


def test_a_user_has_a_home() -> None:
    """As passwd says it; of one that is not there nothing is known."""
    assert account(0) == ("root", "/root")
    assert account(54321) == ("uid 54321", "")
