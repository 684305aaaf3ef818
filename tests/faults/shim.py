"""The C shim of this directory, compiled when it is first wanted, and the memory by which it is told what to do."""

from __future__ import annotations

import atexit
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
_PLACE = "FAULTS_COMPILED"
COUNT, KILL, KILL_GROUP, FAIL, FAIL_LASTING, FAIL_ALL, LOST, SHORT = range(8)
CHANGES, READS = 1, 2
_HEAD = struct.Struct("8i q 2i")
_KIND = _HEAD.size + 32 * 16
_CALL = struct.Struct("16s 2i 40s")
_CALLS = _KIND + 16 + 40
_MOST = 16384
SIZE = _CALLS + _CALL.size * _MOST


class Call(NamedTuple):
    """A call that was counted: its name, whether it CHANGES or READS, by which process, and the end of the path that it names."""

    kind: str
    cls: int
    pid: int
    what: str

    def __str__(self) -> str:
        return f"{self.kind} {self.what}".strip()


@cache
def compiled(source: str) -> Path:
    """``source`` (a .c of this directory) as a shared object (the shim) or a program, compiled once for this process and all that it starts.

    Raises ``CalledProcessError`` where it can't be compiled.
    """
    name = Path(_compiled()) / Path(source).stem
    if not name.exists():
        more = ["-fPIC", "-shared"] if source == "shim.c" else []
        new = name.with_name(f"{name.name}.{os.getpid()}")
        subprocess.run(["cc", "-O2", "-o", str(new), *more, str(HERE / source), "-ldl"], check=True)
        new.replace(name)
    return name


def _compiled() -> str:
    """Where that is; whoever made it removes it in the end."""
    directory = os.environ.get(_PLACE, "")
    if not os.path.isdir(directory):
        directory = os.environ[_PLACE] = tempfile.mkdtemp(prefix="faults-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)  # a fork ends by _exit, and does not come here
    return directory


class Control:
    """The struct control of shim.c, in a file that processes share."""

    def __init__(self, path: Path, create: bool = False) -> None:
        if create:
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE)

    @classmethod
    def of_this_process(cls) -> Control:
        """That of the shim which this process was started with."""
        return _of_this_process()

    def arm(self, mode: int = COUNT, target: int = 0, error: int = 0, *, roomy: bool = False, here: bool = False) -> None:
        """From now on calls of other processes than this one (``here``: of this one, too) are counted; ``mode`` happens at call ``target``.

        ``roomy``: who asks how much room a disk has is told that it is enough, as if somebody filled it right afterwards.
        """
        self._memory[:_CALLS] = bytes(_CALLS)
        self._memory[: _HEAD.size] = _HEAD.pack(1, mode, target, error, 0, 0, 0 if here else os.getpid(), 0, 0, 0, int(roomy))

    def disarm(self) -> tuple[int, int, int]:
        """How many calls were counted, how many were killed or failed, and how many syncs came a second time after a failed one."""
        _, _, _, _, count, hit, _, again, *_ = _HEAD.unpack_from(self._memory)
        self.pause()
        return count, hit, again

    def pause(self) -> None:
        """From now on nothing is counted."""
        self._memory[:4] = bytes(4)

    @property
    def struck(self) -> str:
        """The call that was hit first."""
        kind, what = _text(self._memory[_KIND : _KIND + 16]), _text(self._memory[_KIND + 16 : _CALLS])
        return f"{kind} {what}".strip()

    def calls(self) -> list[Call]:
        """What was counted."""
        count = min(_MOST, _HEAD.unpack_from(self._memory)[4])
        found = (_CALL.unpack_from(self._memory, _CALLS + number * _CALL.size) for number in range(count))
        return [Call(_text(kind), cls, pid, _text(what)) for kind, cls, pid, what in found]


@cache
def _of_this_process() -> Control:
    return Control(Path(os.environ["FAULTS_SHM"]))


def _text(data: bytes) -> str:
    return data.partition(b"\0")[0].decode("utf-8", "replace")
