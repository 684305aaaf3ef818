"""The script that an administrator reads and runs: what is in it, and why. That it works, tests/integration shows on real hosts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from builder.install_release import bootstrap
from builder.install_release.bootstrap import Needs
from builder.install_release.declared import Copied, Overlay, Service
from builder.install_release.errors import RefusedError
from builder.install_release.overlay import Rendered, Wanted
from builder.install_release.services import Privilege
from tests.conftest import missing
from tests.releases import FACTS

PRIVILEGES = (
    Privilege("web", "sudo", "restarts the site", command=("/usr/bin/systemctl", "restart", "shop.service")),
    Privilege("web", "link", "whoever can write the unit can become root", path="/etc/systemd/system/shop.service", text="/srv/shop/current/etc/x"),
    Privilege("nginx", "file", "the site's part of nginx", path="/etc/nginx/conf.d/shop.conf", text="include /srv/shop/current/etc/nginx/*.conf;\n"),
    Privilege("worker", "line", "supervisord reads it", path="/etc/s.conf", section="include", key="files", text="/srv/shop/current/*.conf"),
    Privilege("timer", "run", "units run without a login", command=("loginctl", "enable-linger", "deploy")),
)
NEEDS = Needs("shop", "/srv/shop", "deploy", ("shop",), ("log", "var"), ("SECRET_KEY",), PRIVILEGES, ("shop.service",))


def lines(needs: Needs) -> list[str]:
    return bootstrap.script(needs).splitlines()


def test_script_is_one_that_a_shell_understands() -> None:
    """sh -n has nothing to say, whatever is needed."""
    for needs in (NEEDS, NEEDS._replace(privileges=(), accounts=(), directories=(), variables=(), units=())):
        subprocess.run(["sh", "-n"], input=bootstrap.script(needs), text=True, check=True)


def test_script_does_nothing_for_an_ordinary_user() -> None:
    """It says that it is to be run as root, and ends, before it does anything."""
    before = next(line for line in lines(NEEDS) if "id -u" in line)
    done = subprocess.run(["sh", "-c", before.replace('"$(id -u)"', "1001") + "; echo went on"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "as root" in done.stderr


def test_each_thing_is_said_before_it_is_done() -> None:
    """What a privilege grants stands as a comment right before it."""
    found = lines(NEEDS)
    for said, done in (
        ("# web: restarts the site", "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart shop.service"),
        ("# web: whoever can write the unit can become root", "link /etc/systemd/system/shop.service /srv/shop/current/etc/x"),
        ("# nginx: the site's part of nginx", "put /etc/nginx/conf.d/shop.conf <<'END'"),
        ("# worker: supervisord reads it", "word /etc/s.conf include files '/srv/shop/current/*.conf'"),
        ("# timer: units run without a login", "loginctl enable-linger deploy"),
    ):
        assert found[found.index(done) - 1] == said


def test_sudo_lines_are_exact() -> None:
    """No wildcard, no option of the caller's: what sudo would take for a pattern or a separator is escaped."""
    line = bootstrap.sudoers_line("deploy", ["/bin/x", "a b", "c,d", "*", "k=v", "http://h:80", "#1", "^.*$"])
    assert line == r"deploy ALL=(root) NOPASSWD: /bin/x a\ b c\,d \* k\=v http\://h\:80 \#1 \^.\*$"


def test_a_command_alone_allows_no_arguments() -> None:
    """sudo takes a line without arguments for any of them; quotes stand for none."""
    assert bootstrap.sudoers_line("deploy", ["/bin/x"]) == 'deploy ALL=(root) NOPASSWD: /bin/x ""'


@pytest.mark.parametrize(
    ("service", "etc"),
    [
        ({"kind": "command", "reload": ("sudo", "/bin/true\nEND\ntouch", "/tmp/x")}, ""),
        ({"kind": "command", "reload": ("sudo", "/bin/x", "")}, ""),
        ({"kind": "command", "reload": ("sudo", "/usr/bin/")}, ""),
        ({"kind": "command", "reload": ("sudo", "bin/x", "y")}, ""),
        ({"kind": "command", "reload": ("sudo", "@root@/current/src/x.sh", "y")}, ""),
        ({"kind": "command", "reload": ("sudo", "@root@/../other/x.sh", "y")}, ""),
        ({"kind": "supervisord", "program": "shop:*"}, "[program:shop]\ncommand=/bin/x\nprocess_name = a\n END\n touch /tmp/x\n cat <<'END'\n"),
        ({"kind": "systemd", "unit": "x.service"}, "[Service]\nExecStart=/bin/x\n[Install]\nWantedBy=../../../tmp/x\n"),
    ],
    ids=["line", "empty", "directory", "relative", "root", "above", "process", "wanted"],
)
def test_a_release_that_would_lead_root_astray(service: dict[str, Any], etc: str) -> None:
    """Nothing that a release brings ends a line of the script, leads out of a directory, or lets root run what is not root's."""
    each = Service("x", config=("x/*",) if etc else (), restart_on=("release",), **service)
    wanted = Wanted({"x/x.service" if service["kind"] == "systemd" else "x/x.conf": Rendered(etc.encode(), "644")})
    with pytest.raises(RefusedError) as refused:
        bootstrap.needs(FACTS._replace(services=(each,)), wanted, "/srv/shop", "deploy")
    assert {problem.where for problem in refused.value.problems} == {"services.x"}


@pytest.mark.parametrize(("root", "folder"), [("/srv/my shop", "conf.d"), ("/srv/shop", "x;y/conf.d"), ("/srv/shop", "{x}/conf.d")])
@pytest.mark.parametrize("kind", ["nginx", "apache"])
def test_an_include_that_would_stop_the_server(kind: str, root: str, folder: str) -> None:
    """A file of the system's with a path that its server takes for several words would keep it from starting: it is not written."""
    wanted = Wanted({f"{folder}/x.conf": Rendered(b"", "644")})
    with pytest.raises(RefusedError, match="into a script"):
        bootstrap.needs(FACTS._replace(services=(Service("x", kind, config=("**",)),)), wanted, root, "deploy")


def test_sudo_understands_its_lines(tmp_path: Path) -> None:
    """visudo takes them, whatever stands in an argument."""
    if not shutil.which("visudo"):
        missing("sudo is not installed")
    file = tmp_path / "lines"
    commands = [["/bin/x"], *(["/bin/x", f"a{chr(code)}b"] for code in range(33, 127))]
    file.write_text("".join(f"{bootstrap.sudoers_line('deploy', command)}\n" for command in commands))
    file.chmod(0o440)
    subprocess.run(["visudo", "--check", "--quiet", f"--file={file}"], check=True)


def test_without_a_command_the_sudo_lines_are_taken_back() -> None:
    """A release that needs none removes what an earlier one was given."""
    found = lines(NEEDS._replace(privileges=()))
    assert "rm -f /etc/sudoers.d/install-release-shop" in found
    assert not [line for line in found if "NOPASSWD" in line]


def test_sudo_reads_the_file() -> None:
    """The name has no dot, which sudo would skip."""
    assert bootstrap.sudoers_file("shop.example") == "/etc/sudoers.d/install-release-shop_example"


def test_what_lies_in_the_root_is_made_by_its_owner() -> None:
    """Root follows no path below the release root: the user who deploys could put a link there."""
    for line in lines(NEEDS):
        if "/srv/shop/" in line and not line.startswith(("#", "link ", "word ", "include ", "echo ", "ExecStart=", "ConditionPathExists=")):
            assert line.startswith("as_user "), line


def test_a_line_is_put_into_an_ini_file_once(tmp_path: Path) -> None:
    """The word comes first in its key's value; a key or a section that is missing is made; a second time changes nothing."""
    function = "\n".join(lines(NEEDS)).partition("word() {")[2].partition("\n}\n")[0]
    for number, (before, after) in enumerate(
        (
            ("[a]\nx=1\n[include]\nfiles = /a/*.conf ; all\n", "[a]\nx=1\n[include]\nfiles = /b&\\1  /a/*.conf ; all\n"),
            ("[include]\n[b]\nfiles = 1\n", "[include]\nfiles = /b&\\1\n[b]\nfiles = 1\n"),
            ("[a]\nx=1\n", "[a]\nx=1\n[include]\nfiles = /b&\\1\n"),
            ("[include]\n", "[include]\nfiles = /b&\\1\n"),
        )
    ):
        path = os.path.join(tmp_path, str(number))
        with open(path, "w") as file:
            file.write(before)
        for _ in range(2):
            subprocess.run(["sh", "-euc", f'word() {{{function}\n}}; word "$1" include files "$2"', "sh", path, "/b&\\1"], check=True)
            with open(path) as file:
                assert file.read() == after


def test_a_file_of_an_administrators_is_kept_beside(tmp_path: Path) -> None:
    """The script does not write over what it has not written: the first text that it finds stays beside; the same text again changes nothing."""
    function = "\n".join(lines(NEEDS)).partition("put() {")[2].partition("\n}\n")[0]
    path = tmp_path / "conf.d/shop.conf"
    for text in ("mine\n", "ours\n", "ours\n", "ours, later\n"):
        if text == "mine\n":
            path.parent.mkdir()
            path.write_text(text)
        else:
            subprocess.run(["sh", "-euc", f'put() {{{function}\n}}; put "$1"', "sh", path], input=text, text=True, check=True)
    assert {each.name: each.read_text() for each in path.parent.iterdir()} == {"shop.conf": "ours, later\n", "shop.conf.old": "mine\n"}


def test_directories_that_files_are_copied_to(tmp_path: Path) -> None:
    """Each is made for the user who deploys, once; one that is there stays whose it is. What it grants is said before."""
    wanted = Wanted({path: Rendered(b"", "644") for path in ("conf/a", "conf/below/b", "rc")})
    overlay = Overlay((Copied("conf", f"{tmp_path}/shop.d"), Copied("rc", f"{tmp_path}/x/shop.rc")))
    needs = bootstrap.needs(FACTS._replace(overlay=overlay), wanted, "/srv/shop", "deploy")
    assert needs.places == (f"{tmp_path}/shop.d", f"{tmp_path}/x")
    script = bootstrap.script(needs)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)
    found = script.splitlines()
    start = found.index("place() {")
    assert "deploy can put whatever it likes" in " ".join(found[start - 3 : start])
    part = "\n".join(['as_user() { "$@"; }', *found[start : found.index(f"place {tmp_path}/x") + 1]])
    for _ in range(2):
        done = subprocess.run(["sh", "-eu"], input=part, text=True, capture_output=True, check=True)
        assert done.stderr == ""
        assert sorted(path.name for path in tmp_path.iterdir()) == ["shop.d", "x"]
    assert "place() {" not in bootstrap.script(NEEDS)


def test_the_script_ends_with_what_is_next() -> None:
    """What no artifact carries, as far as it is not there: variables; and values, when host.ini lacks one."""
    end = "install-release release.tgz --root /srv/shop'"
    begin = "echo 'next, as deploy, logged in anew: SECRET_KEY into /srv/shop/shared/env,"
    assert bootstrap.script(NEEDS).splitlines()[-1] == f"{begin} then {end}"
    unset = bootstrap.script(NEEDS._replace(unset=True)).splitlines()[-1]
    assert unset == f"{begin} what etc/ asks for (--plan names it) into /srv/shop/shared/host.ini, then {end}"


def test_who_services_run_as() -> None:
    """What units and programs of the system's managers say; not what the user's own managers run, nor what starts nothing."""
    services = (
        Service("web", "gunicorn", unit="shop.service", config=("systemd/*",)),
        Service("worker", "supervisord", program="worker", config=("supervisor/*",)),
        Service("own", "systemd", unit="own.service", config=("own.service",), user=True),
    )
    texts = {
        "systemd/shop.service": "[Service]\nUser=shop\n#User=nobody\nExecStart=x\n",
        "systemd/helper.service": "[Service]\nUser = root\nExecStart=x\n",
        "systemd/nobody.service": "[Service]\nExecStart=x\n",
        "systemd/dynamic.service": "[Service]\nDynamicUser=yes\nExecStart=x\n",
        "systemd/shop.socket": "[Socket]\nListenStream=1\n",
        "supervisor/w.conf": "[program:worker]\ncommand=x\nuser=worker\n[program:other]\ncommand=x\nuser=shop\n",
        "own.service": "[Service]\nUser=mine\nExecStart=x\n",
    }
    manifest = FACTS._replace(services=services)
    assert bootstrap.accounts(manifest, texts) == ("shop", "worker")
    roots = [where for where, user in bootstrap.runs_as(manifest, texts) if user in ("", "root")]
    assert roots == ["etc/systemd/helper.service", "etc/systemd/nobody.service"]


@pytest.mark.parametrize("user", ["root", "de ploy", "deploy;id", "-x", "$(id)"])
def test_users_who_can_not_be_the_one(user: str) -> None:
    """root is no user to deploy as, and what is no name goes into no script."""
    with pytest.raises(RefusedError) as refused:
        bootstrap.needs(FACTS, Wanted(), "/srv/shop", user)
    assert refused.value.problems[0].where == "user"


def test_a_root_that_would_break_a_line() -> None:
    """A path that goes on in the next line of a unit or a file of the system's is refused, wherever it comes from."""
    with pytest.raises(RefusedError) as refused:
        bootstrap.needs(FACTS, Wanted(), "/srv/shop\nUser=root", "deploy")
    assert refused.value.problems[0].where == "root"


def test_needs_of_a_release_that_declares_nothing() -> None:
    """A user, a root, and what shared/env must set: no right of root's."""
    found = bootstrap.needs(FACTS, Wanted({"x": Rendered(b"User=x\n", "644")}), "/srv/shop", "deploy")
    assert (found.privileges, found.accounts, found.user) == ((), (), "deploy")


def test_a_power_cut_is_seen_to_before_the_services_start() -> None:
    """What reads the live release waits for recover --boot: its own units, and the servers that include its files."""
    services = (
        Service("web", "gunicorn", unit="shop.service"),
        Service("own", "systemd", unit="own.service", user=True),
        Service("tick", "systemd", unit="shop.timer"),
        Service("front", "nginx"),
    )
    found = bootstrap.needs(FACTS._replace(services=services), Wanted(), "/srv/my shop", "deploy")
    text = bootstrap.script(found)
    assert "Before=shop.service nginx.service\n" in text
    assert 'ExecStart="/srv/my shop/bin/install-release" recover --boot --root "/srv/my shop"\n' in text
    assert "recover" not in bootstrap.script(bootstrap.needs(FACTS, Wanted(), "/srv/shop", "deploy"))
