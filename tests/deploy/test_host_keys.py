"""Whose key is known, as Fabric's connections are made to see it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import fabric
import paramiko
import pytest

from builder.deploy import host_keys
from builder.errors import HostKeyError


class Home:
    """A home with ssh's files, and keys of hosts."""

    def __init__(self, home: Path) -> None:
        self.ssh = home / ".ssh"
        self.ssh.mkdir(mode=0o700)

    def key(self, name: str, kind: str = "ed25519") -> str:
        """A new public key: its kind and its text."""
        path = self.ssh / name
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path], check=True)
        return " ".join(path.with_suffix(".pub").read_text().split()[:2])

    def write(self, name: str, *lines: str) -> None:
        (self.ssh / name).write_text("".join(f"{line}\n" for line in lines))

    def known(self, host: str) -> set[str]:
        """The keys that a connection to ``host`` takes."""
        connection = fabric.Connection(host)
        host_keys.guard(connection)
        return {f"{key.get_name()} {key.get_base64()}" for entry in connection.client.get_host_keys().values() for key in entry.values()}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOME", str(tmp_path))
    return Home(tmp_path)


def test_known_are_the_keys_of_known_hosts(home: Home) -> None:
    """Of this name and this port; hashed names too; lines that say nothing are passed over."""
    one, two, three = home.key("one"), home.key("two", "ecdsa"), home.key("three")
    home.write("known_hosts", "# a comment", "", f"web1,10.0.0.1 {one} root@web1", f"web1 {two}", f"[web1]:2222 {three}")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", home.ssh / "known_hosts"], check=True, capture_output=True)
    assert "web1 " not in (home.ssh / "known_hosts").read_text()
    with (home.ssh / "known_hosts").open("a") as known:
        known.write("web1 ssh-what AAAA\nx\nweb1 ssh-ed25519 !\n")
    assert home.known("web1") == {one, two}
    assert home.known("deploy@10.0.0.1") == {one}
    assert home.known("web1:2222") == {three}
    assert home.known("web2") == set()


def test_known_are_files_and_names_as_ssh_is_told(home: Home) -> None:
    """UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias, HostName."""
    one, two = home.key("one"), home.key("two")
    home.write("a", f"fleet {one}")
    home.write("b", f"web2.example {two}")
    home.write("known_hosts", f"web1 {two}", f"web2 {one}")
    home.write(
        "config", "Host web1", " HostKeyAlias fleet", "Host web2", " HostName web2.example", "Host *", " UserKnownHostsFile ~/.ssh/none ~/.ssh/a"
    )
    assert home.known("web1") == {one}
    assert home.known("web2") == set()
    with (home.ssh / "config").open("a") as config:
        config.write(f" GlobalKnownHostsFile {home.ssh}/b\n")
    assert home.known("web2") == {two}


def test_a_revoked_key_is_not_known(home: Home) -> None:
    """Wherever it stands otherwise; nor is the key of an authority a host's."""
    one, two, authority = home.key("one"), home.key("two", "ecdsa"), home.key("authority")
    home.write("known_hosts", f"web1 {one}", f"web1 {two}", f"@revoked * {one}", f"@cert-authority web1 {authority}")
    assert home.known("web1") == {two}


def test_who_is_on_the_way_must_be_known_too(home: Home) -> None:
    """Every hop of ProxyJump."""
    one, two = home.key("one"), home.key("two")
    home.write("known_hosts", f"jump1 {one}", f"[jump2]:2222 {two}")
    home.write("config", "Host web1", " ProxyJump jump1,me@jump2:2222")
    connection = fabric.Connection("web1")
    host_keys.guard(connection)
    way = {each.host: list(each.client.get_host_keys()) for each in host_keys.route(connection)}
    assert way == {"web1": [], "jump2": ["[jump2]:2222"], "jump1": ["jump1"]}


def test_an_unknown_key_is_told_and_not_taken(home: Home) -> None:
    """With its fingerprint as ssh-keygen shows it, whatever StrictHostKeyChecking says; a revoked one is told apart."""
    one, two = home.key("one"), home.key("two")
    home.write("known_hosts", f"@revoked web1 {two}")
    home.write("config", "Host *", " StrictHostKeyChecking no")
    connection = fabric.Connection("web1")
    host_keys.guard(connection)
    printed = subprocess.run(["ssh-keygen", "-lf", home.ssh / "one.pub"], check=True, capture_output=True, text=True).stdout.split()[1]
    for text, said in ((one, f"its key is ssh-ed25519 {printed}, which known_hosts does not have."), (two, "is revoked")):
        with pytest.raises(HostKeyError) as caught:
            connection.client._policy.missing_host_key(connection.client, "web1", key(text))
        assert said in f"{caught.value} {caught.value.problems[0]}"


def test_another_key_is_told_with_both(home: Home) -> None:
    """What it has, and what was known."""
    one, two = key(home.key("one")), key(home.key("two"))
    error = host_keys.changed(paramiko.BadHostKeyException("web1", one, two))
    assert one.fingerprint in error.problems[0].what
    assert two.fingerprint in error.problems[0].what
    assert "ssh-keygen -R web1" in error.problems[0].remedy


def key(text: str) -> paramiko.PKey:
    """A public key from its kind and text."""
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"x {text}")
    assert entry
    return entry.key
