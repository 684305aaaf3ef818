"""What a project declares that it needs: requirements files, a pyproject.toml, the recipe's own list. Read, not resolved.

Also the form of a lock that is a requirements file with hashes, because it is read the same way.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ..errors import LockError, Problem
from ..frozen import frozen
from ..recipe import Recipe
from ..run import redact

_COMMENT = re.compile(r"(^|\s+)#.*$")
_NESTED = re.compile(r"(-r|--requirement|-c|--constraint)(?:\s+|=)?(\S.*)")
_BESIDE = re.compile(r"(recipe:)?(.*/)?")  # what a name in a requirements file is relative to
INLINE = "dependencies.packages"  # where the recipe's own list stands


@frozen
class Line:
    """One logical line of a requirements file: ``text`` without comment and hashes. ``where`` is the file, ``number`` the first line in it.

    ``constraint`` says that it only limits versions. An option (``--index-url …``) is a line whose text begins with a dash.
    """

    where: str
    number: int
    text: str
    hashes: tuple[str, ...] = ()
    constraint: bool = False

    def requirement(self) -> Requirement | None:
        """The line as a requirement, or None when it is an option, a path or a bare URL."""
        try:
            return Requirement(self.text)
        except InvalidRequirement:
            return None


@frozen
class Declared:
    """All that was declared, in the recipe's order: every line, and the requirements files that pip has to read itself."""

    lines: tuple[Line, ...]
    files: tuple[Path, ...]
    constraint_files: tuple[Path, ...]

    @property
    def inputs(self) -> Mapping[str, tuple[str, ...]]:
        """What a lock remembers: file → its lines, without options (they say where to look, not what for) and without credentials."""
        kept: dict[str, list[str]] = {}
        for line in self.lines:
            lines = kept.setdefault(line.where, [])
            if not line.text.startswith("-") or line.text.startswith(("-e", "--editable")):
                lines.append(redact(line.text))
        return {where: tuple(lines) for where, lines in kept.items()}

    @property
    def loose(self) -> tuple[str, ...]:
        """The requirements that stand in no requirements file."""
        return tuple(line.text for line in self.lines if line.number == 0)

    def requirements(self, environment: Mapping[str, str], *, constraints: bool = False) -> tuple[Requirement, ...]:
        """The requirements (or constraints) whose marker holds in ``environment``."""
        parsed = (line.requirement() for line in self.lines if line.constraint is constraints)
        return tuple(each for each in parsed if each is not None and applies(each, environment))


def applies(requirement: Requirement, environment: Mapping[str, str], extra: str = "") -> bool:
    """Whether the requirement's marker holds in ``environment``, asked for by ``extra``."""
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def gather(recipe: Recipe, tree: Path) -> Declared:
    """Everything that ``recipe`` declares, read from ``tree``. Raises ``LockError`` with every input that is missing or unreadable."""
    deps = recipe.dependencies
    problems: list[Problem] = []
    lines: list[Line] = []
    files: dict[bool, list[Path]] = {False: [], True: []}
    for declared, constraint in [*((name, False) for name in deps.requirements), *((name, True) for name in deps.constraints)]:
        path = recipe.locate(declared, tree)
        files[constraint].append(path)
        try:
            lines += parse(path, declared, constraint=constraint)
        except LockError as error:
            problems += error.problems
    lines += [Line(INLINE, 0, text) for text in deps.packages]
    if deps.pyproject is not None:
        try:
            lines += _pyproject(recipe.locate(deps.pyproject, tree), deps.pyproject, deps.extras, deps.groups)
        except LockError as error:
            problems += error.problems
    if problems:
        raise LockError("the declared dependencies can't be read", problems)
    return Declared(tuple(lines), tuple(files[False]), tuple(files[True]))


def parse(path: Path, where: str, *, constraint: bool = False, seen: tuple[Path, ...] = ()) -> list[Line]:
    """The logical lines of a requirements file and of those it names. ``where`` is how messages call it. Raises ``LockError``."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        raise LockError("a requirements file can't be read", [Problem(where, f"can't be read: {reason}.")]) from None
    if path.resolve() in seen:
        raise LockError("a requirements file names itself", [Problem(where, "is named by a file that it names.")])
    lines: list[Line] = []
    for number, logical in _logical(text):
        nested = _NESTED.fullmatch(logical)
        if nested:
            name = nested[2].strip("'\"")
            if "://" in name:
                problem = Problem(f"{where}:{number}", f"names {redact(name)}.", "Put it into the repository.")
                raise LockError("a requirements file is not in the source", [problem])
            limits = constraint or nested[1] in ("-c", "--constraint")
            lines += parse(path.parent / name, _BESIDE.match(where)[0] + name, constraint=limits, seen=(*seen, path.resolve()))  # type: ignore[index]
            continue
        if logical.startswith("-"):
            lines.append(Line(where, number, logical, (), constraint))
            continue
        words, *options = re.split(r"\s+(?=--[a-z])", logical)
        hashes = tuple(re.sub(r"^--hash[=\s]\s*", "", option).strip() for option in options if option.startswith("--hash"))
        lines.append(Line(where, number, " ".join(words.split()), hashes, constraint))
    return lines


def build_requires(pyproject: bytes | None) -> tuple[str, ...]:
    """What a source tree needs before its back end can even be asked: ``build-system.requires``, or what stands for a missing one."""
    table = _toml(pyproject, "pyproject.toml").get("build-system") if pyproject is not None else None
    if not isinstance(table, dict) or "requires" not in table:
        return ("setuptools>=40.8.0",)
    return tuple(str(requirement) for requirement in table["requires"])


def _logical(text: str) -> Iterator[tuple[int, str]]:
    """(number, line) with continuation lines joined and comments removed, as pip reads them."""
    begun, first = "", 0
    for number, line in enumerate([*text.splitlines(), ""], 1):
        first = first or number
        whole = not line.endswith("\\") or _COMMENT.match(line)
        if not whole:
            begun += line[:-1].rstrip() + " "
            continue
        logical = _COMMENT.sub("", begun + line.strip() if begun else line).strip()
        if logical:
            yield first, logical
        begun, first = "", 0


def _pyproject(path: Path, where: str, extras: Sequence[str], groups: Sequence[str]) -> list[Line]:
    """The requirements of a pyproject.toml: its dependencies, those of its ``extras`` and dependency ``groups``."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LockError("the project can't be read", [Problem(where, f"can't be read: {error.strerror}.")]) from None
    table = _toml(data, where)
    project = table.get("project", {})
    problems = []
    texts: list[str] = []
    if not project and not groups:
        remedy = "Name the file that does in dependencies.requirements; for poetry, export its lock with hashes and name that in dependencies.lock."
        problems.append(Problem(where, "has no [project] table that says what it needs.", remedy))
    for key in ("dependencies", "optional-dependencies"):
        if key in project.get("dynamic", ()) and (key == "dependencies" or extras):
            remedy = "Name the file they come from in dependencies.requirements."
            problems.append(Problem(f"{where}: project.dynamic", f"{key} are only known when it is built.", remedy))
    texts += project.get("dependencies", [])
    optional: dict[str, Any] = {canonicalize_name(name): needs for name, needs in project.get("optional-dependencies", {}).items()}
    for extra in extras:
        if extra in optional:
            texts += _expanded(extra, optional, canonicalize_name(project.get("name", "")), ())
        else:
            problems.append(Problem(f"{where}: project.optional-dependencies", f"has no extra {extra}.", _among(optional)))
    known: dict[str, Any] = {canonicalize_name(name): name for name in table.get("dependency-groups", {})}
    for group in groups:
        if group not in known:
            problems.append(Problem(f"{where}: dependency-groups", f"has no group {group}.", _among(known)))
            continue
        try:
            from packaging.dependency_groups import resolve_dependency_groups

            texts += resolve_dependency_groups(table["dependency-groups"], known[canonicalize_name(group)])
        except (ValueError, TypeError, LookupError) as error:
            problems.append(Problem(f"{where}: dependency-groups.{group}", f"can't be read: {error}."))
    for text in texts:
        try:
            Requirement(text)
        except InvalidRequirement as error:
            problems.append(Problem(where, f"{text!r} is no requirement: {str(error).splitlines()[0]}."))
    if problems:
        raise LockError("the project's dependencies can't be read", problems)
    return [Line(where, 0, text) for text in dict.fromkeys(texts)]


def _expanded(extra: str, optional: Mapping[str, Sequence[str]], project: str, above: tuple[str, ...]) -> list[str]:
    """The requirements of an extra, with the project's own other extras (``name[other]``) in place."""
    texts: list[str] = []
    for text in optional[extra]:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            texts.append(text)  # reported by the caller
            continue
        if canonicalize_name(requirement.name) != project:
            texts.append(text)
            continue
        for other in sorted(map(canonicalize_name, requirement.extras)):
            if other in optional and other not in above:
                texts += _expanded(other, optional, project, (*above, extra))
    return texts


def _toml(data: bytes, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LockError("a file is not valid TOML", [Problem(where, f"is not valid TOML: {error}.")]) from None


def _among(names: Mapping[str, object]) -> str:
    return f"There are: {', '.join(sorted(names))}." if names else "There are none."
