"""Checks of staged configuration, by the services' own programs, as an ordinary user: what is broken is refused, what is right passes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.install_release.declared import Copied, Overlay

from .conftest import needed
from .place import ORDINARY, Place, service

RUN = "@root@/current/bin/run"


@pytest.fixture(autouse=True)
def programs() -> None:
    needed("nginx", "apache2", "supervisord", "crontab", "logrotate", "systemd-analyze")


# nginx

SITE = """upstream shop { server 127.0.0.1:8000; }
server {
    listen 80;
    listen [::]:443 ssl;
    server_name _;
    ssl_certificate @root@/shared/tls/fullchain.pem;
    ssl_certificate_key /root/privkey.pem;
    access_log /var/log/nginx/shop.log;
    include @root@/current/etc/nginx/snippets/*.conf;
    location / { proxy_pass http://shop; }
}
"""
SITES = "nginx/sites-available/*"


def test_a_site_of_the_systems_nginx_passes_as_an_ordinary_user(place: Place) -> None:
    """Ports, logs and keys that only root may open are no fault of the configuration."""
    place.release({"nginx/sites-available/shop.conf": SITE, "nginx/snippets/x.conf": "client_max_body_size 1m;\n"})
    [problem] = place.check(service("nginx", SITES))[0]
    assert "No such file" in problem  # the certificate that is not there
    site = SITE.replace("@root@/shared/tls", "/root/tls")
    place.release({"nginx/sites-available/shop.conf": site})
    assert place.check(service("nginx", SITES))[0] == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("listen 80;", "lisen 80;", 'unknown directive "lisen" in etc/nginx/sites-available/shop.conf:3'),
        ("proxy_pass http://shop;", "proxy_pass shop;", "invalid URL prefix in etc/nginx/sites-available/shop.conf:10"),
        ("location / {", "location / ", "etc/nginx/sites-available/shop.conf"),
        ("client_max_body_size 1m;", "client_max_body_size 1x;", '"client_max_body_size" directive invalid value in etc/nginx/snippets/x.conf:1'),
    ],
)
def test_a_broken_site_is_refused_by_nginx_itself(place: Place, old: str, new: str, said: str) -> None:
    """With the file of the release and the line; also in what a site includes through current."""
    files = {"nginx/sites-available/shop.conf": SITE, "nginx/snippets/x.conf": "client_max_body_size 1m;\n"}
    broken = {path: text.replace("@root@/shared/tls/fullchain.pem", "/root/c").replace(old, new) for path, text in files.items()}
    place.release(broken)
    [problem] = place.check(service("nginx", SITES))[0]
    assert said in problem
    assert str(place.root / ".install") not in problem


def test_what_a_check_looks_at_is_not_what_is_live(place: Place) -> None:
    """An include through current, and one of a copied file, lead into the release that is checked."""
    place.release({"nginx/sites-available/shop.conf": "server { include @root@/current/etc/nginx/snippets/a; include /etc/shop/b; }\n"})
    place.release({"nginx/snippets/a": "nonsense_a;\n", "b": "nonsense_b;\n"})
    overlay = Overlay((Copied("b", "/etc/shop/b"),))
    assert "nonsense_a" in place.check(service("nginx", SITES), overlay=overlay)[0][0]
    place.release({"nginx/snippets/a": ""})
    assert "nonsense_b" in place.check(service("nginx", SITES), overlay=overlay)[0][0]
    place.release({"b": ""})
    assert place.check(service("nginx", SITES), overlay=overlay)[0] == []


OWN = """pid @root@/shared/nginx.pid;
events {}
http {
    access_log off;
    client_body_temp_path @root@/shared/a; proxy_temp_path @root@/shared/b; fastcgi_temp_path @root@/shared/c;
    uwsgi_temp_path @root@/shared/d; scgi_temp_path @root@/shared/e;
    server { listen 127.0.0.1:18080; }
}
"""


def test_ones_own_nginx_is_tested_as_it_is(place: Place) -> None:
    """There, what the user may not open is a fault."""
    own = service("nginx", "nginx/nginx.conf", user=True)
    place.release({"nginx/nginx.conf": OWN})
    assert place.check(own) == ([], ["checking web: nginx -t"])
    place.release({"nginx/nginx.conf": OWN.replace("127.0.0.1:18080", "80")})
    if os.geteuid() != ORDINARY:
        assert "Permission denied" in place.check(own)[0][0]


# apache

VHOST = """<VirtualHost *:443>
    SSLEngine on
    SSLCertificateFile /root/fullchain.pem
    SSLCertificateKeyFile /root/privkey.pem
    DocumentRoot @root@/current/src
    ErrorLog ${APACHE_LOG_DIR}/shop.log
</VirtualHost>
"""
PLAIN = "".join(line for line in VHOST.splitlines(True) if "SSL" not in line)
VHOSTS = "apache2/sites-available/*.conf"


def test_a_site_of_apache_passes_as_an_ordinary_user(place: Place) -> None:
    """With the system's own modules and variables."""
    place.release({"apache2/sites-available/shop.conf": PLAIN})
    assert place.check(service("apache", VHOSTS))[0] == []


@pytest.mark.skipif(os.geteuid() == ORDINARY, reason="what only root may read can't be made without root")
def test_a_certificate_that_only_root_sees_is_no_fault_of_apaches_configuration(place: Place) -> None:
    """The full test, through sudo, looks at it; one that is not there at all is a fault."""
    module = "LoadModule {0}_module /usr/lib/apache2/modules/mod_{0}.so\n"
    text = f"<IfModule !ssl_module>\n{module.format('socache_shmcb')}{module.format('ssl')}</IfModule>\n{VHOST}"
    place.release({"apache2/sites-available/shop.conf": text})
    assert place.check(service("apache", VHOSTS))[0] == []
    place.release({"apache2/sites-available/shop.conf": text.replace("/root/fullchain", "/nowhere/fullchain")})
    assert "does not exist or is empty" in place.check(service("apache", VHOSTS))[0][0]


def test_a_broken_site_is_refused_by_apache_itself(place: Place) -> None:
    """With the file of the release and the line."""
    place.release({"apache2/sites-available/shop.conf": PLAIN.replace("DocumentRoot", "DocumentRot")})
    [problem] = place.check(service("apache", VHOSTS))[0]
    assert "Syntax error on line 2 of etc/apache2/sites-available/shop.conf: Invalid command 'DocumentRot'" in problem


# systemd

UNIT = f"[Unit]\nRequires=shop.socket\n[Service]\nType=notify\nExecStart={RUN} x\n[Install]\nWantedBy=multi-user.target\n"
SOCKET = "[Socket]\nListenStream=127.0.0.1:8000\n[Install]\nWantedBy=sockets.target\n"


def units(text: str, user: bool = False) -> dict[str, str]:
    folder = "user" if user else "system"
    return {f"systemd/{folder}/shop.service": text, f"systemd/{folder}/shop.socket": SOCKET}


@pytest.mark.parametrize("user", [False, True])
def test_units_pass(place: Place, user: bool) -> None:
    """bin/run is the new release's, which is there."""
    place.release(units(UNIT, user))
    assert place.check(service("systemd", "systemd/**", unit="shop.service", user=user))[0] == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Type=notify", "Type=notfy", "Failed to parse service type, ignoring: notfy."),
        ("ExecStart=", "ExecStrt=", 'Did you mean "ExecStart"?'),
        ("[Install]", "[Install", "Invalid section header"),
        ("/bin/run x", "/bin/rum x", "current/bin/rum is not executable"),
        ("Requires=shop.socket", "Requires=shop.soket", "shop.soket"),
    ],
)
def test_a_broken_unit_is_refused_by_systemd_itself(place: Place, old: str, new: str, said: str) -> None:
    """Also what systemd would only ignore, when a word was mistyped."""
    place.release(units(UNIT.replace(old, new)))
    problems, _ = place.check(service("systemd", "systemd/system/*", unit="shop.service"))
    assert any(said in problem for problem in problems), problems


def test_a_key_of_a_newer_systemd_is_only_told(place: Place) -> None:
    """An older host ignores it, as its maker meant."""
    place.release(units(UNIT.replace("Type=", "QuiteNewFeature=yes\nType=")))
    problems, notes = place.check(service("systemd", "systemd/system/*", unit="shop.service"))
    assert problems == []
    assert any("QuiteNewFeature" in note for note in notes)


# supervisord

PROGRAM = f"[fcgi-program:shop]\ncommand={RUN} x\nsocket=tcp://127.0.0.1:18000\nprocess_name=%(program_name)s_%(process_num)d\nnumprocs=2\n"
MAIN = "[supervisord]\nlogfile=@root@/shared/log\npidfile=@root@/shared/pid\n[include]\nfiles=@root@/current/etc/supervisor/conf.d/*.conf\n"


def test_supervisords_files_pass(place: Place) -> None:
    """The system's, and one's own, which includes through current; variables of the host's environment are taken for set."""
    program = f'{PROGRAM}environment=A="%(ENV_ANY)s"\n'
    place.release({"supervisor/conf.d/shop.conf": program})
    assert place.check(service("supervisord", "supervisor/conf.d/*", program="shop:*"))[0] == []
    place.release({"supervisor/supervisord.conf": MAIN})
    assert place.check(service("supervisord", "supervisor/**", program="shop:*", user=True))[0] == []


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("numprocs=2", "numprocs=many", "invalid literal for int()"),
        ("socket=tcp://127.0.0.1:18000", "", "socket"),
        ("numprocs=2", "numprocs=2\nstdout_logfile=/nowhere/log", "/nowhere/log does not exist"),
        ("numprocs=2", "numprocs=2\nautorestart=maybe", "maybe"),
    ],
)
def test_a_broken_program_is_refused_by_supervisord_itself(place: Place, user: bool, old: str, new: str, said: str) -> None:
    """Its own parser, on the system's main file or one's own."""
    place.release({"supervisor/supervisord.conf": MAIN, "supervisor/conf.d/shop.conf": PROGRAM.replace(old, new)})
    config = "supervisor/**" if user else "supervisor/conf.d/*"
    [problem] = place.check(service("supervisord", config, program="shop:*", user=user))[0]
    assert "supervisord says" in problem
    assert said in problem


# cron, logrotate, init, command


def test_a_user_that_is_not_on_this_host_is_refused(place: Place) -> None:
    """cron would ignore the whole file."""
    place.release({"cron.d/shop": "0 4 * * * nobody true\n1 4 * * * nobdy true\n"})
    [problem] = place.check(service("cron", "cron.d/shop"))[0]
    assert "etc/cron.d/shop, line 2: there is no user nobdy on this host" in problem


def test_logrotate_reads_its_files(place: Place) -> None:
    """Logs that are not there yet are no fault; a user that is not, or a word that is none, is."""
    place.release({"logrotate.d/shop": "@root@/shared/log/*.log {\n    weekly\n}\n"})
    assert place.check(service("logrotate", "logrotate.d/shop"))[0] == []
    place.release({"logrotate.d/shop": "@root@/shared/log/*.log {\n    wekly\n    su nobdy nogroup\n}\n"})
    problems, _ = place.check(service("logrotate", "logrotate.d/shop"))
    assert "etc/logrotate.d/shop, line 2: logrotate says: unknown option 'wekly'" in problems[0]
    assert "unknown user 'nobdy'" in problems[1]


INIT = "#!/bin/sh\n### BEGIN INIT INFO\n" + "".join(
    f"# {key}: x\n" for key in ("Provides", "Required-Start", "Required-Stop", "Default-Start", "Default-Stop")
)


def test_an_init_script_is_read_by_its_interpreter(place: Place) -> None:
    """Without being run; one that may not be run is refused."""
    script = service("init", "init.d/shop", unit="shop")
    place.release({"init.d/shop": f"{INIT}### END INIT INFO\ncase $1 in start) touch {place.root}/ran;; esac\n"})
    assert place.check(script)[0] == []
    directory = place.release({"init.d/shop": f"{INIT}### END INIT INFO\ntouch {place.root}/ran\nif true; then\n"})
    assert "/bin/sh says: ended with status 2" in place.check(script)[0][0]
    (directory / "etc" / "init.d" / "shop").chmod(0o644)
    assert "is not executable" in place.check(script)[0][0]
    assert not (place.root / "ran").exists()


def test_a_command_runs_the_new_releases_own_check(place: Place) -> None:
    """Through its bin/run, in its src/, with @release@ filled in; a status other than 0 is a refusal with what it said."""
    directory = place.release({"x.conf": "good\n"})
    (directory / "src" / "check.py").write_text("import os, sys\nprint(os.getcwd(), sys.argv[1])\nsys.exit('good' not in open(sys.argv[1]).read())\n")
    each = service("command", "x.conf", check=("python", "check.py", "@release@/etc/x.conf"), reload=("true",))
    assert place.check(each, user=os.geteuid())[0] == []
    (directory / "etc" / "x.conf").write_text("bad\n")
    [problem] = place.check(each, user=os.geteuid())[0]
    assert f"ended with status 1: {directory}/src {directory}/etc/x.conf" in problem


def test_gunicorn_loads_the_application_of_the_new_release(place: Place) -> None:
    """With the command line of its unit, through bin/run; what does not import is refused."""
    needed_in_environment()
    directory = place.release(units(UNIT.replace("run x", "run gunicorn --workers 2 app:application")))
    each = service("gunicorn", "systemd/system/*", unit="shop.service")
    app = directory / "src" / "app.py"
    app.write_text("def application(environ, start_response): ...\n")
    assert place.check(each, user=os.geteuid())[0] == []
    app.write_text("import nothing_of_the_kind\n")
    [problem] = place.check(each, user=os.geteuid())[0]
    assert "bin/run gunicorn --workers 2 app:application --check-config" in problem
    assert "nothing_of_the_kind" in problem


def test_a_gunicorn_conf_py_that_leads_through_current_is_refused(place: Place) -> None:
    """gunicorn reads it from src/ unnamed, and takes its directory from there."""
    needed_in_environment()
    directory = place.release(units(UNIT.replace("run x", "run gunicorn app:application")))
    (directory / "src" / "app.py").write_text("def application(environ, start_response): ...\n")
    (directory / "src" / "gunicorn.conf.py").write_text(f"chdir = '{place.root}/current/src'\n")
    [problem] = place.check(service("gunicorn", "systemd/system/*", unit="shop.service"), user=os.geteuid())[0]
    assert "src/gunicorn.conf.py: chdir leads through current/src" in problem


def needed_in_environment() -> None:
    import importlib.util

    assert importlib.util.find_spec("gunicorn"), "gunicorn is one of the dev dependencies: make venv"


# All of them


def test_all_problems_of_all_services_are_told_at_once(place: Place) -> None:
    """Each with the service that it is of."""
    place.release({"cron.d/shop": "0 4 * * * nobdy true\n", "logrotate.d/shop": "/x {\n    wekly\n}\n"})
    problems, _ = place.check(service("cron", "cron.d/*", name="jobs"), service("logrotate", "logrotate.d/*", name="logs"))
    assert [problem.partition(":")[0] for problem in problems] == ["services.jobs", "services.logs"]


def test_no_secret_is_told(place: Place) -> None:
    """What a program quotes of its configuration has the key in the place of the value; so has what is said of it by letters."""
    host = place.root / "shared" / "host.ini"
    host.write_text("[secrets]\ntoken = sesame-open\n")
    host.chmod(0o640)
    place.release({"nginx/sites-available/x.conf": "server { sesame-open on; }\n"})
    [problem] = place.check(service("nginx", SITES))[0]
    assert 'unknown directive "@token@"' in problem
    place.release({"cron.d/x": "0 4 * * * root /srv/x/current/venv/bin/x --token=sesame-open\n"})
    [problem] = place.check(service("cron", "cron.d/*"))[0]
    assert problem.endswith("bin/run x --token=@token@")


def test_a_check_leaves_nothing(place: Place) -> None:
    """Neither in the staging directory nor in the release."""
    directory = place.release({"nginx/nginx.conf": OWN})
    before = sorted(directory.rglob("*"))
    place.check(service("nginx", "nginx/nginx.conf", user=True))
    assert list(Path(place.root, ".install", "staging").iterdir()) == []
    assert sorted(directory.rglob("*")) == before
