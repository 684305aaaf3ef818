"""On a host that has booted: units of the deploying user's own, with no right of root's but lingering."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.install_release.declared import Service
from builder.install_release.rules import KINDS
from tests.releases import Content, write_release

from .deploy import set_up_by_bootstrap
from .host import wait_until
from .machine import Machine

ROOT = "/srv/units"
SERVE = """import http.server, os, socket, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(os.environ["RELEASE_ID"].encode() + b" " + os.environ.get("WORD", "").encode())
    log_message = lambda *words: None
server = http.server.HTTPServer(("127.0.0.1", 8090), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=3)
server.serve_forever()
"""
UNIT = f"[Service]\nEnvironment=WORD=@word@\nExecStart={ROOT}/current/bin/run python serve.py\n[Install]\nWantedBy=default.target\n"
SOCKET = "[Socket]\nListenStream=127.0.0.1:8090\n[Install]\nWantedBy=sockets.target\n"
WEB = Service("web", "systemd", "units.service", config=("systemd/user/units.*",), restart_on=KINDS["systemd"].restart_on, user=True, deadline=30)
TICK = Service("tick", "systemd", "tick.timer", config=("systemd/user/tick.*",), restart_on=("config",), user=True, deadline=30)


def artifact(work: Path, version: str, word: str, *services: Service) -> Path:
    etc: dict[str, Content] = {
        "systemd/user/units.service": UNIT.replace("@word@", word),
        "systemd/user/units.socket": SOCKET,
        "systemd/user/tick.timer": "[Timer]\nOnCalendar=daily\n[Install]\nWantedBy=timers.target\n",
        "systemd/user/tick.service": f"[Service]\nType=oneshot\nExecStart={ROOT}/current/bin/run true\n",
    }
    (work / version).mkdir()
    layers = {"src": {"serve.py": SERVE, "VERSION": version}, **({"etc": etc} if services else {})}
    time = 1763892672 + int(version)
    return write_release(work / version, layers, name="units", version=version, root=ROOT, services=services, commit_time=time).path


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with Machine(tmp_path_factory.mktemp("units") / "srv") as made:
        yield made


def test_user_units_through_their_life(machine: Machine, tmp_path: Path) -> None:
    """Linked, enabled, started through a socket, restarted for a release, changed, taken back, gone, and back again; all of it without sudo."""
    first = artifact(tmp_path, "1", "one", WEB, TICK)
    script = set_up_by_bootstrap(machine, first, ROOT)
    assert "enable-linger" in script
    assert "sudoers" not in script.replace("rm -f /etc/sudoers.d", "")
    wait_until(lambda: machine.run("test", "-d", f"/run/user/{machine.uid}"))

    def installed(path: Path) -> str:
        machine.copy(path, "release.tgz")
        return machine.run("python3", f"{machine.upload}/install-release", f"{machine.upload}/release.tgz", "--root", ROOT).stdout

    def live() -> str:
        return machine.run("readlink", f"{ROOT}/current").stdout.strip().removeprefix("releases/")

    def systemctl(*words: str) -> str:
        environment = {"XDG_RUNTIME_DIR": f"/run/user/{machine.uid}"}
        return machine.run("systemctl", "--user", *words, env=environment, check=False).stdout.strip()

    def answer() -> str:
        return machine.get("http://127.0.0.1:8090/")

    installed(first)
    one = live()
    assert answer() == f"{one} one"
    assert systemctl("is-active", "units.socket", "tick.timer").split() == ["active", "active"]
    assert systemctl("is-enabled", "units.service", "units.socket", "tick.timer").split() == ["enabled"] * 3
    since = systemctl("show", "--property=ActiveEnterTimestampMonotonic", "units.socket", "tick.timer")

    installed(artifact(tmp_path, "2", "two", WEB, TICK))
    assert answer() == f"{live()} two"
    assert systemctl("show", "--property=ActiveEnterTimestampMonotonic", "units.socket", "tick.timer") == since
    machine.run(f"{ROOT}/bin/install-release", "rollback")
    assert answer() == f"{one} one"

    installed(artifact(tmp_path, "3", ""))
    assert systemctl("is-active", "units.service", "units.socket", "tick.timer").split() == ["inactive"] * 3
    assert machine.run("sh", "-c", "find ~/.config/systemd -type l", env={"HOME": "/home/deploy"}).stdout == ""
    machine.run(f"{ROOT}/bin/install-release", "rollback")
    assert answer() == f"{one} one"
    assert systemctl("is-active", "units.socket", "tick.timer").split() == ["active", "active"]
