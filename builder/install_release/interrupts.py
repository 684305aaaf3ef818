"""SIGINT, SIGTERM and SIGHUP: an exception where work can be undone, held back where it must not stop half-way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal asked to stop. Not an ``Exception``, so that nothing swallows it by accident."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")


class _Settled:
    """Whether the outcome is decided: from then on a signal changes nothing any more."""

    value = False


class _Deaf:
    """Whether a signal is dropped, because the way back is under way already, or done."""

    value = False


class _PutOff:
    """Whether a signal waits without being held, and the one that does (0: none)."""

    value = False
    number = 0


def listen() -> None:
    """From now on a signal raises ``Interrupted`` in the main thread."""
    _Settled.value = _Deaf.value = _PutOff.value = False
    _PutOff.number = 0
    for number in SIGNALS:
        signal.signal(number, _interrupt)


def settle() -> None:
    """The change is committed: it will be reported as done, and no signal may say otherwise."""
    _Settled.value = True


def settled() -> bool:
    """Whether ``settle`` was called."""
    return _Settled.value


@contextmanager
def held() -> Iterator[None]:
    """Signals wait until the end of the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def let_through() -> Iterator[None]:
    """Within ``held``: here signals interrupt all the same. Whatever is started here does not inherit that they are held."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def dropped() -> Iterator[None]:
    """Within ``held``: here signals are dropped, and whatever is started does not inherit that they were held."""
    before, _Deaf.value = _Deaf.value, True
    try:
        with let_through():
            yield
    finally:
        _Deaf.value = before


@contextmanager
def put_off() -> Iterator[None]:
    """A signal interrupts only at the end of the block: what is started in it is known by then, and does not inherit that signals are held."""
    _PutOff.value = True
    try:
        yield
    finally:
        _PutOff.value = False
        if _PutOff.number:
            number, _PutOff.number = _PutOff.number, 0
            _interrupt(number, None)


def ignore() -> None:
    """From now on signals are dropped: there is nothing left to stop, only to say."""
    _Deaf.value = True


def _interrupt(number: int, _frame: object | None) -> None:
    if _Settled.value or _Deaf.value:
        return
    if _PutOff.value:
        _PutOff.number = number
        return
    _Deaf.value = True  # one is enough: a second one would interrupt what the first one has set off
    raise Interrupted(number)
