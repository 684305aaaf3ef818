"""What is wrong by its letters alone: commands that leave bin/run out, units, supervisord's files, crontabs."""

from __future__ import annotations

import pytest

from builder.install_release.declared import Service
from builder.install_release.services import crontab, lint, program, starting, unit

RUN = "/srv/shop/current/bin/run"


def reasons(kind: str, files: dict[str, str], **given: object) -> list[str]:
    service = Service("web", kind, config=tuple(files), **given)  # type: ignore[arg-type]
    return [f"{problem.what} {problem.remedy}".strip() for problem in lint(service, files)]


# How things are started


@pytest.mark.parametrize(
    ("line", "right"),
    [
        ("/srv/shop/current/venv/bin/gunicorn shop.wsgi", f"{RUN} gunicorn shop.wsgi"),
        ("@root@/current/venv/bin/gunicorn", "@root@/current/bin/run gunicorn"),
        ("-/srv/shop/current/venv/bin/celery -A shop worker", f"{RUN} celery -A shop worker"),
        ("/srv/shop/current/venv/bin/python manage.py check", f"{RUN} python manage.py check"),
        ("/usr/bin/python3 /srv/shop/current/src/manage.py digest", f"{RUN} python manage.py digest"),
        ("/srv/shop/current/src/bin/work.py --all", f"{RUN} python bin/work.py --all"),
        ("env A=1 true", ""),
        ("A=1 /srv/shop/current/venv/bin/x", f"{RUN} x"),
    ],
)
def test_what_is_started_from_current_goes_through_bin_run(line: str, right: str) -> None:
    """A program of current/venv or current/src has no lease and no shared/env; the right line is told."""
    found = list(starting.command_problems("etc/x", unit.split(line), line))
    assert [problem.remedy for problem in found] == ([f"Write: {right}"] if right else [])


@pytest.mark.parametrize(
    "line",
    [
        f"{RUN} gunicorn --chdir /srv/shop/current/src",
        f"{RUN} gunicorn --chdir=/srv/shop/current/src shop.wsgi",
        f"{RUN} gunicorn --pythonpath @root@/current/src",
        f"env PYTHONPATH=/srv/shop/current/src {RUN} x",
        f"cd /srv/shop/current/src && {RUN} x",
    ],
)
def test_current_src_where_modules_are_searched_is_refused(line: str) -> None:
    """After a flip it would be the new release's source in the old one's environment."""
    [problem] = starting.command_problems("etc/x", unit.split(line), line)
    assert "leads through current/src" in problem.what


@pytest.mark.parametrize(
    "line",
    [
        f"{RUN} python manage.py digest >> /srv/shop/shared/log/x 2>&1",
        f"{RUN} gunicorn --config /srv/shop/current/etc/gunicorn.py",
        "/usr/sbin/logrotate --state /srv/shop/shared/s /srv/shop/current/etc/logrotate.conf",
        "/usr/bin/find /srv/shop/current/src -name x",
    ],
)
def test_what_is_right_is_not_refused(line: str) -> None:
    """bin/run, paths to configuration, and programs of the system's that look at a release."""
    assert list(starting.command_problems("etc/x", unit.split(line), line)) == []


# systemd

SERVICE = f"""[Unit]
Requires=shop.socket
[Service]
Type=notify
# ExecStart=/srv/shop/current/venv/bin/x
ExecStart={RUN} gunicorn \\
    --workers 2
[Install]
WantedBy=multi-user.target extra.target
RequiredBy=a.target
"""
SOCKET = "[Socket]\nListenStream=8000\n[Install]\nWantedBy=sockets.target\n"


def test_a_unit_is_read_as_systemd_reads_it() -> None:
    """Comments are none, lines go on after a backslash, an empty value clears."""
    found = unit.parse("systemd/system/shop.service", SERVICE)
    assert found.values("Service", "ExecStart") == [f"{RUN} gunicorn      --workers 2"]
    assert unit.parse("x", "[Service]\nExecStart=a\nExecStart=\nExecStart=b\n").values("Service", "ExecStart") == ["b"]
    assert found.wanted == ("multi-user.target.wants", "extra.target.wants", "a.target.requires")


def test_what_opens_a_service_is_found() -> None:
    """A socket of the same name, a timer that names it; not those of others."""
    files = {"a/shop.socket": SOCKET, "a/t.timer": "[Timer]\nUnit=shop.service\n", "a/other.socket": SOCKET, "a/shop.service": SERVICE}
    assert unit.openers("shop.service", unit.units(files)) == ["shop.socket", "t.timer"]
    assert unit.openers("other.service", unit.units(files)) == ["other.socket"]


def test_a_unit_without_faults_has_none() -> None:
    """bin/run in ExecStart is what is wanted."""
    assert reasons("systemd", {"u/shop.service": SERVICE, "u/shop.socket": SOCKET}, unit="shop.service") == []


def test_a_unit_that_bypasses_bin_run_is_refused() -> None:
    """In ExecStart, in ExecStartPre, and by PYTHONPATH in Environment."""
    text = f"[Service]\nEnvironment=PYTHONPATH=/srv/shop/current/src\nExecStartPre=/srv/shop/current/venv/bin/x\nExecStart={RUN} y\n"
    first, second = reasons("systemd", {"u/shop.service": text}, unit="shop.service")
    assert first.endswith(f"Write: {RUN} x")
    assert second.startswith("PYTHONPATH leads through current/src")


@pytest.mark.parametrize(
    ("line", "refused"),
    [("", True), ("TimeoutStopSec=30", True), ("TimeoutStopSec=10min", False), ("TimeoutStopSec=1h 30s", False), ("TimeoutStopSec=infinity", False)],
)
def test_systemd_lets_a_worker_have_its_time(line: str, refused: bool) -> None:
    """stop_deadline is a promise that TimeoutStopSec has to keep; without it systemd kills after 90 seconds."""
    text = SERVICE.replace("Type=notify", line)
    found = reasons("systemd", {"u/shop.service": text}, unit="shop.service", stop_deadline=600)
    assert [reason.partition("Write: ")[2] for reason in found] == (["TimeoutStopSec=600"] if refused else [])


def test_a_unit_that_no_file_has_is_refused() -> None:
    """With files, the unit is one of them; an instance belongs to its template."""
    assert "shop.service is none of its files: x.service" in reasons("systemd", {"u/x.service": SERVICE}, unit="shop.service")[0]
    assert reasons("systemd", {"u/x@.service": SERVICE}, unit="x@1.service") == []


# supervisord

PROGRAM = f"""[fcgi-program:shop]
command={RUN} gunicorn --bind fd://0 ; a comment
socket=tcp://127.0.0.1:8000
process_name=%(program_name)s_%(process_num)02d
numprocs=2
autorestart=true
"""


def test_supervisords_processes_are_named_as_supervisorctl_names_them() -> None:
    """By process_name and numprocs; a group holds the programs that it names; a program alone is its own group."""
    text = f"{PROGRAM}[program:a]\ncommand=x\n[program:b]\ncommand=x\n[group:g]\nprograms=a, b\n"
    found, wrong = program.parse({"s/x.conf": text})
    assert wrong == {}
    assert found.members("shop:*") == found.members("shop") == ["shop:shop_00", "shop:shop_01"]
    assert found.members("shop:shop_01") == ["shop:shop_01"]
    assert found.members("g:*") == ["g:a", "g:b"]
    assert found.members("a") == ["a:a"]
    assert found.members("none") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x\n", "can't be parsed"),
        (PROGRAM.replace("_%(process_num)02d", ""), "process_name must hold %(process_num)d"),
        (PROGRAM.replace("shop]", "web]"), "shop:* is none of what its files define: web."),
        (PROGRAM.replace("bin/run gunicorn", "venv/bin/gunicorn"), f"Write: {RUN} gunicorn --bind fd://0"),
        (f'{PROGRAM}environment=A="1",PYTHONPATH="/srv/shop/current/src"\n', "PYTHONPATH leads through current/src"),
        (f"{PROGRAM}[inet_http_server]\nport=9001\n", "web interface"),
        (PROGRAM.replace("tcp://127.0.0.1:8000", "unix:///run/x"), "Write: socket=tcp://127.0.0.1:PORT"),
    ],
)
def test_each_fault_of_supervisords_files_is_named(text: str, reason: str) -> None:
    """By the file, and with what to write."""
    assert any(reason in found for found in reasons("gunicorn", {"s/x.conf": text}, program="shop:*"))


def test_a_web_interface_that_is_asked_for_is_this_hosts_own_and_asks_for_a_password() -> None:
    """web_interface = true lets it be, on the loopback and with a password."""
    part = "[inet_http_server]\nport=127.0.0.1:9001\nusername=a\npassword=@secret@\n"
    asked = {"program": "shop:*", "web_interface": True}
    assert reasons("supervisord", {"s/x.conf": PROGRAM + part}, **asked) == []
    assert "listens at *:9001" in reasons("supervisord", {"s/x.conf": PROGRAM + part.replace("127.0.0.1:", "*:")}, **asked)[0]
    assert "asks for no password" in reasons("supervisord", {"s/x.conf": PROGRAM + part.replace("password=@secret@", "")}, **asked)[0]


def test_ones_own_supervisord_needs_its_main_file() -> None:
    """user = true without [supervisord] has nothing to start."""
    assert "needs its main file" in reasons("supervisord", {"s/x.conf": PROGRAM}, program="shop", user=True)[0]


def test_a_worker_is_one_that_supervisord_starts_again() -> None:
    """stop_deadline tells it to end and waits for nobody: autorestart=true has to be there."""
    text = PROGRAM.replace("autorestart=true", "")
    assert "needs autorestart=true" in reasons("supervisord", {"s/x.conf": text}, program="shop:*", stop_deadline=60)[0]


# cron


@pytest.mark.parametrize(
    "line",
    [
        "* * * * * root true",
        "*/5 0-6,22 1,15 jan-mar mon root true",
        "0\t4  *\t* 7 root  true",
        "@daily root true",
        "@Reboot root true",
        "1-59/2 * * * * www-data true",
        "# a comment",
        "",
        'MAILTO=""',
        "PATH = /bin",
    ],
)
def test_lines_that_cron_takes_are_taken(line: str) -> None:
    """Ranges, steps, lists, names, nicknames, variables, tabs."""
    assert crontab.parse(f"{line}\n", system=True)[2] == ()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("* * * * root true", "'root' is no day of the week"),
        ("60 * * * * root true", "'60' is no minute"),
        ("* 24 * * * root true", "'24' is no hour"),
        ("* * 0 * * root true", "'0' is no day of the month"),
        ("* * * 13 * root true", "'13' is no month"),
        ("* * * * 8 root true", "'8' is no day of the week"),
        ("5-1 * * * * root true", "'5-1' is no minute"),
        ("*/0 * * * * root true", "'*/0' is no minute"),
        ("* * * foo * root true", "'foo' is no month"),
        ("@hourli root true", "@hourli is not one of"),
        ("* * * * * /bin/true", "'/bin/true' is no user"),
        ("* * * * * root", "names no command"),
        ("* * *", "has fewer than the five fields"),
    ],
)
def test_lines_that_cron_would_not_run_are_named(line: str, reason: str) -> None:
    """Cron drops the whole file, and says so in a log that nobody reads."""
    [(number, why)] = crontab.parse(f"# first\n{line}\n", system=True)[2]
    assert number == 2
    assert reason in why


def test_a_last_line_without_a_line_feed_is_refused() -> None:
    """Cron ignores it."""
    assert "no line feed" in crontab.parse("* * * * * root true", system=True)[2][0][1]


def test_a_users_table_has_no_user_field_and_sets_no_variables() -> None:
    """A variable would hold for the user's own lines below."""
    assert crontab.parse("* * * * * true\n", system=False)[0][0].command == "true"
    assert "sets MAILTO" in reasons("cron", {"crontab": "MAILTO=a\n* * * * * true\n"}, user=True)[0]


def test_a_file_of_cron_d_has_a_name_that_cron_reads() -> None:
    """A dot in it, and it is ignored."""
    assert "is not read" in reasons("cron", {"cron.d/shop.cron": "* * * * * root true\n"})[0]


def test_cron_lines_go_through_bin_run() -> None:
    """The right line is told, and so is its number."""
    problems = lint(Service("c", "cron", config=("cron.d/x",)), {"cron.d/x": "\n0 4 * * * shop /srv/shop/current/venv/bin/python manage.py x\n"})
    assert [problem.where for problem in problems] == ["services.c: etc/cron.d/x, line 2"]
    assert problems[0].remedy == f"Write: {RUN} python manage.py x"


MINE = "MAILTO=me\n# mine\n1 2 3 4 5 true\n"


def test_a_block_is_put_in_changed_and_taken_away_and_every_other_line_stays() -> None:
    """A user's own lines are the same bytes before, meanwhile and after."""
    first = crontab.with_block(MINE, "shop/cron", "a\n")
    assert first.startswith(f"{MINE}# BEGIN shop/cron (")
    assert first.endswith("\na\n# END shop/cron\n")
    second = crontab.with_block(first + "# below\n", "shop/cron", "b\nc\n")
    assert second == first.replace("\na\n", "\nb\nc\n") + "# below\n"
    assert crontab.with_block(second, "shop/cron", "") == MINE + "# below\n"


def test_writing_a_block_again_changes_nothing() -> None:
    """Convergent; another application's block, or one whose name begins alike, is another."""
    first = crontab.with_block(crontab.with_block("", "shop/cron", "a"), "shop/cron2", "b")
    assert crontab.with_block(first, "shop/cron", "a") == first
    assert crontab.with_block(first, "shop/cron", "").count("BEGIN") == 1


def test_a_table_without_a_line_feed_at_its_end_gets_one_before_the_block() -> None:
    """The user's last line does not swallow our first."""
    assert crontab.with_block("x", "n", "a").startswith("x\n# BEGIN n ")


def test_a_block_without_an_end_takes_no_other_lines_along() -> None:
    """Somebody has taken the last line of a block away, and written below: that is seen, and what they wrote is not lost."""
    torn = crontab.with_block(MINE, "shop/cron", "a\n").replace("# END shop/cron\n", "# mine, below\n")
    assert crontab.is_torn(torn, "shop/cron")
    assert "# mine, below" in crontab.with_block(crontab.with_block(torn, "shop/cron", "b\n"), "shop/cron", "c\n")
    assert crontab.is_torn(MINE + "# END shop/cron\n", "shop/cron")
    assert not crontab.is_torn(crontab.with_block(torn, "shop/other", "b\n"), "shop/other")
    assert not crontab.is_torn(MINE, "shop/cron")


def test_no_line_of_a_users_table_looks_like_a_mark() -> None:
    """What follows it would stay in the table for ever."""
    text = "* * * * * /srv/shop/current/bin/run x\n# END shop/cron\n"
    assert [problem.where for problem in crontab.problems("crontab", text, system=False)] == ["etc/crontab, line 2"]
    assert not list(crontab.problems("crontab", text.replace("* /srv", "* root /srv"), system=True))


# The rest


@pytest.mark.parametrize(
    ("kind", "files", "given", "reason"),
    [
        ("nginx", {"nginx/shop.conf": "server {}"}, {}, "none of its files lies in one of sites-available"),
        ("nginx", {"nginx/conf.d/x.conf": "server {}"}, {"user": True}, "needs its main file"),
        ("apache", {"apache2/sites-available/shop": "x"}, {}, "end in .conf"),
        ("logrotate", {"logrotate.d/shop": "/x {\n weekly\n"}, {}, "1 opening and 0 closing braces"),
        ("logrotate", {"logrotate.d/shop.old": "/x {\n}\n"}, {}, "logrotate ignores such names"),
        ("init", {"init.d/x": "#!/bin/sh\n"}, {"unit": "shop"}, "none of its files is called shop"),
        ("init", {"init.d/shop": "#!/bin/sh\n"}, {"unit": "shop"}, "has no LSB header with Provides"),
        ("command", {"x/y": "z"}, {"restart": ("/srv/shop/current/venv/bin/x",)}, f"Write: {RUN} x"),
        ("command", {"x/y": "z"}, {"restart": ("sudo", "-n", "-u", "postgres", "psql")}, "Write: sudo -n COMMAND …, which root runs."),
        ("command", {"x/y": "z"}, {"restart": ("sudo", "-n", "--")}, "Write: sudo -n COMMAND …, which root runs."),
        ("gunicorn", {"u/s.service": "[Service]\n", "g.conf.py": 'chdir = "/srv/shop/current/src"\n'}, {"unit": "s.service"}, "chdir leads through"),
    ],
)
def test_each_kind_names_its_own_faults(kind: str, files: dict[str, str], given: dict[str, object], reason: str) -> None:
    """One fault each; the others of the files are right."""
    assert any(reason in found for found in reasons(kind, files, **given))


def test_the_examples_configurations_have_no_faults() -> None:
    """What recipes/ shows is what is asked for."""
    from pathlib import Path

    from builder import recipe

    recipes = Path(__file__).parents[3] / "recipes"
    for path in sorted(recipes.glob("shop-*.toml")):
        found = recipe.load(path)
        etc = recipes / "shop" / str(found.etc)
        files = {each.relative_to(etc).as_posix(): each.read_text() for each in etc.rglob("*") if each.is_file()}
        assert [problem for service in found.services for problem in lint(service, files)] == []
