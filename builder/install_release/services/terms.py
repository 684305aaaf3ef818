"""The words that all kinds of service share. Values only."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Protocol

from ..declared import Service
from ..errors import InstallError, Problem
from ..records import NamedTuple

Say = Callable[[str], None]

START, RESTART, RELOAD, UPDATE, STOP = "start", "restart", "reload", "update", "stop"


class ServiceError(InstallError):
    """A service would not do what was asked of it. Each problem says what was run, what that said, and what to do."""

    status = 4


class Context(NamedTuple):
    """One flip on one host: ``root`` is the physical root, ``release`` the id that is, or shall be live, ``before`` the one that was ("").

    ``name`` is the application's; ``user`` and ``uid`` are those of this process.
    """

    root: str
    release: str
    before: str
    name: str
    user: str
    uid: int

    @property
    def directory(self) -> str:
        """The release's own directory."""
        return os.path.join(self.root, "releases", self.release)

    @property
    def etc(self) -> str:
        """Its rendered configuration."""
        return os.path.join(self.directory, "etc")

    @property
    def left(self) -> str:
        """The rendered configuration of the release that was live; "" for none."""
        return os.path.join(self.root, "releases", self.before, "etc") if self.before else ""

    @property
    def live(self) -> str:
        """The configuration as the system sees it, through ``current``."""
        return os.path.join(self.root, "current", "etc")


class Action(NamedTuple):
    """What is to be done about one service. ``verb``: start, restart, reload, update or stop; ``why`` in words; ``changed``: paths below etc/."""

    service: Service
    verb: str
    why: str
    changed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.service.name}: {self.verb} ({self.why})"


class Check(NamedTuple):
    """What is asked of the staged configuration of a service, before anything is live; ``how`` in words, for the plan."""

    service: str
    how: str


class Privilege(NamedTuple):
    """Something of an administrator's that a service needs, once. ``grants`` says in plain words what it gives away, or does.

    ``way``: ``sudo`` (this user may run exactly ``command`` as root, without a password), ``run`` (an administrator runs ``command`` once,
    after everything else), ``file`` (a file ``path`` of root's with exactly ``text``), ``link`` (``path`` leads to ``text``), ``line`` (in the
    section ``section`` of the ini file ``path``, the value of ``key`` holds the word ``text``).
    """

    service: str
    way: str
    grants: str
    command: tuple[str, ...] = ()
    path: str = ""
    text: str = ""
    section: str = ""
    key: str = ""


class Staged(NamedTuple):
    """A private copy of a release's etc/, in which ``<root>/current`` and the places of copied files lead into the release and this copy.

    ``etc``: its directory. ``work``: a directory for what a check writes; both are gone afterwards.
    """

    etc: str
    work: str


class Kind(Protocol):
    """What a module of this package knows about one kind of service."""

    def lint(self, service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
        """What is wrong with its configuration by its letters alone: ``files`` are texts by path below etc/. Pure; the build asks it too."""

    def how(self, service: Service) -> str:
        """What ``check`` does, in words."""

    def check(self, service: Service, context: Context, staged: Staged, say: Say) -> tuple[Problem, ...]:
        """Let the service's own program look at the staged configuration. Nothing is live yet, nothing is changed."""

    def privileges(self, service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
        """What an administrator must have set up for it. ``files`` as for ``lint``."""

    def problems(self, service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
        """What is missing on this host, for the preflight."""

    def apply(self, action: Action, context: Context, say: Say) -> tuple[str, ...]:
        """Make the system match the release that ``current`` leads to; what is worth a note. Raises ``ServiceError``.

        Convergent: the way back is the same call, for the release that was live before.
        """
