"""The example in its set-ups, on hosts that have booted, behind real servers: set up once by an administrator, then only by the user who deploys."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from .applications import SHOP, UNHEALTHY, Workshop
from .deploy import set_up_by_bootstrap
from .host import wait_until
from .load import Load, load
from .machine import Machine

ROOT = "/srv/shop"
INSTALLER = f"{ROOT}/bin/install-release"
FLIPS = 20
TOKEN = "a" * 32  # of the form that the page would hold; its cookie goes with it
_ASK = """
import http.client, json, ssl, sys
host, port, path = sys.argv[1:4]
connection = http.client.HTTPSConnection(host, int(port), context=ssl._create_unverified_context(), timeout=30)
connection.request("GET", path, headers={"Host": "shop.example"})
answer = connection.getresponse()
print(json.dumps([answer.status, answer.read().decode()]))
"""


@dataclass(frozen=True)
class SetUp:
    """``server``: what has to run on the host before (the unit's name); ``port``: where the site answers; ``sudo``: whether any line is needed;
    ``master``: shell that says the process of gunicorn's that counts."""

    name: str
    server: str
    port: int
    sudo: bool
    master: str


SET_UPS = (
    SetUp("systemd", "nginx", 443, True, "systemctl show --property=MainPID --value shop.service"),
    SetUp("supervisord", "", 8443, False, f"supervisorctl -c {ROOT}/current/etc/supervisor/supervisord.conf pid shop:shop_1"),
    SetUp("apache", "apache2", 443, True, "systemctl show --property=MainPID --value shop.service"),
)


class Shop:
    """One set-up on its machine, its first release installed."""

    def __init__(self, machine: Machine, set_up: SetUp, workshop: Workshop) -> None:
        self.machine, self.set_up = machine, set_up
        self.first, self.second = (workshop.example(set_up.name, version) for version in SHOP.versions)
        if set_up.server:
            machine.systemctl("enable", "--now", set_up.server)
        self.script = set_up_by_bootstrap(machine, self.first.path, ROOT)
        self._own_part()
        self.upload = {each.id: machine.copy(each.path, f"{each.id}.tgz") for each in (self.first, self.second)}
        machine.run("python3", f"{machine.upload}/install-release", self.upload[self.first.id], "--root", ROOT)
        machine.run(f"{ROOT}/current/bin/run", "python", "manage.py", "seed_shop")
        machine.run(
            f"{ROOT}/current/bin/run", "python", "manage.py", "shell", "-c", "from catalogue.models import *; Product.objects.update(stock=10**9)"
        )

    def _own_part(self) -> None:
        """What no artifact carries: secrets, this host's domain, its certificate."""
        shared = f"{ROOT}/shared"
        for name, text in {"env": "SECRET_KEY='not a secret'\nALLOWED_HOSTS=shop.example\n", "host.ini": "[values]\ndomain = shop.example\n"}.items():
            self.machine.run("sh", "-c", 'umask 027; cat > "$0"', f"{shared}/{name}", input=text)
        self.machine.run("mkdir", "-p", "-m", "700", f"{shared}/tls")
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", f"{shared}/tls/privkey.pem"]
        self.machine.run("openssl", "req", "-x509", *key, "-out", f"{shared}/tls/fullchain.pem", "-days", "30", "-subj", "/CN=shop.example")

    def ask(self, path: str) -> tuple[int, str]:
        """Status and body of a page, through the server in front."""
        status, body = json.loads(self.machine.run("python3", "-c", _ASK, "127.0.0.1", str(self.set_up.port), path).stdout)
        return status, body

    def current(self) -> str:
        """The id of the live release."""
        return self.machine.run("readlink", f"{ROOT}/current").stdout.strip().removeprefix("releases/")

    def process(self) -> dict[str, str]:
        """The environment that the kernel has of gunicorn's master."""
        pid = self.machine.administrate("sh", "-c", self.set_up.master).strip()
        text = self.machine.administrate("cat", f"/proc/{pid}/environ")
        return dict(line.split("=", 1) for line in text.split("\0") if "=" in line)

    def workers_of_the_server(self) -> str:
        """The processes of the server in front: others after a reload."""
        return self.machine.administrate("sh", "-c", "pgrep -x 'nginx|apache2' | sort")


@pytest.fixture(scope="module", params=SET_UPS, ids=lambda set_up: set_up.name)
def shop(request: pytest.FixtureRequest, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with Machine(tmp_path_factory.mktemp(request.param.name) / "srv") as machine:
        if request.param.server == "nginx":
            machine.administrate("rm", "/etc/nginx/sites-enabled/default")
        yield Shop(machine, request.param, workshop)


def test_first_release_serves(shop: Shop) -> None:
    """After the one script and the one command the site is there, its database migrated, its style sheet served by the server in front."""
    status, page = shop.ask("/")
    assert status == 200
    assert "<h1>The shop</h1>" in page
    assert f"release {shop.first.id}" in page
    sheet = re.search(r'href="(/static/[^"]*\.css)"', page)
    assert sheet
    assert "border-collapse" in shop.ask(sheet[1])[1]
    assert json.loads(shop.ask("/health")[1]) == {"release": shop.first.id, "products": 3}
    assert "daily_digest" in shop.machine.run("crontab", "-l").stdout


def test_no_request_fails_over_twenty_flips(shop: Shop) -> None:
    """Ten upgrades and ten rollbacks under GET and POST: every request is answered well, each time by the release that was just made live.

    The server in front is not reloaded: nothing of it changed.
    """
    form = {"Cookie": f"csrftoken={TOKEN}", "X-CSRFToken": TOKEN, "Origin": "https://shop.example", "Host": "shop.example"}
    url = f"https://127.0.0.1:{shop.set_up.port}"
    server = shop.workers_of_the_server()
    loads: list[Load] = []
    with ExitStack() as running:
        loads.append(running.enter_context(load(shop.machine, f"{url}/", connections=4, headers={"Host": "shop.example"})))
        loads.append(running.enter_context(load(shop.machine, f"{url}/buy", connections=4, post="product=Mug", headers=form)))
        for flip in range(FLIPS):
            if flip % 2 == 0:
                shop.machine.run(INSTALLER, shop.upload[shop.second.id])
            else:
                shop.machine.run(INSTALLER, "rollback")
            live = shop.current()
            assert live == (shop.second.id, shop.first.id)[flip % 2]
            assert f"release {live}" in shop.ask("/")[1]
            assert shop.process()["RELEASE_ID"] == live
            assert shop.process()["VIRTUAL_ENV"] == shop.machine.run("readlink", "-f", f"{ROOT}/releases/{live}/venv").stdout.strip()
    print(loads)
    assert [each.failed for each in loads] == [{}, {}]
    assert all(each.requests > 10 * FLIPS for each in loads)
    assert shop.workers_of_the_server() == server


def test_assets_of_the_release_before_stay_served(shop: Shop) -> None:
    """A page of the release before names a style sheet that the live one has not: it is served all the same."""
    machine = shop.machine
    assert shop.ask("/static/old.css")[0] == 404
    machine.run("sh", "-c", f"cd {ROOT}/previous/assets/static && echo old > old.css")
    try:
        assert shop.ask("/static/old.css") == (200, "old\n")
    finally:
        machine.run("rm", f"{ROOT}/previous/assets/static/old.css")


def test_release_that_is_not_well_is_taken_back(shop: Shop, workshop: Workshop) -> None:
    """Its health check fails: exit status 4, the release is bad, and the one before serves as if nothing had been; no user saw an error."""
    live = shop.current()
    upload = shop.machine.copy(workshop.example(shop.set_up.name, UNHEALTHY).path, "unhealthy.tgz")
    with load(shop.machine, f"https://127.0.0.1:{shop.set_up.port}/", connections=4, headers={"Host": "shop.example"}) as users:
        done = shop.machine.run(INSTALLER, upload, check=False)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "500" in done.stderr
    assert shop.current() == live
    assert shop.process()["RELEASE_ID"] == live
    assert json.loads(shop.ask("/health")[1])["release"] == live
    assert users.failed == {}
    rows = json.loads(shop.machine.run(INSTALLER, "status", "--json").stdout)["rows"]
    assert [row["past"]["state"] for row in rows if row["past"]["version"] == UNHEALTHY] == ["bad"]


def test_user_has_exactly_the_rights_that_the_script_names(shop: Shop) -> None:
    """The script, run again, changes nothing; without need of it there is no sudo line; doctor has nothing to say."""
    machine = shop.machine
    assert ("NOPASSWD" in shop.script) == shop.set_up.sudo
    look = f"find /etc {ROOT}/shared -printf '%p %u %g %m %l\\n'; find /etc {ROOT}/shared/env -type f -exec sha256sum {{}} +"
    before = sorted(machine.administrate("sh", "-c", look).splitlines())
    machine.administrate("sh", input=shop.script)
    assert sorted(machine.administrate("sh", "-c", look).splitlines()) == before
    assert machine.run("sudo", "-n", "true", check=False).returncode == 1
    machine.systemctl("start", "install-release-shop")  # what comes first after a power cut: here there is nothing to do
    assert json.loads(machine.run(INSTALLER, "doctor", "--json").stdout) == {"problems": []}


def test_all_of_it_comes_back_after_a_boot(shop: Shop) -> None:
    """What was stopped starts again as at a boot: by what the system wants, and by the user's crontab."""
    machine = shop.machine
    if shop.set_up.server:
        machine.systemctl("stop", "shop.socket", "shop.service", shop.set_up.server)
    else:
        machine.run("supervisorctl", "-c", f"{ROOT}/current/etc/supervisor/supervisord.conf", "shutdown")
    wait_until(lambda: not shop.workers_of_the_server())
    machine.administrate("rm", "/run/crond.reboot")  # so that cron takes its own restart for that of the machine
    machine.systemctl("restart", "cron")
    machine.systemctl("start", "multi-user.target")
    wait_until(lambda: shop.ask("/")[0] == 200)
    assert shop.process()["RELEASE_ID"] == shop.current()


def test_doctor_says_what_is_missing_and_what_is_too_much(shop: Shop) -> None:
    """A lost include, a private key, a root that others write to, a sudo line for everything: each named, with its remedy."""
    machine = shop.machine
    machine.run("sh", "-c", "mkdir -p -m 700 ~deploy/.ssh && echo '-----BEGIN OPENSSH PRIVATE KEY-----' > ~deploy/.ssh/id_ed25519")
    machine.run("chmod", "g+w", f"{ROOT}/releases")
    machine.write("/etc/sudoers.d/everything", "deploy ALL=(ALL) NOPASSWD: ALL\n")
    if shop.set_up.sudo:
        machine.administrate("mv", "/etc/sudoers.d/install-release-shop", "/root/")
    try:
        done = machine.run(INSTALLER, "doctor", check=False)
        assert done.returncode == 3
        for words in ("id_ed25519 is a private key", "releases can be written by its group", "root shell"):
            assert words in done.stderr
        machine.administrate("rm", "/etc/sudoers.d/everything")
        done = machine.run(INSTALLER, "doctor", check=False)
        assert ("bootstrap" in done.stderr) == shop.set_up.sudo
    finally:
        machine.run("sh", "-c", f"rm -r ~deploy/.ssh; chmod g-w {ROOT}/releases")
        machine.administrate("sh", input=shop.script)
    wait_until(lambda: machine.run(INSTALLER, "doctor", check=False).returncode == 0)
