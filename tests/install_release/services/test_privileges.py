"""What an administrator must set up, by kind: exactly these links, files and sudo lines, and nothing for what is the user's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.install_release.declared import Service
from builder.install_release.overlay import Rendered, Wanted
from builder.install_release.services import Context, Privilege, privileged, privileges, problems

from .place import manifest_of, service

CONTEXT = Context("/srv/shop", "20251123101112-aaaaaaaaaaaa", "", "shop", "deploy", 1001)
ETC = "/srv/shop/current/etc"
SERVICE = "[Service]\nExecStart=/srv/shop/current/bin/run x\n[Install]\nWantedBy=multi-user.target\n"
SOCKET = "[Socket]\nListenStream=80\n[Install]\nWantedBy=sockets.target\n"
PROGRAM = "[program:shop]\ncommand=/srv/shop/current/bin/run x\nprocess_name=s%(process_num)d\nnumprocs=2\nautorestart=true\nstopsignal=INT\n"


def wanted(files: Mapping[str, str]) -> Wanted:
    return Wanted({path: Rendered(text.encode(), "644") for path, text in files.items()})


def asked(each: Service, files: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """sudo lines without the directories of their programs, and everything else as ``way what``."""
    found = privileged(manifest_of(each), CONTEXT, wanted(files))
    assert all(privilege.grants for privilege in found)
    lines = [f"{privilege.command[0].rpartition('/')[2]} {' '.join(privilege.command[1:])}" for privilege in found if privilege.way == "sudo"]
    assert all(privilege.command[0].startswith("/") for privilege in found if privilege.command)
    more = {"link": "{0.path} {0.text}", "file": "{0.path} {0.text}", "line": "{0.path} [{0.section}] {0.key} {0.text}"}
    rest = [
        f"{privilege.way} {more[privilege.way].format(privilege) if privilege.way in more else ' '.join(privilege.command)}"
        for privilege in found
        if privilege.way != "sudo"
    ]
    return lines, rest


def test_a_unit_and_its_socket(tmp_path: Path) -> None:
    """Links that no release owns, what enables them included; three verbs for each, and daemon-reload."""
    files = {"systemd/system/shop.service": SERVICE, "systemd/system/shop.socket": SOCKET, "systemd/system/shop.service.d/x.conf": "[Service]\n"}
    lines, rest = asked(service("systemd", "systemd/system/*", unit="shop.service"), files)
    verbs = [f"systemctl {verb} {unit}" for unit in ("shop.socket", "shop.service") for verb in ("reset-failed", "restart", "stop")]
    assert lines == ["systemctl daemon-reload", *verbs]
    assert rest == [
        f"link /etc/systemd/system/shop.service {ETC}/systemd/system/shop.service",
        f"link /etc/systemd/system/shop.service.d/x.conf {ETC}/systemd/system/shop.service.d/x.conf",
        f"link /etc/systemd/system/shop.socket {ETC}/systemd/system/shop.socket",
        "link /etc/systemd/system/multi-user.target.wants/shop.service ../shop.service",
        "link /etc/systemd/system/sockets.target.wants/shop.socket ../shop.socket",
    ]


def test_what_a_unit_is_restarted_for_is_no_unit() -> None:
    """The application's own configuration, which belongs to the service, is not put among systemd's."""
    files = {"u/shop.service": SERVICE, "shop/shop.ini": "[shop]\n", "u/conf.d/shop.ini": "[shop]\n"}
    _, rest = asked(service("systemd", "u/*", "shop/shop.ini", unit="shop.service"), files)
    assert rest == [
        f"link /etc/systemd/system/shop.service {ETC}/u/shop.service",
        "link /etc/systemd/system/multi-user.target.wants/shop.service ../shop.service",
    ]


def test_a_worker_and_a_unit_of_the_administrators() -> None:
    """A worker is restarted without waiting; a unit without files needs no link."""
    worker, rest = asked(service("systemd", unit="w.service", stop_deadline=60), {})
    assert worker == [
        f"systemctl {verb} w.service" if verb else "systemctl daemon-reload" for verb in ("", "reset-failed", "--no-block restart", "stop")
    ]
    assert rest == []


def test_an_instance_of_a_template() -> None:
    """The template's file is linked; what is enabled is the instance."""
    _, rest = asked(service("systemd", "u/*", unit="w@1.service"), {"u/w@.service": SERVICE})
    links = [f"/etc/systemd/system/w@.service {ETC}/u/w@.service", "/etc/systemd/system/multi-user.target.wants/w@1.service ../w@.service"]
    assert rest == [f"link {link}" for link in links]


def test_a_program_of_the_systems_supervisord() -> None:
    """A pattern of files, and calls about this group and its processes alone."""
    lines, rest = asked(service("supervisord", "supervisor/conf.d/*", program="shop:*"), {"supervisor/conf.d/a.conf": PROGRAM})
    restarts = ["supervisorctl restart shop:s0", "supervisorctl restart shop:s1"]
    assert lines == ["supervisorctl status shop:*", "supervisorctl update shop", "supervisorctl stop shop:*", *restarts]
    assert rest == [f"line /etc/supervisor/supervisord.conf [include] files {ETC}/supervisor/conf.d/*.conf"]
    more = asked(service("supervisord", "supervisor/conf.d/*", program="shop:*", stop_deadline=9), {"supervisor/conf.d/a.conf": PROGRAM})[0]
    assert more[len(lines) :] == ["supervisorctl signal INT shop:s0", "supervisorctl signal INT shop:s1"]


def test_nginx_and_apache() -> None:
    """A file that includes by a pattern, which may match nothing; test and reload."""
    lines, rest = asked(service("nginx", "nginx/sites-available/*"), {"nginx/sites-available/a": "", "nginx/snippets/b": ""})
    assert lines == ["nginx -t", "nginx -s reload"]
    assert rest == [f"file /etc/nginx/conf.d/shop.conf include {ETC}/nginx/sites-available/*;\n"]
    lines, rest = asked(service("apache", "apache2/sites-available/*", modules=("proxy",)), {"apache2/sites-available/a.conf": ""})
    assert lines == ["apache2ctl configtest", "apache2ctl graceful"]
    assert rest == [
        f"file /etc/apache2/sites-available/shop.conf IncludeOptional {ETC}/apache2/sites-available/*.conf\n",
        "run /usr/sbin/a2enmod --quiet proxy",
        "run /usr/sbin/a2ensite --quiet shop",
    ]


@pytest.mark.parametrize(("kind", "folder"), [("cron", "/etc/cron.d"), ("logrotate", "/etc/logrotate.d")])
def test_files_that_only_root_may_own(kind: str, folder: str) -> None:
    """install and rm of exactly that file."""
    lines, rest = asked(service(kind, "x/*"), {"x/shop": "", "y": ""})
    assert lines == [f"install -m 644 -o root -g root -T {ETC}/x/shop {folder}/shop", f"rm -f {folder}/shop"]
    assert rest == []


def test_an_init_script() -> None:
    """The copy, the run levels, and two words; of a script of the administrator's only those."""
    lines, _ = asked(service("init", "init.d/*", unit="shopd"), {"init.d/shopd": "", "init.d/other": ""})
    copy = [f"install -m 755 -o root -g root -T {ETC}/init.d/shopd /etc/init.d/shopd", "rm -f /etc/init.d/shopd"]
    assert lines == [*copy, "update-rc.d shopd defaults", "update-rc.d shopd remove", "shopd restart", "shopd stop"]
    assert asked(service("init", unit="shopd"), {})[0] == ["shopd restart", "shopd stop"]


def test_commands_that_ask_sudo_themselves() -> None:
    """As sudo would see them: with the program's path, without its own options."""
    lines, _ = asked(service("command", reload=("sudo", "-n", "/usr/sbin/varnishreload", "@name@"), restart=("true",)), {})
    assert lines == ["varnishreload shop"]


@pytest.mark.parametrize(
    ("kind", "given", "files"),
    [
        ("supervisord", {"program": "shop"}, {"s/main.conf": "[supervisord]\n", "s/a.conf": PROGRAM}),
        ("nginx", {}, {"nginx.conf": "events {}\n"}),
        ("cron", {}, {"crontab": "* * * * * true\n"}),
        ("logrotate", {}, {"logrotate.conf": ""}),
    ],
)
def test_what_is_the_users_own_needs_nobody(kind: str, given: dict[str, object], files: Mapping[str, str]) -> None:
    """No sudo line, no file of root's."""
    assert asked(service(kind, *files, user=True, **given), files) == ([], [])


def test_user_units_need_lingering() -> None:
    """Else they end when the user logs out."""
    assert asked(service("systemd", "u/*", unit="a.service", user=True), {"u/a.service": SERVICE}) == (
        [],
        ["run /usr/bin/loginctl enable-linger deploy"],
    )


def test_each_thing_is_asked_for_once() -> None:
    """Two units of one manager share daemon-reload."""
    two = manifest_of(service("systemd", unit="a.service", name="a"), service("systemd", unit="b.service", name="b"))
    found = [privilege.command[1:] for privilege in privileged(two, CONTEXT, Wanted())]
    assert found.count(("daemon-reload",)) == 1
    assert ("restart", "b.service") in found


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    """A link that leads elsewhere, a file that says something else, a pattern that is not included: each with the way out."""
    path = tmp_path / "x"
    made = [
        Privilege("web", "link", "", path=str(path), text="/a"),
        Privilege("web", "file", "", path=str(path), text="a\n"),
        Privilege("web", "line", "", path=str(path), text="/srv/x/*.conf", section="include", key="files"),
    ]
    root = CONTEXT._replace(uid=0)
    assert [problem.what for problem in privileges.missing(made, root)] == [
        f"{path} is missing; it leads to /a.",
        f"{path} is missing.",
        f"{path} lacks /srv/x/*.conf in files of [include].",
    ]
    path.write_text("a\n[include]\nfiles = /etc/y/*.conf /srv/x/*.conf ; more\n")
    assert [problem.what for problem in privileges.missing(made, root)][:2] == [f"{path} does not lead to /a.", f"{path} is not what it should be."]
    path.write_text("[include]\nfiles = /etc/y/*.conf /srv/x/*.conf ; more\n")
    assert privileges.missing(made[2:], root) == ()
    path.write_text("a\n")
    assert privileges.missing(made[1:2], root) == ()
    path.unlink()
    path.symlink_to("/a")
    assert privileges.missing(made[:1], root) == ()


def test_the_preflight_tells_all_reasons_at_once(tmp_path: Path) -> None:
    """By letters and by what the host lacks, of every service; also what it takes to leave the live release."""
    context = CONTEXT._replace(root=str(tmp_path), uid=os.geteuid() or 1001)
    broken = manifest_of(service("cron", "cron.d/shop", name="jobs"), service("init", unit="no-such-script", name="old"))
    left = manifest_of(service("systemd", unit="left-behind.service", name="left"))
    found = [str(problem) for problem in problems(broken, context, wanted({"cron.d/shop": "61 * * * * root true\n"}), (left, Wanted()))]
    assert any(each.startswith("services.jobs: etc/cron.d/shop, line 1: '61' is no minute.") for each in found)
    assert any("/etc/init.d/no-such-script is not on this host" in each for each in found)
    if os.geteuid():
        assert any("systemctl stop left-behind.service" in each for each in found)
