"""What the values of ``declared`` may hold. The same rules on both sides: a recipe that breaks one is not built, a manifest that does is not read.

Each function tells all that is wrong with one value; ``where`` is the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from .declared import COMMANDS, MOMENTS, MOST, TRIGGERS, VERDICTS, Health, Hook, Overlay, Service, safe_glob
from .errors import Problem
from .records import NamedTuple
from .spelling import NAME, VERSION, safe_relative

LONGEST = 24 * 3600  # seconds of one deadline


class Kind(NamedTuple):
    """A kind of service: keys that it needs (``a|b``: exactly one of them), keys that it can have, and what it is restarted or reloaded for."""

    needs: tuple[str, ...]
    may: tuple[str, ...]
    restart_on: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "systemd": Kind(("unit",), ("config", "user", "stop_deadline"), TRIGGERS),
    "supervisord": Kind(("program",), ("config", "user", "web_interface", "stop_deadline"), TRIGGERS),
    "gunicorn": Kind(("unit|program",), ("app", "config", "user", "web_interface", "stop_deadline"), TRIGGERS),
    "nginx": Kind(("config",), ("user",), ("config",)),
    "apache": Kind(("config",), ("modules",), ("config",)),
    "cron": Kind(("config",), ("user",), ("config",)),
    "logrotate": Kind(("config",), ("user",), ("config",)),
    "init": Kind(("unit",), ("config",), TRIGGERS),
    "command": Kind(("|".join(COMMANDS),), ("config", *COMMANDS), TRIGGERS),
}
_COMMON = ("name", "kind", "restart_on", "deadline")
_UNIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,240}\.(service|socket|timer|path|target)")
_SCRIPT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_PROGRAM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}(:(\*|[A-Za-z0-9_][A-Za-z0-9_.-]{0,126}))?")
_APP = re.compile(r"[A-Za-z_][\w.]*(:[A-Za-z_][\w.]*(\([\w\s,.='\"/-]*\))?)?")
_MODULE = re.compile(r"[a-z0-9_]{1,64}")
_URL = re.compile(r"http://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::(\d{1,5}))?(/[!-~]*)?")
_TCP = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})")


def overlay_problems(overlay: Overlay) -> Iterator[Problem]:
    """What is wrong with it; ``where`` is the key, as ``copied`` or ``on_conflict``."""
    paths, places = [each.path for each in overlay.copied], [each.to for each in overlay.copied]
    for each in overlay.copied:
        if not safe_relative(each.path):
            yield Problem("copied", f"{each.path!r} is no path below etc/.")
        if not each.to.startswith("/") or not safe_relative(each.to[1:]):
            yield Problem("copied", f"{each.to!r} is no absolute path (without '.', '..' or a slash at its end).")
    for where, what in ((paths, "is copied"), (places, "is written to")):
        for path in _nested(where):
            yield Problem("copied", f"{path!r} {what} twice.", "Name a file or directory once, and nothing below it.")
    for conflict in overlay.on_conflict:
        if not safe_glob(conflict.path):
            yield Problem("on_conflict", f"{conflict.path!r} is no pattern of paths below etc/.")
        if conflict.verdict not in VERDICTS:
            yield Problem("on_conflict", f"{conflict.verdict!r} is not one of {', '.join(VERDICTS)}.")
    if len(overlay.copied) > MOST or len(overlay.on_conflict) > MOST:
        yield Problem("copied", f"names more than {MOST}.")


def service_problems(service: Service) -> Iterator[Problem]:
    """What is wrong with one service; ``where`` is its key."""
    if not NAME.fullmatch(service.name):
        yield Problem("name", f"{service.name!r} must be lower-case letters, digits, '.', '_' or '-'.")
    kind = KINDS.get(service.kind)
    if kind is None:
        yield Problem("kind", f"{service.kind!r} is not one of {', '.join(KINDS)}.")
        return
    yield from _kind_problems(service, kind)
    yield from _value_problems(service)


def _kind_problems(service: Service, kind: Kind) -> Iterator[Problem]:
    """Keys that its kind needs, and keys that it can't have."""
    given = [name for name, value in zip(service._fields, service) if name not in _COMMON and value]
    known = {key for need in kind.needs for key in need.split("|")} | set(kind.may)
    for key in given:
        if key not in known:
            yield Problem(key, f'is nothing that a service of kind "{service.kind}" has.')
    for need in kind.needs:
        choices = need.split("|")
        found = [key for key in choices if key in given]
        if not found:
            yield Problem(choices[0] if len(choices) == 1 else "kind", f'a service of kind "{service.kind}" needs {" or ".join(choices)}.')
        elif len(found) > 1 and service.kind != "command":
            yield Problem(found[1], f"can't stand beside {found[0]}: one of them runs it.")
    if service.stop_deadline and "release" not in service.restart_on:
        yield Problem("stop_deadline", 'is for services that a new release restarts; restart_on has no "release".')


def _value_problems(service: Service) -> Iterator[Problem]:
    unit = {"init": _SCRIPT}.get(service.kind, _UNIT)
    if service.unit and not unit.fullmatch(service.unit):
        words = "the name of a script in /etc/init.d" if service.kind == "init" else "the name of a unit, like shop.service"
        yield Problem("unit", f"must be {words}, not {service.unit!r}.")
    elif service.kind == "gunicorn" and service.unit and not service.unit.endswith(".service"):
        yield Problem("unit", f"must be the service that runs gunicorn, not {service.unit!r}; its socket stays open by itself.")
    if service.program and not _PROGRAM.fullmatch(service.program):
        yield Problem("program", f'must be a program of supervisord, like "shop" or "shop:*", not {service.program!r}.')
    if service.app and not _APP.fullmatch(service.app):
        yield Problem("app", f"must be like shop.wsgi or shop.wsgi:application, not {service.app!r}.")
    for path in service.config:
        if not safe_glob(path):
            yield Problem("config", f"{path!r} is no path or pattern below etc/.")
    for trigger in service.restart_on:
        if trigger not in TRIGGERS:
            yield Problem("restart_on", f"{trigger!r} is not one of {', '.join(TRIGGERS)}.")
    for module in service.modules:
        if not _MODULE.fullmatch(module):
            yield Problem("modules", f"{module!r} is no name of an apache module.")
    for key, least in (("deadline", 1), ("stop_deadline", 0)):
        if not least <= getattr(service, key) <= LONGEST:
            yield Problem(key, f"must be from {least} to {LONGEST} seconds.")
    for key in ("config", "restart_on", "modules"):
        yield from _list_problems(key, getattr(service, key))
    for key in COMMANDS:
        yield from _command_problems(key, getattr(service, key))


def hook_problems(hook: Hook) -> Iterator[Problem]:
    """What is wrong with one hook; ``where`` is its key."""
    if hook.when not in MOMENTS:
        yield Problem("when", f"{hook.when!r} is not one of {', '.join(MOMENTS)}.")
    if not hook.run:
        yield Problem("run", "names no command.")
    yield from _command_problems("run", hook.run)
    if not 1 <= hook.deadline <= LONGEST:
        yield Problem("deadline", f"must be from 1 to {LONGEST} seconds.")


def health_problems(health: Health) -> Iterator[Problem]:
    """What is wrong with it; ``where`` is its key. Nothing declared is nothing wrong."""
    if not health.declared:
        if health != Health():
            yield Problem("url", "is missing: a health check asks a url, a socket, a tcp port or a command.")
        return
    ways = [key for key in ("url", "tcp", "command") if getattr(health, key)] + ["socket"] * bool(health.socket and not health.url)
    for key in ways[1:]:
        yield Problem(key, f"can't stand beside {ways[0]}: there is one way to ask.")
    url = _URL.fullmatch(health.url)
    if health.url.startswith("https:"):
        yield Problem("url", "must be http: an installer trusts no certificate. Ask the service itself, or its socket; or let a command ask.")
    elif health.url and (url is None or not 0 < int(url[2] or 80) < 1 << 16):
        yield Problem("url", f"must be like http://127.0.0.1:8000/health, without a password, not {health.url!r}.")
    path = health.socket[len("@root@") :] if health.socket.startswith("@root@/") else health.socket
    if path and (not path.startswith("/") or not safe_relative(path[1:])):
        yield Problem("socket", f"must be an absolute path, or begin with @root@/, not {health.socket!r}.")
    tcp = _TCP.fullmatch(health.tcp)
    if health.tcp and (tcp is None or not 0 < int(tcp[2]) < 1 << 16):
        yield Problem("tcp", f"must be like 127.0.0.1:8000, not {health.tcp!r}.")
    yield from _command_problems("command", health.command)
    if health.url and not 100 <= health.status <= 599:
        yield Problem("status", "must be from 100 to 599.")
    if not health.url and health.status:
        yield Problem("status", "is what a url answers; there is none.")
    if not (health.url or health.command):
        for key in ("body", "reports_id"):
            if getattr(health, key):
                yield Problem(key, "needs an answer to look at: that of a url or a command.")
    if len(health.body) > 4096 or "\0" in health.body:
        yield Problem("body", "is longer than 4096 characters, or holds a NUL.")
    if not 1 <= health.passes <= 100:
        yield Problem("passes", "must be from 1 to 100.")
    if not 1 <= health.deadline <= 3600:
        yield Problem("deadline", "must be from 1 to 3600 seconds.")
    if health.passes > 4 * health.deadline:
        yield Problem("passes", f"{health.passes} can't be had in {health.deadline} s: there is a quarter of a second between two attempts.")


def contradictions(overlay: Overlay, services: Sequence[Service], hooks: Sequence[Hook], health: Health, rollback_safe_to: str) -> Iterator[Problem]:
    """All that is wrong with what a manifest declares; ``where`` is the whole key."""
    yield from _within("overlay", overlay_problems(overlay))
    for service in services:
        yield from _within(f"services[{service.name}]", service_problems(service))
    yield from doubles(services)
    for number, hook in enumerate(hooks):
        yield from _within(f"hooks[{number}]", hook_problems(hook))
    yield from _within("health", health_problems(health))
    if rollback_safe_to and not VERSION.fullmatch(rollback_safe_to):
        yield Problem("rollback_safe_to", "holds characters that a version can't have.")
    if len(services) > MOST or len(hooks) > MOST:
        yield Problem("services", f"there are more than {MOST} services or hooks.")


def doubles(services: Sequence[Service]) -> Iterator[Problem]:
    """Two services can't have one name, nor be one thing."""
    names = [service.name for service in services]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("services", f"two of them are called {name!r}.")
    things = [(service.unit or service.program, service.user) for service in services if service.unit or service.program]
    for thing, _ in sorted({thing for thing in things if things.count(thing) > 1}):
        yield Problem("services", f"{thing} belongs to two of them: it would be restarted twice.", "Declare it once.")


def _within(where: str, problems: Iterator[Problem]) -> Iterator[Problem]:
    for problem in problems:
        yield Problem(f"{where}.{problem.where}", problem.what, problem.remedy)


def _list_problems(key: str, items: Sequence[str]) -> Iterator[Problem]:
    if len(items) > MOST:
        yield Problem(key, f"names more than {MOST}.")
    for item in sorted({item for item in items if items.count(item) > 1}):
        yield Problem(key, f"names {item!r} twice.")


def _command_problems(key: str, words: Sequence[str]) -> Iterator[Problem]:
    if len(words) > MOST or sum(map(len, words)) > 16 << 10:
        yield Problem(key, "is too long for a command.")
    elif words and (not words[0] or words[0].startswith("-")):
        yield Problem(key, f"{words[0]!r} is no command.")
    if any(not word.replace("\n", "").replace("\t", "").isprintable() for word in words):
        yield Problem(key, "holds control characters.")


def _nested(paths: Sequence[str]) -> list[str]:
    """Paths that are there twice, or lie below another."""
    return sorted(
        {path for number, path in enumerate(paths) for other in [*paths[:number], *paths[number + 1 :]] if f"{path}/".startswith(f"{other}/")}
    )
