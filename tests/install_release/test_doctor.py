"""What is wrong with a host beside its releases, and what sudo and a home give away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.install_release import doctor
from builder.install_release.doctor import Facts
from builder.install_release.errors import Problem
from builder.install_release.host import Host
from builder.install_release.services import privileges

GOOD = Facts("/srv/shop", "deploy", 1001, ("deploy", "shop"), (), "", (), 0o640, ("/bin/a b",), ("/bin/a b", "/bin/c"), ())


def said(**facts: object) -> list[str]:
    return [str(problem) for problem in doctor.findings(GOOD._replace(**facts))]  # type: ignore[arg-type]


def test_nothing_wrong_is_nothing_said() -> None:
    """A host with exactly what is needed has no finding."""
    assert said() == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"uid": 0, "user": "root"}, ("belongs to root", "chown")),
        ({"groups": ("deploy", "sudo")}, ("group sudo", "gpasswd --delete deploy sudo")),
        ({"groups": ("docker",)}, ("group docker", "as good as being root")),
        ({"roots": ("etc/systemd/system/x.service",)}, ("etc/systemd/system/x.service: names no user", "User=")),
        ({"sudo": ("ALL",)}, ("root shell", "Take that line away")),
        ({"sudo": ("/bin/a b", "/usr/bin/vi /etc/x")}, ("/usr/bin/vi /etc/x", "no release here needs")),
        ({"modes": (("/srv/shop", 0o775),)}, ("its group", "chmod go-w /srv/shop")),
        ({"modes": (("/srv/shop/bin", 0o777),)}, ("everybody", "chmod go-w /srv/shop/bin")),
        ({"env_mode": 0o644}, ("secrets", "chmod 640")),
        ({"keys": ("/home/deploy/.ssh/id_ed25519",)}, ("id_ed25519 is a private key", "Take it away")),
        ({"unseen": "/home/deploy"}, ("can't be looked at", "as root")),
        ({"missing": (Problem("services.web", "shop.service is not linked.", "Run bootstrap again."),)}, ("not linked", "bootstrap")),
    ],
)
def test_each_finding_says_what_and_what_to_do(facts: dict[str, object], words: tuple[str, ...]) -> None:
    """One finding for one thing that is wrong, with its remedy."""
    (finding,) = said(**facts)
    for word in words:
        assert word in finding


def test_what_sudo_lists() -> None:
    """Commands, each without its escapes and tags; a comma in an argument separates nothing."""
    text = """Matching Defaults entries for deploy on vm:
    env_reset, mail_badpass, secure_path=/usr/local/sbin\\:/usr/bin, use_pty

User deploy may run the following commands on vm:
    (root) NOPASSWD: /usr/bin/systemctl restart shop.service
    (root) NOPASSWD: /usr/bin/x a\\,b c\\ d, NOPASSWD: SETENV: /usr/sbin/nginx -t
    (ALL : ALL) ALL
"""
    assert list(privileges.listed(text)) == ["/usr/bin/systemctl restart shop.service", "/usr/bin/x a,b c d", "/usr/sbin/nginx -t", "ALL"]


def test_facts_of_a_root(tmp_path: Path) -> None:
    """Who owns it, and what in it others can write to; shared/env with its mode."""
    root = tmp_path / "shop"
    with Host.create(str(root)) as host:
        (root / "releases").chmod(0o775)
        (root / "shared" / "env").write_text("A=1\n")
        (root / "shared" / "env").chmod(0o644)
        facts = doctor.gather(host)
    assert (facts.root, facts.uid) == (str(root), os.geteuid())
    assert facts.modes == ((str(root / "releases"), 0o775),)
    assert facts.env_mode == 0o644


def test_private_keys_of_a_home(tmp_path: Path) -> None:
    """What begins as private keys do, in a home and its .ssh; nothing public, no link, no directory, no pipe that would make it wait."""
    ssh = tmp_path / ".ssh"
    ssh.mkdir()
    (ssh / "id_ed25519").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    (ssh / "id_ed25519.pub").write_text("ssh-ed25519 AAAA\n")
    (ssh / "authorized_keys").write_text("ssh-ed25519 AAAA\n")
    (ssh / "link").symlink_to("id_ed25519")
    os.mkfifo(ssh / "pipe")
    (tmp_path / "key.pem").write_text("Bag Attributes\n-----BEGIN RSA PRIVATE KEY-----\n")
    (tmp_path / "key.ppk").write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    assert doctor.private_keys(str(tmp_path)) == ((str(tmp_path / "key.pem"), str(tmp_path / "key.ppk"), str(ssh / "id_ed25519")), "")
    assert doctor.private_keys(str(tmp_path / "nowhere")) == ((), "")
