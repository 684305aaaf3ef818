"""On a host that has booted: each kind of service is enabled by a release, changed by the next, and not touched by one that changes nothing of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.distributions import serve

from .deploy import set_up_by_bootstrap
from .host import wait_until
from .machine import Machine
from .pages import BROKEN, SAID, UNBUILDABLE, Pages

ROOT = "/srv/pages"
INSTALLER = f"{ROOT}/bin/install-release"
PROGRAMS = ("web", "tick", "worker", "old")  # restarted; the others are read again
KINDS = (*PROGRAMS, "nginx", "apache", "cron")
_LOCATION = "import http.client as h; c = h.HTTPConnection('127.0.0.1:8082'); c.request('GET', '/'); print(c.getresponse().headers['Location'])"
# What each one says of its configuration, and what is another after it was restarted or has read its configuration again: shell, run by root.
SAYS = {
    "web": "python3 -c \"import json, urllib.request as r; print(json.load(r.urlopen('http://127.0.0.1:8083'))['said'])\"",
    "tick": "systemctl is-active --quiet pages-tick.timer && systemctl show --property=Description --value pages-tick.timer",
    "worker": f"supervisorctl status pages-worker | grep -q RUNNING && cat {ROOT}/shared/log/worker",
    "old": f"test -e /etc/init.d/pages-old && /etc/init.d/pages-old status && ls /etc/rc3.d/S*pages-old && cat {ROOT}/shared/log/old",
    "nginx": "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:8081').read().decode())\"",
    "apache": f'python3 -c "{_LOCATION}"',
    "cron": "crontab -u deploy -l | grep bin/run",
}
MARKS = {
    "web": "systemctl show --property=MainPID pages.service",
    "tick": "systemctl show --property=ActiveEnterTimestampMonotonic pages-tick.timer",
    "worker": "supervisorctl pid pages-worker",
    "old": "cat /run/pages-old.pid",
    "nginx": "pgrep --parent $(cat /run/nginx.pid) | sort",
    "apache": "pgrep --parent $(cat /run/apache2/apache2.pid) | sort",
    "cron": "stat --format=%z /var/spool/cron/crontabs/deploy",
}


@dataclass(frozen=True)
class Seen:
    """What all kinds said and how they were marked after one step; the release that was live, and what the installer said."""

    says: Mapping[str, str]
    marks: Mapping[str, str]
    live: str
    told: str


class Scene:
    """A machine that was set up by an administrator once, for the release with every kind of service."""

    def __init__(self, machine: Machine, pages: Pages) -> None:
        self.machine, self.pages = machine, pages
        machine.administrate("rm", "/etc/nginx/sites-enabled/default")  # port 80 is apache's
        machine.systemctl("start", "nginx", "apache2")
        set_up_by_bootstrap(machine, pages.artifact("1.0").path, ROOT)

    def install(self, which: str, status: int = 0) -> Seen:
        """Install a release as the user who deploys."""
        path = self.machine.copy(self.pages.artifact(which).path, "release.tgz")
        done = self.machine.run("python3", f"{self.machine.upload}/install-release", path, "--root", ROOT, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return self.look(done.stdout + done.stderr)

    def rollback(self) -> Seen:
        """Go back, as the user who deploys."""
        done = self.machine.run(INSTALLER, "rollback")
        return self.look(done.stdout + done.stderr)

    def look(self, told: str) -> Seen:
        """Ask all of them, once they have had the time to settle: old workers may still be ending."""
        seen: Seen | None = None

        def settled() -> bool:
            nonlocal seen
            before, seen = seen, self._glance(told)
            return before == seen

        wait_until(settled)
        assert seen
        return seen

    def _glance(self, told: str) -> Seen:
        says, marks = (
            {kind: self.machine.administrate("sh", "-c", line, check=False).strip() for kind, line in each.items()} for each in (SAYS, MARKS)
        )
        live = self.machine.run("readlink", f"{ROOT}/current").stdout.strip().removeprefix("releases/")
        return Seen(says, marks, live, told)

    def _root(self, line: str) -> str:
        return self.machine.administrate("sh", "-c", line, check=False).strip()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    work = tmp_path_factory.mktemp("services")
    with serve(work / "index") as index, Machine(work / "srv") as machine:
        yield Scene(machine, Pages(work, index))


@pytest.fixture(scope="module")
def steps(scene: Scene) -> Mapping[str, Seen]:
    """A life: first release, new source only, new configuration of everything, back, forward again, a release without services, and back."""
    return {
        "first": scene.install("1.0"),
        "source": scene.install("1.1"),
        "changed": scene.install("2.0"),
        "back": scene.rollback(),
        "again": scene.install("2.0"),
        "gone": scene.install("3.0"),
        "restored": scene.rollback(),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_service_through_the_life_of_its_configuration(steps: Mapping[str, Seen], kind: str) -> None:
    """Enabled by the first release, changed by the next, restored by a rollback, gone when a release has it no longer, and restored again."""
    said = {step: seen.says[kind] for step, seen in steps.items()}
    for step, word in {"first": "one", "source": "one", "changed": "two", "back": "one", "again": "two", "restored": "two"}.items():
        assert word in said[step], f"{step}: {said}\n{steps[step].told}"
    assert said["gone"] == "", said


@pytest.mark.parametrize("kind", KINDS)
def test_service_is_touched_only_when_something_of_it_changed(steps: Mapping[str, Seen], kind: str) -> None:
    """A release that changes nothing of it leaves it alone; one that does reloads or restarts it."""
    marks = {step: seen.marks[kind] for step, seen in steps.items()}
    assert marks["first"] == marks["source"], steps["source"].told
    assert len({marks["source"], marks["changed"], marks["back"], marks["again"]}) == 4, marks


@pytest.mark.parametrize("broken", BROKEN)
def test_broken_configuration_is_refused_before_the_flip(scene: Scene, steps: Mapping[str, Seen], broken: str) -> None:
    """The refusal names the file and what is wrong; the release before is live, and nothing of it was touched."""
    before = steps["restored"]
    seen = scene.install(broken, status=3)
    assert (seen.live, seen.says, seen.marks) == (before.live, before.says, before.marks)
    assert BROKEN[broken][0] in seen.told or broken == "app"


@pytest.mark.parametrize("broken", UNBUILDABLE)
def test_what_the_letters_tell_is_refused_where_it_is_built(scene: Scene, broken: str) -> None:
    """No host has to be asked."""
    assert f"etc/{UNBUILDABLE[broken][0]}" in scene.pages.refusal(broken)


def test_the_user_has_no_other_right(scene: Scene, steps: Mapping[str, Seen]) -> None:
    """What was allowed is allowed with exactly these words; nothing else is, and doctor agrees that nothing is missing or too much."""
    machine = scene.machine
    for words in (["true"], ["systemctl", "restart", "ssh"], ["systemctl", "restart", "pages.service", "cron"], ["sh"], ["nginx", "-c", "/tmp/x"]):
        done = machine.run("sudo", "-n", *words, check=False)
        assert "password is required" in done.stderr, done
    assert machine.run("id", "-Gn").stdout.split() == ["deploy"]
    said = machine.run(INSTALLER, "doctor", "--json", check=False)
    assert json.loads(said.stdout) == {"problems": []}


def test_nothing_below_the_root_is_roots(scene: Scene, steps: Mapping[str, Seen]) -> None:
    """All those releases were made by the user who deploys, and by nobody else."""
    assert scene.machine.administrate("find", ROOT, "-not", "-user", "deploy") == ""
    assert len({seen.live for seen in steps.values()}) == len(SAID)
