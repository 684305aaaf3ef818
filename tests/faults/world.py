"""A host in a directory: a release root, files of the system, a service, and what must never be touched; put back from memory in milliseconds."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from builder.install_release import cli
from builder.install_release.declared import Copied, Health, Overlay, Service
from builder.install_release.manifest import Requires
from tests.install_release.roots import artifact, id_of
from tests.install_release.stub import hook

from . import shim

NO_ROOM = Requires((), (), (), (), 0, 0)  # says nothing of the room that it needs: so a full disk is found when it is full
PATIENCE = 30.0  # seconds that a command may take
Image = Mapping[str, tuple[int, bytes]]
"""A tree: by relative path, mode and what a file holds, or a link says. Directories come before what is in them."""


class Done(NamedTuple):
    """How a command ended: its status (negative: the signal; None: it did not end), and what it said."""

    status: int | None
    said: str


class World:
    """``root`` and ``system`` are what an installer may change, ``run`` is where the service lives; ``outside`` is nobody's business."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root, self.system, self.run_, self.outside = (directory / name for name in ("root", "system", "run", "outside"))
        self.config, self.serving = self.system / "stub.conf", self.run_ / "serving"
        self.python = directory / f"python{sys.version_info[0]}.{sys.version_info[1]}"
        for path in (self.system, self.run_, self.outside, directory / "artifacts"):
            path.mkdir(parents=True)
        shutil.copy(shim.compiled("standin.c"), self.python)
        (self.outside / "canary").write_text("untouched\n")
        (self.outside / "link").symlink_to("canary")
        policy = directory / "home/.config/install-release/shop.ini"
        policy.parent.mkdir(parents=True)
        policy.write_text("[releases]\nfloor = yes\n")
        os.environ["HOME"] = str(directory / "home")
        self.canaries = self.canaries_now()
        self.ended: Callable[[], object] = lambda: None  # called as soon as ``run_here`` is over
        self.versions: dict[str, str] = {}
        self.paths: dict[str, Path] = {}

    def make(self, version: str, behaviour: str = "good", *, served: bool = True, more: int = 0, **facts: object) -> str:
        """An artifact, once; its id. ``served``: it has a service, files of the system and hooks. ``more``: incompressible bytes."""
        key = f"{version}{behaviour}{served}{more}{sorted(facts.items())}"
        if key not in self.paths:
            source: dict[str, object] = {"behaviour": behaviour}
            if more:
                source |= {f"large{number}.bin": os.urandom(more) for number in range(3)}
            facts = {"requires": NO_ROOM, **facts}
            path = artifact(self.directory / "artifacts", version, source, **(self._served(version) if served else {"etc": {}}), **facts)  # type: ignore[arg-type]
            self.paths[key] = path
            self.versions[id_of(path)] = version
        return key

    def _served(self, version: str) -> dict[str, object]:
        serve = ("serve", str(self.serving), str(self.config))
        service = Service(
            "stub", "command", config=("stub.conf",), restart_on=("release", "env", "config"), restart=serve, disable=("stop", str(self.serving))
        )
        return {
            "etc": {"stub.conf": f"version = {version}\n", **{f"conf.d/{name}": text for name, text in self.more(version).items()}},
            "overlay": Overlay((Copied("stub.conf", str(self.config)), Copied("conf.d", str(self.system / "conf.d")))),
            "services": (service,),
            "hooks": (hook("pre_flip", "hook", str(self.run_ / "hooks")), hook("post_flip", "hook", str(self.run_ / "hooks"))),
            "health": Health(command=("health", str(self.serving)), status=0, reports_id=True, passes=1, deadline=1),
        }

    def more(self, version: str) -> dict[str, str]:
        """What a served version has in conf.d beside what it copies: each has a file that only it has."""
        return {"all.conf": "for all\n", f"only-{version}.conf": f"{version}\n"}

    def command(self, *words: str | Path) -> list[str]:
        """The words of a command about this root."""
        return [*map(str, words), "--root", str(self.root), *(["--allow-root"] if os.geteuid() == 0 else [])]

    def install(self, key: str, *more: str) -> list[str]:
        return self.command("install", self.paths[key], "--python", str(self.python), *more)

    def run(self, words: Sequence[str], limit: int = 0) -> Done:
        """The installer's own ``main``, forked from this process. ``limit``: bytes that a file may have (0: any number)."""

        def start() -> int:
            sys.executable, sys.argv = str(self.python), ["install-release"]
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return cli.main(words)

        return forked(start, self.directory / "said")

    def run_here(self, words: Sequence[str], begin: Callable[[], object]) -> Done:
        """The same in this process, whose own time is most of what a run costs, for what ends no process. ``begin`` is called last of all."""
        file = os.open(self.directory / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        kept = [os.dup(1), os.dup(2)]
        descriptors = set(os.listdir("/proc/self/fd"))
        executable, sys.executable, sys.argv = sys.executable, str(self.python), ["install-release"]
        signal.signal(signal.SIGALRM, _too_late)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        os.dup2(file, 1)
        os.dup2(file, 2)
        status: int | None = 1
        try:
            begin()
            status = cli.main(words)
        except _TooLateError:
            status = None
        except BaseException as error:
            os.write(2, f"Traceback: {error!r}\n".encode())
        finally:
            self.ended()
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            sys.executable = executable
            for number in {*os.listdir("/proc/self/fd")} - descriptors:  # of what could not be closed
                with suppress(OSError):
                    os.close(int(number))
            for each in (*kept, file):
                os.close(each)
        return Done(status, (self.directory / "said").read_text(errors="replace"))

    def save(self) -> dict[str, Image]:
        """All that may change, as it is."""
        return {name: image(self.directory / name) for name in ("root", "system", "run")}

    def restore(self, saved: Mapping[str, Image]) -> None:
        """All that may change, as it was."""
        for name, tree in saved.items():
            path = str(self.directory / name)
            if os.path.lexists(path):
                shutil.rmtree(path)
            lay(path, tree)

    def touched(self) -> list[str]:
        """What was changed that is nobody's business."""
        now = self.canaries_now()
        return sorted(path for path in {*now, *self.canaries} if now.get(path) != self.canaries.get(path))

    def canaries_now(self) -> dict[str, tuple[int, ...]]:
        found = {}
        for path in (self.outside, *self.outside.iterdir(), self.python):
            facts = path.lstat()
            found[path.name] = (facts.st_mtime_ns, facts.st_mode, facts.st_nlink, facts.st_size, facts.st_ino)
        return found


def forked(start: Callable[[], int], said: Path) -> Done:
    """``start`` in a process group of its own; what it says goes to ``said``. When this returns, no process of the group is left."""
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            os.dup2(file, 1)
            os.dup2(file, 2)
            status = start()
        except BaseException as error:
            os.write(2, f"Traceback: {error!r}\n".encode())
        finally:
            os._exit(status & 0xFF)
    os.close(file)
    status = _wait(pid)
    return Done(status, said.read_text(errors="replace"))


class _TooLateError(BaseException):
    """It did not end in time."""


def _too_late(_number: int, _frame: object) -> None:
    raise _TooLateError


def _wait(pid: int) -> int | None:
    """Wait for a process, and for the end of its group. None: it did not end in time, and was killed."""
    end = time.monotonic() + PATIENCE
    status: int | None = None
    while time.monotonic() < end:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:  # in a namespace of processes, those that lose their parent are ours
                status = os.waitstatus_to_exitcode(ended[1]) if ended[0] == pid else status
        if status is not None and not _lives(pid):
            return status
        time.sleep(0.001)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(-pid, 0)
    return None


def _lives(group: int) -> bool:
    with suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def image(top: Path) -> Image:
    """What is at ``top``."""
    found: dict[str, tuple[int, bytes]] = {}
    if not os.path.lexists(top):
        return found
    waiting = [""]
    while waiting:
        path = waiting.pop()
        full = os.path.join(top, path) if path else str(top)
        mode = os.lstat(full).st_mode
        if stat.S_ISDIR(mode):
            found[path] = (mode, b"")
            waiting += sorted((os.path.join(path, name) for name in os.listdir(full)), reverse=True)
        elif stat.S_ISLNK(mode):
            found[path] = (mode, os.fsencode(os.readlink(full)))
        else:
            with open(full, "rb", 0) as file:
                found[path] = (mode, file.readall())
    return found


def lay(top: str, tree: Image) -> None:
    """Make what ``tree`` holds at ``top``, which may be an empty directory."""
    for path, (mode, data) in tree.items():
        full = f"{top}/{path}" if path else top
        if stat.S_ISDIR(mode):
            if path or not os.path.isdir(top):
                os.mkdir(full)
            os.chmod(full, stat.S_IMODE(mode))
        elif stat.S_ISLNK(mode):
            os.symlink(data, full)
        else:
            file = os.open(full, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(file, data)
            os.fchmod(file, stat.S_IMODE(mode))
            os.close(file)
