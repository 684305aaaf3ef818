"""A release root for tests of services: releases with an etc/ each, a ``current``, and an ordinary user to whom all of it belongs."""

from __future__ import annotations

import encodings.utf_8_sig  # noqa: F401 - another user may not be allowed to read this interpreter's library when it is wanted
import os
import pickle
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

from builder.install_release import launcher
from builder.install_release.declared import Overlay, Service
from builder.install_release.errors import InstallError, Problem
from builder.install_release.manifest import Manifest
from builder.install_release.rules import KINDS
from builder.install_release.services import Action, Context, apply, run_checks
from tests.releases import FACTS

P = ParamSpec("P")
T = TypeVar("T")

ORDINARY = 65534 if os.geteuid() == 0 else os.geteuid()
OLD, NEW = "20251123101112-aaaaaaaaaaaa", "20251123101113-bbbbbbbbbbbb"


def service(kind: str, *config: str, name: str = "web", **given: object) -> Service:
    """A service as a recipe's would be in the manifest."""
    return Service(name, kind, config=config, **{"restart_on": KINDS[kind].restart_on, "deadline": 30, **given})  # type: ignore[arg-type]


class Place:
    """A root; ``user`` is whom it belongs to."""

    def __init__(self, user: int = ORDINARY) -> None:
        self.user = user
        self.root = Path(tempfile.mkdtemp(prefix="services-")).resolve()
        (self.root / ".install" / "staging").mkdir(parents=True)
        (self.root / "shared").mkdir()
        self.own()

    def own(self) -> None:
        """All below the root is the user's, and others may read it, as on a host."""
        for path in [self.root, *self.root.rglob("*")]:
            os.chown(path, self.user, -1, follow_symlinks=False)
        self.root.chmod(0o755)

    def release(self, files: Mapping[str, str], release: str = NEW, live: bool = True) -> Path:
        """A release with these files in etc/, ``@root@`` filled in; live unless told otherwise."""
        directory = self.root / "releases" / release
        for path, text in files.items():
            file = directory / "etc" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text.replace("@root@", str(self.root)))
            file.chmod(0o755 if "init.d" in path else 0o644)
        for name in ("etc", "src", "bin"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / ".lease").touch()
        (directory / "bin" / "run").write_bytes(launcher.render(sys.executable, "1.0"))
        (directory / "bin" / "run").chmod(0o755)
        if not (directory / "venv").is_symlink():
            (directory / "venv").symlink_to(sys.prefix)
        if live:
            self.live(release)
        self.own()
        return directory

    def live(self, release: str) -> None:
        """Make it the live one."""
        (self.root / "current").unlink(missing_ok=True)
        (self.root / "current").symlink_to(f"releases/{release}")

    def context(self, release: str = NEW, before: str = "", uid: int | None = None) -> Context:
        return Context(str(self.root), release, before, "shop", "shop", self.user if uid is None else uid)

    def check(self, *services: Service, overlay: Overlay | None = None, user: int | None = None) -> tuple[list[str], list[str]]:
        """What the checks of the live release say, as its user: problems, and notes."""
        notes: list[str] = []
        manifest = manifest_of(*services, overlay=overlay)

        def check() -> tuple[tuple[Problem, ...], list[str]]:
            return run_checks(manifest, self.context(), notes.append), notes

        found, said = as_user(self.user if user is None else user, check)
        return [str(problem) for problem in found], said

    def apply(self, action: Action, release: str = NEW, before: str = "") -> tuple[tuple[str, ...], list[str]]:
        """Do it as the place's user; notes, and what was said."""
        said: list[str] = []

        def act() -> tuple[tuple[str, ...], list[str]]:
            return apply(action, self.context(release, before), said.append), said

        return as_user(self.user, act)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def manifest_of(*services: Service, overlay: Overlay | None = None) -> Manifest:
    return FACTS._replace(services=services, overlay=overlay or Overlay())


def as_user(user: int, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``call`` returns or raises in a process that is ``user`` and nobody else."""
    if user == os.geteuid():
        return call(*args, **kwargs)
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(read)
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            try:
                answer: tuple[bool, object] = (True, call(*args, **kwargs))
            except InstallError as error:
                answer = (False, (type(error), error.message, error.problems))
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(answer, pipe)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    assert data, "the process ended without an answer"
    good, value = pickle.loads(data)
    if good:
        return value  # type: ignore[no-any-return]
    kind, message, problems = value
    raise kind(message, problems)
