"""nginx: the system's, which includes our files by a pattern and is reloaded through sudo; or one of the user's own (``user = true``).

What an ordinary user can test is the syntax, with everything that it includes: certificates, logs and ports that only root may open are
left to the full test, which runs through sudo after the flip and right before the reload.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping, Sequence

from ..child import Done
from ..declared import Service
from ..errors import Problem
from . import commands, staged
from .commands import Clock
from .terms import STOP, Action, Context, Privilege, Say, ServiceError, Staged

_MAIN = "/etc/nginx/nginx.conf"
_PID = "/run/nginx.pid"
_INCLUDED = ("sites-available", "sites-enabled", "conf.d")  # folders whose files belong into http {}
_INCLUDE = re.compile(r"(?m)^\s*include\s+[^;]*/(?:sites-enabled|conf\.d)/[^;]*;")
_OWN_PLACES = re.compile(r"(?m)^\s*(?:pid|error_log|access_log|user)\s[^;]*;")
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
_FORBIDDEN = "Permission denied"
_PATIENCE = 5.0  # seconds that another manager gets to have it up


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """One's own has a main file; the system's includes only files of folders that it is known to include."""
    mine = staged.mine(service, files)
    if service.user and mine and not _main(mine):
        return (
            Problem("config", "an nginx of this user's own needs its main file, with events {}, among config.", "Leave out user = true, or add it."),
        )
    if not service.user and mine and not _sites(mine):
        what = f"none of its files lies in one of {', '.join(_INCLUDED)}: nothing would include them."
        return (Problem("config", what, "Put sites into etc/nginx/sites-available."),)
    return ()


def how(service: Service) -> str:
    """What is asked before the flip."""
    return "nginx -t" if service.user else "nginx -t as far as this user may, then in full before the reload"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """``nginx -t``: of the user's own main file, or of the system's with our files in the place of those that it includes."""
    nginx = commands.find("nginx")
    mine = staged.mine(service, staged.texts(copy.etc))
    if not nginx or not mine:
        return commands.absent("nginx")
    main = os.path.join(copy.etc, _main(mine)) if service.user else _generated(copy, mine)
    done = commands.ask([nginx, "-t", "-c", main, *_stderr(nginx)], service.deadline)
    said = _complaints(done)
    if done.good or (said and not service.user and all(_FORBIDDEN in line for line in said)):
        if not done.good:
            say("  nginx: the syntax is good; what only root may open is tested right before the reload")
        return ()
    words = " | ".join(line.replace(f"{copy.etc}/", "etc/").replace(f"{copy.work}/", "") for line in said) or commands.told(done)
    return (Problem("", f"nginx says: {words}."),)


def _complaints(done: Done) -> list[str]:
    """What stopped it, without time and process."""
    found = []
    for line in done.output.splitlines():
        match = re.search(r"\[(?:emerg|crit|error)\] (?:\d+#\d+: )?(.*)", line)
        if match:
            found.append(match[1])
    return found


def _stderr(nginx: str) -> tuple[str, ...]:
    """``-e stderr`` keeps a user's nginx from the system's log; nginx has it since 1.19.5."""
    version = re.search(r"nginx/(\d+)\.(\d+)\.(\d+)", commands.ask([nginx, "-v"]).output)
    return ("-e", "stderr") if version and tuple(map(int, version.groups())) >= (1, 19, 5) else ()


def _main(mine: Mapping[str, str]) -> str:
    """The file that has ``events {``; "" when none has."""
    return next((path for path, text in mine.items() if re.search(r"(?m)^\s*events\s*\{", text)), "")


def _sites(mine: Mapping[str, str]) -> list[str]:
    return [path for path in mine if os.path.basename(os.path.dirname(path)) in _INCLUDED]


def _generated(copy: Staged, mine: Mapping[str, str]) -> str:
    """The system's main file with private places for what it writes; the first include of sites is ours, after those that others have there."""
    system = staged.read(_MAIN) or "events {}\nhttp {\n    include /etc/nginx/conf.d/*.conf;\n}\n"
    ours = [f"include {os.path.join(copy.etc, path)};" for path in _sites(mine)]
    places = [f"{name}_temp_path {copy.work}/{name};" for name in _TEMPORARY if f"{name}_temp_path" not in system]
    text = _OWN_PLACES.sub("", system)
    found = list(_INCLUDE.finditer(text))
    inside = "\n".join([*(line for each in found for line in _others(each[0])), "access_log off;", *places, *ours])
    text = _INCLUDE.sub("", text)
    closing = text.rfind("}") if not found else found[0].start()
    path = os.path.join(copy.work, "nginx.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"pid {copy.work}/nginx.pid;\nerror_log stderr;\n{text[:closing]}\n{inside}\n{text[closing:]}")
    return path


def _others(include: str) -> list[str]:
    """What an include of the system's brings that is not ours: files that this user can read, without those that include us."""
    import glob

    pattern = include.partition("include")[2].strip(" \t;")
    kept = []
    for path in sorted(glob.glob(os.path.join("/etc/nginx", pattern))):
        text = staged.read(path)
        if text is not None and "/current/etc/" not in text and "/current/etc/" not in os.path.realpath(path):
            kept.append(f"include {path};")
    return kept


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """Of the system's: a file that includes ours by a pattern (a plain name of a file that is not there would stop nginx), test and reload."""
    if service.user:
        return ()
    folders = sorted({os.path.dirname(path) for path in _sites(staged.mine(service, files))})
    text = "".join(f"include {context.root}/current/etc/{folder}/*;\n" for folder in folders)
    nginx = commands.find("nginx") or "/usr/sbin/nginx"
    grants = f"{context.user} decides what nginx serves, and what files its main process, which is root's, opens"
    return (
        Privilege(service.name, "file", grants, path=f"/etc/nginx/conf.d/{context.name}.conf", text=text),
        Privilege(service.name, "sudo", "nginx tests its configuration", (nginx, "-t")),
        Privilege(service.name, "sudo", "nginx reads its configuration again", (nginx, "-s", "reload")),
    )


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """nginx is here; the system's runs."""
    if missing := commands.absent("nginx"):
        return missing
    if not service.user and not _master(_system_pid()):
        return (Problem("", "nginx does not run.", "Let an administrator start it: systemctl start nginx (or service nginx start)."),)
    return ()


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Test in full, reload, and wait for new workers. One's own is started where it does not run, and ended where it is gone from the release."""
    service, clock = action.service, Clock(action.service.deadline)
    if not service.user:
        nginx = commands.find("nginx") or "/usr/sbin/nginx"
        _reload(commands.as_root(context, (nginx, "-t")), commands.as_root(context, (nginx, "-s", "reload")), _system_pid(), clock)
        return ()
    _own(action, context, clock)
    return ()


def _own(action: Action, context: Context, clock: Clock) -> None:
    nginx = commands.program("nginx")
    top = context.left if action.verb == STOP else context.live
    mine = staged.mine(action.service, staged.texts(top))
    main = os.path.join(top, _main(mine))
    pid = _pid_file(mine.get(_main(mine), ""))
    words = [nginx, "-c", main, *_stderr(nginx)]
    if action.verb == STOP:
        if master := _master(pid):
            os.kill(master, signal.SIGQUIT)  # nginx -s would read a configuration that is half gone
        return
    end = Clock(min(_PATIENCE, clock.left) if _has_manager(context, main) else 0)
    while not _master(pid) and end.left:
        time.sleep(0.1)
    if _master(pid):
        _reload([*words, "-t"], [*words, "-s", "reload"], pid, clock)
    else:
        commands.act(words, clock.left)


def _has_manager(context: Context, main: str) -> bool:
    """Whether a file of this release starts nginx with this main file: then it is about to be up, and not ours to start."""
    inside = main.removeprefix(f"{context.live}/")
    texts = staged.texts(context.live)
    return any(inside in text and re.search(r"(?m)^(command|ExecStart)\s*=.*nginx", text) for path, text in texts.items() if path != inside)


def _pid_file(main: str) -> str:
    found = re.search(r"(?m)^\s*pid\s+([^;]+);", main)
    return found[1].strip() if found else _PID


def _system_pid() -> str:
    return _pid_file(staged.read(_MAIN) or "")


def _reload(test: Sequence[str], reload: Sequence[str], pid: str, clock: Clock) -> None:
    """The master answers at once and does it later: it has when none of the old workers takes a request any more."""
    before = _workers(pid)
    commands.act(test, clock.left, "What serves is still the old configuration: nginx was not reloaded.")
    commands.act(reload, clock.left, "Is nginx running? See its error log.")
    while before & _workers(pid):
        if not clock.left:
            raise ServiceError("nginx did not reload", [Problem(" ".join(reload), "has not replaced its workers.", "See nginx's error log.")])
        time.sleep(0.02)


def _workers(pid_file: str) -> frozenset[str]:
    """Those that take requests: the master's children but for the ones that are finishing what they have."""
    master = _master(pid_file)
    children = staged.read(f"/proc/{master}/task/{master}/children") or "" if master else ""
    titles = {child: staged.read(f"/proc/{child}/cmdline") or "" for child in children.split()}
    return frozenset(child for child, title in titles.items() if "worker process" in title and "shutting down" not in title)


def _master(pid_file: str) -> int:
    """The process that a pid file names, if it is an nginx; else 0."""
    pid = (staged.read(pid_file) or "").strip()
    return int(pid) if pid.isdigit() and "nginx" in (staged.read(f"/proc/{pid}/comm") or "") else 0
