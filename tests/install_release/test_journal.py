"""The journal proves itself."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from builder.install_release import journal
from builder.install_release.errors import DamagedError
from builder.install_release.host import Host
from builder.install_release.journal import Transaction
from builder.install_release.overlay import Change, Content

CHANGE = Change("/etc/cron.d/shop", "cron.d/shop", None, Content("0" * 64, "644"), "releases/x/etc/cron.d/shop", directories=("/etc/cron.d",))
SAMPLE = Transaction("abc", "prepared", "20251123101212-0123456789ab", "", "", "tester", ({"event": "good", "id": "x"},), (CHANGE,))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Every state comes back as it was; idle, and no journal at all, are None."""
    with Host.create(str(tmp_path)) as host:
        assert journal.read(host) is None
        for state in ("prepared", "switching", "committed"):
            journal.write(host, SAMPLE.step(state))
            assert journal.read(host) == SAMPLE.step(state)
        journal.write(host, None)
        assert journal.read(host) is None


def test_no_other_bytes_are_believed(tmp_path: Path) -> None:
    """A bit that flipped, a part that is missing, or bytes that follow: the journal is damaged, and says so."""
    draw = random.Random(7)
    with Host.create(str(tmp_path)) as host:
        journal.write(host, SAMPLE)
        path = tmp_path / ".install/journal.json"
        good = path.read_bytes()
        flipped = [bytes([*good[:at], good[at] ^ 1 << draw.randrange(7), *good[at + 1 :]]) for at in range(len(good) - 1)]
        for bad in [*flipped, *(good[:length] for length in range(len(good))), good + b"x", good + good]:
            path.write_bytes(bad)
            with pytest.raises(DamagedError):
                journal.read(host)


def test_keys_of_another_installer_are_damage(tmp_path: Path) -> None:
    """A whole journal with keys that this installer doesn't know is not acted upon."""
    with Host.create(str(tmp_path)) as host:
        journal.write(host, SAMPLE.step("waiting"))
        with pytest.raises(DamagedError, match="damaged"):
            journal.read(host)
