"""The command line of the install half: the only place that prints, and that chooses an exit status."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from . import __version__, errors, history, interrupts, overlay, plan, release, stage, trust, verify
from .artifact import MAX_SIGNATURE_BYTES, Artifact, open_artifact
from .declared import VERDICTS, Conflict, safe_glob
from .errors import InstallError, Problem, RefusedError, UsageError
from .host import Host
from .records import as_dict
from .release import Order, Outcome
from .trust import Trust
from .typed import TYPE_CHECKING, Any, NoReturn
from .who import me

if TYPE_CHECKING:
    from . import spool

STATUSES = """exit statuses:
  0 done                      4 failed and rolled back: what was live is live
  1 unexpected: a bug         5 degraded: look at it, then run recover
  2 usage                     6 busy: another installer holds the lock
  3 refused, nothing changed  7 state damaged, or a release is not what was installed
"""
_DEFAULT = "release.tgz"
_VALUED = ("--root", "--python", "--expect-sha256", "--signature", "--wait", "--why", "--user", "--etc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    _stand()
    interrupts.listen()
    try:
        options = _parsed(_with_command(words))
        _refuse_root(options)
        return int(options.run(options))
    except InstallError as error:
        return _fail(error, as_json)
    except interrupts.Interrupted as stop:
        problem = Problem("signal", f"{stop}.", "Run this again when it may take its time.")
        return _fail(RefusedError("stopped before anything was changed", [problem]), as_json)
    except OSError as error:
        if interrupts.settled():  # closing what was open: nothing that was said to be so is not so
            problem = Problem(str(error.filename or "system"), f"{error.strerror or error}.", "Mend that, then run install-release recover.")
            return _fail(errors.DegradedError("it is live, and something is unfinished", [problem]), as_json)
        remedy = "Run this as the user that the root belongs to." if isinstance(error, PermissionError) else "Mend that, then run this again."
        return _fail(RefusedError("it can't be done", [Problem(str(error.filename or "system"), f"{error.strerror or error}.", remedy)]), as_json)
    except Exception as error:
        import traceback  # only now: each start would pay for it

        with suppress(OSError):
            _write(2, traceback.format_exc().splitlines())
        problem = Problem("bug", "see above.", "Report it, with all that is above.")
        return _fail(InstallError(f"unexpected {type(error).__name__}: {error}", [problem]), as_json)


def _stand() -> None:
    """Whatever started this: descriptors 0 to 2 are there (else a file below the root would get such a number, and what is said), umask 022."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    os.umask(0o022)


def _with_command(words: list[str]) -> list[str]:
    """The words, with the command first. A first word that is no command is an artifact; options may stand before it."""
    position = 0
    while position < len(words) and words[position].startswith("-") and words[position] != "-":
        if words[position] in ("-h", "--help", "--version"):
            return words if position == 0 else ["install", *words]
        position += 2 if words[position] in _VALUED else 1
    if position < len(words) and words[position] in _COMMANDS:
        return [words[position], *words[:position], *words[position + 1 :]]
    return ["install", *words]


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """What the words say. Only the parser of the one command is made: those of all would take a tenth of an install's time."""
    if words[:1] and words[0] in _COMMANDS:
        run, text, arguments = _COMMANDS[words[0]]
        command = _Parser(prog=f"install-release {words[0]}", description=text)
        _add(command, arguments)
        return command.parse_args(words[1:], argparse.Namespace(command=words[0], run=run))
    return _parser().parse_args(words)


def _parser() -> argparse.ArgumentParser:
    """All commands, for --help."""
    parser = _Parser(
        prog="install-release",
        description="Put a release on this host, and go back. The first word is a command, or else an artifact: install-release release.tgz",
    )
    parser.add_argument("--version", action="version", version=f"install-release {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)
    for name, (_, text, _) in _COMMANDS.items():
        commands.add_parser(name, help=text)
    return parser


def _add(parser: argparse.ArgumentParser, arguments: Iterable[Callable[[argparse.ArgumentParser], object]]) -> None:
    for add in (*_COMMON, *arguments):
        add(parser)


class _Parser(argparse.ArgumentParser):
    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, epilog=STATUSES, formatter_class=_Formatter, **options)

    def error(self, message: str) -> NoReturn:
        raise UsageError("the command line makes no sense", [Problem(self.prog, f"{message}.", f"See {self.prog} --help.")])


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Made for each argument that is added; what it asks for the width of a terminal is another module to import."""

    def __init__(self, prog: str) -> None:
        try:
            columns = int(os.environ.get("COLUMNS") or os.get_terminal_size(1).columns)
        except (ValueError, OSError):
            columns = 80
        super().__init__(prog, width=max(columns, 40) - 2)


def _seconds(text: str) -> float:
    if not float(text) >= 0:  # "nan" too
        raise ValueError
    return float(text)


def _answer(text: str) -> Conflict:
    """``keep-local``, or ``nginx/**=keep-local``."""
    path, _, verdict = text.rpartition("=")
    if verdict not in VERDICTS:
        raise argparse.ArgumentTypeError(f"{verdict!r} is not one of {', '.join(VERDICTS)}")
    if path and not path.startswith("/") and not safe_glob(path):
        raise argparse.ArgumentTypeError(f"{path!r} is no path or pattern below etc/")
    return Conflict(path or "**", verdict)


def _argument(*names: str, **options: Any) -> Callable[[argparse.ArgumentParser], object]:
    return lambda parser: parser.add_argument(*names, **options)


_COMMON = (
    _argument("--root", metavar="DIR", help="the release root (else INSTALL_RELEASE_ROOT, the installer's own place, or what the artifact says)"),
    _argument("--json", action="store_true", help="one JSON object on standard output"),
    _argument("--allow-root", action="store_true", help="run as root all the same"),
)
_CHANGING = (
    _argument("--wait", type=_seconds, default=10.0, metavar="SECONDS", help="for another installer to end (10)"),
    _argument("--why", default="", metavar="TEXT", help="a reason, for the history"),
)
_ETC = _argument(
    "--etc",
    type=_answer,
    action="append",
    default=[],
    metavar="[PATH=]WHAT",
    help="for files of the system that were edited here and are changed by the release: keep-local, take-new (the edit is saved beside), beside "
    "(the new file is), refuse; for all, or for a path or pattern below etc/",
)
_FLIPPING = (
    _argument("--no-hooks", action="store_true", help="run none of the release's hooks"),
    _argument("--no-once", action="store_true", help="not those hooks that shall run on one host of several: another one runs them"),
    _argument("--unsafe", action="store_true", help="go back even to a version that can't run with the data as a later one left them"),
    _argument("--allow-downgrade", action="store_true", help="below the policy's floor, where the policy allows that"),
    _ETC,
)
_SIGNATURE = _argument("--signature", action="append", default=[], metavar="FILE", help="a detached signature (…tgz.sig.1); may be repeated")
_PLAN = _argument("--plan", action="store_true", help="say what would be done, and change nothing")
_ID = _argument("id", metavar="ID", help="a release: its id, the beginning or end of it, or a version")
_MAYBE_ID = _argument("id", metavar="ID", nargs="?", help="a release: its id, the beginning or end of it, or a version")


def _install(options: argparse.Namespace) -> int:
    options.artifact = options.artifact or _DEFAULT
    _refuse_mistyped(options.artifact)
    if options.plan:
        return _plan(options)
    with _opened(options, options.artifact) as artifact:
        if options.expect_sha256 is not None:
            _compare_digest(artifact.name, artifact.sha256(), options.expect_sha256)
        order = _order(options, _root(options) or artifact.manifest.root, f"install {os.path.basename(options.artifact)}")
        outcome = release.install(artifact, order, python=options.python, activate=not options.no_activate)
    return _tell(options, outcome, activated=not options.no_activate)


def _refuse_mistyped(word: str) -> None:
    """A word that is no file and nearly a command was meant to be that."""
    if word == "-" or os.path.lexists(word):
        return
    import difflib  # only now: each start would pay for it

    near = difflib.get_close_matches(word, _COMMANDS, 1)
    if near:
        raise UsageError("the command line makes no sense", [Problem(word, "is neither a command nor a file.", f"Did you mean {near[0]}?")])


@contextmanager
def _opened(options: argparse.Namespace, name: str) -> Iterator[Artifact]:
    """The artifact, from a file, or from standard input by way of a nameless file below the root."""
    if name != "-":
        with open_artifact(name) as artifact:
            yield artifact
        return
    from . import spool  # only now, as elsewhere: each start would pay for it

    read = partial(os.read, 0)
    head = spool.read_head(read)
    root = _root(options) or head.manifest.root
    if not os.path.isdir(os.path.join(root, ".install")):  # a first installation: refuse before anything is made
        order = _order(options, root, "install")
        release.check_head(head.manifest, head.id, _trusted(head, order), order, options.python, head.lender(root))
    else:
        _insist(options, head)
    with Host.create(root) as host:
        file = spool.copy(head, read, host)
    with Artifact(file, spool.NAME) as artifact:
        yield artifact


def _compare_digest(name: str, found: str, expected: str) -> None:
    if found != expected.lower():
        what = f"{name} has sha256 {found}, expected {expected or 'nothing: --expect-sha256 has an empty value'}."
        remedy = "Copy it again, or ask where the expected digest comes from. (A thin artifact has another one than the whole.)"
        raise errors.ArtifactError("this is another artifact", [Problem("sha256", what, remedy)])


def _plan(options: argparse.Namespace) -> int:
    """Standard input is read to its end, and nothing of it kept."""
    if options.artifact == "-":
        from . import spool

        read = partial(os.read, 0)
        head = spool.read_head(read)
        found = spool.sha256(head, read)
        if options.expect_sha256 is not None:
            _compare_digest(spool.NAME, found, options.expect_sha256)
        manifest, wanted, more, etc = head.manifest, head.id, tuple[Problem, ...](), None
        order = _order(options, _root(options) or manifest.root, "plan")
        trusted, lender = _trusted(head, order), head.lender(order.root)
    else:
        with open_artifact(options.artifact) as artifact:
            if options.expect_sha256 is not None:
                _compare_digest(artifact.name, artifact.sha256(), options.expect_sha256)
            manifest, wanted = artifact.manifest, artifact.id
            order = _order(options, _root(options) or manifest.root, "plan")
            artifact.borrow(order.root)
            trusted, lender = _trusted(artifact, order), artifact.lender
            more, etc = (), None
            if not release.judged(trusted, manifest, wanted, order).problems:  # else nothing more of it is read
                more, etc = stage.conflicts(artifact), overlay.rendered(artifact, order.root)
    activate = not options.no_activate
    proposed = release.propose(manifest, wanted, order, etc, trusted, python=options.python, activate=activate, more=more, lender=lender)
    return _show(options, *proposed)


def _trusted(head: Artifact | spool.Head, order: Order) -> Trust:
    return trust.of_artifact(head.manifest, head.manifest_bytes, (*head.signatures, *order.signatures), order.vouched)


def _insist(options: argparse.Namespace, artifact: Artifact | spool.Head) -> str:
    """The root that an artifact is for. Raises ``RefusedError`` when this host's policy has something against it."""
    order = Order(_root(options) or artifact.manifest.root, options.command, me(), signatures=tuple(map(_detached, options.signature)))
    order = order._replace(downgrade=getattr(options, "allow_downgrade", False))
    trusted = _trusted(artifact, order)
    if problems := release.judged(trusted, artifact.manifest, artifact.id, order).problems:
        raise RefusedError("refused: this host's policy does not trust it", problems)
    if options.command == "bootstrap":  # root is to run what it writes
        with suppress(OSError):
            _write(2, [f"note: {warning}" for warning in trusted.warnings])
    return order.root


def _detached(path: str) -> bytes:
    """A signature from a file of its own; what can't be one is refused when it is read."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return file.read(MAX_SIGNATURE_BYTES + 1)
    except OSError as error:
        problem = Problem(path, f"can't be read: {error.strerror or error}.", "Name a file that build-release sign --detached has written.")
        raise RefusedError("a signature can't be read", [problem]) from None


def _show(options: argparse.Namespace, proposed: plan.Plan, due: Sequence[str]) -> int:
    lines = [*plan.lines(proposed), *(f"recovery is due, and comes first: {each}" for each in due)]
    _say(options, lines, {**plan.to_json(proposed), "recovery": list(due)})
    return RefusedError.status if proposed.refusals else 0


def _activate(options: argparse.Namespace) -> int:
    if options.plan:
        return _show(options, *release.propose_flip(_order(options, _known_root(options), "plan"), options.id, "activate"))
    return _tell(options, release.activate(_order(options, _known_root(options), "activate"), options.id))


def _rollback(options: argparse.Namespace) -> int:
    if options.plan:
        return _show(options, *release.propose_flip(_order(options, _known_root(options), "plan"), options.id, "rollback"))
    return _tell(options, release.rollback(_order(options, _known_root(options), "rollback"), options.id, keep=options.keep))


def _mark(kind: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        outcome = release.mark(_order(options, _known_root(options), options.command), options.id, kind)
        now = "" if not outcome.already else " already"
        _say(options, [f"{outcome.name} {outcome.version} ({outcome.id}) is {kind}{now}"], _outcome_json(outcome))
        return 0

    return run


def _status(options: argparse.Namespace) -> int:
    from . import status

    with Host(_known_root(options)) as host:
        facts = status.gather(host)
    _say(options, status.to_text(facts, history.now()), status.to_json(facts))
    return 0


def _log(options: argparse.Namespace) -> int:
    from . import status

    with Host(_known_root(options)) as host:
        events = history.read(host)
        if options.id:
            wanted = release.resolve_past(host, options.id)
            events = [event for event in events if event["id"] == wanted]
        due = status.due(host, host.holder())
    lines = [line for event in events for line in history.with_log(event)]
    lines += [f"recovery is due: {each}" for each in due]
    _say(options, lines, {"events": events, "recovery": list(due)})
    return 0


def _verify(options: argparse.Namespace) -> int:
    with Host(_known_root(options)) as host:
        wanted = release.resolve(host, options.id) if options.id else host.current()
        if wanted is None:
            raise RefusedError("there is nothing to verify", [Problem("current", "nothing is live here.", "Name a release (see status).")])
        verdict = verify.verify(host, wanted)
    lines = [f"  {each.kind:<10} {each.path}" + (f"   {each.detail}" if each.detail else "") for each in verdict.differences]
    differ = f"{len(lines)} difference{'s' if len(lines) > 1 else ''} from what was installed"
    count = differ if lines else f"{verdict.paths} paths, all as they were installed"
    value = {**as_dict(verdict), "id": verdict.release, "good": verdict.good}
    _say(options, [f"{wanted}: {count}", *lines], value)
    return 0 if verdict.good else errors.DamagedError.status


def _config_diff(options: argparse.Namespace) -> int:
    """Of the live release: what was edited here. Of another one, or of an artifact: what making it live would change."""
    if options.id and os.path.isfile(options.id):
        with open_artifact(options.id) as artifact:
            root = _insist(options, artifact)
            manifest, wanted, etc = artifact.manifest, artifact.id, overlay.rendered(artifact, root)
    else:
        root = _known_root(options)
        with Host(root) as host:
            found = release.resolve(host, options.id) if options.id else host.current()
            if found is None:
                raise RefusedError("there is nothing to compare", [Problem("current", "nothing is live here.", "Name a release or an artifact.")])
            manifest, wanted, etc = host.manifest(found), found, overlay.published(host, found)
    proposal = overlay.survey(root, manifest, wanted, etc, options.etc)
    problems, verdicts = (*etc.problems, *proposal.refusals), overlay.show(root, manifest, proposal, etc)
    lines = [f"{manifest.name} {manifest.version} ({wanted}) and this host" + ("" if verdicts else ": nothing differs")]
    lines += [f"  {verdict.line}" for verdict in verdicts] + [line for verdict in verdicts for line in verdict.diff]
    lines += [f"refused: {problem}" for problem in problems]
    value = {"id": wanted, "version": manifest.version, "etc": [as_dict(verdict) for verdict in verdicts]}
    _say(options, lines, {**value, "problems": [as_dict(problem) for problem in problems], "refused": bool(problems)})
    return RefusedError.status if problems else 0


def _have(options: argparse.Namespace) -> int:
    """Of a root that is not there yet, nothing: whoever asks wants to send something."""
    from . import have

    found = have.gather(_known_root(options))
    _say(options, have.to_text(found), have.to_json(found))
    return 0


def _prune(options: argparse.Namespace) -> int:
    if options.plan:
        proposal, due = release.propose_prune(_order(options, _known_root(options), "plan"))
        lines = [*(f"would remove {each}" for each in proposal.releases), *(f"would remove environment {each}" for each in proposal.environments)]
        lines = [*(lines or ["nothing to remove"]), *(f"  {each} stays: {why}" for each, why in proposal.stays.items())]
        _say(options, [*lines, *(f"recovery is due, and comes first: {each}" for each in due)], {**as_dict(proposal), "recovery": list(due)})
        return 0
    pruned = release.prune_now(_order(options, _known_root(options), "prune"))
    lines = [f"removed {each}" for each in pruned.releases] + [f"removed environment {each}" for each in pruned.environments]
    _say(options, [*(lines or ["nothing to remove"]), *pruned.problems], as_dict(pruned))
    return errors.DegradedError.status if pruned.problems else 0


def _recover(options: argparse.Namespace) -> int:
    done = release.recover_now(_order(options, _known_root(options), "recover"), boot=options.boot)
    _say(options, [f"done: {each}" for each in done] or ["nothing to recover"], {"done": list(done)})
    return 0


def _bootstrap(options: argparse.Namespace) -> int:
    from . import bootstrap  # only now: once in a host's life

    if options.artifact:
        with open_artifact(options.artifact) as artifact:
            needs = bootstrap.of_artifact(artifact, _insist(options, artifact), options.user)
    else:
        with Host(_known_root(options)) as host:
            needs = bootstrap.of_live(host, options.user)
    script = bootstrap.script(needs)
    _say(options, script.splitlines(), {**as_dict(needs), "script": script})
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from . import doctor

    with Host(_known_root(options)) as host:
        found = doctor.findings(doctor.gather(host))
    if found:
        raise RefusedError("this host is not as it should be", found)
    _say(options, ["nothing to complain of"], {"problems": []})
    return 0


_COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], str, tuple[Callable[[argparse.ArgumentParser], object], ...]]] = {
    "install": (
        _install,
        "check, unpack, and make a release live (the default: the word may be left out)",
        (
            *_CHANGING,
            *_FLIPPING,
            _argument("artifact", metavar="ARTIFACT", nargs="?", help=f"the file, or - for standard input ({_DEFAULT})"),
            _PLAN,
            _argument("--no-activate", action="store_true", help="put it there, but leave what is live"),
            _argument("--python", metavar="P", help="the interpreter to use, a path or a command"),
            _argument("--expect-sha256", metavar="H", help="refuse any other file"),
            _SIGNATURE,
        ),
    ),
    "activate": (_activate, "make an installed release live", (*_CHANGING, *_FLIPPING, _PLAN, _ID)),
    "rollback": (
        _rollback,
        "go back to the last good release, or to ID; what is left is marked bad",
        (*_CHANGING, *_FLIPPING, _PLAN, _MAYBE_ID, _argument("--keep", action="store_true", help="don't mark what is left as bad")),
    ),
    "status": (_status, "what is live, what is there, what still runs", ()),
    "log": (_log, "what happened here, or to one release", (_MAYBE_ID,)),
    "verify": (_verify, "compare a release (the live one) and its environment with what was installed", (_MAYBE_ID,)),
    "config-diff": (
        _config_diff,
        "what was edited here of the system's files, or what a release or an artifact would change of them",
        (_argument("id", metavar="ID|ARTIFACT", nargs="?", help="a release or an artifact (the live one)"), _SIGNATURE, _ETC),
    ),
    "pin": (_mark("pinned"), "never prune a release", (*_CHANGING, _ID)),
    "unpin": (_mark("unpinned"), "let a release be pruned again", (*_CHANGING, _ID)),
    "mark-bad": (_mark("bad"), "never roll back to a release", (*_CHANGING, _ID)),
    "prune": (_prune, "remove releases and environments that need not stay", (*_CHANGING, _PLAN)),
    "have": (_have, "the layers that need not be sent to this host again: build-release thin leaves them out", ()),
    "bootstrap": (
        _bootstrap,
        "write the script by which an administrator sets a host up, once",
        (
            _argument("artifact", metavar="ARTIFACT", nargs="?", help="the release that it is for (the live one)"),
            _SIGNATURE,
            _argument("--print", action="store_true", required=True, help="to standard output: this program runs nothing of it"),
            _argument("--user", default="", metavar="NAME", help="who deploys (whoever owns the root, or runs this; else deploy)"),
        ),
    ),
    "doctor": (_doctor, "what an administrator has yet to set up here, and what gives away more than is needed", ()),
    "recover": (
        _recover,
        "finish or undo what a killed installer left, and try again what a way back could not do",
        (*_CHANGING, _argument("--boot", action="store_true", help="only links and files: before the services are started")),
    ),
}
_READING = ("status", "log", "verify", "config-diff", "have", "bootstrap", "doctor")


def _refuse_root(options: argparse.Namespace) -> None:
    if os.geteuid() == 0 and not options.allow_root and options.command not in _READING:
        what = "a release belongs to an ordinary user, and needs no right that root has."
        raise RefusedError("refused to run as root", [Problem("user", what, "Run this as the user that deploys, or say --allow-root.")])


def _root(options: argparse.Namespace) -> str | None:
    """--root, then INSTALL_RELEASE_ROOT, then the place of the installer itself: <root>/bin/install-release."""
    if options.root == "":  # --root "$DIRECTORY", and that is not set
        raise UsageError("it is not clear which root is meant", [Problem("root", "--root has an empty value.", "Say --root DIR, or leave it out.")])
    given = options.root or os.environ.get("INSTALL_RELEASE_ROOT")
    if given:
        return str(given)
    place = os.path.dirname(os.path.dirname(os.path.realpath(sys.argv[0])))
    return place if os.path.isdir(os.path.join(place, ".install")) else None


def _known_root(options: argparse.Namespace) -> str:
    root = _root(options)
    if root is None:
        remedy = "Say --root DIR, set INSTALL_RELEASE_ROOT, or run <root>/bin/install-release."
        raise UsageError("it is not clear which root is meant", [Problem("root", "none is named.", remedy)])
    return root


def _order(options: argparse.Namespace, root: str, command: str) -> Order:
    def note(line: str) -> None:
        with suppress(OSError):  # a log that is full changes nothing about what is done
            _write(2, [line])

    def silent(line: str) -> None:
        pass

    flipping: dict[str, Any] = {}
    if "unsafe" in options:
        flipping = {"hooks": not options.no_hooks, "once": not options.no_once, "unsafe": options.unsafe, "answers": tuple(options.etc)}
        flipping["downgrade"] = options.allow_downgrade
    if "expect_sha256" in options:
        flipping |= {"vouched": options.expect_sha256 is not None, "signatures": tuple(map(_detached, options.signature))}
    return Order(root, command, me(), options.why, options.wait, say=note if os.isatty(2) else silent, note=note, **flipping)


def _tell(options: argparse.Namespace, outcome: Outcome, activated: bool = True) -> int:
    what = f"{outcome.name} {outcome.version} ({outcome.id})"
    took = f"   {outcome.seconds['total']:.1f} s" if outcome.seconds else ""
    if activated and outcome.already:
        lines = [f"{what} is already live at {outcome.root}: nothing to do"]
    elif activated:
        lines = [f"{what} is live at {outcome.root}" + (f", was {outcome.before}" if outcome.before else "") + took]
    else:
        there = "is already installed" if outcome.already else "is installed"
        lines = [f"{what} {there} at {outcome.root}{took}", f"  next: install-release activate {outcome.id}"]
    _say(options, [*lines, *(f"  not cleaned up: {note}" for note in outcome.notes)], _outcome_json(outcome))
    return 0


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    value = as_dict(outcome)
    value["from"] = value.pop("before")
    return value


def _say(options: argparse.Namespace, lines: Iterable[str], value: dict[str, Any]) -> None:
    try:
        _write(1, [json.dumps(value, sort_keys=True)] if options.json else lines)
    except BrokenPipeError:  # whoever read it has seen enough
        return
    except OSError as error:
        if options.command in _READING or (options.command == "install" and options.plan):
            raise OSError(error.errno, error.strerror, "standard output") from None
        # What was done is done: the status says so, whether or not the words got through.


def _write(file: int, lines: Iterable[str]) -> None:
    """Past Python's buffers: what they hold would be tried again at the end, and that could change the exit status. Raises ``OSError``."""
    stream = sys.stdout if file == 1 else sys.stderr
    encoding = getattr(stream, "encoding", None) or "ascii"
    left = "".join(f"{errors.visible(line)}\n" for line in lines).encode(encoding, "backslashreplace")  # a C locale can't say "→"
    while left:
        left = left[os.write(file, left) :]


def _fail(error: InstallError, as_json: bool) -> int:
    if as_json:
        problems = [as_dict(problem) for problem in error.problems]
        value = {"status": error.status, "message": error.message, "problems": problems, "log": list(error.log)}
        with suppress(OSError):
            _write(1, [json.dumps({"error": value})])
        return error.status
    count = len(error.problems)
    lines = [error.message + (f", {count} reasons:" if count > 1 else ":" if count else "")]
    width = max((len(problem.where) for problem in error.problems), default=0)
    lines += errors.told(error.problems, min(width, 40))
    lines += ["what was seen:", *(f"  {line}" for line in error.log)] if error.log else []
    with suppress(OSError):
        _write(2, [*lines, f"exit {error.status}"])
    return error.status
