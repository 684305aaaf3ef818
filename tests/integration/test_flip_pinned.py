"""What was started before a flip stays with its own release, however it was started, and whatever it imports or starts later."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .deploy import RUN, bootstrap, current, install
from .host import wait_until
from .machine import Machine
from .probe import Probe, set_up_probe

KINDS = ("venv", "pex", "wheelhouse")
# Who starts it -> whether it is told where the source is. A console script on its own is not; `python -m` has its working directory.
COMMANDS = {
    "bin-run": (RUN, "python", "-m", "probe_lib"),
    "bin-run-script": (RUN, "probe"),
    "console-script": ("/srv/app/current/venv/bin/probe",),
    "python-m": ("/srv/app/current/venv/bin/python", "-m", "probe_lib"),
}
SERVICES = {"supervisord": 8001, "systemd": 8002}
WAYS = (*COMMANDS, "cron", *SERVICES)
NO_SOURCE = {"console-script"}

_SUPERVISORD = """\
[program:probe]
command = {run} gunicorn --bind=127.0.0.1:8001 probe_wsgi
user = deploy
stopasgroup = true
"""
_SYSTEMD = """\
[Service]
Type = notify
User = deploy
ExecStart = {run} gunicorn --bind=127.0.0.1:8002 --workers=2 probe_wsgi
"""
_CRON = "@reboot deploy {run} python -m probe_lib /srv/app/seen/cron /srv/app/seen/go\n"

Seen = dict[str, Any]


class Scene:
    """A machine with the probe's first release, where everything is started, looked at, and started again."""

    def __init__(self, machine: Machine, log: Path) -> None:
        self.machine, self.log = machine, log
        machine.write("/etc/supervisor/conf.d/probe.conf", _SUPERVISORD.format(run=RUN))
        machine.write("/etc/systemd/system/probe.service", _SYSTEMD.format(run=RUN))
        machine.write("/etc/cron.d/probe", _CRON.format(run=RUN))
        machine.systemctl("daemon-reload")
        machine.administrate("supervisorctl", "update")

    def start(self, commands: ExitStack) -> None:
        """Start it in every way, and wait until it runs."""
        machine = self.machine
        machine.run("sh", "-c", "rm -rf /srv/app/seen && mkdir /srv/app/seen")
        machine.administrate("rm", "-f", "/run/crond.reboot")  # so that cron takes its own restart for that of the machine
        machine.systemctl("restart", "cron", "probe")
        machine.administrate("supervisorctl", "restart", "probe")
        for way, command in COMMANDS.items():
            directory = "/srv/app/current/src" if way == "python-m" else "/"
            commands.enter_context(machine.service(*command, f"/srv/app/seen/{way}", "/srv/app/seen/go", log=self.log, cwd=directory))
        for way in (*COMMANDS, "cron"):
            wait_until(lambda way=way: machine.seen(f"/srv/app/seen/{way}.started").exists())  # type: ignore[misc]
        for port in SERVICES.values():
            wait_until(lambda port=port: machine.get(f"http://127.0.0.1:{port}/") == "up")  # type: ignore[misc]

    def look(self) -> dict[str, Seen]:
        """Let all of them import what they have not yet imported, and say what it was."""
        self.machine.run("touch", "/srv/app/seen/go")
        found = {}
        for way in (*COMMANDS, "cron"):
            path = self.machine.seen(f"/srv/app/seen/{way}")
            wait_until(path.exists)
            found[way] = json.loads(path.read_text())
        for way, port in SERVICES.items():
            found[way] = json.loads(self.machine.get(f"http://127.0.0.1:{port}/late"))
        return found


@pytest.fixture(scope="module", params=KINDS)
def seen(request: pytest.FixtureRequest, probe: Probe, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[str], list[dict[str, Seen]]]]:
    """Two releases' ids, and what was seen by what was started under the first (after the flip to the second), and by what was started after it."""
    first, second = (probe.artifact(version, request.param) for version in ("1", "2"))
    work = tmp_path_factory.mktemp("machine")
    with Machine(work / "srv") as machine, ExitStack() as commands:
        set_up_probe(machine)
        bootstrap(machine, first.path)
        scene = Scene(machine, work / "commands.log")
        scene.start(commands)
        install(machine, second.path)
        assert current(machine) == second.id
        before = scene.look()
        scene.start(commands)
        yield [first.id, second.id], [before, scene.look()]


@pytest.mark.parametrize("way", WAYS)
def test_process_stays_with_its_release(seen: tuple[list[str], list[dict[str, Seen]]], way: str) -> None:
    """After the flip it imports late from its own release: in itself, a fork, a new interpreter, a spawned worker. Started anew, from the new one."""
    ids, found = seen
    for version, release, seen_by in zip(("1", "2"), ids, (found[0][way], found[1][way]), strict=True):
        prefix = seen_by["start"]["prefix"]
        source = None if way in NO_SOURCE else version
        assert seen_by["looks"] == {who: {"env": version, "src": source, "prefix": prefix} for who in ("fork", "child", "worker", "self")}
        assert "current" not in prefix
        assert "current" not in seen_by["start"]["directory"]
        if way not in ("console-script", "python-m"):
            assert seen_by["start"]["release"] == release
