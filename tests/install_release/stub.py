"""A service that is nothing but a process: it answers with the release that it was started from and the configuration that it read then.

It is kind ``command``: a release brings the program; ``control`` starts it through ``current/bin/run`` and ends it by its pid.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from builder.install_release.declared import Copied, Health, Hook, Overlay, Service
from tests.releases import Content

from .roots import artifact

PROGRAM = """
import os, signal, socket, subprocess, sys, time

def control(verb, root, config):
    told = os.path.join(root, "shared", "pid")
    try:
        pid = int(open(told).read())
        os.kill(pid, signal.SIGKILL)
        while os.path.exists(f"/proc/{pid}") and open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] != "Z":
            time.sleep(0.005)
    except (OSError, ValueError):
        pass
    if verb == "stop" or os.path.exists(os.path.join(root, "shared", "broken")):
        return 0 if verb == "stop" else 9
    with open(os.path.join(root, "shared", "blocked"), "a") as file:
        file.write(next(line for line in open("/proc/self/status") if line.startswith("SigBlk")).split()[1] + "\\n")
    words = [os.path.join(root, "current", "bin", "run"), "python", "stub.py", "serve", root, config]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(words, start_new_session=True, stdin=nothing, stdout=nothing, stderr=nothing)
    with open(told + ".new", "w") as file:
        file.write(str(process.pid))
    os.replace(told + ".new", told)
    while process.poll() is None:
        try:
            socket.socket(socket.AF_UNIX).connect(os.path.join(root, "shared", "s"))
            return 0
        except OSError:
            time.sleep(0.01)
    return 8

def serve(root, config):
    behaviour, text = open("behaviour").read(), open(config).read().strip() if os.path.exists(config) else "none"
    path = os.path.join(root, "shared", "s")
    listener = socket.socket(socket.AF_UNIX)
    try:
        os.unlink(path)
    except OSError:
        pass
    listener.bind(path)
    listener.listen(64)
    said = {"lies": "20200101000000-000000000000"}.get(behaviour, os.environ["RELEASE_ID"])
    status = "500 Broken" if behaviour == "breaks" else "200 OK"
    while True:
        connection, _ = listener.accept()
        if not connection.recv(4096):
            continue
        if behaviour == "hangs":
            time.sleep(1000)
        connection.sendall(f"HTTP/1.1 {status}\\r\\nX-Release-Id: {said}\\r\\nContent-Length: {len(text)}\\r\\n\\r\\n{text}".encode())
        connection.close()

sys.exit((control if sys.argv[1] in ("start", "stop") else serve)(*sys.argv[1 if sys.argv[1] in ("start", "stop") else 2:]))
"""


def release(directory: Path, version: str, behaviour: str = "good", *, served: bool = True, **facts: Any) -> Path:
    """An artifact of the service, whose configuration is copied to ``<directory>/system/stub.conf`` and says the version.

    ``behaviour``: good, breaks (500), hangs, or lies (says another id). ``deadline``: of the health check. Not ``served``: it has it no longer.
    """
    config = str(directory / "system/stub.conf")
    (directory / "system").mkdir(exist_ok=True)
    start = ("python", "@release@/src/stub.py", "start", "@root@", config)
    restart_on = facts.pop("restart_on", ("release", "env", "config"))
    disable = (*start[:2], "stop", *start[3:])
    service = Service("stub", "command", config=("stub.conf",), restart_on=restart_on, restart=start, disable=disable, check=facts.pop("check", ()))
    deadline = facts.pop("deadline", 60)
    check = Health(url="http://stub/health", socket="@root@/shared/s", status=200, reports_id=True, passes=2, deadline=deadline)
    source: dict[str, Content] = {"stub.py": PROGRAM, "behaviour": behaviour, **facts.pop("source", {})}
    return artifact(
        directory,
        version,
        source,
        etc={"stub.conf": facts.pop("config", f"version = {version}\n")} if served else {},
        overlay=Overlay((Copied("stub.conf", config),)) if served else Overlay(),
        services=(service,) if served else (),
        health=check if served and deadline else Health(),
        **facts,
    )


def hook(when: str, *words: str, deadline: int = 60, once: bool = False) -> Hook:
    return Hook(when, words, deadline, once)


def asked(root: Path) -> tuple[str, str]:
    """What the running service says: the id of its release, and its configuration. Two empty strings when nobody answers."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(root / "shared/s"))
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        said = b""
        while piece := connection.recv(4096):
            said += piece
        head, _, body = said.decode().partition("\r\n\r\n")
        return head.partition("X-Release-Id: ")[2].split("\r\n")[0], body
    return "", ""


@contextmanager
def ended(root: Path) -> Iterator[Path]:
    """Whatever runs in the end is ended."""
    try:
        yield root
    finally:
        end(root)


def end(root: Path) -> None:
    with suppress(OSError, ValueError):
        pid = int((root / "shared/pid").read_text())
        os.kill(pid, signal.SIGKILL)
        while lives(pid):
            time.sleep(0.005)


def lives(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def start(root: Path, config: Path) -> None:
    """Start it as its own ``restart`` does."""
    words = [str(root / "current/bin/run"), "python", "stub.py", "start", str(root), str(config)]
    subprocess.run(words, check=True, env={"PATH": os.environ["PATH"]})
