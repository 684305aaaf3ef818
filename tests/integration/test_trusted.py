"""The whole way with signatures: CI signs, whoever promotes signs too, a host whose administrator has written a policy takes nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import keys

from .commands import Artifact, build, build_release
from .conftest import MakeHost
from .deploy import INSTALLER, ROOT, current
from .host import Host
from .rootfs import STRANGER, root_file_system

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
POLICY = """\
[signatures]
required = 2
allowed_signers = /etc/install-release/allowed_signers
revocations = /etc/install-release/revocations
[releases]
floor = yes
"""
VERSIONS = ("1.0", "1.1", "1.2", "1.3")


class Shop:
    """A few versions of nothing much, and the keys of CI and of whoever promotes."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.ci, self.promotion = keys.key(work, "ci"), keys.key(work, "release")
        self.allowed = "".join(map(keys.allow, (self.ci, self.promotion)))
        repository = work / "repository"
        repository.mkdir()
        self._git("init", "--quiet")
        for number, version in enumerate(VERSIONS):
            (repository / "app.py").write_text(f"VERSION = {version!r}\n")
            (work / f"{version}.toml").write_text(RECIPE.format(version=version, repository=repository))
            self._git("add", "--all")
            self._git("commit", "--quiet", "--message", version, env={"GIT_COMMITTER_DATE": f"2026-11-2{number}T10:00:00Z"})
            self._git("tag", f"v{version}")

    def _git(self, *words: str, env: dict[str, str] | None = None) -> None:
        subprocess.run(["git", *words], cwd=self.work / "repository", check=True, env={**os.environ, **(env or {})})

    def built(self, version: str) -> Artifact:
        """By CI, which signs it."""
        cache = {"BUILD_RELEASE_CACHE": str(self.work / "cache")}
        return build(self.work / f"{version}.toml", self.work / "artifacts", "--sign", str(self.ci), env=cache)

    def promoted(self, version: str) -> Path:
        """And by whoever promotes it, later."""
        path = self.built(version).path
        build_release("sign", path, "--key", self.promotion)
        return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    """With OpenSSH's client, and an /etc that its administrator can write to."""
    host = make_host(root_file_system("bookworm", "python3", "openssh-client"))
    writable(host)
    return host


def writable(host: Host) -> None:
    script = "mkdir /run/etc && cp -r --preserve=mode /etc/. /run/etc && mkdir /run/etc/install-release && mount --bind /run/etc /etc"
    host.administrate("sh", "-c", script)


def write(host: Host, name: str, text: str) -> None:
    """What the administrator does: root's own file, which the user who deploys can't change."""
    host.administrate("sh", "-c", f"cat > /etc/install-release/{name}", input=text)


def deploy(host: Host, artifact: Path, *options: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """By the installer that is there, else by that in the artifact."""
    host.copy(artifact, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "--strip-components=1", "release/install-release", cwd=host.upload)
    return host.run("python3", "install-release", "release.tgz", "--root", ROOT, *options, cwd=host.upload, check=False, env=env)


def test_a_host_takes_what_two_have_signed_and_nothing_else(shop: Shop, host: Host) -> None:
    """Refused with one signature, installed with two; an older one refused, a rollback to what was good allowed; what is revoked refused."""
    write(host, "shop.ini", POLICY)
    write(host, "allowed_signers", shop.allowed)
    write(host, "revocations", "# revocations v1\n")

    one = deploy(host, shop.built("1.1").path)
    assert one.returncode == 3
    assert "asks for signatures by 2 different keys that may sign; there is 1: ci@example (ED25519 SHA256:" in one.stderr
    assert host.run("ls", "-A", ROOT).stdout == ""

    path = shop.promoted("1.1")
    assert "ci@example (ED25519 SHA256:" in deploy(host, path, "--plan").stdout
    assert deploy(host, path).returncode == 0
    first = current(host)
    assert first[-12:] in path.name
    assert "signed by ci@example (ED25519" in host.run(INSTALLER, "status").stdout

    older = deploy(host, shop.promoted("1.0"), "--allow-downgrade")
    assert older.returncode == 3
    assert "nothing older is installed that was not good here" in older.stderr
    assert "does not allow a downgrade" in older.stderr

    assert deploy(host, shop.promoted("1.2")).returncode == 0
    second = current(host)
    host.run(INSTALLER, "rollback", "--keep")
    assert current(host) == first
    host.run(INSTALLER, "activate", second)

    write(host, "shop.ini", f"{POLICY}revoked = {first}\n")
    for words in (("rollback",), ("activate", first)):
        done = host.run(INSTALLER, *words, check=False)
        assert done.returncode == 3, done.stdout
    assert deploy(host, path).returncode == 3
    assert current(host) == second

    write(host, "revocations", f"# revocations v2\n{keys.public(shop.ci)}\n")
    stolen = deploy(host, shop.promoted("1.3"))
    assert stolen.returncode == 3
    assert "which is revoked" in stolen.stderr
    write(host, "revocations", "# revocations v3\n")
    assert deploy(host, shop.promoted("1.3")).returncode == 0
    write(host, "revocations", "# revocations v2\n")
    assert "version 3 was here" in deploy(host, shop.promoted("1.3")).stderr


def test_whoever_deploys_can_not_change_the_policy(shop: Shop, host: Host) -> None:
    """It is root's: a user's own file beside it does not count, and one of root's that others can write to refuses everything."""
    write(host, "shop.ini", POLICY)
    write(host, "allowed_signers", shop.allowed)
    write(host, "revocations", "# revocations v1\n")
    assert host.run("sh", "-c", "echo > /etc/install-release/shop.ini", check=False).returncode != 0
    host.run("sh", "-c", "mkdir -p /srv/upload/.config/install-release && echo > /srv/upload/.config/install-release/shop.ini")
    assert deploy(host, shop.built("1.1").path, env={"HOME": "/srv/upload"}).returncode == 3
    host.administrate("chmod", "666", "/etc/install-release/allowed_signers")
    done = deploy(host, shop.promoted("1.1"))
    assert done.returncode == 3
    assert "/etc/install-release/allowed_signers  can be written by everybody (mode 666)" in done.stderr


def test_a_host_without_openssh_refuses_and_says_why(shop: Shop, make_host: MakeHost, debian: Path) -> None:
    """Where a policy asks for signatures; and a user without a name in passwd is told apart from a bad signature."""
    for host, said in (
        (make_host(debian), "Install OpenSSH's client"),
        (make_host(root_file_system("bookworm", "python3", "openssh-client"), uid=STRANGER), f"refuses to work for user {STRANGER}"),
    ):
        writable(host)
        write(host, "shop.ini", POLICY)
        write(host, "allowed_signers", shop.allowed)
        write(host, "revocations", "# revocations v1\n")
        done = deploy(host, shop.promoted("1.1"))
        assert done.returncode == 3
        assert said in done.stderr
