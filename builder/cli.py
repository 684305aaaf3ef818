"""``build-release``: the only place of the build half that prints and chooses the exit status.

Whatever is slow to import is imported by the command that needs it: ``--help`` costs argparse and nothing else.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from .command import Answer, Command
from .deploy.commands import COMMAND as DEPLOY
from .errors import ArtifactError, BuildError, Problem, UsageError
from .install_release import __version__
from .store.commands import COMMANDS as STORE_COMMANDS
from .thin import COMMAND as THIN

if TYPE_CHECKING:
    from .pipeline import Options
    from .recipe import Recipe
    from .report import Progress

UNEXPECTED = 1
# What a machine says when it lacks room or rights: nobody's fault here, and nothing to trace.
_SYSTEM = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR),
)
_KEY = "sign with this ed25519 key: a private key's file, or a public one whose private half the ssh-agent has; may be repeated"
_STATUSES = """\
exit status:
  0  done
  1  unexpected: a fault of build-release itself
  2  usage: the command line makes no sense
  3  refused or failed; nothing was changed, every reason is named
  a signal (INT, TERM, HUP) ends it with that signal (a shell shows 130, 143, 129), nothing left behind

With --json, standard output is exactly one JSON object, of an error too:
{"error": {"status", "message", "problems": [{"where", "what", "remedy"}], "next"}}. Progress goes to standard error.
"""


class _Parser(argparse.ArgumentParser):
    """Raises what argparse would print."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, next_step=f"{self.prog} --help")


class _Stopped(BaseException):
    """A signal asked us to end. No ``Exception``: nothing but ``finally`` may stand in its way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, print what it says, and give the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that can't show a letter is no reason to fail
    try:
        with _signals():
            answer = _run(words)
        _print([json.dumps(answer.value)] if as_json else answer.lines)
        return answer.status
    except SystemExit as done:  # argparse has printed help or version
        with suppress(OSError):
            _print(())
        return int(done.code or 0)
    except BuildError as error:
        return _refuse(error, as_json)
    except _Stopped as stopped:
        name = signal.Signals(stopped.number).name
        resumes = (found := _BY_NAME.get(words[0] if words else "")) is not None and found.resumes
        left = "; ".join(getattr(stopped, "__notes__", ())) or ("the same command goes on from here" if resumes else "nothing was left behind")
        _refuse(BuildError(f"stopped by {name}, {left}"), as_json, 128 + stopped.number)
        signal.signal(stopped.number, signal.SIG_DFL)
        os.kill(os.getpid(), stopped.number)  # so that whoever waits for us sees why we ended
        return 128 + stopped.number
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _SYSTEM:
            return _refuse(_from_system(error), as_json)
        import traceback

        traceback.print_exc()
        what = traceback.format_exception_only(error)[-1].strip()
        problem = Problem("unexpected", what, "This is a fault of build-release: report it with the lines that stand on standard error.")
        return _refuse(BuildError("build-release failed in a way that it should not", [problem]), as_json, UNEXPECTED)


def _run(words: list[str]) -> Answer:
    """The command that ``words`` name; a first word that is no command is the recipe of a build."""
    from .report import Progress

    command = _BY_NAME.get(words[0]) if words else None
    if words and not command:
        _refuse_mistyped(words[0])
    parsed = _parser(command or _BUILD).parse_args(words[1:] if command else words)
    return (command or _BUILD).run(parsed, Progress(sys.stderr))


def _refuse_mistyped(word: str) -> None:
    """Told before the words behind it are found to make no sense. Raises ``UsageError`` when ``word`` can only have been meant as a command."""
    path = Path(word)
    if word.startswith("-") or path.exists() or path.name != word or path.suffix:
        return
    import difflib

    close = difflib.get_close_matches(word, _BY_NAME, 1)
    hint = f"Did you mean the command {close[0]}?" if close else f"The commands are {', '.join(_BY_NAME)}."
    raise UsageError(f"{word} is neither a recipe nor a command", [Problem(word, "does not exist.", hint)], next_step="build-release --help")


def _parser(command: Command) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"build-release {command.name}".strip(),
        description=command.help[0].upper() + command.help[1:] + ".",
        epilog=(command.statuses or _STATUSES) if command.name else f"{_other_commands()}\n\n{_STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    return parser


def _other_commands() -> str:
    lines = (f"  {command.name:<8} {command.help}" for command in COMMANDS)
    return "\n".join(["A first word that is no command is a recipe. The commands (build-release COMMAND --help says more):", *lines])


@contextmanager
def _signals() -> Iterator[None]:
    """While this lasts, the signals that end a process unwind it first: every temporary directory goes, every child is ended."""

    from .run import end_running

    def stop(number: int, frame: FrameType | None) -> None:
        end_running()
        raise _Stopped(number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _refuse(error: BuildError, as_json: bool, status: int | None = None) -> int:
    """Say what was wrong: to people always, to a program where it asked."""
    from .report import refusal

    status = error.status if status is None else status
    with suppress(OSError):  # a log that is full changes nothing about the status
        _print(refusal(error), sys.stderr)
    if as_json:
        problems = [{"where": problem.where, "what": problem.what, "remedy": problem.remedy} for problem in error.problems]
        with suppress(OSError):
            told = {"status": status, "message": error.message, "problems": problems, "next": error.next_step, **error.facts}
            _print([json.dumps({"error": told})])
    return status


def _from_system(error: OSError) -> BuildError:
    """The words for one of ``_SYSTEM``."""
    where = str(error.filename or "this machine")
    return BuildError("the system said no", [Problem(where, f"{error.strerror or error}.", "Make room or give the right to it, then try again.")])


def _print(lines: Iterable[str], stream: Any = None) -> None:
    """Raises ``OSError`` for a full disk; a reader that has gone is all right."""
    stream = stream or sys.stdout
    try:
        for line in lines:
            print(line, file=stream)
        stream.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # what is left in the buffer is tried again by nobody, and not at the end either
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, stream.name) from None


# The commands


def _build_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--version", action="version", version=f"build-release {__version__}")
    _recipe_argument(parser)
    parser.add_argument("-o", "--out", type=Path, default=Path("artifacts"), metavar="DIR", help="where the artifact goes (default: artifacts)")
    parser.add_argument("--plan", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--allow-dirty", action="store_true", help="pack uncommitted changes too, and say so in the version")
    parser.add_argument("--sign", type=Path, action="append", default=[], metavar="KEY", help=_KEY)
    _jobs_argument(parser)


def _build(arguments: argparse.Namespace, progress: Progress) -> Answer:
    recipe = _recipe(arguments)  # before anything slow is imported: what is wrong in it is told at once
    from . import pipeline, report

    options = _options(arguments, allow_dirty=arguments.allow_dirty)
    if arguments.plan:
        plan = pipeline.plan(recipe, options, progress)
        return Answer(report.plan_value(plan), report.plan(plan))
    outcome = pipeline.build(recipe, options, progress)
    return Answer(report.outcome_value(outcome), report.summary(outcome))


def _lock_arguments(parser: argparse.ArgumentParser) -> None:
    _recipe_argument(parser)
    parser.add_argument("-U", "--upgrade", action="store_true", help="take the newest versions that fit, instead of those that the lock has")
    parser.add_argument("-P", "--upgrade-package", action="append", default=[], metavar="NAME", help="the same for one distribution; may be repeated")


def _lock(arguments: argparse.Namespace, progress: Progress) -> Answer:
    recipe = _recipe(arguments)
    from packaging.utils import canonicalize_name

    from . import pipeline

    upgrade = None if arguments.upgrade else frozenset(map(canonicalize_name, arguments.upgrade_package))
    written = pipeline.lock(recipe, _options(arguments, allow_dirty=True), progress, upgrade)
    value = {"lock": str(written[0]), "build_lock": str(written[1]) if written[1:] else None}
    return Answer(value, [*(f"→ {path}" for path in written), "  next: review the difference, and commit it"])


def _fetch_arguments(parser: argparse.ArgumentParser) -> None:
    _recipe_argument(parser)
    _jobs_argument(parser)


def _fetch(arguments: argparse.Namespace, progress: Progress) -> Answer:
    recipe = _recipe(arguments)
    from . import pipeline, report

    options = _options(arguments, allow_dirty=True)
    wheelhouse = pipeline.fetch(recipe, options, progress)
    return Answer(report.wheelhouse_value(wheelhouse), [f"→ {options.cache}   all that the lock names is there"])


def _env_arguments(parser: argparse.ArgumentParser) -> None:
    _recipe_argument(parser)
    parser.add_argument("directory", type=Path, metavar="DIR", help="the virtual environment to make or bring up to date")


def _env(arguments: argparse.Namespace, progress: Progress) -> Answer:
    recipe = _recipe(arguments)
    from . import pipeline, report

    made = pipeline.environment(recipe, _options(arguments, allow_dirty=True), arguments.directory, progress)
    said = report.count(made.wheels, "wheel") if made.changed else "up to date"
    return Answer(asdict(made) | {"directory": str(made.directory)}, _env_lines(made.directory, said))


def _env_lines(directory: Path, said: str) -> Iterator[str]:
    yield f"→ {directory}   {said}"
    yield f"  next: . {shlex.quote(str(directory))}/bin/activate && export PYTHONPATH=$PWD"
    yield "        in the top of the source, which is not installed: on a host bin/run puts it on the path too"


def _sign_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a release .tgz")
    parser.add_argument("--key", type=Path, action="append", required=True, metavar="KEY", help=_KEY)
    parser.add_argument("--detached", action="store_true", help="leave the artifact as it is: write ARTIFACT.sig.1 (the next free number) beside it")


def _sign(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import report, signing

    with progress.stage(f"sign {arguments.artifact.name}"):
        done = signing.add(arguments.artifact, arguments.key, detached=arguments.detached)
    return Answer(report.signed_value(done), report.signed(done))


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT", help="a release .tgz")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="how many of the largest files to show (default: 20)")


def _inspect(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import report
    from .artifact import inspection

    found = inspection.inspect(arguments.artifact, most=arguments.most)
    return Answer(report.inspection_value(found), report.inspection(found))


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifacts", nargs="+", metavar="ARTIFACT|STORE", help="a release .tgz, or one store: s3://BUCKET/PREFIX or a directory")


def _verify(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import report
    from .artifact import verify
    from .store.commands import verify_store

    stores = [each for each in arguments.artifacts if "://" in each or os.path.isdir(each)]
    if len(arguments.artifacts) == 1 and stores:
        return verify_store(stores[0], progress)
    if stores:
        raise UsageError(
            "a store is verified by itself", [Problem(stores[0], "is a store, and not all that was named")], next_step="One command for each."
        )
    good, errors = [], []
    for path in map(Path, arguments.artifacts):
        try:
            with progress.stage(f"verify {path.name}"):
                good.append((path, verify.verify(path)))
        except ArtifactError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        problems = [Problem(error.message, "\n".join(map(str, error.problems))) for error in errors]
        raise ArtifactError(f"{len(errors)} of {len(arguments.artifacts)} artifacts do not hold", problems)
    value, lines = [], []
    for path, found in good:
        name, version, thin = found.manifest.name, found.manifest.version, len(found.left_out)
        value.append({"artifact": str(path), "name": name, "version": version, "holds": True, "left_out": sorted(found.left_out)})
        lines.append(
            f"{path}: {name} {version} holds" + (f", as far as it goes: it is thin, and leaves out {report.count(thin, 'layer')}" if thin else "")
        )
    return Answer({"artifacts": value}, lines)


def _cache_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", choices=("info", "prune"), help="info: what is in it; prune: remove what was used least recently, down to the bound"
    )
    much = parser.add_mutually_exclusive_group()
    much.add_argument("--max-bytes", type=_size, metavar="SIZE", help="prune: the bound, like 20G (default: BUILD_RELEASE_CACHE_MAX, else 10G)")
    much.add_argument("--all", action="store_true", help="prune: everything that no running build holds")


def _cache(arguments: argparse.Namespace, progress: Progress) -> Answer:
    from . import cache, report

    root, bound = cache.cache_root(os.environ), cache.cache_bound(os.environ)
    if arguments.action == "prune":
        bound = cache.EVERYTHING if arguments.all else bound if arguments.max_bytes is None else arguments.max_bytes
        pruned = cache.prune(root, bound)
        return Answer(report.pruned_value(root, pruned), report.pruned(root, pruned))
    if arguments.all or arguments.max_bytes is not None:
        raise UsageError("cache info removes nothing: --all and --max-bytes go with prune", next_step="build-release cache --help")
    entries = cache.read(root)
    return Answer(report.cache_value(root, entries, bound), report.cache(root, entries, bound))


def _size(text: str) -> int:
    from .cache import parse_size

    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {error}") from None


def _recipe_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe, like recipes/shop.toml")


def _jobs_argument(parser: argparse.ArgumentParser) -> None:
    processors = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=_jobs, default=processors, metavar="N", help="how much at once (default: one for each processor)")


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError("must be a number from 1 to 256")
    return int(text)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    from . import recipe

    return recipe.load(arguments.recipe)


def _options(arguments: argparse.Namespace, *, allow_dirty: bool) -> Options:
    from . import cache, pipeline

    return pipeline.Options(
        cache=cache.cache_root(os.environ),
        out=getattr(arguments, "out", Path()),
        allow_dirty=allow_dirty,
        jobs=getattr(arguments, "jobs", 1),
        bound=cache.cache_bound(os.environ),
        sign=tuple(getattr(arguments, "sign", ())),
    )


_WHAT = "make one commit of a git repository and its locked dependencies one file, which installs on a host without network"
_BUILD = Command("", _WHAT, _build_arguments, _build)
COMMANDS = (
    Command("lock", "resolve the dependencies for the target, and pin every file with its hash", _lock_arguments, _lock),
    Command("fetch", "download and build what the lock names, into the cache", _fetch_arguments, _fetch),
    Command("env", "make a virtual environment for development from the same lock", _env_arguments, _env),
    Command("inspect", "show what is in an artifact", _inspect_arguments, _inspect),
    Command("sign", "add signatures to an artifact that is there: whoever promotes it signs it too", _sign_arguments, _sign),
    Command(
        "verify", "check every byte of artifacts against every law of the format, or of a store against what was pushed", _verify_arguments, _verify
    ),
    THIN,
    *STORE_COMMANDS,
    DEPLOY,
    Command("cache", "show what the build cache holds, or remove what was used least recently", _cache_arguments, _cache),
)
_BY_NAME = {command.name: command for command in COMMANDS}
