"""A production host that has booted: a real systemd, its cron, and its supervisord, each started by its own unit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tests.conftest import missing

from .host import Host, children, wait_until
from .rootfs import root_file_system


class Machine(Host):
    """Debian 12 in a container of systemd-nspawn's, with nothing but a loopback. What is written outside /srv is gone with it."""

    def __init__(self, srv: Path) -> None:
        if os.geteuid() or not shutil.which("systemd-nspawn"):
            missing("a machine that boots needs root and systemd-nspawn (systemd-container)")
        super().__init__(root_file_system("bookworm", "python3", "systemd", "systemd-sysv", "cron", "supervisor"), srv)

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

    def systemctl(self, *argv: str, check: bool = True) -> str:
        """Run systemctl as the host's root."""
        return self.administrate("systemctl", *argv, check=check)

    def write(self, path: str, text: str) -> None:
        """Put a file of the system's configuration in place, as its administrator would."""
        self.administrate("sh", "-c", 'mkdir -p "${0%/*}" && cat > "$0"', path, input=text)
