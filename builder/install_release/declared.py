"""What a recipe declares for the host: system configuration, services, hooks, health. Values of the manifest; ``rules`` says what they may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .records import NamedTuple
from .spelling import safe_relative

MOST = 256  # of services, hooks, copied paths; items of one list
VERDICTS = ("refuse", "keep-local", "take-new", "beside")
TRIGGERS = ("release", "env", "config")
MOMENTS = ("pre_flip", "post_flip", "pre_rollback", "post_rollback")
COMMANDS = ("check", "enable", "reload", "restart", "disable")  # of a service of kind "command"


class Copied(NamedTuple):
    """A file or directory below ``etc/`` that is copied to the absolute path ``to``; what is not copied is linked."""

    path: str
    to: str


class Conflict(NamedTuple):
    """For files below ``etc/`` that match the glob ``path``: what to do when the host's own edits meet the release's. The longest glob wins."""

    path: str
    verdict: str


class Overlay(NamedTuple):
    """How ``etc/`` reaches the system."""

    copied: tuple[Copied, ...] = ()
    on_conflict: tuple[Conflict, ...] = ()


class Service(NamedTuple):
    """Something that runs, or is read by something that runs. "", 0 and () stand for what is not given.

    ``config``: globs below ``etc/``. ``user``: it belongs to the deploying user's own manager, not to the system's. ``web_interface``: its
    supervisord may have one. ``deadline``: seconds that one change may take; ``stop_deadline``: those an old process may take to end, when nobody
    waits for it (0: it is waited for). ``check`` … ``disable``: words of commands, in which ``@root@``, ``@name@`` and ``@release@`` (the
    release's directory) are filled in.
    """

    name: str
    kind: str
    unit: str = ""
    program: str = ""
    app: str = ""
    config: tuple[str, ...] = ()
    restart_on: tuple[str, ...] = ()
    user: bool = False
    modules: tuple[str, ...] = ()
    web_interface: bool = False
    stop_deadline: int = 0
    deadline: int = 60
    check: tuple[str, ...] = ()
    enable: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    disable: tuple[str, ...] = ()


class Hook(NamedTuple):
    """A command that runs at one of ``MOMENTS``, for at most ``deadline`` seconds. ``once``: on one host of several."""

    when: str
    run: tuple[str, ...]
    deadline: int = 300
    once: bool = False


class Health(NamedTuple):
    """How to tell that a release serves. All empty: nothing is declared. ``socket`` may begin with ``@root@/``.

    ``passes`` in a row within ``deadline`` seconds; ``reports_id``: the answer must hold the running release's id.
    """

    url: str = ""
    socket: str = ""
    tcp: str = ""
    command: tuple[str, ...] = ()
    status: int = 0
    body: str = ""
    reports_id: bool = False
    passes: int = 0
    deadline: int = 0

    @property
    def declared(self) -> bool:
        return bool(self.url or self.socket or self.tcp or self.command)


def matching(paths: Iterable[str], pattern: str) -> tuple[str, ...]:
    """Those of ``paths`` that a glob means: ``*`` and ``?`` stay within one part, ``**`` is any number of parts, a directory is all below it."""
    parts = [*pattern.split("/"), "**"]
    return tuple(path for path in paths if _fits(path.split("/"), parts, "**", _part_fits))


def fits(words: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether words are those of a pattern: ``*`` and ``?`` stay within one word, ``**`` is any number of words."""
    return _fits(words, pattern, "**", _part_fits)


def _part_fits(part: str, pattern: str) -> bool:
    return _fits(part, pattern, "*", lambda character, wanted: wanted in (character, "?"))


def _fits(items: Sequence[str], pattern: Sequence[str], star: str, same: Callable[[str, str], bool]) -> bool:
    """Whether ``pattern``, in which ``star`` stands for any number of items, is ``items``; in no more than the product of their lengths.

    (A regular expression made of a hostile pattern could take years.)
    """
    item = wanted = 0
    retry = (-1, 0)  # the last star: where the items go on that it does not stand for, and the pattern behind it
    while item < len(items):
        if wanted < len(pattern) and pattern[wanted] == star:
            wanted += 1
            retry = (item, wanted)
        elif wanted < len(pattern) and same(items[item], pattern[wanted]):
            item, wanted = item + 1, wanted + 1
        elif retry[0] >= 0:
            retry = (retry[0] + 1, retry[1])
            item, wanted = retry
        else:
            return False
    return all(rest == star for rest in pattern[wanted:])


def safe_glob(pattern: str) -> bool:
    """Whether it can match only what is below the directory that it is relative to."""
    return safe_relative(pattern) and "\\" not in pattern
