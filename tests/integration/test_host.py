"""The production host itself: what it must not be able to do, or every other proof is worth nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from .host import Host
from .rootfs import STRANGER, UID, root_file_system


@pytest.mark.parametrize("uid", [UID, STRANGER])
def test_host_is_a_jail(tmp_path: Path, uid: int) -> None:
    """Its user has no rights, can't write outside /srv and /tmp, and no network interface but an empty loopback."""
    with Host(root_file_system("bookworm", "python3"), tmp_path / "srv", uid=uid) as host:
        assert host.run("id", "-u").stdout == f"{uid}\n"
        assert host.run("id", "-un", check=uid == UID).returncode == (0 if uid == UID else 1)
        assert host.run("sh", "-c", "grep CapEff /proc/self/status").stdout.split()[1] == "0" * 16
        for place in ("/", "/usr/bin", "/etc", "/srv", "/home/deploy", "/var/tmp"):
            assert host.run("touch", f"{place}/x", check=False).returncode == 1, place
        host.run("touch", "/srv/app/x", "/tmp/x")
        interfaces = host.run("cat", "/proc/net/dev").stdout.splitlines()[2:]
        assert [line.split(":")[0].strip() for line in interfaces] == ["lo"]
        assert not Path("/srv/app/x").exists()
