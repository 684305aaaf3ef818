"""interrupts: one signal is enough, and it finds nothing half begun."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from builder.install_release import child, interrupts


@pytest.fixture(autouse=True)
def listening() -> Iterator[None]:
    saved = {number: signal.getsignal(number) for number in interrupts.SIGNALS}
    interrupts.listen()
    yield
    interrupts.listen()
    for number, handler in saved.items():
        signal.signal(number, handler)


def test_a_second_signal_does_not_stop_what_the_first_one_set_off() -> None:
    """Whoever closes a terminal and presses ^C sends two: the way back goes on to its end."""
    with pytest.raises(interrupts.Interrupted, match="SIGHUP"):
        os.kill(os.getpid(), signal.SIGHUP)
    with interrupts.held(), interrupts.let_through():
        os.kill(os.getpid(), signal.SIGTERM)
    with interrupts.held(), interrupts.dropped():
        os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_that_is_put_off_interrupts_afterwards() -> None:
    """What was begun is known by then."""
    begun: list[str] = []
    with pytest.raises(interrupts.Interrupted, match="SIGTERM"):
        _interrupted(lambda: begun.append("a child"))
    assert begun == ["a child"]


def test_a_signal_at_a_childs_start_ends_the_child() -> None:
    """A hook does not go on once the flip that it belongs to is undone, though the signal came before anybody knew its process."""
    before = _children()
    with pytest.raises(interrupts.Interrupted):
        _interrupted(lambda: child.run(["/bin/sleep", "60"], deadline=60))
    assert _children() == before


def _interrupted(begin: Callable[[], object]) -> None:
    with interrupts.put_off():
        os.kill(os.getpid(), signal.SIGTERM)
        begin()


def _children() -> str:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
        return file.read()
