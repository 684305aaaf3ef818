"""apache, as Debian has it: the system's, which includes our files by a pattern, in modules that ``a2enmod`` has enabled, reloaded gracefully."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, staged
from .commands import Clock
from .terms import Action, Context, Privilege, Say, Staged

_ETC = "/etc/apache2"
_PID = "/run/apache2/apache2.pid"
_SITES = re.compile(r"(?mi)^\s*Include(?:Optional)?\s+(?:/etc/apache2/)?sites-enabled/\S+\s*$")
_KEY = re.compile(r"(?mi)^(\s*SSL\w*(?:File|Path)\s+)\"?([^\"\n]+?)\"?\s*$")


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """Files that apache includes end in .conf."""
    wrong = [path for path in staged.mine(service, files) if not path.endswith(".conf")]
    return tuple(Problem(f"etc/{path}", "is not included: apache's files end in .conf.", "Rename it.") for path in wrong)


def how(service: Service) -> str:
    """What is asked before the flip."""
    return "apache2 -t as far as this user may, then in full before the reload"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """``apache2 -t`` of the system's main file, with our files and those that others have in sites-enabled."""
    apache = commands.find("apache2")
    mine = staged.mine(service, staged.texts(copy.etc))
    if not apache or not mine:
        return commands.absent("apache2")
    done = commands.ask([apache, "-t", "-f", _generated(copy, mine)], service.deadline, **_variables(copy))
    if done.good:
        return ()
    lines = [line for line in done.output.splitlines() if line.strip() and not re.match(r"AH0055[78]|The Apache error log", line)]
    words = " ".join(line.strip().replace(f"{copy.etc}/", "etc/") for line in lines).rstrip(".")
    return (Problem("", f"apache says: {words}."),)


def _generated(copy: Staged, mine: Mapping[str, str]) -> str:
    """The system's main file with ours in the place of its sites; keys and certificates that this user can't see are taken for good."""
    main = staged.read(f"{_ETC}/apache2.conf") or ""
    there = os.path.join(copy.work, "certificate")
    texts = {os.path.join(copy.etc, path): text for path, text in mine.items()}
    for path in (path for path in _others() if path not in texts):
        texts[os.path.join(copy.work, f"other-{os.path.basename(path)}")] = staged.read(path) or ""
    for path, text in {**texts, there: "stands for one that only root can read\n"}.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(_KEY.sub(lambda found: f"{found[1]}{there if _hidden(found[2]) else found[2]}", text))
    includes = "".join(f"Include {path}\n" for path in texts)
    text = _SITES.sub("", main) + includes
    path = os.path.join(copy.work, "apache2.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f'ServerRoot "{_ETC}"\nMutex file:{copy.work} default\n{text}')
    return path


def _others() -> list[str]:
    """Enabled sites that are not ours, and that this user can read."""
    folder = f"{_ETC}/sites-enabled"
    found = [os.path.join(folder, name) for name in (sorted(os.listdir(folder)) if os.path.isdir(folder) else ()) if name.endswith(".conf")]
    return [path for path in found if "/current/etc/" not in (staged.read(path) or "/current/etc/")]


def _hidden(path: str) -> bool:
    """Whether only another user can say if a file is there."""
    try:
        os.stat(path)
        return not os.access(path, os.R_OK)
    except PermissionError:
        return True
    except OSError:
        return False


def _variables(copy: Staged) -> dict[str, str]:
    """What the system's envvars sets, as far as it is plain; what is written goes into the copy."""
    text = staged.read(f"{_ETC}/envvars") or ""
    found: dict[str, str] = dict(re.findall(r"(?m)^export (APACHE_\w+)=([^$\s]*)\s*$", text))
    return {**found, "APACHE_PID_FILE": f"{copy.work}/pid", "APACHE_RUN_DIR": copy.work, "APACHE_LOCK_DIR": copy.work, "APACHE_LOG_DIR": copy.work}


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """A site that includes ours by a pattern (a link that leads nowhere would stop apache), its modules, test and graceful reload."""
    folders = sorted({os.path.dirname(path) for path in staged.mine(service, files)})
    text = "".join(f"IncludeOptional {context.root}/current/etc/{folder}/*.conf\n" for folder in folders)
    ctl = commands.find("apache2ctl") or "/usr/sbin/apache2ctl"
    grants = f"{context.user} decides what apache serves, and what files its main process, which is root's, opens"
    modules = [Privilege(service.name, "run", f"apache loads {name}", ("/usr/sbin/a2enmod", "--quiet", name)) for name in service.modules]
    return (
        Privilege(service.name, "file", grants, path=f"{_ETC}/sites-available/{context.name}.conf", text=text),
        *modules,
        Privilege(service.name, "run", "apache includes that file", ("/usr/sbin/a2ensite", "--quiet", context.name)),
        Privilege(service.name, "sudo", "apache tests its configuration", (ctl, "configtest")),
        Privilege(service.name, "sudo", "apache reads its configuration again", (ctl, "graceful")),
    )


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """apache is here, with the modules that are asked for, and includes our site."""
    if missing := commands.absent("apache2"):
        return missing
    again = "Let an administrator run what install-release bootstrap --print ARTIFACT says."
    found = [
        Problem("modules", f"apache has not enabled {name}.", again)
        for name in service.modules
        if not os.path.exists(f"{_ETC}/mods-enabled/{name}.load")
    ]
    if not os.path.exists(f"{_ETC}/sites-enabled/{context.name}.conf"):
        found.append(Problem("", f"apache has not enabled the site {context.name}.", again))
    pid = (staged.read(_PID) or "").strip()
    if not pid.isdigit() or not os.path.exists(f"/proc/{pid}"):
        found.append(Problem("", "apache does not run.", "Let an administrator start it: systemctl start apache2 (or service apache2 start)."))
    return tuple(found)


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """Test in full, then a graceful reload, which cuts no request off. Whatever the release has, the same pattern includes it."""
    ctl, clock = commands.find("apache2ctl") or "/usr/sbin/apache2ctl", Clock(action.service.deadline)
    test = commands.as_root(context, (ctl, "configtest"))
    commands.act(test, clock.left, "What serves is still the old configuration: apache was not reloaded.")
    commands.act(commands.as_root(context, (ctl, "graceful")), clock.left, "See apache's error log.")
    return ()
