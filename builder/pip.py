"""pip, run for the target interpreter: which one, in what environment, and what its failures mean.

pip's own configuration and environment say where the indexes are and who may ask them. Nothing of that is read, stored or repeated here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import BuildError, Problem
from .run import Completed, failure, redact, run
from .target import Interpreter

# Settings of a user's pip that would change what a lock means, or ask for something that nobody can answer.
_NAMES = ("REQUIREMENT", "CONSTRAINT", "BUILD_CONSTRAINT", "TARGET", "PREFIX", "ROOT", "USER", "PYTHON", "DEST", "WHEEL_DIR")
_DROPPED = frozenset(f"PIP_{name}" for name in _NAMES)
_SET = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_NO_COLOR": "1", "PIP_PROGRESS_BAR": "off", "COLUMNS": "400"}
OWN_SETTINGS = {**_SET, "PIP_CONFIG_FILE": os.devnull}  # of a pip that has no business with the user's configuration
OLDEST_OWN = (3, 10)  # pip 26.3 runs on nothing older


def command(interpreter: Interpreter, python: Path | None = None) -> list[str]:
    """The words that start pip in the target, or in ``python``, an environment of it.

    The pip that is pinned here runs on 3.10 and newer; for 3.9 it is the one that the pinned virtualenv carries.
    """
    executable = str(python or interpreter.executable)
    if tuple(int(part) for part in interpreter.python.split(".")) >= OLDEST_OWN:
        return [sys.executable, "-I", "-m", "pip", "--python", executable]
    from virtualenv.seed.wheels.embed import get_embed_wheel  # slow to import, and seldom wanted

    wheel = get_embed_wheel("pip", interpreter.python)
    assert wheel is not None, "virtualenv carries a pip for every version it supports"
    return [executable, "-I", f"{wheel.path}/pip"]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a pip that may use the network: the user's, so that index, netrc and keyring work."""
    inherited = {key: value for key, value in os.environ.items() if key not in _DROPPED and not key.startswith("PYTHON")}
    return {**inherited, **_SET, **(extra or {})}


def pip(
    argv: Sequence[str | Path], *, what: str, error: type[BuildError], env: Mapping[str, str], cwd: Path | None = None, offline: bool = False
) -> str:
    """Run pip (``command`` and what it is to do) and return what it said. A failure is ``error``, in words where the reason is a known one."""
    completed = run(argv, what=what, error=error, cwd=cwd, env=env, log=True, offline=offline, check=False)
    if completed.returncode != 0:
        raise explain(completed, what, error)
    return completed.log


def explain(completed: Completed, what: str, error: type[BuildError], next_step: str = "") -> BuildError:
    """The error for a pip that failed: its known reasons as problems, else the last lines of its output."""
    problems = reasons(completed.log)
    if not problems:
        return failure(completed, what, error, next_step)
    return error(f"{what} failed", problems, next_step=next_step)


def reasons(log: str) -> list[Problem]:
    """What pip's output says went wrong, each reason once. Empty when it is none that is known."""
    for look in (_mismatches, _refused, _unreachable, _http, _conflict, _not_built, _other_python, _not_found):
        found = look(log)
        if found:
            return found
    return []


def yanked(log: str) -> list[Problem]:
    """The releases that pip took although their authors took them back."""
    pattern = r"yanked version: '?(\S+?)'? candidate \(version (\S+) at .*?\)\s+Reason for being yanked: (.*)"
    found = re.finditer(pattern, log)
    return [Problem(f"{each[1]} {each[2]}", f"was yanked by its authors: {each[3].strip()}.", "Choose another version.") for each in found]


def _mismatches(log: str) -> list[Problem]:
    found = []
    for match in re.finditer(r"^\s*(?P<what>\S.*?)(?: from \S+?)?(?: \(from .*\))?:\n(?P<sums>(?:\s+(?:Expected|or|Got)\s.*\n)+)", log, re.MULTILINE):
        got = re.search(r"Got\s+([0-9a-f]+)", match["sums"])
        if got:
            remedy = "Somebody changed the file, or the lock is of another one: find out which before the lock is made again."
            found.append(Problem(match["what"], f"is not the file that the lock names: its sha256 is {got[1]}.", remedy))
    return found


def _refused(log: str) -> list[Problem]:
    match = re.search(r"(?:ERROR|WARNING): .*?(401|403|407) (?:Client )?Error", log) or re.search(r"(EOFError|User for) ", log)
    if not match:
        return []
    return [Problem(_host(log), "refuses without (other) credentials.", "Give them to pip: a netrc file, a keyring, or pip's configuration.")]


def _unreachable(log: str) -> list[Problem]:
    signs = r"NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError|ConnectionResetError|RemoteDisconnected"
    match = re.search(rf"({signs}).*", log)
    if not match:
        return []
    reason = re.search(r"\[Errno -?\d+\] ([^)'\"]+)", match[0])
    return [Problem(_host(log), f"can't be reached ({reason[1] if reason else match[1]}).", "Check the network and pip's index options.")]


def _http(log: str) -> list[Problem]:
    match = re.search(r"(?:HTTP error (\d+) while getting|(\d{3}) (?:Client|Server) Error).*?(?:for url: )?(\S+://\S+)", log)
    if not match:
        return []
    code = match[1] or match[2]
    name = redact(match[3]).rpartition("/")[2].partition("#")[0]
    what = "is not on the index any more (404)." if code == "404" else f"can't be had: the index answers {code}."
    return [Problem(name, what, "Make the lock again, or get the file back." if code == "404" else "Try again later.")]


def _conflict(log: str) -> list[Problem]:
    match = re.search(r"The conflict is caused by:\n((?:[ \t]+\S.*\n)+)", log)
    return [Problem("requirements", line.strip() + ".") for line in match[1].splitlines()] if match else []


def _not_built(log: str) -> list[Problem]:
    match = re.search(r"(?:Failed to build|Failed building wheel for|generating package metadata\.\n╰─>) '?([\w.-]+)'?", log)
    if not match and "subprocess-exited-with-error" not in log and "metadata-generation-failed" not in log:
        return []
    output = re.search(r"╰─> \[\d+ lines of output\]\n(.*?)\n\s*\[end of output\]", log, re.DOTALL)
    lines = [line.rstrip() for line in (output[1] if output else log).splitlines() if line.strip()][-12:]
    return [Problem(match[1] if match else "a source archive", "does not build:" + "".join(f"\n    {line.strip()[:300]}" for line in lines))]


def _other_python(log: str) -> list[Problem]:
    found = re.finditer(r"Package '(\S+)' requires a different Python: (\S+) not in '([^']*)'", log)
    return [Problem(each[1], f"needs Python {each[3]}, the target is {each[2]}.", "Lock again for this target.") for each in found]


def _not_found(log: str) -> list[Problem]:
    found = []
    for match in re.finditer(r"No matching distribution found for (.+)", log):
        wanted = match[1].strip().rstrip(".")
        versions = re.search(rf"satisfies the requirement {re.escape(wanted)} \(from versions: (.*)\)", log)
        offered = versions[1] if versions else "none"
        what = "is not on the index." if offered == "none" else f"is not on the index, which has {_shortened(offered)}."
        found.append(Problem(wanted, what, "It was deleted, or is not for this Python, or pip looks at another index."))
    return found


def _shortened(versions: str) -> str:
    listed = versions.split(", ")
    return ", ".join(listed if len(listed) <= 6 else ["…", *listed[-5:]])


def _host(log: str) -> str:
    match = re.search(r"host='([^']+)'|https?://(?:[^/\s@]*@)?([^/\s:'\")]+)", log)
    return (match[1] or match[2]) if match else "the index"
