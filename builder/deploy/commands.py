"""``build-release deploy``: its arguments. Whatever is slow to import is imported when it runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..command import Answer, Command
from ..errors import Problem, UsageError

if TYPE_CHECKING:
    from ..report import Progress
    from . import destination

STATUSES = """\
The hosts are visited in the order given; the first that fails is the last. Each is asked which layers it has, and sent the others.

exit status:
  0  done
  1  unexpected: a fault of build-release, or of a host's installer
  2  usage: the command line makes no sense
  3  refused: on the host that is named nothing was changed (unknown, unreachable, or its installer refuses the release)
  4  failed and rolled back: what was live on that host is live
  5  look at that host: degraded, or the connection was lost while its installer was at work
  6  busy: another installer is at work there
  7  the state of that host is damaged
  a signal (INT, TERM, HUP) ends it with that signal; an installer that has all it needs goes on

With --json, standard output is exactly one JSON object, of an error too:
{"error": {"status", "message", "problems": [{"where", "what", "remedy"}], "next", "hosts": [{"host", "state", "status", …}]}}.
"""
# Options that the installer on the host understands: what argparse knows of each.
_PASSED: dict[str, dict[str, Any]] = {
    "--no-activate": {"action": "store_true", "help": "put it there, but leave what is live"},
    "--no-hooks": {"action": "store_true", "help": "run none of the release's hooks"},
    "--unsafe": {"action": "store_true", "help": "go back even to a version that can't run with the data as a later one left them"},
    "--allow-downgrade": {"action": "store_true", "help": "below a host's floor, where its policy allows that"},
    "--allow-root": {"action": "store_true", "help": "the user there may be root"},
    "--python": {"metavar": "P", "help": "the interpreter to use there, a path or a command"},
    "--wait": {"metavar": "SECONDS", "help": "for another installer there to end (10)"},
    "--etc": {"metavar": "[PATH=]WHAT", "action": "append", "help": "what to do about files that were edited there (install-release install --help)"},
}


def _arguments(parser: argparse.ArgumentParser) -> None:
    what = "a release .tgz, or one in a store: STORE#NAME[@ID|@CHANNEL], like s3://releases#shop@production; that is pulled first"
    parser.add_argument("release", metavar="ARTIFACT|STORE#NAME", help=what)
    parser.add_argument("hosts", nargs="+", metavar="HOST", help="as ssh knows it: HOST, USER@HOST, USER@HOST:PORT")
    parser.add_argument("--root", metavar="DIR", help="the release root there (else INSTALL_RELEASE_ROOT there, else what the artifact says)")
    parser.add_argument("--plan", action="store_true", help="show what would be done on each host, and change nothing")
    parser.add_argument("--whole", action="store_true", help="send all of it, whatever a host has")
    parser.add_argument("--expect-sha256", metavar="H", help="refuse any other artifact, before a host is asked")
    parser.add_argument("--why", default="", metavar="TEXT", help="a reason, for the history (default: the artifact's name)")
    parser.add_argument("--no-once", action="store_true", help="run hooks that are for one host of several on none (default: on the first)")
    parser.add_argument("-o", "--out", type=Path, default=Path("artifacts"), metavar="DIR", help="where a store's release is pulled to (artifacts)")
    for name, known in _PASSED.items():
        parser.add_argument(name, **known)


def _deploy(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import destination

    if arguments.root == "":  # --root "$DIRECTORY", and that is not set
        raise UsageError("it is not clear which root is meant", [Problem("root", "--root has an empty value.", "Say --root DIR, or leave it out.")])
    hosts, wanted = destination.hosts(arguments.hosts), destination.release(arguments.release)
    artifact = wanted if isinstance(wanted, Path) else _pulled(wanted, arguments.out, progress)
    from . import words
    from .rollout import roll_out
    from .visit import Orders

    orders = Orders(
        root=arguments.root or "",
        expected=arguments.expect_sha256,
        plan=arguments.plan,
        whole=arguments.whole,
        once=not arguments.no_once,
        options=(*_options(arguments), f"--why={arguments.why or f'deploy {artifact.name}'}"),
        as_json=arguments.json,
    )
    done = roll_out(artifact, hosts, orders, progress)
    return Answer(words.rollout_value(done), words.planned(done) if arguments.plan else words.told(done), done.status)


def _pulled(wanted: destination.InStore, out: Path, progress: Progress) -> Path:
    from ..cache import cache_root
    from ..store import open_store
    from ..store.ledger import reference
    from ..store.pull import pull

    release = reference(wanted.release)
    with progress.transfer(f"pull {release}") as moved:
        return pull(open_store(wanted.store), release, out, have=(), cache=cache_root(os.environ), moved=moved).path


def _options(arguments: argparse.Namespace) -> tuple[str, ...]:
    """What is passed on, each with its value in one word."""
    words: list[str] = []
    for name in _PASSED:
        given = getattr(arguments, name[2:].replace("-", "_"))
        if given is True:
            words.append(name)
        elif given is not None and given is not False:
            words += [f"{name}={each}" for each in (given if isinstance(given, list) else [given])]
    return tuple(words)


COMMAND = Command("deploy", "put a release on hosts over ssh, sending each what it lacks", _arguments, _deploy, resumes=True, statuses=STATUSES)
