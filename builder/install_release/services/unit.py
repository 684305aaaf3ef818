"""systemd's unit files, read as far as a deployment must understand them. Pure."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping

from ..records import NamedTuple

SUFFIXES = (".service", ".socket", ".timer", ".path", ".target")
STARTS = ("ExecStart", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost")


class Unit(NamedTuple):
    """``path`` is below etc/; ``settings`` are (section, key, value) in their order, continued lines joined."""

    path: str
    settings: tuple[tuple[str, str, str], ...]

    @property
    def name(self) -> str:
        return os.path.basename(self.path)

    def values(self, section: str, key: str) -> list[str]:
        """All values of a key; an empty one clears those before it."""
        found: list[str] = []
        for each in self.settings:
            if each[:2] == (section, key):
                found = [*found, each[2]] if each[2] else []
        return found

    @property
    def wanted(self) -> tuple[str, ...]:
        """The directories whose links enable it: ``multi-user.target.wants``."""
        pairs = (("WantedBy", "wants"), ("RequiredBy", "requires"))
        return tuple(f"{target}.{kind}" for key, kind in pairs for value in self.values("Install", key) for target in value.split())


def parse(path: str, text: str) -> Unit:
    """Read a unit file. What is no setting is left to systemd to complain about."""
    section, settings = "", []
    for line in _lines(text):
        if line.startswith("["):
            section = line.strip("[] \t")
        elif "=" in line:
            key, _, value = line.partition("=")
            settings.append((section, key.strip(), value.strip()))
    return Unit(path, tuple(settings))


def _lines(text: str) -> Iterator[str]:
    """Lines without comments; one that ends in a backslash goes on."""
    waiting = ""
    for line in text.splitlines():
        if line.lstrip().startswith(("#", ";")):
            continue
        if line.endswith("\\"):
            waiting += line[:-1] + " "
            continue
        yield (waiting + line).strip()
        waiting = ""
    if waiting:
        yield waiting.strip()


def units(files: Mapping[str, str]) -> dict[str, Unit]:
    """Every unit file among ``files``, by its name. Drop-ins (``x.service.d/y.conf``) belong to a unit and are none."""
    return {os.path.basename(path): parse(path, text) for path, text in files.items() if path.endswith(SUFFIXES)}


def openers(name: str, known: Mapping[str, Unit]) -> list[str]:
    """The sockets, timers and path units among ``known`` that start the service ``name``, sorted."""
    if not name.endswith(".service"):
        return []
    found = []
    for unit in known.values():
        kind = {".socket": "Socket", ".timer": "Timer", ".path": "Path"}.get(os.path.splitext(unit.name)[1])
        if kind:
            key = "Service" if kind == "Socket" else "Unit"
            said = unit.values(kind, key)
            if (said[-1] if said else f"{os.path.splitext(unit.name)[0]}.service") == name:
                found.append(unit.name)
    return sorted(found)


def commands(unit: Unit) -> Iterator[tuple[str, list[str], str]]:
    """(key, words, line) of every command that the unit runs."""
    for key in STARTS:
        for line in unit.values("Service", key):
            yield key, split(line), f"{key}={line}"


def seconds(span: str) -> float | None:
    """A time span of systemd's (``90``, ``10min``, ``1h 30s``) in seconds; None for what has no end, or can't be read."""
    units = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0, "ms": 0.001}
    found = re.findall(r"(\d+(?:\.\d+)?)\s*([a-z]*)", span)
    if not re.fullmatch(r"(\d+(\.\d+)?\s*[a-z]*\s*)+", span) or any(unit not in units for _, unit in found):
        return None
    return sum(float(number) * units[unit] for number, unit in found) or None


def split(line: str) -> list[str]:
    """Words, as far as quotes go; a line that can't be split is for the program that reads it to refuse."""
    try:
        return shlex.split(re.sub(r"\s;\s.*", "", line))
    except ValueError:
        return line.split()
