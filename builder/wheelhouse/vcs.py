"""A dependency that lives in a git repository: checked out by its commit."""

from __future__ import annotations

from pathlib import Path

from ..errors import Problem, WheelhouseError
from ..lock.lockfile import Locked
from ..run import run


def check_out(entry: Locked, into: Path) -> int:
    """Check out the locked commit, with history (for versions made of tags) and submodules. Returns the commit's time, in seconds."""
    what = f"checking out {entry}"

    def git(*words: str) -> str:
        return run(["git", *words], what=what, error=WheelhouseError, cwd=into).text.strip()

    git("init", "--quiet", ".")
    git("remote", "add", "origin", entry.url)
    git("fetch", "--quiet", "--tags", "--force", "origin", "+refs/*:refs/remotes/origin/*")
    known = run(["git", "cat-file", "-e", f"{entry.commit}^{{commit}}"], what=what, error=WheelhouseError, cwd=into, check=False)
    if known.returncode != 0:
        # Not below any branch or tag: most servers give it all the same when asked by name.
        fetched = run(["git", "fetch", "--quiet", "origin", entry.commit], what=what, error=WheelhouseError, cwd=into, check=False)
        if fetched.returncode != 0:
            problem = Problem(entry.url, f"does not have the commit {entry.commit}.", "It was removed, or never pushed: lock again.")
            raise WheelhouseError(f"{entry.name} can't be checked out", [problem])
    git("-c", "advice.detachedHead=false", "checkout", "--quiet", entry.commit)
    git("submodule", "update", "--quiet", "--init", "--recursive")
    return int(git("log", "-1", "--format=%ct"))
