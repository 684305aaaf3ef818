"""What a flip makes of services that an ordinary user may change: an own supervisord, an own nginx, a crontab; and of root's copies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builder.install_release.declared import Service
from builder.install_release.services import Action, Context, ServiceError, copies, hopeless
from builder.install_release.services.commands import Clock
from builder.install_release.services.copies import Folder

from .conftest import needed
from .place import NEW, OLD, ORDINARY, Place, as_user, manifest_of, service


@pytest.fixture(autouse=True)
def programs() -> None:
    needed("nginx", "supervisord", "crontab")


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(each: Service, *changed: str) -> Action:
    return Action(each, "start", "new", changed)


# supervisord

MAIN = """[supervisord]
logfile=@root@/shared/supervisord.log
pidfile=@root@/shared/supervisord.pid
[unix_http_server]
file=@root@/shared/sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://@root@/shared/sock
[include]
files=@root@/current/etc/supervisor/conf.d/*.conf
"""
PROGRAM = """[program:shop]
command=/bin/sh -c 'trap "exit 0" TERM; echo $$ $(readlink @root@/current) >> @root@/shared/started; while :; do sleep 0.1; done'
process_name=%(program_name)s_%(process_num)d
numprocs=2
startsecs=0
autorestart=true
"""
FILES = {"supervisor/supervisord.conf": MAIN, "supervisor/conf.d/shop.conf": PROGRAM}
WEB = service("supervisord", "supervisor/**", program="shop:*", user=True)


@pytest.fixture
def supervised(place: Place) -> Iterator[Place]:
    """A place; the supervisord that a test starts there ends with it."""
    yield place
    with suppress(OSError, ValueError):
        os.kill(int((place.root / "shared" / "supervisord.pid").read_text()), signal.SIGTERM)
        until(lambda: not (place.root / "shared" / "supervisord.pid").exists())


def started(place: Place) -> list[str]:
    """The release of each process that was started, in order."""
    path = place.root / "shared" / "started"
    return [line.split()[1].rpartition("/")[2] for line in path.read_text().splitlines()] if path.exists() else []


def test_ones_own_supervisord_is_started_by_the_first_release(supervised: Place) -> None:
    """With its main file through current; the processes run when that is done."""
    supervised.release(FILES)
    supervised.apply(start(WEB))
    until(lambda: started(supervised) == [NEW, NEW])


def test_a_new_release_restarts_its_processes_one_after_the_other(supervised: Place) -> None:
    """supervisord itself goes on; each process is awaited before the next one is touched; the way back is the same."""
    supervised.release(FILES, OLD)
    supervised.apply(start(WEB), OLD)
    pid = (supervised.root / "shared" / "supervisord.pid").read_text()
    supervised.release(FILES, NEW)
    _, said = supervised.apply(Action(WEB, "restart", "another release"), NEW, OLD)
    until(lambda: started(supervised) == [OLD, OLD, NEW, NEW])
    assert said == ["web: restart (another release)", "  restarting shop:shop_0", "  restarting shop:shop_1"]
    supervised.live(OLD)
    supervised.apply(Action(WEB, "restart", "another release"), OLD, NEW)
    until(lambda: started(supervised) == [OLD, OLD, NEW, NEW, OLD, OLD])
    assert (supervised.root / "shared" / "supervisord.pid").read_text() == pid


def test_a_configuration_that_changed_starts_each_process_once(supervised: Place) -> None:
    """The update starts the group with what it now says: nothing is restarted a second time."""
    supervised.release(FILES, OLD)
    supervised.apply(start(WEB), OLD)
    supervised.release({**FILES, "supervisor/conf.d/shop.conf": PROGRAM.replace("numprocs=2", "numprocs=3")}, NEW)
    supervised.apply(Action(WEB, "restart", "", ("supervisor/conf.d/shop.conf",)), NEW, OLD)
    until(lambda: started(supervised) == [OLD, OLD, NEW, NEW, NEW])


def test_a_worker_is_told_to_end_and_not_waited_for(supervised: Place) -> None:
    """It may take its time; supervisord starts the new one then."""
    worker = service("supervisord", "supervisor/**", program="shop:*", user=True, stop_deadline=60)
    supervised.release(FILES, OLD)
    supervised.apply(start(worker), OLD)
    supervised.release(FILES, NEW)
    notes, _ = supervised.apply(Action(worker, "restart", ""), NEW, OLD)
    assert "restart pending" in notes[0]
    until(lambda: started(supervised) == [OLD, OLD, NEW, NEW])


def test_a_program_that_a_release_no_longer_has_is_removed_and_comes_back(supervised: Place) -> None:
    """By the update; the rollback adds it again."""
    other = PROGRAM.replace("program:shop", "program:other").replace("numprocs=2", "numprocs=1")
    both = {**FILES, "supervisor/conf.d/other.conf": other}
    job = service("supervisord", "supervisor/**", program="other:*", user=True, name="job")
    supervised.release(both, OLD)
    supervised.apply(start(WEB), OLD)
    supervised.release(FILES, NEW)
    supervised.apply(Action(job, "stop", ""), NEW, OLD)
    assert groups(supervised) == {"shop"}
    supervised.live(OLD)
    supervised.apply(start(job), OLD, NEW)
    assert groups(supervised) == {"shop", "other"}


def test_a_release_without_supervisord_ends_it(supervised: Place) -> None:
    """Its main file is gone from current: the one that was left says where it listens."""
    supervised.release(FILES, OLD)
    supervised.apply(start(WEB), OLD)
    supervised.release({}, NEW)
    supervised.apply(Action(WEB, "stop", ""), NEW, OLD)
    until(lambda: not (supervised.root / "shared" / "supervisord.pid").exists())


def test_a_program_that_does_not_stay_up_is_an_error_with_its_name(supervised: Place) -> None:
    """startsecs say how long it must live; what it is instead, and where to look, is told."""
    text = PROGRAM.replace("startsecs=0", "startsecs=1\nstartretries=1\nstdout_logfile=@root@/shared/log")
    text = text.replace("while :;", "exit 3; while :;")
    supervised.release({**FILES, "supervisor/conf.d/shop.conf": text})
    with pytest.raises(ServiceError) as caught:
        supervised.apply(start(WEB))
    [problem] = caught.value.problems
    assert problem.where.startswith("shop:shop_")
    assert problem.what == "is FATAL, not RUNNING."
    assert problem.remedy == f"Look at {supervised.root}/shared/log."
    assert hopeless_there(supervised).endswith(" is FATAL: supervisord does not start it again")


def test_what_runs_or_may_still_is_not_hopeless(supervised: Place) -> None:
    """Processes that run, or that supervisord starts again: a health check goes on asking."""
    supervised.release({**FILES, "supervisor/conf.d/shop.conf": PROGRAM.replace("while :;", "sleep 0.3; exit 3; while :;")})
    supervised.apply(start(WEB))
    until(lambda: len(started(supervised)) > 2)
    assert hopeless_there(supervised) == ""


def hopeless_there(place: Place) -> str:
    return as_user(place.user, hopeless, manifest_of(WEB), place.context())


def groups(place: Place) -> set[str]:
    command = ["supervisorctl", "-c", f"{place.root}/current/etc/supervisor/supervisord.conf", "status"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    return {line.partition(":")[0] for line in said.splitlines()}


# nginx

OWN = """pid @root@/shared/nginx.pid;
error_log @root@/shared/error.log;
events {}
http {
    access_log off;
    client_body_temp_path @root@/shared/a; proxy_temp_path @root@/shared/b; fastcgi_temp_path @root@/shared/c;
    uwsgi_temp_path @root@/shared/d; scgi_temp_path @root@/shared/e;
    server { listen 127.0.0.1:PORT; return 200 "TEXT"; }
}
"""
NGINX = service("nginx", "nginx/nginx.conf", user=True)


@pytest.fixture
def proxied(place: Place) -> Iterator[Place]:
    """A place; the nginx that a test starts there ends with it."""
    yield place
    with suppress(OSError, ValueError):
        os.kill(int((place.root / "shared" / "nginx.pid").read_text()), signal.SIGTERM)


def get(port: int) -> str:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        return str(answer.read().decode())


def test_ones_own_nginx_is_started_reloaded_taken_back_and_ended(proxied: Place) -> None:
    """After a reload returned, the new configuration answers: nobody has to wait for it."""
    port = free_port()
    for release, text in ((OLD, "old"), (NEW, "new")):
        proxied.release({"nginx/nginx.conf": OWN.replace("PORT", str(port)).replace("TEXT", text)}, release)
    proxied.live(OLD)
    proxied.apply(start(NGINX), OLD)
    assert get(port) == "old"
    pid = (proxied.root / "shared" / "nginx.pid").read_text()
    for release, text in ((NEW, "new"), (OLD, "old"), (NEW, "new")):
        proxied.live(release)
        proxied.apply(Action(NGINX, "reload", "", ("nginx/nginx.conf",)), release)
        assert get(port) == text
    assert (proxied.root / "shared" / "nginx.pid").read_text() == pid
    proxied.release({}, OLD, live=True)
    (proxied.root / "releases" / OLD / "etc" / "nginx" / "nginx.conf").unlink()
    proxied.apply(Action(NGINX, "stop", ""), OLD, NEW)
    until(lambda: not (proxied.root / "shared" / "nginx.pid").exists())


def test_a_configuration_that_nginx_refuses_is_not_loaded(proxied: Place) -> None:
    """The old one still serves; what nginx said is told."""
    port = free_port()
    proxied.release({"nginx/nginx.conf": OWN.replace("PORT", str(port)).replace("TEXT", "old")}, OLD)
    proxied.apply(start(NGINX), OLD)
    proxied.release({"nginx/nginx.conf": OWN.replace("PORT", str(port)).replace("return", "retrun")}, NEW)
    with pytest.raises(ServiceError) as caught:
        proxied.apply(Action(NGINX, "reload", ""), NEW, OLD)
    assert 'unknown directive "retrun"' in caught.value.problems[0].what
    assert get(port) == "old"


def test_an_nginx_that_a_supervisor_of_the_release_starts_is_waited_for(proxied: Place) -> None:
    """Starting a second one would take its port away."""
    port = free_port()
    directory = proxied.release(
        {
            "nginx/nginx.conf": OWN.replace("PORT", str(port)).replace("TEXT", "x"),
            "supervisor/nginx.conf": "[program:nginx]\ncommand=/usr/sbin/nginx -c @root@/current/etc/nginx/nginx.conf\n",
        }
    )
    command = ["sh", "-c", f"sleep 0.7; exec nginx -c {directory}/etc/nginx/nginx.conf"]
    late = as_user(proxied.user, lambda: subprocess.Popen(command, env={"PATH": "/usr/sbin:/usr/bin:/bin"}).pid)
    proxied.apply(start(NGINX))
    assert late > 0
    assert get(port) == "x"


# cron


@pytest.fixture
def table() -> Iterator[Callable[[str | None], str]]:
    """Read, or write, the ordinary user's crontab; as it was, at the end."""

    def access(text: str | None = None) -> str:
        if text is not None:
            command = ["crontab", "-u", user, "-"] if text else ["crontab", "-u", user, "-r"]
            subprocess.run(command, input=text, text=True, check=bool(text), capture_output=True)
        return subprocess.run(["crontab", "-u", user, "-l"], text=True, capture_output=True).stdout

    if os.geteuid():
        pytest.skip("a contributor's own crontab is not written to")
    user = "nobody"
    before = access()
    yield access
    access(before)


CRON = service("cron", "crontab", user=True, name="jobs")


def test_a_users_crontab_gets_a_block_and_loses_it_again(place: Place, table: Callable[[str | None], str]) -> None:
    """The user's own lines stay, byte for byte, through install, upgrade, rollback and removal."""
    mine = "# mine\nA=1\n1 2 3 4 5 /bin/true\n"
    table(mine)
    for release, line in ((OLD, "1 1 1 1 1 /bin/old\n"), (NEW, "2 2 2 2 2 /bin/new\n")):
        place.release({"crontab": line}, release)
    for release, line in ((OLD, "/bin/old"), (NEW, "/bin/new"), (OLD, "/bin/old")):
        place.live(release)
        place.apply(Action(CRON, "update", ""), release)
        now = table(None)
        assert now.startswith(mine)
        assert now.count("BEGIN shop/jobs") == 1
        assert [each for each in ("/bin/old", "/bin/new") if each in now] == [line]
    place.apply(Action(CRON, "stop", ""), NEW, OLD)
    assert table(None) == mine
    assert list((place.root / ".install" / "staging").iterdir()) == []


def test_a_crontab_that_held_only_our_block_is_removed(place: Place, table: Callable[[str | None], str]) -> None:
    """What was not there before is not there after."""
    table("")
    place.release({"crontab": "1 1 1 1 1 true\n"})
    place.apply(start(CRON))
    assert "1 1 1 1 1 true" in table(None)
    place.apply(Action(CRON, "stop", ""), OLD, NEW)
    assert table(None) == ""


# Root's copies


@pytest.mark.skipif(os.geteuid() != 0, reason="they are root's")
def test_roots_copies_are_laid_down_changed_and_removed(place: Place, tmp_path: Path) -> None:
    """Owned by root, mode 644 or 755, whatever the release's file says; one that was changed on the host stays, and is told."""
    folder, context, clock = Folder(str(tmp_path), "755"), Context(str(place.root), NEW, OLD, "shop", "root", 0), Clock(30)
    place.release({"x/shop": "old\n"}, OLD)
    place.release({"x/shop": "new\n"}, NEW)
    target = tmp_path / "shop"
    copies.lay(context, {"x/shop": "new\n"}, folder, clock)
    assert (target.read_text(), target.stat().st_uid, target.stat().st_mode & 0o7777) == ("new\n", 0, 0o755)
    written = target.stat().st_mtime_ns
    copies.lay(context, {"x/shop": "new\n"}, folder, clock)
    assert target.stat().st_mtime_ns == written
    assert copies.problems(context, {"x/shop": "newer\n"}, folder)[0].what == f"{target} is there, and is not what a release has laid down."
    assert copies.problems(Context(str(place.root), "", NEW, "shop", "root", 0), {"x/shop": "newer\n"}, folder) == ()
    target.write_text("edited\n")
    assert copies.remove(context, {"x/shop": "new\n"}, folder, clock) == (f"{target} stays: it was changed on this host",)
    target.write_text("new\n")
    assert copies.remove(context, {"x/shop": "new\n"}, folder, clock) == ()
    assert not target.exists()


# Commands


def test_commands_run_through_the_release_that_they_are_of(place: Place) -> None:
    """enable, reload and restart of the live one; disable of the one that is left; what fails is told with what it said."""
    say = "import os, sys; print(os.environ['RELEASE_ID'], *sys.argv[1:], file=open('@root@/shared/said', 'a'))"
    words = {verb: ("python", "-c", say, verb, "@name@") for verb in ("enable", "reload", "restart", "disable")}
    each = service("command", **words)
    place.user = os.geteuid()
    place.release({}, OLD)
    place.release({}, NEW)
    for verb in ("start", "reload", "restart", "stop"):
        place.apply(Action(each, verb, ""), NEW, OLD)
    said = (place.root / "shared" / "said").read_text().splitlines()
    assert said == [f"{NEW} enable shop", f"{NEW} reload shop", f"{NEW} restart shop", f"{OLD} disable shop"]
    with pytest.raises(ServiceError) as caught:
        place.apply(Action(service("command", restart=("sh", "-c", "echo no such luck; exit 3")), "restart", ""))
    assert caught.value.problems[0].what == "ended with status 3: no such luck."


def test_a_command_that_hangs_is_ended_by_the_services_deadline(place: Place) -> None:
    """And so is all that it started."""
    place.user = os.geteuid()
    place.release({})
    with pytest.raises(ServiceError) as caught:
        place.apply(Action(service("command", restart=("sleep", "60"), deadline=1), "restart", ""))
    assert "did not end in time" in caught.value.problems[0].what


def test_the_ordinary_user_is_one() -> None:
    """What these tests say of an ordinary user is of one, also when root runs them."""
    assert as_user(ORDINARY, os.geteuid) != 0
