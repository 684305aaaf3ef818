"""A production host that has booted: a real systemd, and what Debian's packages put there, each started by its own unit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import missing

from .host import ENVIRONMENT, Host, children, wait_until
from .rootfs import root_file_system

PACKAGES = (
    *("python3", "systemd", "systemd-sysv", "dbus", "libpam-systemd", "sudo", "cron", "logrotate"),
    *("supervisor", "nginx-light", "apache2", "openssl", "wrk"),
)


class Machine(Host):
    """Debian 12 in a container of systemd-nspawn's, with nothing but a loopback. What is written outside /srv is gone with it.

    Its user has the rights that an administrator gives, by groups and sudo, and no other. nginx and apache are there and don't run.
    """

    def __init__(self, srv: Path) -> None:
        if os.geteuid() or not shutil.which("systemd-nspawn"):
            missing("a machine that boots needs root and systemd-nspawn (systemd-container)")
        super().__init__(root_file_system("bookworm", *PACKAGES), srv)

    def __enter__(self) -> Machine:
        self.srv.mkdir(exist_ok=True)
        argv = [
            "setpriv", "--pdeathsig", "TERM",  # no machine outlives the tests, however they end
            "systemd-nspawn", "--quiet", f"--directory={self.tree}", f"--machine=release-test-{os.getpid()}", "--register=no", "--keep-unit",
            "--private-network", "--volatile=overlay", f"--bind={self.srv}:/srv", "--console=pipe", "--boot",
        ]  # fmt: skip
        with self.srv.with_suffix(".console").open("wb") as console:
            self._holder = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
        try:
            wait_until(self._booted, 60)
            self.systemctl("disable", "--now", "nginx", "apache2")  # both want port 80: a test starts the one that it is about
            self._prepare()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.send_signal(signal.SIGTERM)
        self._holder.send_signal(signal.SIGTERM)  # the second one: at once
        self._holder.wait(30)

    def _booted(self) -> bool:
        """Whether systemd is up. What nspawn starts first is not yet systemd."""
        for child in children(self._holder.pid):
            if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                self.pid = child
                return self.systemctl("is-system-running", check=False).strip() in ("running", "degraded")
        return False

    def argv(self, *argv: str, cwd: str = "/tmp", env: Mapping[str, str] | None = None) -> list[str]:
        """As an ordinary login of the user: with its groups, and able to become more only by what the host's own sudo allows."""
        inside = ["/usr/bin/env", "-C", cwd, "-i", *(f"{key}={value}" for key, value in {**ENVIRONMENT, **(env or {})}.items()), *argv]
        return [*self._enter(), "/usr/bin/setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--init-groups", "--inh-caps=-all", *inside]

    def systemctl(self, *argv: str, check: bool = True) -> str:
        """Run systemctl as the host's root."""
        return self.administrate("systemctl", *argv, check=check)

    def write(self, path: str, text: str) -> None:
        """Put a file of the system's configuration in place, as its administrator would."""
        self.administrate("sh", "-c", 'mkdir -p "${0%/*}" && cat > "$0"', path, input=text)
