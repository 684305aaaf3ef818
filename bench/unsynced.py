"""Runs the installer with its syncs left out, to see what they cost: ``python unsynced.py release/install-release …``. For measuring only."""

from __future__ import annotations

import ctypes
import os
import runpy
import sys


class _Library:
    """What the installer calls by ctypes: ``syncfs``."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def syncfs(self, _: int) -> int:
        return 0


setattr(os, "fsync", lambda _: None)  # noqa: B010 - the type checker knows another one
setattr(ctypes, "CDLL", _Library)  # noqa: B010
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
