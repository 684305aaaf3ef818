"""Who a host is, as known_hosts says: an unknown key is never taken, whatever Fabric would do of itself (it takes any).

Read are UserKnownHostsFile and GlobalKnownHostsFile of the ssh configuration, hashed names too, and HostKeyAlias. Not known here are certificates of
hosts and names with wildcards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import fabric
import paramiko

from ..errors import HostKeyError, Problem

_USER = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_GLOBAL = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"


def guard(connection: fabric.Connection) -> None:
    """Let this connection, and those that it goes through, accept the keys of known_hosts and no other."""
    for each in route(connection):
        known, revoked = _read(each.ssh_config)
        name = _name(each.host, each.port)
        keys = known.lookup(each.ssh_config.get("hostkeyalias") or name) or {}
        for kind, key in keys.items():
            if key not in revoked:
                each.client.get_host_keys().add(name, kind, key)
        each.client.set_missing_host_key_policy(_Refuse(revoked))


def route(connection: object) -> Iterator[fabric.Connection]:
    """A connection, and those that it goes through (ProxyJump)."""
    while isinstance(connection, fabric.Connection):
        yield connection
        connection = connection.gateway


def changed(error: paramiko.BadHostKeyException) -> HostKeyError:
    """The words for a key that is another one than known_hosts has."""
    what = f"its key is {_print(error.key)}, known_hosts has {_print(error.expected_key)}."
    remedy = f"Somebody may be in between. If the host was made anew, compare the fingerprint there, then ssh-keygen -R {error.hostname}."
    return HostKeyError("the host is not the one that is known", [Problem(error.hostname, what, remedy)])


class _Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
    def __init__(self, revoked: list[Any]) -> None:
        self._revoked = revoked

    def missing_host_key(self, client: object, hostname: str, key: Any) -> None:
        if key in self._revoked:
            raise HostKeyError(
                "the host's key is revoked", [Problem(hostname, f"its key is {_print(key)}.", "Do not trust it: give the host another.")]
            )
        remedy = "Compare it with ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub there, then ssh to it once, or add the key to known_hosts."
        raise HostKeyError("the host is not known", [Problem(hostname, f"its key is {_print(key)}, which known_hosts does not have.", remedy)])


def _read(settings: Mapping[str, Any]) -> tuple[paramiko.HostKeys, list[Any]]:
    """All keys that the files hold, and those that are revoked."""
    known, revoked = paramiko.HostKeys(), []
    for name in f"{settings.get('userknownhostsfile', _USER)} {settings.get('globalknownhostsfile', _GLOBAL)}".split():
        for line in _lines(os.path.expanduser(name)):
            marker = line.split(maxsplit=1)[0] if line.startswith("@") else ""
            try:
                entry = paramiko.hostkeys.HostKeyEntry.from_line(line.removeprefix(marker).strip())
            except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey):
                continue  # a kind of key that is not known here
            if entry and marker == "@revoked":
                revoked.append(entry.key)
            elif entry and not marker:
                for host in entry.hostnames:
                    known.add(host, entry.key.get_name(), entry.key)
    return known, revoked


def _lines(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if (line := line.strip()) and not line.startswith("#"):
                    yield line
    except OSError:  # none, or not ours to read: it says nothing
        return


def _name(host: str, port: int) -> str:
    return host if port == 22 else f"[{host}]:{port}"


def _print(key: Any) -> str:
    return f"{key.get_name()} {key.fingerprint}"
