"""Anything else, by plain commands, without a shell: each is started through a release's ``bin/run``, as the deploying user."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence

from ..declared import COMMANDS, Service
from ..errors import Problem
from . import commands, staged, starting
from .terms import RELOAD, START, STOP, Action, Context, Privilege, Say, Staged


def lint(service: Service, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """No command is started from current/venv, none searches current/src."""
    found = [problem for key in COMMANDS for problem in starting.command_problems(key, getattr(service, key), " ".join(getattr(service, key)))]
    for key in COMMANDS:
        words = getattr(service, key)
        if words and os.path.basename(words[0]) == "sudo":
            options = list(itertools.takewhile(lambda word: word.startswith("-"), words[1:]))
            if set(options) - {"-n", "--"} or len(options) == len(words) - 1:
                found.append(Problem(key, f"{' '.join(words)}: no line for sudo can be made of it.", "Write: sudo -n COMMAND …, which root runs."))
    return (*found, *starting.texts_problems(staged.mine(service, files)))


def how(service: Service) -> str:
    """What is asked before the flip."""
    return " ".join(service.check) or "nothing: the recipe has no check"


def check(service: Service, context: Context, copy: Staged, say: Say) -> tuple[Problem, ...]:
    """Its own check, through the new release's bin/run; ``@release@`` leads into the new release."""
    if not service.check:
        return ()
    words = filled(service.check, context, context.release)
    done = commands.ask(words, service.deadline)
    return () if done.good else (Problem("check", f"{' '.join(service.check)} {commands.told(done)}."),)


def filled(words: Sequence[str], context: Context, release: str) -> list[str]:
    """The command, started by the ``bin/run`` of ``release``, with what stands for this host filled in."""
    directory = os.path.join(context.root, "releases", release)
    values = (("@root@", context.root), ("@name@", context.name), ("@release@", directory))
    found = [os.path.join(directory, "bin", "run")]
    for word in words:
        for key, value in values:
            word = word.replace(key, value)
        found.append(word)
    return found


def privileges(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Privilege, ...]:
    """What its commands ask of sudo by themselves (``sudo -n …``)."""
    found = []
    for key in COMMANDS:
        words = filled(getattr(service, key), context, context.release)[1:]
        if words and os.path.basename(words[0]) == "sudo":
            rest = words[1:]
            while rest and rest[0].startswith("-"):
                rest = rest[1:]
            if rest:
                command = (rest[0] if "/" in rest[0] else commands.program(rest[0]), *rest[1:])
                found.append(Privilege(service.name, "sudo", f"what the recipe says for {key}", command))
    return tuple(found)


def problems(service: Service, context: Context, files: Mapping[str, str]) -> tuple[Problem, ...]:
    """Nothing is known of it."""
    return ()


def apply(action: Action, context: Context, say: Say) -> tuple[str, ...]:
    """The command for the verb. The release that is left runs its own ``disable``; one that has none stays as it is, which is told."""
    service = action.service
    words = {START: service.enable or service.restart or service.reload, STOP: service.disable, RELOAD: service.reload}.get(
        action.verb, service.restart
    )
    if not words:
        return () if action.verb != STOP else ("the recipe says nothing of how to stop it: it stays as it is",)
    release = context.before if action.verb == STOP else context.release
    commands.act(filled(words, context, release), service.deadline)
    return ()
