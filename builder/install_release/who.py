"""Who is at work, for the history: what deploy says, then what CI says, then the person behind sudo, then the user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

# The variable that names a job, the one that names the person who started it, and what to call it.
_CI: tuple[tuple[str, str, str], ...] = (
    ("GITHUB_RUN_ID", "GITHUB_ACTOR", "GitHub run"),
    ("CI_JOB_ID", "GITLAB_USER_LOGIN", "GitLab job"),
    ("BUILDKITE_BUILD_NUMBER", "BUILDKITE_BUILD_CREATOR", "Buildkite build"),
    ("CIRCLE_BUILD_NUM", "CIRCLE_USERNAME", "CircleCI build"),
    ("BITBUCKET_BUILD_NUMBER", "BITBUCKET_STEP_TRIGGERER_UUID", "Bitbucket build"),
    ("BUILD_BUILDID", "BUILD_REQUESTEDFOR", "Azure build"),
    ("TRAVIS_BUILD_NUMBER", "", "Travis build"),
    ("BUILD_TAG", "BUILD_USER_ID", "Jenkins"),
)


def who(environ: Mapping[str, str], uid: int) -> str:
    """A name for people, of printable characters, never empty. A uid without an entry in passwd is a number."""
    user = account(uid)[0]
    if told := environ.get("INSTALL_RELEASE_WHO"):  # by deploy: who it is that has come over ssh
        return _clean(f"{told} (as {user})" if told != user else user)
    for job, person, name in _CI:
        if environ.get(job):
            return _clean(f"{environ.get(person) or 'ci'} ({name} {environ[job]})")
    behind = environ.get("SUDO_USER")
    return _clean(f"{behind} (as {user})" if behind and behind != user else user)


def account(uid: int) -> tuple[str, str]:
    """Name and home of a user, "" for a home that is not known.

    From /etc/passwd itself: the C library would ask name services, through a socket, and an installer opens none.
    """
    with contextlib.suppress(OSError), open("/etc/passwd", encoding="utf-8", errors="replace") as passwd:
        for line in passwd:
            name, *fields = line.rstrip("\n").split(":")
            if fields[1:2] == [str(uid)]:
                return name, "".join(fields[4:5])
    return f"uid {uid}", ""


def printable(text: str) -> str:
    """``text`` as one line that every UTF-8 file takes: a line feed, or a byte of a file's name that is no character, becomes ``?``."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _clean(text: str) -> str:
    return printable(text)[:120]


def me() -> str:
    """Who runs this process."""
    return who(os.environ, os.getuid())
