"""The machine, and the programs that are compared: figures mean nothing without them."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .measure import BenchError

ROOM = 12 << 30  # bytes that a run needs, in the file system and, where that is memory, of it; and of the disk as well
_TOOLS = ("build-release", "virtualenv", "pip", "uv", "venv-pack", "pex", "shiv")


@dataclass(frozen=True)
class Machine:
    """``versions`` of everything that took part; ``load`` before the first step, of how many processors were busy."""

    processor: str
    processors: int
    memory_gib: float
    kernel: str
    python: str
    file_system: str
    load: float
    versions: dict[str, str]


def describe(python: Path, work: Path) -> Machine:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        processor=model[1] if model else platform.machine(),
        processors=len(os.sched_getaffinity(0)),
        memory_gib=round(memory / 2**30, 1),
        kernel=platform.release(),
        python=_first_line(str(python), "--version"),
        file_system=file_system(work),
        load=round(os.getloadavg()[0], 1),
        versions={tool: version(tool) for tool in _TOOLS} | {tool: _first_line(tool, "--version").rpartition(" ")[2] for tool in ("tar", "gzip")},
    )


def file_system(place: Path) -> str:
    """The type of the file system that holds ``place``: ``tmpfs``."""
    return _first_line("findmnt", "--noheadings", "--output", "FSTYPE", "--target", str(place))


def work_directory() -> Path:
    """Where steps run: memory where it has room, else the directory for temporary files."""
    memory = Path("/dev/shm")
    if memory.is_dir() and file_system(memory) == "tmpfs" and min(shutil.disk_usage(memory).free, available()) > ROOM:
        return memory
    place = Path(os.environ.get("TMPDIR", "/var/tmp"))
    if shutil.disk_usage(place).free < ROOM:
        raise BenchError(f"{place} has less than {ROOM >> 30} GiB free: name another directory in TMPDIR")
    return place


def disk_directory() -> Path | None:
    """A directory on a disk: where durability costs something. None when there is none with room."""
    for place in (Path("/var/tmp"), Path.home(), Path.cwd()):
        if os.access(place, os.W_OK) and file_system(place) not in ("tmpfs", "ramfs", "overlay") and shutil.disk_usage(place).free > ROOM:
            return place
    return None


def available() -> int:
    """Bytes of memory that are free, or would be if asked for."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines else ""
