"""A dependency that lives in a git repository: checked out by its commit."""

from __future__ import annotations

from pathlib import Path

from ..errors import Problem, WheelhouseError
from ..lock.lockfile import Locked
from ..run import Completed
from ..source import git


def check_out(entry: Locked, into: Path) -> int:
    """Check out the locked commit, with history (for versions made of tags) and submodules. Returns the commit's time, in seconds."""

    def say(*words: str, check: bool = True) -> Completed:
        return git.git(*words, what=f"checking out {entry}", cwd=into, check=check, error=WheelhouseError)

    say("init", "--quiet", ".")
    say("remote", "add", "origin", entry.url)
    say("fetch", "--quiet", "--tags", "--force", "origin", "+refs/*:refs/remotes/origin/*")
    there = ("cat-file", "-e", f"{entry.commit}^{{commit}}")
    # Not below any branch or tag: most servers give it all the same when asked by name.
    asked = ("fetch", "--quiet", "origin", entry.commit)
    if say(*there, check=False).returncode != 0 and say(*asked, check=False).returncode != 0:
        problem = Problem(entry.url, f"does not have the commit {entry.commit}.", "It was removed, or never pushed: lock again.")
        raise WheelhouseError(f"{entry.name} can't be checked out", [problem])
    # Whoever builds has the same bytes, whatever line ends their own git would write.
    say("-c", "core.autocrlf=false", "checkout", "--quiet", entry.commit)
    say("-c", "core.autocrlf=false", "submodule", "update", "--quiet", "--init", "--recursive")
    return int(say("log", "-1", "--format=%ct").text)
