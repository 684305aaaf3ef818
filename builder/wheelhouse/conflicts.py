"""Do the distributions of an environment agree with each other? What ``pip check`` says, and the extras that were asked for as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import packaging
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from ..errors import Problem
from .wheel import Facts


def find(distributions: Iterable[Facts], asked: Iterable[Requirement], environment: Mapping[str, str]) -> list[Problem]:
    """Everything that ``distributions`` ask for and don't get, for the project's own requirements ``asked`` and the target's ``environment``."""
    known = {each.name: each for each in distributions}
    problems = [problem for each in known.values() for problem in _python(each, environment)]
    waiting = [(each.name, "") for each in known.values()]
    for requirement in asked:
        problems += _missing("the project", requirement, known)
        waiting += [(canonicalize_name(requirement.name), canonicalize_name(extra)) for extra in requirement.extras]
    done: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in done or name not in known:
            continue
        done.add((name, extra))
        distribution = known[name]
        for text in distribution.requires:
            try:
                requirement = Requirement(text)
            except InvalidRequirement:
                problems.append(Problem(_label(distribution), f"asks for {text!r}, which is no requirement."))
                continue
            # One with a marker that holds without the extra was already looked at as the distribution's own.
            if not _holds(requirement, environment, extra) or (extra and _holds(requirement, environment, "")):
                continue
            problems += _missing(_label(distribution) + (f"[{extra}]" if extra else ""), requirement, known)
            waiting += [(canonicalize_name(requirement.name), canonicalize_name(wanted)) for wanted in requirement.extras]
    return sorted(set(problems), key=lambda problem: (problem.where, problem.what))


def code() -> list[str]:
    """What an answer depends on beside the question: this module and ``packaging``."""
    return [Path(__file__).read_text(), packaging.__version__]


def _missing(who: str, requirement: Requirement, known: Mapping[str, Facts]) -> list[Problem]:
    found = known.get(canonicalize_name(requirement.name))
    wanted = f"{requirement.name}{requirement.specifier}"
    if found is None:
        return [Problem(who, f"needs {wanted}, which the lock does not hold.")]
    if not requirement.specifier.contains(Version(found.version), prereleases=True):
        return [Problem(who, f"needs {wanted}, the lock holds {_label(found)}.")]
    return []


def _python(distribution: Facts, environment: Mapping[str, str]) -> list[Problem]:
    version = environment["python_full_version"].rstrip("+")
    try:
        if SpecifierSet(distribution.requires_python).contains(version, prereleases=True):
            return []
    except InvalidSpecifier:
        return []  # pip ignores it too
    return [Problem(_label(distribution), f"needs Python {distribution.requires_python}, the target is {version}.")]


def _holds(requirement: Requirement, environment: Mapping[str, str], extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def _label(distribution: Facts) -> str:
    return f"{distribution.name} {distribution.version}"
