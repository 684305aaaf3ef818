"""How many bytes went, and how."""

from __future__ import annotations

from threading import Lock

from . import Moved


class Tally:
    """A ``Moved`` that counts, and tells another one. Threads add at once."""

    def __init__(self, beside: Moved) -> None:
        self.sent = self.copied = self.kept = self.read = self.local = 0
        self._beside = beside
        self._lock = Lock()

    def __call__(self, how: str, count: int) -> None:
        if how != "of":
            self._add(how, count)
        self._beside(how, count)

    def _add(self, how: str, count: int) -> None:
        with self._lock:
            setattr(self, how, getattr(self, how) + count)
