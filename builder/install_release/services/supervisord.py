"""Services under supervisord: the system's, or one of the deploying user's own (``user = true``), whose main file is then among ``config``.

The system's reads ``<root>/current/etc/…`` by one more pattern in the ``files`` of its ``[include]``; one's own is started with its main file.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, program, staged, starting
from .commands import Clock
from .terms import RESTART, STOP, UPDATE, Action, Context, Privilege, Say, ServiceError, Staged

_MAINS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
_LAST_WORD = 5.0  # seconds to find out what is the matter once time is up
_WAITED_FOR = ("STARTING", "BACKOFF")
_PARSE = """
import sys
from supervisor.options import ServerOptions
options = ServerOptions()
options.realize(["-c", sys.argv[1]], doc="")
"""


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """It can be parsed, goes through bin/run, has the program that is declared, and no web interface unless that is asked for."""
    mine = staged.mine(service, files)
    configuration, wrong = program.parse(mine)
    found = [Problem(f"etc/{path}", f"can't be parsed: {why}.") for path, why in wrong.items()]
    for each in configuration.programs:
        found += _program_problems(service, each)
    group = service.program.partition(":")[0]
    if configuration.programs and not wrong and not configuration.members(service.program):
        names = ", ".join(sorted({each.name for each in configuration.programs} | set(configuration.groups)))
        found.append(Problem("program", f"{service.program} is none of what its files define: {names}."))
    if service.user and not wrong and not configuration.main:
        what = "a supervisord of this user's own needs its main file, with [supervisord], among config."
        found.append(Problem("config", what, "Add it, or leave out user = true."))
    if service.stop_deadline:
        for each in configuration.of_group(group):
            if each.options.get("autorestart") != "true":
                what = f"[{each.kind}:{each.name}] needs autorestart=true: a worker is told to end, and supervisord starts it again."
                found.append(Problem(f"etc/{each.path}", what))
    return (*found, *_web_interface(service, configuration))


def _program_problems(service: Service, each: program.Program) -> Iterator[Problem]:
    where = f"etc/{each.path}"
    yield from starting.command_problems(where, each.words, each.options.get("command", ""))
    yield from starting.path_problems(where, each.options.get("environment", ""))
    several = each.options.get("numprocs", "1").strip() not in ("", "1")
    if several and "process_num" not in each.options.get("process_name", ""):
        yield Problem(where, f"[{each.kind}:{each.name}] has numprocs, so its process_name must hold %(process_num)d.")
    if service.kind == "gunicorn" and each.kind == "fcgi-program" and each.options.get("socket", "").startswith("unix:"):
        what = f"[{each.kind}:{each.name}] has a unix socket, which refuses requests while one process after the other restarts."
        yield Problem(where, what, "Write: socket=tcp://127.0.0.1:PORT")


def _web_interface(service: Service, configuration: program.Configuration) -> Iterator[Problem]:
    options = configuration.sections.get("inet_http_server")
    if options is None:
        return
    where = f"etc/{configuration.main}" if configuration.main else "config"
    if not service.web_interface:
        what = "[inet_http_server] is supervisord's web interface: whoever reaches its port can start and stop everything."
        yield Problem(where, what, "Take it out, or say web_interface = true.")
    elif not re.match(r"(127\.\d+\.\d+\.\d+|localhost|\[::1\]):", options.get("port", "")):
        yield Problem(where, f"[inet_http_server] listens at {options.get('port', 'every address')}.", "Write: port=127.0.0.1:9001")
    elif not (options.get("username") and options.get("password")):
        yield Problem(where, "[inet_http_server] asks for no password.", "Set username and password (a key of shared/host.ini's [secrets]).")


def how(service: Service) -> str:
    """What is asked before the flip."""
    return "supervisord's own parser"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """supervisord's own parser reads the main file (the system's with our files, or our own one), and ends before it does anything."""
    mine = staged.mine(service, staged.texts(copy.etc))
    configuration, _ = program.parse(mine)
    interpreter = _interpreter(context) if mine else ""
    if not interpreter:
        say("  supervisord's parser is not here: its files are read by ours alone")
        return ()
    main = os.path.join(copy.etc, configuration.main) if service.user else _with_ours(copy, mine)
    names = re.findall(r"%\(ENV_(\w+)\)", "".join([*mine.values(), staged.read(main) or ""]))
    done = commands.ask([interpreter, "-B", "-c", _PARSE, main], service.deadline, **dict.fromkeys(names, "1"))
    if done.good:
        return ()
    said = [line for line in done.output.splitlines() if line.startswith("Error: ")] or [commands.told(done)]
    words = re.sub(r"/[^ ']*/etc/", "etc/", said[-1].removeprefix("Error: "))
    return (Problem("", f"supervisord says: {words}."),)


def _interpreter(context: Context) -> str:
    """The Python that supervisord runs on: the system's, else that of the release's environment, if it has supervisord."""
    first = (staged.read(commands.find("supervisord")) or "").partition("\n")[0]
    if first.startswith("#!/"):
        return first[2:].split()[0]
    own = os.path.join(context.directory, "venv", "bin")
    return f"{own}/python" if os.path.exists(f"{own}/supervisord") else ""


def _with_ours(copy: Staged, mine: Mapping[str, str]) -> str:
    """The system's main file, including what the copy has in the place of what is live."""
    text = next((text for path in _MAINS for text in [staged.read(path)] if text is not None), "[supervisord]\n")
    ours = " ".join(os.path.join(copy.etc, path) for path in mine)
    without = re.sub(r"(?ms)^\[include\].*?(?=^\[|\Z)", "", text)
    path = os.path.join(copy.work, "supervisord.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{without}\n[include]\nfiles = {ours}\n")
    return path


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """Of the system's: the pattern that includes our files, and exactly the calls that are made."""
    if service.user:
        return ()
    mine = staged.mine(service, files)
    configuration, _ = program.parse(mine)
    grants = f"{context.user} decides what supervisord starts, and as whom, root included"
    found = []
    for path in mine:
        pattern = f"{context.root}/current/etc/{os.path.dirname(path)}/*{os.path.splitext(path)[1]}"
        found.append(Privilege(service.name, "line", grants, path=_main(), text=pattern, section="include", key="files"))
    ctl, group = commands.program("supervisorctl"), service.program.partition(":")[0]
    lines: list[tuple[str, ...]] = [(ctl, "status", f"{group}:*"), (ctl, "update", group), (ctl, "stop", f"{group}:*")]
    lines += [(ctl, "restart", name) for name in configuration.members(service.program) or [service.program]]
    if service.stop_deadline:
        lines += [(ctl, "signal", signal, name) for name, signal in _signals(configuration, service)]
    return (*found, *(Privilege(service.name, "sudo", " ".join(("supervisorctl", *words[1:])), words) for words in lines))


def _main() -> str:
    return next((path for path in _MAINS if os.path.exists(path)), _MAINS[0])


def _signals(configuration: program.Configuration, service: Service) -> list[tuple[str, str]]:
    """Each process of a worker, and the signal that tells it to end."""
    group, found = service.program.partition(":")[0], []
    for each in configuration.of_group(group):
        found += [(f"{group}:{process}", each.options.get("stopsignal", "TERM")) for process in each.processes()]
    wanted = configuration.members(service.program)
    return [(name, signal) for name, signal in found if name in wanted]


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """The system's supervisord is here, and runs. One of the user's own may be in the release's environment."""
    if service.user:
        return ()
    configuration, _ = program.parse({_main(): staged.read(_main()) or ""})
    socket = configuration.sections.get("unix_http_server", {}).get("file", "")
    if socket and not os.path.exists(socket):
        remedy = "Let an administrator start it: systemctl start supervisor (or service supervisor start)."
        return (*commands.absent("supervisorctl"), Problem("", f"supervisord does not run: there is no {socket}.", remedy))
    return commands.absent("supervisorctl")


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Let it read its files again, which starts a group whose configuration changed; else restart its processes one after the other."""
    return _Supervisor(action, context).apply(say)


def hopeless(service: Service, context: Context) -> str:
    """A program that supervisord has given up."""
    if service.stop_deadline:
        return ""
    supervisor = _Supervisor(Action(service, RESTART, ""), context)
    members = supervisor.configuration.members(service.program)
    fatal = next((name for name, state in supervisor.states().items() if state == "FATAL" and (name in members or not members)), "")
    return f"{fatal} is FATAL: supervisord does not start it again" if fatal else ""


class _Supervisor:
    """One supervisord, asked for one service, within one deadline."""

    def __init__(self, action: Action, context: Context) -> None:
        self.action, self.context, self.service = action, context, action.service
        self.clock = Clock(action.service.deadline)
        self.group = self.service.program.partition(":")[0]
        where = context.left if action.verb == STOP else context.etc
        self.configuration, _ = program.parse(staged.mine(action.service, staged.texts(where)))
        self.main = f"{context.live}/{self.configuration.main}" if self.service.user else ""
        if self.main and not os.path.exists(self.main):  # the live release has no supervisord of its own any more
            self.main = f"{where}/{self.configuration.main}"

    def apply(self, say: Say) -> tuple[str, ...]:
        if self.action.verb == STOP:
            self._stop()
            return ()
        if self.service.user and not self._runs():
            say(f"  starting supervisord with {self.main}")
            commands.act([*self._own("supervisord"), "-c", self.main], self.clock.left)
            while not self._runs() and self.clock.left:  # it goes to the background before it listens
                time.sleep(0.05)
            self._await(self.configuration.members(self.service.program))
            return ()
        said = self._call("update", self.group)
        members = self.configuration.members(self.service.program) or self._listed()
        if "added process group" in said or "updated process group" in said:
            for name, state in self.states().items():
                if state == "STOPPED" and name in members:  # autostart=false
                    self._call("restart", name)
            self._await(members)
        elif self.action.verb != UPDATE and self.service.stop_deadline:
            return self._ask_to_end(members)
        elif self.action.verb != UPDATE:
            for name in members:
                say(f"  restarting {name}")
                self._call("restart", name)  # comes back once it is RUNNING, or has failed to
        return self._notes()

    def _ask_to_end(self, members: list[str]) -> tuple[str, ...]:
        states = self.states()
        for name, signal in _signals(self.configuration, self.service):
            if states.get(name, "RUNNING") in ("RUNNING", "STARTING"):
                self._call("signal", signal, name)
            else:
                self._call("restart", name)
        return ("each process was told to end: restart pending while an old one lives",)

    def _notes(self) -> tuple[str, ...]:
        own = self.service.user and any(path == self.configuration.main for path in self.action.changed)
        return (f"{self.configuration.main} changed: what it says of supervisord itself counts when that is started again",) if own else ()

    def _stop(self) -> None:
        """A group that its files have no longer is removed by the update; one that they still have is stopped."""
        if self.service.user and not self._runs():
            return
        if self.service.user and not self.main.startswith(self.context.live):
            self._call("shutdown")
            return
        self._call("update", self.group)
        if self.states():
            self._call("stop", f"{self.group}:*")

    def _await(self, members: list[str]) -> None:
        """Until all of them are RUNNING: for ``startsecs`` they must not end. Raises ``ServiceError`` once that can't be."""
        while True:
            states = self.states()
            waiting = [name for name in members if states.get(name) != "RUNNING"]
            if not waiting:
                return
            hopeless = [name for name in waiting if states.get(name, "missing") not in _WAITED_FOR]
            if hopeless or not self.clock.left:
                name = (hopeless or waiting)[0]
                what = f"is {states.get(name, 'unknown to supervisord')}, not RUNNING."
                log = next((each.options.get("stdout_logfile") for each in self.configuration.of_group(self.group)), None)
                raise ServiceError("a service did not start", [Problem(name, what, f"Look at {log or 'its log'}.")])
            time.sleep(0.1)

    def states(self) -> dict[str, str]:
        """The state of each process of the group, by its full name; none when there is no such group."""
        command = self._words("status", f"{self.group}:*")
        done = commands.ask(command, max(self.clock.left, _LAST_WORD))
        found = {}
        for line in done.output.splitlines():
            words = line.split()
            if len(words) >= 2 and words[1].isupper() and not words[1].startswith("ERROR"):
                found[words[0] if ":" in words[0] else f"{self.group}:{words[0]}"] = words[1]
        if done.status not in (0, 3) and "no such group" not in done.output:
            raise commands.failure(command, done)
        return found

    def _listed(self) -> list[str]:
        one = self.service.program.partition(":")[2]
        return [name for name in self.states() if one in ("", "*") or name == self.service.program]

    def _runs(self) -> bool:
        return commands.ask([*self._own("supervisorctl"), "-c", self.main, "pid"], self.clock.left).good

    def _call(self, *words: str) -> str:
        command = self._words(*words)
        said = commands.act(command, self.clock.left)
        wrong = [line for line in said.splitlines() if "ERROR" in line and "not running" not in line]
        if wrong:
            raise ServiceError("a service did not do what it should", [Problem(" ".join(command), f"said: {' | '.join(wrong)}.")])
        return said

    def _words(self, *words: str) -> list[str]:
        if self.service.user:
            return [*self._own("supervisorctl"), "-c", self.main, *words]
        return list(commands.as_root(self.context, (commands.program("supervisorctl"), *words)))

    def _own(self, name: str) -> list[str]:
        """The system's program, else the one that the release brings."""
        found = commands.find(name)
        return [found] if found else [f"{self.context.root}/current/bin/run", name]
