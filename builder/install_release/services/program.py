"""supervisord's configuration, read as its own parser reads it (4.x), as far as a deployment must understand it. Pure."""

from __future__ import annotations

import configparser
import re
import shlex
from collections.abc import Mapping

from ..records import NamedTuple

_SECTION = re.compile(r"(program|fcgi-program|eventlistener|group):(.+)")
MOST_PROCESSES = 256


class Program(NamedTuple):
    """One section. ``kind`` is program, fcgi-program or eventlistener; ``path`` below etc/; ``options`` unexpanded, as written."""

    path: str
    kind: str
    name: str
    options: Mapping[str, str]

    @property
    def words(self) -> list[str]:
        """Its command; one whose quotes don't match is for supervisord to refuse."""
        command = self.options.get("command", "")
        try:
            return shlex.split(command)
        except ValueError:
            return command.split()

    def processes(self) -> list[str]:
        """The names of its processes, as supervisorctl calls them within their group. Expressions of the host's environment stay as they are."""
        pattern = self.options.get("process_name", "%(program_name)s")
        first, count = _number(self.options.get("numprocs_start"), 0), _number(self.options.get("numprocs"), 1)
        names = []
        for number in range(first, first + min(count, MOST_PROCESSES)):
            try:
                names.append(pattern % {"program_name": self.name, "process_num": number, "group_name": self.name})
            except (KeyError, ValueError, TypeError):
                names.append(pattern)
        return names


class Configuration(NamedTuple):
    """All that a set of files says: programs, groups (members by group), the sections by their names, the file that is the main one ("" if none)."""

    programs: tuple[Program, ...]
    groups: Mapping[str, tuple[str, ...]]
    sections: Mapping[str, Mapping[str, str]]
    main: str

    def of_group(self, group: str) -> tuple[Program, ...]:
        """The programs that supervisorctl knows as ``group``: those that a group section names, or the one of that name."""
        names = self.groups.get(group, (group,))
        return tuple(program for program in self.programs if program.name in names)

    def members(self, wanted: str) -> list[str]:
        """``shop``, ``shop:*`` or ``shop:shop_0`` as the full names of its processes, in the order in which supervisord has them."""
        group, _, one = wanted.partition(":")
        found = [f"{group}:{process}" for program in self.of_group(group) for process in program.processes()]
        return [name for name in found if name == wanted] if one not in ("", "*") else found


def parse(files: Mapping[str, str]) -> tuple[Configuration, dict[str, str]]:
    """Read all files that are of supervisord's; also, by path, why one could not be read."""
    programs, groups, sections, wrong, main = [], {}, {}, {}, ""
    for path, text in files.items():
        parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
        try:
            parser.read_string(text)
        except configparser.Error as error:
            wrong[path] = " ".join(str(error).split()).replace("<string>", "it")
            continue
        for section in parser.sections():
            options = dict(parser.items(section))
            sections[section] = options
            main = path if section == "supervisord" else main
            found = _SECTION.fullmatch(section)
            if found and found[1] == "group":
                groups[found[2]] = tuple(re.split(r"[\s,]+", options.get("programs", "").strip()))
            elif found:
                programs.append(Program(path, found[1], found[2].strip(), options))
    return Configuration(tuple(programs), groups, sections, main), wrong


def _number(text: str | None, default: int) -> int:
    return int(text) if text and text.strip().isdigit() else default
