"""Services under systemd: units, sockets, timers; the system's, or the deploying user's own (``user = true``).

Their files are linked, never copied: ``/etc/systemd/system/x.service`` leads to ``<root>/current/etc/…``, and what enables it (``x.target.wants/``)
leads there. A link that leads nowhere, before the first release or after one that has the unit no longer, is to systemd a unit that is not there.
``systemctl enable`` would write the path of one release into its link, and refuse the next one; ``disable`` would remove an administrator's links.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, staged, starting
from . import unit as units
from .commands import Clock
from .terms import RESTART, START, STOP, Action, Context, Privilege, Say, Staged

_SYSTEM = "/etc/systemd/system"
_LINKED = (*units.SUFFIXES, ".mount", ".automount", ".swap", ".slice")  # what systemd reads there, beside drop-ins
_UNKNOWN = re.compile(r"Unknown (?:key|lvalue)(?: name)? '([^']+)' in section")
_BROKEN = re.compile(r"Failed to (parse|resolve|add)|Invalid section header|Missing '='|not executable|bad unit|lacks both|Refusing")


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """Commands go through bin/run; nothing searches current/src; a unit that is declared with files is one of them."""
    mine = staged.mine(service, files)
    known = units.units(mine)
    found = [problem for unit in known.values() for problem in _unit_problems(unit)]
    if mine and service.unit not in {_instance(name, service) for name in known}:
        what = f"{service.unit} is none of its files: {', '.join(known) or 'there is no unit among them'}."
        found.append(Problem("config", what, "Name its file in config, or leave config out when the unit is the administrator's."))
    if service.stop_deadline and service.unit in known:
        found += _worker_problems(service, known[service.unit])
    drop_ins = {path: text for path, text in mine.items() if not path.endswith(units.SUFFIXES)}
    return (*found, *starting.texts_problems(drop_ins))


def _unit_problems(unit: units.Unit) -> Iterator[Problem]:
    where = f"etc/{unit.path}"
    for _, words, line in units.commands(unit):
        yield from starting.command_problems(where, words, line)
    for key in ("Environment", "PassEnvironment"):
        for value in unit.values("Service", key):
            yield from starting.path_problems(where, value)


def _worker_problems(service: Service, unit: units.Unit) -> Iterator[Problem]:
    """systemd must give a worker the time that the recipe does: by default it kills after 90 seconds."""
    for key, section in (("TimeoutStopSec", "Service"), ("TimeoutSec", "Service")):
        said = unit.values(section, key)
        if said:
            seconds = units.seconds(said[-1])
            break
    else:
        seconds = 90
    if seconds is not None and seconds < service.stop_deadline:
        what = f"systemd kills {unit.name} after {seconds:g} s, the recipe's stop_deadline is {service.stop_deadline} s."
        yield Problem(f"etc/{unit.path}", what, f"Write: TimeoutStopSec={service.stop_deadline}")


def _instance(name: str, service: Service) -> str:
    """``x@1.service`` for the template ``x@.service``, if that is the service's unit; else ``name``."""
    return service.unit if re.sub(r"@[^.]+\.", "@.", service.unit) == name else name


def how(service: Service) -> str:
    """What is asked before the flip."""
    return "systemd-analyze verify" if service.config else "nothing: the unit is the administrator's"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """``systemd-analyze verify`` on the copy: its units, and those that they need."""
    mine = [path for path in staged.mine(service, staged.texts(copy.etc)) if path.endswith(units.SUFFIXES)]
    if not mine:
        return ()
    if not commands.find("systemd-analyze"):
        say("  systemd-analyze is not here: the units are not verified")
        return ()
    environment = {"XDG_RUNTIME_DIR": copy.work} if service.user else {}
    command = [commands.find("systemd-analyze"), *(["--user"] if service.user else []), "verify", *(os.path.join(copy.etc, path) for path in mine)]
    done = commands.ask(command, service.deadline, **environment)
    found = []
    for line in dict.fromkeys(done.output.splitlines()):
        path = next((path for path in mine if os.path.basename(path) in line), None)
        if path is None:
            continue
        words = line.replace(f"{copy.etc}/", "etc/").replace(context.directory, f"{context.root}/current")
        meant = _meant(line)
        if meant or _BROKEN.search(line) or (not done.good and "ignoring" not in line):
            found.append(Problem(f"etc/{path}", f"systemd says: {words}.", meant))
        else:
            say(f"  systemd says: {words}")
    if not done.good and not found:
        found.append(Problem("", f"systemd-analyze verify: {commands.told(done)}."))
    return tuple(found)


def _meant(line: str) -> str:
    """A key that this systemd knows and that was probably meant; one that looks like none may be of a newer systemd."""
    unknown = _UNKNOWN.search(line)
    program = next((path for place in ("/usr/lib", "/lib") if os.access(path := f"{place}/systemd/systemd", os.X_OK)), "")
    if unknown is None or not program:
        return ""
    import difflib  # only now: most units have no such key

    items = commands.ask([program, "--dump-configuration-items"]).output
    close = difflib.get_close_matches(unknown[1], sorted(set(re.findall(r"^(\w+)=", items, re.MULTILINE))), 1, 0.8)
    return f'Did you mean "{close[0]}"?' if close else ""


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """Links for its files, and exactly the verbs that are used; for user units, that they run without a login."""
    if service.user:
        grants = f"units of {context.user} run from boot on, whether {context.user} is logged in or not"
        return (Privilege(service.name, "run", grants, ("/usr/bin/loginctl", "enable-linger", context.user)),)
    found = []
    for path in staged.mine(service, files):
        above, name = os.path.basename(os.path.dirname(path)), os.path.basename(path)
        if above.endswith(".d") and name.endswith(".conf"):
            name = f"{above}/{name}"
        elif not name.endswith(_LINKED):  # the application's own configuration, which it is restarted for
            continue
        grants = f"{name} is what the live release says: {context.user} decides what it starts, and as whom, root included"
        found.append(Privilege(service.name, "link", grants, path=f"{_SYSTEM}/{name}", text=f"{context.root}/current/etc/{path}"))
    ctl, known = commands.program("systemctl"), units.units(staged.mine(service, files))
    for name in sorted(known):
        for place in known[name].wanted:
            enabled = _instance(name, service)
            found.append(Privilege(service.name, "link", f"{enabled} starts at boot", path=f"{_SYSTEM}/{place}/{enabled}", text=f"../{name}"))
    lines: list[tuple[tuple[str, ...], str]] = [((ctl, "daemon-reload"), "systemd reads all unit files again")]
    for name in _all(service, known):
        verbs: tuple[tuple[str, ...], ...] = (("reset-failed",), ("restart",), ("stop",))
        if name == service.unit and service.stop_deadline:
            verbs = (("reset-failed",), ("--no-block", "restart"), ("stop",))
        lines += [((ctl, *verb, name), f"{verb[-1]} {name}") for verb in verbs]
    return (*found, *(Privilege(service.name, "sudo", grants, command) for command, grants in lines))


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """systemd runs here; a user's own does."""
    if not os.path.isdir("/run/systemd/system"):
        return (Problem("", "systemd does not run on this host.", "Use a recipe for supervisord or an init script there."),)
    if service.user and not os.path.isdir(f"/run/user/{context.uid}"):
        return (Problem("", f"no systemd runs for {context.user}.", f"Let an administrator run: loginctl enable-linger {context.user}"),)
    return ()


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Read the units again where they changed, enable what is new, restart. A socket stays open unless it changed itself."""
    return _Manager(action, context).apply()


def hopeless(service: Service, context: Context) -> str:
    """A unit that has failed, and that systemd starts no more; one that it will start again is "activating". Of one that is not waited for, it may be
    the old process that failed to end."""
    if service.stop_deadline:
        return ""
    state = _Manager(Action(service, RESTART, ""), context).state(service.unit)
    return f"{service.unit} has failed, and systemd does not start it again" if state == "failed" else ""


class _Manager:
    """systemd, asked for one service, within one deadline."""

    def __init__(self, action: Action, context: Context) -> None:
        self.action, self.context, self.service = action, context, action.service
        self.clock = Clock(action.service.deadline)
        self.environment = {"XDG_RUNTIME_DIR": f"/run/user/{context.uid}"} if action.service.user else {}
        where = context.left if action.verb == STOP else context.etc
        self.known = units.units(staged.mine(action.service, staged.texts(where)))

    def apply(self) -> tuple[str, ...]:
        verb, unit = self.action.verb, self.service.unit
        openers = units.openers(unit, self.known)
        if verb == STOP:
            self._stop([*openers, unit])
            return ()
        if verb == START or self.action.changed:
            self._read()
        for name in (*openers, unit):
            self._systemctl("reset-failed", name, check=False)
        reopened = [name for name in openers if verb == START or self._changed(name)]
        if reopened and verb != START:  # a socket can't be opened again while its service holds it
            self._systemctl("stop", unit)
        for name in reopened:
            self._systemctl("restart", name)
        if self.service.stop_deadline:
            self._systemctl("restart", unit, before=("--no-block",))
            return ("its restart is asked for and not waited for: restart pending while an old process lives",)
        self._systemctl("restart", unit)
        self._look(unit)
        return ()

    def _read(self) -> None:
        self._systemctl("daemon-reload")
        if self.service.user:
            for unit in self.known.values():
                self._systemctl("link", f"{self.context.live}/{unit.path}")
                if unit.wanted:
                    self._systemctl("enable", _instance(unit.name, self.service), before=("--force",))
            self._systemctl("daemon-reload")

    def _stop(self, names: list[str]) -> None:
        """The system's links stay: they lead nowhere now, and an administrator made them. The user's own go."""
        for name in names:
            if self.state(name) not in ("inactive", ""):
                self._systemctl("stop", name)
        if self.service.user:
            for name in sorted({*names, *self.known}):
                self._systemctl("disable", name, check=False)
        self._systemctl("daemon-reload")

    def _changed(self, name: str) -> bool:
        path = self.known[name].path if name in self.known else name
        return any(changed == path or f"/{name}.d/" in f"/{changed}" for changed in self.action.changed)

    def _look(self, unit: str) -> None:
        """A service of a simple kind counts as started before it has done anything: whether it failed at once can be seen."""
        if self.state(unit) == "failed":
            done = commands.ask([*self._words(), "status", "--no-pager", "--lines=8", unit], self.clock.left, **self.environment)
            raise commands.failure([*self._words(), "restart", unit], done, f"Look at: journalctl -u {unit}")

    def state(self, unit: str) -> str:
        """Its ActiveState; "" where that can't be told."""
        done = commands.ask([*self._words(), "show", "--property=ActiveState", "--value", unit], self.clock.left, **self.environment)
        return done.output.strip() if done.good else ""

    def _words(self) -> list[str]:
        return [commands.program("systemctl"), *(["--user"] if self.service.user else [])]

    def _systemctl(self, verb: str, *names: str, before: tuple[str, ...] = (), check: bool = True) -> None:
        command: list[str] | tuple[str, ...] = [*self._words(), *before, verb, *names]
        if not self.service.user:
            command = commands.as_root(self.context, command)
        remedy = f"Look at: journalctl {'--user ' if self.service.user else ''}-u {names[-1]}" if names else ""
        if check:
            commands.act(command, self.clock.left, remedy, **self.environment)
        else:
            commands.ask(command, self.clock.left, **self.environment)


def _all(service: Service, known: Mapping[str, units.Unit]) -> list[str]:
    """The unit, and what starts it."""
    return [*units.openers(service.unit, known), service.unit]
