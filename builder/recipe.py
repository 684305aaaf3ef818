"""toml → ``Recipe``. The dataclasses below are the schema: a field is a key, its reader says what the key may hold.

recipes/example.toml describes every key; a test holds the two together.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar, cast

from .errors import Problem, RecipeError
from .frozen import frozen_by_name
from .install_release import rules
from .install_release.declared import MOMENTS, TRIGGERS, VERDICTS, Conflict, Copied, Health, Hook, Overlay, Service
from .install_release.manifest import ENV_KINDS
from .install_release.rules import KINDS, LONGEST
from .install_release.spelling import NAME, VERSION, safe_relative

__all__ = ["BuildStep", "Dependencies", "EnvSpec", "HostSpec", "PythonSpec", "Recipe", "SourceSpec", "load"]

S = TypeVar("S")
T = TypeVar("T")
Reader = Callable[[object, str], T]
RECIPE_PREFIX = "recipe:"
_REQUIRED: Any = object()
_PYLOCK = re.compile(r"pylock(\.[^.]+)?\.toml")  # PEP 751; packaging's own function takes 35 ms to import


class _Wrong(Exception):
    """What a reader raises: every reason why a value is not what its key may hold."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(problems)
        self.problems = problems


# Readers: (value, where) → the typed value, or _Wrong.


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise _Wrong(Problem(where, f"must be a string, not {_word(value)}."))
    if not value or not value.isprintable():
        raise _Wrong(Problem(where, "must not be empty." if not value else "must not hold control characters."))
    return value


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _Wrong(Problem(where, f"must be true or false, not {_word(value)}."))
    return value


def _whole(least: int, most: int) -> Reader[int]:
    def read(value: object, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _Wrong(Problem(where, f"must be a whole number from {least} to {most}, not {_shown(value)}."))
        return value

    return read


def _matching(pattern: re.Pattern[str], words: str) -> Reader[str]:
    def read(value: object, where: str) -> str:
        text = _text(value, where)
        if not pattern.fullmatch(text):
            raise _Wrong(Problem(where, f"must be {words}, not {_shown(text)}."))
        return text

    return read


def _one_of(*choices: str) -> Reader[str]:
    def read(value: object, where: str) -> str:
        text = _text(value, where)
        if text not in choices:
            raise _Wrong(Problem(where, f"{_shown(text)} is not one of {', '.join(choices)}.", did_you_mean(text, choices)))
        return text

    return read


def _relative(value: object, where: str) -> str:
    """A path below the directory it is relative to, without a slash at its end."""
    text = _text(value, where)
    path = text.rstrip("/").removeprefix("./")
    if text.startswith("/"):
        raise _Wrong(Problem(where, f"must be a relative path, {_shown(text)} is absolute."))
    if not safe_relative(path):
        raise _Wrong(Problem(where, f"must be a path that stays below its directory; {_shown(text)} does not."))
    return path


def _in_tree_or_recipe(value: object, where: str) -> str:
    text = _text(value, where)
    prefix = RECIPE_PREFIX if text.startswith(RECIPE_PREFIX) else ""
    return prefix + _relative(text.removeprefix(prefix), where)


def _absolute(value: object, where: str) -> str:
    text = _text(value, where)
    parts = text.split("/")[1:]
    if not text.startswith("/") or not safe_relative("/".join(parts)):
        raise _Wrong(Problem(where, f"must be an absolute path like /srv/shop, without '.', '..' or a slash at its end, not {_shown(text)}."))
    return text


def _python(value: object, where: str) -> str:
    if isinstance(value, float):
        raise _Wrong(Problem(where, f'must be a string: write "{value}", in quotes (3.10 without them is the number 3.1).'))
    text = _text(value, where)
    match = re.fullmatch(r"3\.(\d{1,3})", text)
    if not match or int(match[1]) < 9:
        raise _Wrong(Problem(where, f'must be a version like "3.11", 3.9 or newer, not {_shown(text)}.'))
    return text


def _repository(value: object, where: str) -> str:
    text = _text(value, where)
    if re.match(r"[a-z+]+://[^/@]*:[^/@]*@", text):
        raise _Wrong(Problem(where, "must not hold a password.", "Use ssh, or git's own credential helper."))
    if text.startswith("-"):
        raise _Wrong(Problem(where, f"must be a path or a URL, not {_shown(text)}."))
    return text


def _requirement(value: object, where: str) -> str:
    from packaging.requirements import InvalidRequirement, Requirement

    text = _text(value, where)
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise _Wrong(Problem(where, f"{_shown(text)} is no requirement: {str(error).splitlines()[0]}.")) from None
    if requirement.url:
        _repository(requirement.url, where)
    return text


def _distribution(value: object, where: str) -> str:
    from packaging.utils import InvalidName, canonicalize_name

    text = _text(value, where)
    try:
        return canonicalize_name(text, validate=True)
    except InvalidName:
        raise _Wrong(Problem(where, f"{_shown(text)} is no name of a distribution.")) from None


def _lock(value: object, where: str) -> str:
    text = _in_tree_or_recipe(value, where)
    if not text.endswith(".txt") and not _PYLOCK.fullmatch(text.removeprefix(RECIPE_PREFIX).rpartition("/")[2]):
        raise _Wrong(Problem(where, f"must be named pylock.toml, pylock.NAME.toml (no dot in NAME) or end in .txt, {_shown(text)} is not."))
    return text


def _words(value: object, where: str) -> tuple[str, ...]:
    """A command: a list of words, or one string that is split as a shell would, without ever running one."""
    if not isinstance(value, str):
        words = _several(_text)(value, where)
    else:
        try:
            words = tuple(shlex.split(_text(value, where)))
        except ValueError as error:
            raise _Wrong(Problem(where, f"can't be split into words: {error}.")) from None
    if not words:
        raise _Wrong(Problem(where, "names no command."))
    return words


def _several(read: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list, each item read by ``read``; all that is wrong in it is reported at once."""

    def read_all(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise _Wrong(Problem(where, f"must be a list, not {_word(value)}."))
        items: list[T] = []
        problems: list[Problem] = []
        for number, item in enumerate(value):
            try:
                items.append(read(item, f"{where}[{number}]"))
            except _Wrong as wrong:
                problems += wrong.problems
        problems += [Problem(where, f"names {_shown(item)} twice.") for item in _twice(items) if isinstance(item, str)]
        if problems:
            raise _Wrong(*problems)
        return tuple(items)

    return read_all


def _mapping(value: object, where: str) -> Mapping[str, str]:
    """A table of strings by string, in the order of the file."""
    if not isinstance(value, dict):
        raise _Wrong(Problem(where, f"must be a table, not {_word(value)}."))
    problems = [
        Problem(f'{where}."{name}"', f"must be a string, not {_word(content)}.") for name, content in value.items() if not isinstance(content, str)
    ]
    if problems:
        raise _Wrong(*problems)
    return {name.rstrip("/").removeprefix("./"): content for name, content in value.items()}


def _verdicts(value: object, where: str) -> Mapping[str, str]:
    """What to do, by glob."""
    found = _mapping(value, where)
    problems: list[Problem] = []
    for name, content in found.items():
        try:
            _one_of(*VERDICTS)(content, f'{where}."{name}"')
        except _Wrong as wrong:
            problems += wrong.problems
    if problems:
        raise _Wrong(*problems)
    return found


def _variables(value: object, where: str) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise _Wrong(Problem(where, f"must be a table, not {_word(value)}."))
    problems: list[Problem] = []
    for name, content in value.items():
        if not _VARIABLE.fullmatch(name):
            problems.append(Problem(f"{where}.{name}", "is no name of a variable."))
        if not isinstance(content, str) or "\0" in content:
            problems.append(Problem(f"{where}.{name}", f"must be a string, not {_word(content)}."))
    if problems:
        raise _Wrong(*problems)
    return dict(value)


def _table(kind: type[T]) -> Reader[T]:
    """A table that holds the keys of the dataclass ``kind``; all that is wrong in it is reported at once."""

    def read(value: object, where: str) -> T:
        if not isinstance(value, dict):
            raise _Wrong(Problem(where, f"must be a table, not {_word(value)}."))
        made: dict[str, Any] = {}
        problems: list[Problem] = []
        keys = {item.name: item for item in dataclasses.fields(kind) if "read" in item.metadata}  # type: ignore[arg-type]
        for name in value:
            if name not in keys:
                problems.append(Problem(_join(where, name), "unknown key.", _did_you_mean_key(name, where, keys)))
        for name, item in keys.items():
            if name in value:
                try:
                    made[name] = item.metadata["read"](value[name], _join(where, name))
                except _Wrong as wrong:
                    problems += wrong.problems
            elif item.metadata["required"]:
                problems.append(Problem(_join(where, name), "is missing."))
        if problems:
            raise _Wrong(*problems)
        return kind(**made)

    return read


def _declares(kind: type[S], make: Callable[[S], T], check: Callable[[T], Iterable[Problem]]) -> Reader[T]:
    """A table of the keys of ``kind``, made into what the manifest holds; ``check`` says what no single key can, by its key."""

    def read(value: object, where: str) -> T:
        made = make(_table(kind)(value, where))
        problems = [problem._replace(where=_join(where, problem.where)) for problem in check(made)]
        if problems:
            raise _Wrong(*problems)
        return made

    return read


def _key(read: Reader[T], default: T = _REQUIRED) -> T:
    """A field that is a key of the recipe: what reads it, and what it is when it's absent."""
    required = default is _REQUIRED
    factory: Any = (lambda: default) if not required else dataclasses.MISSING
    return cast(T, field(metadata={"read": read, "required": required}, default_factory=factory))


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMAND = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_REF = re.compile(r"(?!-)[^\s~^:?*\[\\]+([~^][0-9]*)*")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")

_paths = _several(_relative)
_files = _several(_in_tree_or_recipe)
_patterns = _several(_text)


# The schema. recipes/example.toml says what each key means.


@frozen_by_name
class SourceSpec:
    """Which commit of which repository, and which part of it. ``repository`` None is the one that holds the recipe."""

    repository: str | None = _key(_repository, None)
    ref: str = _key(_matching(_REF, "a commit, branch or tag"), "HEAD")
    subdirectory: str = _key(_relative, "")
    include: tuple[str, ...] = _key(_patterns, ())
    exclude: tuple[str, ...] = _key(_patterns, ())
    submodules: str = _key(_one_of("refuse", "include"), "refuse")
    lfs: str = _key(_one_of("refuse", "include"), "refuse")
    allow_secrets: tuple[str, ...] = _key(_patterns, ())


@frozen_by_name
class PythonSpec:
    """The target: ``version`` like ``3.11``, by default that of the Python we run on; ``interpreter`` a path or command, None to look for it."""

    version: str = _key(_python, f"{sys.version_info.major}.{sys.version_info.minor}")
    interpreter: str | None = _key(_text, None)


@frozen_by_name
class Dependencies:
    """What is declared, and the files that pin it. Paths as ``Recipe.locate`` reads them; ``lock`` is empty when nothing is declared."""

    requirements: tuple[str, ...] = _key(_files, ())
    packages: tuple[str, ...] = _key(_several(_requirement), ())
    pyproject: str | None = _key(_in_tree_or_recipe, None)
    extras: tuple[str, ...] = _key(_several(_distribution), ())
    groups: tuple[str, ...] = _key(_several(_distribution), ())
    constraints: tuple[str, ...] = _key(_files, ())
    lock: str = _key(_lock, "")
    build_lock: str | None = _key(_lock, None)
    sdists: tuple[str, ...] = _key(_several(_distribution), ())


@frozen_by_name
class EnvSpec:
    """What kind of environment, and what goes into it. ``entry_point`` (``module:function``) and ``script`` are a pex's."""

    kind: str = _key(_one_of(*ENV_KINDS), "venv")
    project: bool = _key(_flag, False)
    byte_code: bool = _key(_flag, True)
    share: bool = _key(_flag, True)
    entry_point: str | None = _key(_matching(_FUNCTION, "like package.module:function"), None)
    script: str | None = _key(_matching(_COMMAND, "the name of a console script"), None)


@frozen_by_name
class BuildStep:
    """A command that runs in the source tree with the environment; its ``outputs`` (paths in the tree) become ``assets/<path>``."""

    run: tuple[str, ...] = _key(_words)
    network: bool = _key(_flag, False)
    outputs: tuple[str, ...] = _key(_paths, ())
    env: Mapping[str, str] = _key(_variables, {})


@frozen_by_name
class HostSpec:
    """What a host must have before the release may be installed. Linked paths are relative to ``src/``."""

    linked_dirs: tuple[str, ...] = _key(_paths, ())
    linked_files: tuple[str, ...] = _key(_paths, ())
    env: tuple[str, ...] = _key(_several(_matching(_VARIABLE, "the name of a variable")), ())
    commands: tuple[str, ...] = _key(_several(_matching(_COMMAND, "the name of a command")), ())


@frozen_by_name
class OverlaySpec:
    """How ``etc/`` reaches the system: what is copied, by path below it; what to do about edits of the host's own, by glob."""

    copied: Mapping[str, str] = _key(_mapping, {})
    on_conflict: Mapping[str, str] = _key(_verdicts, {})


@frozen_by_name
class ServiceSpec:
    """A service, as ``declared.Service`` has it. ``restart_on`` None: what its kind is restarted for."""

    name: str = _key(_text)
    kind: str = _key(_one_of(*KINDS))
    unit: str = _key(_text, "")
    program: str = _key(_text, "")
    app: str = _key(_text, "")
    config: tuple[str, ...] = _key(_several(_relative), ())
    restart_on: tuple[str, ...] | None = _key(_several(_one_of(*TRIGGERS)), None)
    user: bool = _key(_flag, False)
    modules: tuple[str, ...] = _key(_several(_text), ())
    web_interface: bool = _key(_flag, False)
    stop_deadline: int = _key(_whole(0, LONGEST), 0)
    deadline: int = _key(_whole(1, LONGEST), 60)
    check: tuple[str, ...] = _key(_words, ())
    enable: tuple[str, ...] = _key(_words, ())
    reload: tuple[str, ...] = _key(_words, ())
    restart: tuple[str, ...] = _key(_words, ())
    disable: tuple[str, ...] = _key(_words, ())


@frozen_by_name
class HookSpec:
    """A command at one moment of a flip."""

    when: str = _key(_one_of(*MOMENTS))
    run: tuple[str, ...] = _key(_words)
    deadline: int = _key(_whole(1, LONGEST), 300)
    once: bool = _key(_flag, False)


@frozen_by_name
class HealthSpec:
    """How to tell that a release serves. ``status`` and ``reports_id`` None: 200 and true where a url is asked."""

    url: str = _key(_text, "")
    socket: str = _key(_text, "")
    tcp: str = _key(_text, "")
    command: tuple[str, ...] = _key(_words, ())
    status: int | None = _key(_whole(100, 599), None)
    body: str = _key(_text, "")
    reports_id: bool | None = _key(_flag, None)
    passes: int = _key(_whole(1, 100), 3)
    deadline: int = _key(_whole(1, 3600), 60)


def _overlay(spec: OverlaySpec) -> Overlay:
    copied = tuple(Copied(path, to) for path, to in sorted(spec.copied.items()))
    return Overlay(copied, tuple(Conflict(path, verdict) for path, verdict in sorted(spec.on_conflict.items())))


def _service(spec: ServiceSpec) -> Service:
    restart_on = KINDS[spec.kind].restart_on if spec.restart_on is None else spec.restart_on
    return Service(**{**_given(spec), "restart_on": restart_on})


def _hook(spec: HookSpec) -> Hook:
    return Hook(**_given(spec))


def _health(spec: HealthSpec) -> Health:
    status = (200 if spec.url else 0) if spec.status is None else spec.status
    reports_id = bool(spec.url) if spec.reports_id is None else spec.reports_id
    return Health(**{**_given(spec), "status": status, "reports_id": reports_id})


def _given(spec: Any) -> dict[str, Any]:
    return {item.name: getattr(spec, item.name) for item in dataclasses.fields(spec)}


@frozen_by_name
class Recipe:
    """A whole recipe. ``path`` is absolute; ``version`` None means: what ``git describe`` says."""

    path: Path = Path()
    name: str = _key(_matching(NAME, "1 to 64 lower-case letters, digits, '.', '_' or '-'"))
    version: str | None = _key(_matching(VERSION, "letters, digits and . + ! _ -"), None)
    root: str = _key(_absolute, "")
    keep_releases: int = _key(_whole(1, 1000), 5)
    etc: str | None = _key(_in_tree_or_recipe, None)
    rollback_safe_to: str = _key(_matching(VERSION, "a version: letters, digits and . + ! _ -"), "")
    source: SourceSpec = _key(_table(SourceSpec), SourceSpec())
    python: PythonSpec = _key(_table(PythonSpec), PythonSpec())
    dependencies: Dependencies = _key(_table(Dependencies), Dependencies())
    env: EnvSpec = _key(_table(EnvSpec), EnvSpec())
    build: tuple[BuildStep, ...] = _key(_several(_table(BuildStep)), ())
    host: HostSpec = _key(_table(HostSpec), HostSpec())
    overlay: Overlay = _key(_declares(OverlaySpec, _overlay, rules.overlay_problems), Overlay())
    services: tuple[Service, ...] = _key(_several(_declares(ServiceSpec, _service, rules.service_problems)), ())
    hooks: tuple[Hook, ...] = _key(_several(_declares(HookSpec, _hook, rules.hook_problems)), ())
    health: Health = _key(_declares(HealthSpec, _health, rules.health_problems), Health())

    @property
    def directory(self) -> Path:
        """The folder that holds the recipe: what ``recipe:`` paths are relative to."""
        return self.path.parent

    @property
    def secrets_allowed(self) -> tuple[str, ...]:
        """Patterns of tracked paths that may look like secrets."""
        return self.source.allow_secrets

    def locate(self, declared: str, tree: Path) -> Path:
        """The real path of one that the recipe declares: below ``tree`` (the exported source), or the recipe's folder after ``recipe:``.

        It need not exist. Raises ``RecipeError`` when a link on the way leads out of the place it must be below.
        """
        base = self.directory if declared.startswith(RECIPE_PREFIX) else tree
        path = base / declared.removeprefix(RECIPE_PREFIX)
        if not path.resolve().is_relative_to(base.resolve()):
            place = "the recipe's folder" if base is self.directory else "the source tree"
            raise RecipeError(f"{self.path.name} names a path that leads elsewhere", [Problem(declared, f"a link leads out of {place}.")])
        return path


def load(path: Path) -> Recipe:
    """Read the recipe at ``path``. Raises ``RecipeError`` with every problem in it, each with its path in the file."""
    raw = _parse(path)
    try:
        recipe = _table(Recipe)(raw, "")
        problems = tuple(_contradictions(recipe))
    except _Wrong as wrong:
        problems = wrong.problems
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise RecipeError(f"{path}, {count}", problems, next_step="every key is described in recipes/example.toml")
    deps = recipe.dependencies
    if not deps.lock and (deps.requirements or deps.packages or deps.pyproject):
        # A dot ends the name in pylock.NAME.toml.
        deps = dataclasses.replace(deps, lock=f"{RECIPE_PREFIX}pylock.{recipe.name.replace('.', '-')}.toml")
    python = recipe.python
    if python.interpreter and "/" in python.interpreter:
        python = dataclasses.replace(python, interpreter=str(path.absolute().parent / python.interpreter))
    return dataclasses.replace(recipe, path=path.absolute(), root=recipe.root or f"/srv/{recipe.name}", python=python, dependencies=deps)


def keys(kind: Any = Recipe, where: str = "") -> Iterator[str]:
    """Every key a recipe can have, dotted: ``env.kind``, ``build.run``."""
    tables: Mapping[str, Any] = {
        "source": SourceSpec,
        "python": PythonSpec,
        "dependencies": Dependencies,
        "env": EnvSpec,
        "build": BuildStep,
        "host": HostSpec,
        "overlay": OverlaySpec,
        "services": ServiceSpec,
        "hooks": HookSpec,
        "health": HealthSpec,
    }
    for item in dataclasses.fields(kind):
        if "read" in item.metadata:
            yield _join(where, item.name)
            if kind is Recipe and item.name in tables:
                yield from keys(tables[item.name], item.name)


def _parse(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise RecipeError(f"there is no recipe {path}") from None
    except IsADirectoryError:
        found = sorted(each for each in path.glob("*.toml") if not each.name.startswith(("pylock.", "pyproject.")))
        raise RecipeError(f"{path} is a directory, not a recipe", next_step=f"build-release {found[0]}" if found else "") from None
    except OSError as error:
        raise RecipeError(f"{path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML", [Problem(f"byte {error.start}", "is not UTF-8, as TOML must be.")]) from None
    except tomllib.TOMLDecodeError as error:
        what, _, at = str(error).removesuffix(")").rpartition(" (at ")
        raise RecipeError(f"{path} is not valid TOML", [Problem(at, f"{what[:1].lower()}{what[1:]}.")]) from None


def _contradictions(recipe: Recipe) -> Iterator[Problem]:
    """What no single key can say."""
    deps, env, host = recipe.dependencies, recipe.env, recipe.host
    for name in ("extras", "groups"):
        if getattr(deps, name) and not deps.pyproject:
            yield Problem(f"dependencies.{name}", "needs dependencies.pyproject, the file that defines them.")
    if deps.constraints and not (deps.requirements or deps.packages or deps.pyproject):
        yield Problem("dependencies.constraints", "constrains nothing: there are no requirements, packages or pyproject.")
    for name in ("entry_point", "script"):
        if getattr(env, name) and env.kind != "pex":
            yield Problem(f"env.{name}", f'is for env.kind = "pex", this one is "{env.kind}".')
    if env.entry_point and env.script:
        yield Problem("env.script", "can't stand beside env.entry_point: a pex has one of them.")
    linked = sorted((path, name) for name in ("linked_dirs", "linked_files") for path in getattr(host, name))
    for path, name in linked:
        for other, _ in linked:
            if path.startswith(f"{other}/"):
                yield Problem(f"host.{name}", f"{_shown(path)} is below {_shown(other)}, which is linked as a whole.")
    for path in _twice([path for path, _ in linked]):
        yield Problem("host.linked_files", f"{_shown(path)} is in linked_dirs too.")
    for path in _twice([path for step in recipe.build for path in step.outputs]):
        yield Problem("build", f"{_shown(path)} is an output of two steps.")
    yield from rules.doubles(recipe.services)
    if recipe.etc is None:
        named = [("overlay.copied", each.path) for each in recipe.overlay.copied]
        named += [(f"services[{number}].config", path) for number, service in enumerate(recipe.services) for path in service.config]
        for where, path in named:
            yield Problem(where, f'{_shown(path)} is a path below etc/, and there is none: say etc = "…" at the top.')


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The one of ``choices`` that looks most like ``word``, as a question; "" when none does."""
    import difflib  # for a mistake alone

    close = difflib.get_close_matches(word, list(choices), 1, 0.5)
    return f'Did you mean "{close[0]}"?' if close else ""


def _did_you_mean_key(name: str, where: str, here: Iterable[str]) -> str:
    """A key of the same table that looks alike, else one of the same name that stands in another."""
    elsewhere = [key for key in keys() if key.rpartition(".")[2] == name]
    if elsewhere:
        return f'Did you mean "{elsewhere[0]}"?' + (" It stands before the first table." if where and "." not in elsewhere[0] else "")
    return did_you_mean(name, here)


def _shown(value: object) -> str:
    """The value as the file spells it, when that is short; else what kind of value it is."""
    if isinstance(value, str):
        return f'"{value}"'
    return str(value) if type(value) in (int, float) else _word(value)


def _word(value: object) -> str:
    """What kind of TOML value this is, in words."""
    words = {bool: "true or false", str: "a string", int: "a whole number", float: "a number", list: "a list", dict: "a table"}
    return words.get(type(value), "a date or time")


def _twice(items: Sequence[T]) -> list[T]:
    return [item for number, item in enumerate(items) if item in items[:number]]


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key
