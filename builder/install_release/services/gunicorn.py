"""gunicorn: what systemd and supervisord do for it, and its own check. A new release is a restart, through the socket that its manager holds.

Its HUP is never used by a flip: a process that is pinned to its release would go on with the old code under the new configuration.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

from ..declared import Service
from ..errors import Problem
from . import commands, program, staged, starting, supervisord, systemd, unit
from .terms import Action, Context, Kind, Privilege, Say, Staged

_CONFIGURATION = re.compile(r"(?m)^(chdir|pythonpath)\s*=.*current/src")


def _manager(service: Service) -> Kind:
    return systemd if service.unit else supervisord


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """As its manager has it; and no configuration of gunicorn's leads it into ``current/src``."""
    settings = {path: text for path, text in staged.mine(service, files).items() if path.endswith(".py")}
    return (*_manager(service).lint(service, files), *starting.texts_problems(settings))


def how(service: Service) -> str:
    """What is asked before the flip."""
    return f"{_manager(service).how(service)}, gunicorn --check-config"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """As its manager has it; then gunicorn loads the application, with the new release's code, configuration and variables, and ends."""
    found = _manager(service).check(service, context, copy, say)
    words = _words(service, staged.mine(service, staged.texts(copy.etc)))
    if words is None:
        say("  gunicorn's own check is left out: its command line holds variables, and the recipe names no app")
        return found
    command = [os.path.join(context.directory, "bin", "run"), *words, *([service.app] if service.app else []), "--check-config"]
    done = commands.ask(command, service.deadline)
    if not done.good:
        what = f"{' '.join(['bin/run', *command[1:]])} {commands.told(done)}."
        return (*found, Problem("", what, "It is what would start; mend it, and build the release again."))
    return (*found, *_searched(context))


def _words(service: Service, mine: Mapping[str, str]) -> list[str] | None:
    """The command line that its manager starts, from ``gunicorn`` on; plain ``gunicorn`` with an app; None when neither can be known."""
    for words in _started(service, mine):
        begin = next((number for number, word in enumerate(words) if word.rpartition("/")[2] == "gunicorn"), None)
        if begin is not None and not any(re.search(r"[$%]", word) for word in words[begin:]):
            named = service.app and service.app in words
            return [word for word in words[begin:] if not (named and word == service.app)]
    return ["gunicorn"] if service.app else None


def _started(service: Service, mine: Mapping[str, str]) -> Iterator[list[str]]:
    if service.unit:
        known = unit.units(mine)
        if service.unit in known:
            yield from (words for key, words, _ in unit.commands(known[service.unit]) if key == "ExecStart")
    else:
        configuration, _ = program.parse(mine)
        yield from (each.words for each in configuration.of_group(service.program.partition(":")[0]))


def _searched(context: Context) -> Iterator[Problem]:
    """gunicorn.conf.py in src/ is read without being named."""
    text = staged.read(os.path.join(context.directory, "src", "gunicorn.conf.py")) or ""
    if _CONFIGURATION.search(text):
        yield from starting.path_problems("src/gunicorn.conf.py", text)


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """Its manager's."""
    return _manager(service).privileges(service, context, files)


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """Its manager's."""
    return _manager(service).problems(service, context, files)


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """As its manager does it."""
    return _manager(action.service).apply(action, context, say)
