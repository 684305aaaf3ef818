"""Real sshd on hosts that have no network: each connection is an sshd of its own, started on the host, as ssh's ProxyCommand.

So nothing listens anywhere, and the host has no interface but an empty loopback; all else is as on any host: keys, logins, channels, environments.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import missing

from .host import Host
from .rootfs import root_file_system

PLACE = "/run/ssh"  # on the host
_SET_UP = f"""\
set -e
mkdir -p /run/sshd {PLACE}
cd {PLACE}
cat > authorized_keys
if test -e config; then exit; fi
ssh-keygen -q -t ed25519 -N '' -f host_key
sed 's/^deploy:[^:]*:/deploy:*:/' /etc/shadow > shadow
chmod 640 shadow
mount --bind shadow /etc/shadow
cat > config <<END
HostKey {PLACE}/host_key
AuthorizedKeysFile {PLACE}/authorized_keys
UsePAM no
PasswordAuthentication no
PidFile none
Subsystem sftp internal-sftp
END
"""


def with_sshd(*packages: str) -> Path:
    """The root file system of a host with sshd."""
    if os.geteuid():
        missing("sshd that lets another user in needs root")
    return root_file_system("bookworm", *packages, "openssh-server")


class Operator:
    """Whoever deploys: a home with a key, known_hosts, and an ssh configuration that knows how each host is reached."""

    def __init__(self, home: Path) -> None:
        self.ssh = home / ".ssh"
        self.ssh.mkdir(parents=True, mode=0o700)
        self.key = self.make_key("id_ed25519")

    def make_key(self, name: str) -> Path:
        """A key without a passphrase."""
        path = self.ssh / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def meet(self, name: str, host: Host, *, known: bool = True, prefix: tuple[str, ...] = (), **settings: str) -> None:
        """Let this operator in at ``host``, called ``name`` from now on. ``prefix`` stands before the command that is the connection."""
        host.administrate("sh", "-c", _SET_UP, input=self.key.with_suffix(".pub").read_text())
        self.reach(name, *prefix, *host.root_argv("/usr/sbin/sshd", "-i", "-f", f"{PLACE}/config"), **settings)
        if known:
            self.know(name, host)

    def reach(self, name: str, *command: str, **settings: str) -> None:
        """By ``command``, which is the connection."""
        self.configure(name, **{"User": "deploy", "ProxyCommand": shlex.join(command), **settings})

    def configure(self, name: str, **settings: str) -> None:
        """What ssh's configuration says of a host."""
        with (self.ssh / "config").open("a") as config:
            config.write(f"Host {name}\n" + "".join(f"    {key} {value}\n" for key, value in settings.items()))

    def know(self, name: str, host: Host) -> None:
        """Write the host's key into known_hosts."""
        kind, key, *_ = host.administrate("cat", f"{PLACE}/host_key.pub").split()
        with (self.ssh / "known_hosts").open("a") as known:
            known.write(f"{name} {kind} {key}\n")

    @property
    def environment(self) -> Mapping[str, str]:
        """What makes ssh's files, and all that is temporary, those of this operator."""
        return {"HOME": str(self.ssh.parent), "TMPDIR": str(self.ssh.parent), "SSH_AUTH_SOCK": ""}
