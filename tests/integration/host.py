"""A production host to install on: a root file system that is not the build machine's, read-only, one ordinary user, no network.

The holder is a bubblewrap process in namespaces of its own; each command enters them. When the holder ends, the kernel ends all that runs there.
Started by root, the commands run as ``uid`` without any capability; started by an ordinary user, that user is ``uid`` inside a user namespace.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.conftest import missing

from .rootfs import UID

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_NS_GET_PARENT = 0xB702  # ioctl_ns(2)
_GET = """
import sys, urllib.request
reply = urllib.request.urlopen(urllib.request.Request(sys.argv[1], data=sys.argv[2].encode() or None), timeout=20)
sys.stdout.write(reply.read().decode())
"""


class Host:
    """One host, as a context manager. ``srv`` of the build machine is its /srv: the one place where its user can write, but for /tmp.

    With ``srv_bytes`` /srv is instead a file system of that size.
    """

    def __init__(self, tree: Path, srv: Path, *, uid: int = UID, srv_bytes: int | None = None) -> None:
        self.tree, self.srv, self.uid, self.srv_bytes = tree, srv, uid, srv_bytes
        self.upload = "/srv/upload"
        self._privileged = os.geteuid() == 0

    def __enter__(self) -> Host:
        if not shutil.which("bwrap"):
            missing("bubblewrap is not installed: no production host")
        self.srv.mkdir(exist_ok=True)
        self.srv.chmod(0o755)
        srv = ["--bind", str(self.srv), "/srv"] if self.srv_bytes is None else ["--size", str(self.srv_bytes), "--tmpfs", "/srv"]
        read, write = os.pipe()
        user = [] if self._privileged else ["--unshare-user", "--uid", str(self.uid), "--gid", str(self.uid)]
        argv = [
            "bwrap", *user, "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--hostname", "production", "--die-with-parent",
            "--ro-bind", str(self.tree), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--chmod", "1777", "/tmp", "--tmpfs", "/run",
            *srv, "--clearenv", "--info-fd", str(write), "--", "/bin/sh", "-c", "echo up; exec sleep infinity",
        ]  # fmt: skip
        self._holder = subprocess.Popen(argv, pass_fds=[write], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        os.close(write)
        with os.fdopen(read) as pipe:
            info = pipe.read()
        assert self._holder.stdout
        if self._holder.stdout.readline() != b"up\n":
            raise OSError(f"bubblewrap could not start the host, exit status {self._holder.wait()}")
        self.pid = int(json.loads(info)["child-pid"])
        with open(f"/proc/{self.pid}/ns/user") as inner:
            self._outer = fcntl.ioctl(inner, _NS_GET_PARENT) if not self._privileged else -1
        self._prepare()
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.communicate()
        if self._outer >= 0:
            os.close(self._outer)

    def _prepare(self) -> None:
        owner = ["-o", str(self.uid), "-g", str(self.uid)] if self._privileged else []
        self.administrate("install", "-d", *owner, self.upload, "/srv/app")

    def argv(self, *argv: str, cwd: str = "/tmp", env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs ``argv`` on the host as its user, in exactly the environment ``env`` (default: a bare one)."""
        inside = ["/usr/bin/env", "-C", cwd, "-i", *(f"{key}={value}" for key, value in {**ENVIRONMENT, **(env or {})}.items()), *argv]
        drop = ["/usr/bin/setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]
        return [*self._enter(), *(drop if self._privileged else []), *inside]

    def run(self, *argv: str, check: bool = True, timeout: float = 120, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one command to its end. A failure, unless ``check`` is off, shows all that it said."""
        where = {key: options.pop(key) for key in ("cwd", "env") if key in options}
        done = subprocess.run(self.argv(*argv, **where), capture_output=True, text=True, timeout=timeout, **options)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    @contextmanager
    def service(self, *argv: str, log: Path, **where: Any) -> Iterator[subprocess.Popen[bytes]]:
        """A process that runs for as long as the block lasts, and is then told to end."""
        with log.open("ab") as out:
            process = subprocess.Popen(self.argv(*argv, **where), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        try:
            yield process
        finally:
            if process.poll() is None:
                for child in children(process.pid):  # nsenter itself passes no signal on
                    os.kill(child, signal.SIGTERM)
            process.wait(20)

    def administrate(self, *argv: str, check: bool = True, input: str = "") -> str:
        """Run a command with the rights of whoever runs the tests: what an administrator would do on the host."""
        return subprocess.run(self.root_argv(*argv), check=check, input=input, capture_output=True, text=True).stdout

    def root_argv(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` with those rights."""
        return [*self._enter(), *argv]

    def copy(self, path: Path, name: str | None = None) -> str:
        """What scp does: a copy of the file, the user's own, in the user's upload directory. Returns its path there."""
        target = f"{self.upload}/{name or path.name}"
        with path.open("rb") as file:
            subprocess.run(self.argv("/bin/sh", "-c", 'cat > "$0"', target), stdin=file, check=True)
        return target

    def get(self, url: str, data: str = "") -> str:
        """The body of a page, asked for by a process of the host. Raises AssertionError for any status but 200."""
        return self.run("/usr/bin/python3", "-c", _GET, url, data).stdout

    def seen(self, path: str) -> Path:
        """A path below /srv of the host, as the build machine sees it."""
        return self.srv / Path(path).relative_to("/srv")

    def _enter(self) -> list[str]:
        namespaces = ["--mount", "--net", "--pid", "--ipc", "--uts"]
        if self._privileged:
            return ["nsenter", "--target", str(self.pid), *namespaces]
        # Its namespaces belong to a first user namespace of bubblewrap's, its user to a second one within: enter the outer, then the inner.
        outer = f"/proc/{os.getpid()}/fd/{self._outer}"
        inner = ["nsenter", "--user=/proc/1/ns/user", "--preserve-credentials"]
        return ["nsenter", "--target", str(self.pid), f"--user={outer}", "--preserve-credentials", *namespaces, *inner]


def children(pid: int) -> list[int]:
    """The processes that ``pid`` started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(true: Callable[[], object], seconds: float = 20) -> None:
    """Wait for a fact, asking often; AssertionError when it does not come about. An OSError or AssertionError means: not yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if true():
                return
            problem: Exception | None = None
        except (OSError, AssertionError) as error:
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not true after {seconds} s") from problem
        time.sleep(0.02)
