"""Deploying over real ssh, onto hosts that have no network, from nothing to the way back."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builder.artifact import Built
from builder.install_release.artifact import open_artifact
from builder.install_release.declared import Health, Hook
from builder.report import size
from tests.releases import THIS_TARGET, write_release
from tests.store.releases import noise
from tests.store.weed import BUCKET, serving

from .commands import BUILD_RELEASE, build, build_release
from .conftest import MakeHost
from .deploy import INSTALLER, ROOT, current
from .host import Host, wait_until
from .ssh import Operator, with_sshd

TARGET = THIS_TARGET._replace(python="3.11", abi="cp311", byte_code="")
FIRST = 1763892672
FABFILE = re.search(r"<!-- fabfile: begin -->\n```python\n(.*?)```", (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(), re.DOTALL)
HOOK = ("sh", "-c", "touch ../../../shared/started; while ! test -e ../../../shared/go; do sleep 0.05; done")

CUT = """\
import os, sys
left = int(sys.argv[1])
while left and (piece := os.read(0, min(left, 65536))):
    os.write(1, piece)
    left -= len(piece)
"""


class Fleet:
    """Two hosts, and somebody who may deploy there: ``hosts`` by name."""

    def __init__(self, work: Path, hosts: dict[str, Host]) -> None:
        self.work, self.hosts = work, hosts
        self.operator = Operator(work / "home")
        for name, host in hosts.items():
            self.operator.meet(name, host)

    def deploy(self, *words: str | Path, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        """Run the command, which ends with ``status``."""
        done = build_release("deploy", *words, env={**self.operator.environment, **env}, cwd=self.work, check=False)
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done

    def ask(self, *words: str | Path, status: int = 0) -> Any:
        """What it says to programs."""
        return json.loads(self.deploy(*words, "--json", status=status).stdout)

    def start(self, *words: str | Path) -> subprocess.Popen[str]:
        """The command, under way, in a process group of its own as a shell's is."""
        environment = {**os.environ, **self.operator.environment}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [BUILD_RELEASE, "deploy", *map(str, words)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            text=True,
            process_group=0,
        )


@pytest.fixture
def fleet(make_host: MakeHost, tmp_path: Path) -> Fleet:
    tree = with_sshd("python3")
    return Fleet(tmp_path, {"web1": make_host(tree), "web2": make_host(tree)})


def artifact(work: Path, version: str, more: str = "", **facts: Any) -> Built:
    """A release of 2 MB of wheels that are the same in each version, and a source that is not; perhaps one wheel more."""
    layers = {
        "src": {"app.py": f"VERSION = {version!r}\n"},
        **{f"wheel:{name}": {f"lib/{name}.bin": noise(name, 1 << 20)} for name in ("a", "b", *more)},
    }
    later = int(version.replace(".", ""))
    return write_release(work, layers, version=version, commit_time=FIRST + later, root=ROOT, target=TARGET, **facts)


def leftovers(host: Host) -> str:
    """What lies where only what is temporary lies."""
    return host.run("sh", "-c", f"ls -A /tmp /var/tmp {ROOT}/.install/staging 2>/dev/null | grep -v :$ | grep .", check=False).stdout


def test_bare_hosts_then_only_what_changed(fleet: Fleet) -> None:
    """A plan changes nothing; a bare host gets the installer too; the next release sends its source; the same again does nothing."""
    one, two = artifact(fleet.work, "1.0"), artifact(fleet.work, "1.1")
    done = fleet.deploy(one.path, "web1", "web2", "--plan")
    assert done.stdout.count(f"shop: nothing → {one.id[:19]}") == 2
    assert done.stdout.endswith("nothing has been changed\n")
    for host in fleet.hosts.values():
        assert host.run("ls", "-A", ROOT).stdout == ""

    said = fleet.ask(one.path, "web1", "web2", "--why", "the first")
    assert [(each["host"], each["state"], each["brought_installer"], each["left_out"]) for each in said["hosts"]] == [
        ("web1", "done", True, 0),
        ("web2", "done", True, 0),
    ]
    for host in fleet.hosts.values():
        assert current(host) == one.id
        assert "good" in host.run(INSTALLER, "log").stdout
        assert "the first" in host.run(INSTALLER, "log").stdout
        assert "(as deploy)" in host.run(INSTALLER, "log").stdout

    said = fleet.ask(two.path, "web1", "web2")
    with open_artifact(two.path) as opened:
        layers = {layer.name: layer.bytes for layer in opened.manifest.layers}
        changed = two.bytes - layers["a"] - layers["b"]
    for each in said["hosts"]:
        assert each["whole"] == two.bytes
        assert each["left_out"] == 2
        assert each["sent"] < changed + 4000  # thin.json says what is not there
        assert (each["installer"]["from"], each["installer"]["id"]) == (one.id, two.id)
    said = fleet.ask(two.path, "web1", "web2")
    assert all(each["installer"]["already"] and each["left_out"] == 3 for each in said["hosts"])

    assert "nobody has signed" in fleet.deploy(two.path, "web1").stderr
    done = fleet.deploy(two.path, "web1", "web2", "--expect-sha256", two.sha256)
    assert "nobody has signed" not in done.stderr
    assert done.stdout.startswith(f"shop 1.1 ({two.id}) is on 2 hosts\n")
    assert re.search(rf"web1 +{two.id} +{two.id} +.* kB +2\.. MB +\d+\.\d  was live already", done.stdout)
    done = fleet.deploy(one.path, "web1", "--no-activate", "--whole")
    assert f"web1: {size(one.bytes)} of {size(one.bytes)} sent" in done.stderr
    for host in fleet.hosts.values():
        assert current(host) == two.id
        assert leftovers(host) == ""
        host.run(INSTALLER, "verify")
    assert not list((fleet.work / "home").glob("build-release*"))


def test_the_first_that_fails_is_the_last(fleet: Fleet) -> None:
    """A release that is not well is rolled back on the first host, with that status and its reasons; the second is not reached. Then it is mended."""
    one, two = artifact(fleet.work, "1.0"), artifact(fleet.work, "1.1", health=Health(command=("false",), passes=1, deadline=1))
    fleet.deploy(one.path, "web1", "web2")
    done = fleet.deploy(two.path, "web1", "web2", status=4)
    assert re.search(r"^web1: .*\(exit status 4\); not reached: web2:$", done.stderr, re.MULTILINE)
    assert "give the same command again" in done.stderr
    error = fleet.ask(two.path, "web2", "web1", status=4)["error"]
    assert [(each["host"], each["state"]) for each in error["hosts"]] == [("web2", "failed"), ("web1", "not reached")]
    assert error["problems"]
    assert {current(host) for host in fleet.hosts.values()} == {one.id}

    three = artifact(fleet.work, "1.2", health=Health(command=("sh", "-c", "test -e ../../../shared/well"), passes=1, deadline=1))
    fleet.hosts["web1"].run("touch", f"{ROOT}/shared/well")
    error = fleet.ask(three.path, "web1", "web2", status=4)["error"]
    assert [(each["host"], each["state"]) for each in error["hosts"]] == [("web1", "done"), ("web2", "failed")]
    assert error["message"].endswith("; done: web1")
    fleet.hosts["web2"].run("touch", f"{ROOT}/shared/well")
    fleet.deploy(three.path, "web1", "web2")
    assert {current(host) for host in fleet.hosts.values()} == {three.id}


def test_hooks_for_one_host_of_several(fleet: Fleet) -> None:
    """Run on the first host that is named, or on none."""
    hook = Hook("pre_flip", ("sh", "-c", "echo >> ../../../shared/once"), 30, once=True)
    for version, words in (("1.0", ()), ("1.1", ("--no-once",)), ("1.2", ())):
        fleet.deploy(artifact(fleet.work, version, hooks=(hook,)).path, "web1", "web2", *words)
    assert fleet.hosts["web1"].run("cat", f"{ROOT}/shared/once").stdout == "\n\n"
    assert fleet.hosts["web2"].run("ls", f"{ROOT}/shared").stdout == ""


def test_a_layer_that_goes_meanwhile_is_sent_after_all(fleet: Fleet) -> None:
    """What the host said that it has, and has no more when it installs: the whole artifact is sent, and that is said; by a plan too."""
    one, two, three = artifact(fleet.work, "1.0"), artifact(fleet.work, "1.1", "c"), artifact(fleet.work, "1.2", "d")
    host = fleet.hosts["web1"]
    fleet.deploy(one.path, "web1")
    lose = f"""\
import glob, os, subprocess, sys
done = subprocess.run([sys.executable, "-IS", "{ROOT}/shared/real", *sys.argv[1:]], close_fds=False)
if sys.argv[1] == "have":
    for path in glob.glob("{ROOT}/envs/*/lib/a.bin"):
        os.unlink(path)
sys.exit(done.returncode)
"""
    careless = f"mv {INSTALLER} {ROOT}/shared/real && cat > {INSTALLER} && chmod 755 {INSTALLER}"
    host.run("sh", "-c", careless, input=lose)
    done = fleet.deploy(two.path, "web1")
    assert "web1: a layer that was there has gone: the whole artifact is sent" in done.stderr
    assert "sent whole after all" in done.stdout
    assert current(host) == two.id
    host.run("sh", "-c", careless, input=lose)  # the release has brought a sound one
    done = fleet.deploy(three.path, "web1", "--plan")
    assert "the whole artifact is sent" in done.stderr
    assert "shop: " in done.stdout


def test_what_a_host_is_refused_for(fleet: Fleet, make_host: MakeHost) -> None:
    """Each with where, what and what to do, before anything is sent; a plan tells all of them, and goes on."""
    one, operator = artifact(fleet.work, "1.0"), fleet.operator
    operator.meet("unknown", fleet.hosts["web1"], known=False)
    operator.meet("changed", fleet.hosts["web1"], known=False)
    operator.know("changed", fleet.hosts["web2"])
    operator.meet("bare", make_host(with_sshd()))
    operator.meet("stranger", fleet.hosts["web1"], User="stranger")
    operator.meet("nologin", fleet.hosts["web1"], User="nobody")
    operator.reach("gone", "false")
    operator.reach("absent", "/nonexistent/command")
    expected = {
        "unknown": r"the host is not known.*its key is ssh-ed25519 SHA256:\S+, which known_hosts does not have\. Compare it",
        "changed": r"its key is ssh-ed25519 SHA256:\S+, known_hosts has ssh-ed25519 SHA256:\S+\. Somebody may be in between",
        "bare": r"bare +has no Python\. Install python3, 3\.9 or newer",
        "stranger": r"the host does not let us in.*stranger +Authentication failed\. Is the key in the agent",
        "nologin": r"the host does not say what it is.*status 1",
        "gone": r"the host can't be reached.*gone +.*Try ssh gone",
        "absent": r"/nonexistent/command can't be started",
        "nowhere.invalid": r"the host can't be reached.*Try ssh nowhere\.invalid",
    }
    for host, said in expected.items():
        done = fleet.deploy(one.path, host, "web2", status=3)
        assert re.search(said, done.stderr, re.DOTALL), done.stderr
        assert f"{host}: " in done.stderr
        assert "(exit status 3); not reached: web2:" in done.stderr
    done = fleet.deploy(one.path, "web1", "--root", "/srv/other", status=3)
    assert re.search(r"web1:/srv/other +is not there, and /srv is not writable for uid 1001\. Once, as its administrator: install -d", done.stderr)

    done = fleet.deploy(one.path, "unknown", "bare", "web1", "--plan", status=3)
    assert "which known_hosts does not have" in done.stdout
    assert "shop: nothing →" in done.stdout
    said = fleet.ask(one.path, "bare", "web1", "--plan", status=3)["hosts"]
    assert said[0]["installer"]["error"]["problems"][0]["where"] == "bare"
    assert said[1]["installer"]["to_id"] == one.id
    for host in fleet.hosts.values():
        assert host.run("ls", "-A", ROOT).stdout == ""

    assert "named twice" in fleet.deploy(one.path, "web1", "web1", status=2).stderr
    assert "sha256" in fleet.deploy(one.path, "web1", "--expect-sha256", "0" * 64, status=3).stderr


def test_a_key_in_the_agent(fleet: Fleet) -> None:
    """No private key in a file, though one is named: the agent has it."""
    socket = fleet.work / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_until(socket.exists)
        subprocess.run(["ssh-add", "-q", fleet.operator.key], env={**os.environ, "SSH_AUTH_SOCK": str(socket)}, check=True)
        fleet.operator.key.unlink()
        fleet.operator.configure("*", IdentityFile="~/.ssh/id_ed25519")
        one = artifact(fleet.work, "1.0")
        assert "the host does not let us in" in fleet.deploy(one.path, "web1", status=3).stderr
        fleet.deploy(one.path, "web1", SSH_AUTH_SOCK=str(socket))
    finally:
        agent.terminate()
        agent.wait()


def test_through_another_host(fleet: Fleet) -> None:
    """ProxyJump; whoever is on the way must be known too."""
    inner, one = fleet.hosts["web1"], artifact(fleet.work, "1.0")
    inner.administrate("sh", "-c", "cp /run/ssh/config /run/ssh/listening && echo 'Port 2222\nListenAddress 127.0.0.1' >> /run/ssh/listening")
    inner.administrate("/usr/sbin/sshd", "-f", "/run/ssh/listening")
    fleet.operator.configure("inner", HostName="127.0.0.1", Port="2222", User="deploy", ProxyJump="jump")
    fleet.operator.meet("jump", inner, known=False)
    fleet.operator.know("[127.0.0.1]:2222", inner)
    assert re.search(r"jump +its key is", fleet.deploy(one.path, "inner", status=3).stderr)
    fleet.operator.know("jump", inner)
    fleet.deploy(one.path, "inner")
    assert current(inner) == one.id


def test_a_full_disk(make_host: MakeHost, tmp_path: Path) -> None:
    """Refused by the installer there, which tells what it lacks, with its status; nothing is left of it."""
    fleet = Fleet(tmp_path, {"web1": make_host(with_sshd("python3"), srv_bytes=4 << 20)})
    one = artifact(tmp_path, "1.0")
    done = fleet.deploy(one.path, "web1", status=3)
    assert re.search(r"^web1: .*\(exit status 3\)", done.stderr, re.MULTILINE)
    assert re.search(r"disk|No space left on device", done.stderr)
    assert fleet.hosts["web1"].run("sh", "-c", f"ls {ROOT}/releases {ROOT}/envs 2>/dev/null", check=False).stdout == ""


@pytest.mark.parametrize("count", [1_000, 300_000, 1_000_000])
def test_a_connection_that_breaks_on_the_way(fleet: Fleet, count: int) -> None:
    """Nothing of it is there: half an artifact is refused, nothing is visible, nothing temporary stays. The same command again does it."""
    one = artifact(fleet.work, "1.0")
    host = fleet.hosts["web1"]
    (fleet.work / "cut.py").write_text(CUT)
    fleet.operator.meet("weak", host, prefix=("sh", "-c", f'"{sys.executable}" "{fleet.work}/cut.py" {count} | "$@" | cat', "sh"))
    done = fleet.deploy(one.path, "weak", "web2", status=3)
    assert ("the host can't be reached" if count < 10_000 else "the connection was lost") in done.stderr
    assert "(exit status 3); not reached: web2:" in done.stderr
    wait_until(lambda: host.run("sh", "-c", "grep -l -- '[-]-root=' /proc/[0-9]*/cmdline", check=False).stdout == "")
    assert leftovers(host) == ""
    assert host.run("sh", "-c", f"ls -d {ROOT}/current {ROOT}/releases/* {ROOT}/envs/* 2>/dev/null", check=False).stdout == ""
    fleet.deploy(one.path, "web1")
    assert current(host) == one.id


@pytest.mark.parametrize("how", ["ctrl-c", "killed", "lost"])
def test_an_installer_goes_on_without_us(fleet: Fleet, how: str) -> None:
    """Once all has arrived, neither Ctrl-C, nor the end of deploy, nor that of the connection stops it; what is known is said."""
    one = artifact(fleet.work, "1.0", hooks=(Hook("pre_flip", HOOK, 60),))
    host = fleet.hosts["web1"]
    process = fleet.start(one.path, "web1", "web2")
    wait_until(lambda: host.run("test", "-e", f"{ROOT}/shared/started"), 60)
    if how == "lost":
        host.administrate(
            "sh", "-c", 'for each in /proc/[0-9]*; do if grep -qx sshd "$each/comm"; then kill -9 "${each#/proc/}"; fi; done', check=False
        )
    else:
        process.send_signal(signal.SIGINT if how == "ctrl-c" else signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == {"ctrl-c": -signal.SIGINT, "killed": -signal.SIGKILL, "lost": 5}[how], said
    if how != "killed":
        assert f"{ROOT}/bin/install-release status" in said
        assert "not reached: web2" in said
    assert host.run("test", "-e", f"{ROOT}/current", check=False).returncode == 1
    for each in fleet.hosts.values():
        each.run("mkdir", "-p", f"{ROOT}/shared")
        each.run("touch", f"{ROOT}/shared/go")
    wait_until(lambda: current(host) == one.id)
    wait_until(lambda: "good" in host.run(INSTALLER, "log").stdout)
    said = fleet.ask(one.path, "web1", "web2")["hosts"]
    assert [each["installer"]["already"] for each in said] == [True, False]


def test_a_busy_host(fleet: Fleet) -> None:
    """Another installer is at work there: its own status, and who it is."""
    one, two = artifact(fleet.work, "1.0", hooks=(Hook("pre_flip", HOOK, 60),)), artifact(fleet.work, "1.1")
    host = fleet.hosts["web1"]
    process = fleet.start(one.path, "web1")
    wait_until(lambda: host.run("test", "-e", f"{ROOT}/shared/started"), 60)
    done = fleet.deploy(two.path, "web1", "--wait", "0.1", status=6)
    assert re.search(r"^web1: .*\(exit status 6\)", done.stderr, re.MULTILINE)
    host.run("touch", f"{ROOT}/shared/go")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said


def test_the_documented_fabfile(fleet: Fleet) -> None:
    """As it stands in docs/deploy.md: bare hosts, then a thin artifact, a stranger refused, a failure's exit status, nothing left in /tmp."""
    assert FABFILE
    (fleet.work / "fabfile.py").write_text(FABFILE[1].replace('ROOT = "/srv/shop"', f'ROOT = "{ROOT}"'))
    one, two = artifact(fleet.work, "1.0"), artifact(fleet.work, "1.1")
    bad = artifact(fleet.work, "1.2", health=Health(command=("false",), passes=1, deadline=1))
    bin = Path(sys.executable).parent
    environment = {**os.environ, **fleet.operator.environment, "PATH": f"{bin}:{os.environ['PATH']}"}

    def fab(hosts: str, path: Path, status: int = 0) -> str:
        words = [str(bin / "fab"), "-H", hosts, "deploy", str(path)]
        done = subprocess.run(words, cwd=fleet.work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return f"{done.stdout}{done.stderr}"

    fab("web1,web2", one.path)
    assert "2 layers left out" in fab("web1,web2", two.path)
    assert {current(host) for host in fleet.hosts.values()} == {two.id}
    fab("web1,web2", bad.path, status=4)
    fleet.operator.meet("unknown", fleet.hosts["web1"], known=False)
    assert "unknown" in fab("unknown", two.path, status=1)
    assert {current(host) for host in fleet.hosts.values()} == {two.id}
    assert [leftovers(host) for host in fleet.hosts.values()] == ["", ""]


RECIPE = """\
name = "shop"
version = "{version}"
root = "/srv/app"
[source]
repository = "{repository}"
ref = "v{version}"
[python]
version = "3.11"
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A repository with two versions."""
    repository = tmp_path / "repository"
    repository.mkdir()
    environment = dict(os.environ)
    for number, version in enumerate(("1.0", "1.1")):
        (repository / "app.py").write_text(f"VERSION = {version!r}\n")
        (tmp_path / f"{version}.toml").write_text(RECIPE.format(version=version, repository=repository))
        words = [["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", version], ["tag", f"v{version}"]]
        environment["GIT_COMMITTER_DATE"] = f"2026-11-2{number}T10:00:00Z"
        for each in words:
            subprocess.run(["git", *each], cwd=repository, check=True, env=environment)
    return tmp_path


def test_from_a_repository_to_the_way_back(make_host: MakeHost, shop: Path, tmp_path: Path) -> None:
    """Built, pushed to staging, deployed there, promoted, deployed to production: the same bytes. Back by the channel, and on the host. No host ever
    has a credential, and none calls out: they have no network."""
    tree = with_sshd("python3")
    fleet = Fleet(tmp_path, {name: make_host(tree) for name in ("staging1", "web1", "web2")})
    with serving(tmp_path / "weed") as server:
        keys, store = server.environment(), f"s3://{BUCKET}/end-to-end?addressing=path"

        def ask(*words: str) -> Any:
            return json.loads(build_release(*words, "--json", env=keys, cwd=tmp_path).stdout)

        def deploy(channel: str, *hosts: str) -> list[str]:
            said = json.loads(fleet.deploy(f"{store}#shop@{channel}", *hosts, "--json", "-o", tmp_path / "pulled" / channel, **keys).stdout)
            return [each["installer"]["id"] for each in said["hosts"]]

        one, two = (
            build(shop / f"{version}.toml", tmp_path / "artifacts", env={"BUILD_RELEASE_CACHE": str(tmp_path / "cache")})
            for version in ("1.0", "1.1")
        )
        for built in (one, two):
            pushed = ask("push", str(built.path), store, "--channel", "staging")
            assert deploy("staging", "staging1") == [built.id]
            ask("promote", store, "shop", "staging", "production", "--why", "tested")
            assert deploy("production", "web1", "web2") == [built.id, built.id]
            pulled = {
                channel: ask("pull", store, f"shop@{channel}", "-o", str(tmp_path / "pulled" / channel)) for channel in ("staging", "production")
            }
            assert {each["sha256"] for each in pulled.values()} == {built.sha256} == {pushed["sha256"]}
        web1, web2 = fleet.hosts["web1"], fleet.hosts["web2"]
        assert current(web1) == current(web2) == two.id

        ask("rollback", store, "shop", "production", "--why", "carts are empty")
        assert deploy("production", "web1") == [one.id]
        web2.run(INSTALLER, "rollback")
        assert current(web1) == current(web2) == one.id
        for host in fleet.hosts.values():
            assert "builder-secret" not in host.run("sh", "-c", f"cat {ROOT}/.install/* {ROOT}/revisions.log 2>/dev/null; env", check=False).stdout
            host.run(INSTALLER, "verify")
