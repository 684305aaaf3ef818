"""The two forms of a lock file, read; and requirements files written (``pylock`` writes the other form).

``pylock.toml`` (PEP 751; pip, uv and pdm write it), and a requirements file in which every line is pinned and hashed (pip-compile, poetry's export).
Both are read into one list for one target. One that ``build-release lock`` wrote also says what it was made for and from.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ..errors import LockError, Problem
from ..frozen import frozen
from ..run import redact, without_credentials
from ..target import Interpreter
from . import requirements

TOOL = "build-release"  # the table of [tool] that says what a lock was made for and from
_MADE_FROM = re.compile(r"#   (\S.*?): (\S.*)")  # the same, in a requirements file
_PINNED = re.compile(r"===?\s*([^*,;\s]+)")
_ITSELF = re.compile(r"(?:(?:-e|--editable)[\s=]+)?(?:file:)?\./?(?:\[[\w\s,.-]*\])?")
COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_INDEX_OPTIONS = ("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host", "--no-index", "--pre", "--prefer-binary")


@frozen
class Locked:
    """One distribution. ``kind``: ``file`` (``hashes`` are the sha256 of the files that will do), ``vcs`` (``url`` and ``commit``) or ``directory``.

    ``version`` is empty when only building tells. ``filename`` and ``url`` are empty when the lock doesn't name the file.
    ``direct``: the file is to be had at its ``url`` alone, or lies in the source at ``path``, where a directory is too. ``subdirectory`` is that of
    the distribution in its repository or archive.
    """

    name: str
    version: str
    kind: str
    hashes: tuple[str, ...] = ()
    filename: str = ""
    url: str = ""
    commit: str = ""
    path: str = ""
    subdirectory: str = ""
    direct: bool = False

    @property
    def from_source(self) -> bool:
        """Whether it certainly has to be built: of a file whose name is not known, only the download tells."""
        return self.kind != "file" or (self.filename != "" and not self.filename.endswith(".whl"))

    def __str__(self) -> str:
        return f"{self.name} {self.commit[:12] or self.version}".strip()


@frozen
class Content:
    """A lock file as it was read. ``made_from`` is None in one that remembers nothing."""

    entries: tuple[Locked, ...]
    index_options: tuple[str, ...]
    made_for: str
    made_from: Mapping[str, tuple[str, ...]] | None


def parse(path: Path, name: str, interpreter: Interpreter, extras: Sequence[str] = (), groups: Sequence[str] = ()) -> Content:
    """What the lock file holds for the target. ``name`` is how messages call it. Raises ``LockError``."""
    if name.endswith(".txt"):
        return _hashed_requirements(path, name, interpreter)
    from . import pylock  # half of what an import of this module would take

    table = _toml(path, name)
    entries = pylock.select(table, name, interpreter, extras, groups)
    ours = table.get("tool", {}).get(TOOL)
    if not isinstance(ours, dict):
        return Content(entries, (), "", None)
    return Content(entries, (), str(ours.get("target", "")), {where: tuple(lines) for where, lines in ours.get("inputs", {}).items()})


def requirements_text(entries: Sequence[Locked], made_for: str = "", made_from: Mapping[str, Sequence[str]] | None = None) -> str:
    """A requirements file of ``entries``, pinned and hashed, naming no index. Parts of the source have no place in one: ``LockError``."""
    lines = []
    if made_from is not None:
        lines.append(f"# Made by {TOOL} lock for {made_for}, from:")
        lines += [f"#   {where}: {line}" for where, texts in sorted(made_from.items()) for line in texts]
    for entry in entries:
        if entry.path:
            problem = Problem(str(entry), f"is {entry.path}, a part of the source.", "Name the lock pylock.toml.")
            raise LockError("a requirements file can't lock a part of the source", [problem])
        fragment = f"#subdirectory={entry.subdirectory}" if entry.subdirectory else ""
        if entry.kind == "vcs":
            lines.append(f"{entry.name} @ git+{entry.url}@{entry.commit}{fragment}")
        else:
            what = f"{entry.name} @ {entry.url}{fragment}" if entry.direct else f"{entry.name}=={entry.version}"
            lines.append(" \\\n    ".join([what, *(f"--hash=sha256:{each}" for each in entry.hashes)]))
    return "".join(f"{line}\n" for line in lines)


def _toml(path: Path, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LockError("the lock can't be read", [Problem(name, f"can't be read: {error.strerror}.")]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LockError("the lock can't be read", [Problem(name, f"is not valid TOML: {error}.")]) from None


def filename(url: str) -> str:
    """The file that ``url`` names."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def _hashed_requirements(path: Path, name: str, interpreter: Interpreter) -> Content:
    """A requirements file as a lock: every line pinned and hashed."""
    problems: list[Problem] = []
    entries: dict[str, Locked] = {}
    options: list[str] = []
    for line in requirements.parse(path, name):
        where = f"{line.where}:{line.number}"
        if _ITSELF.fullmatch(line.text):
            continue  # as exports of uv begin: whether the project is installed says env.project
        if line.text.startswith("-"):
            option = re.split(r"[\s=]", line.text, maxsplit=1)[0]
            if option in _INDEX_OPTIONS:
                options.append(line.text)
            elif option != "--require-hashes":
                problems.append(Problem(where, f"{redact(line.text)} can't stand in a lock.", "A lock holds pinned and hashed requirements."))
            continue
        requirement = line.requirement()
        if requirement is None:
            problems.append(Problem(where, f"{redact(line.text)} is no pinned requirement.", "A lock names each distribution by name and version."))
            continue
        if not requirements.applies(requirement, interpreter.environment):
            continue
        entry = _pinned(requirement, line.hashes, where, problems)
        if entry is not None and entries.setdefault(entry.name, entry) != entry:
            problems.append(Problem(where, f"names {entry.name} a second time for this target."))
    if problems:
        raise LockError("the lock can't be used", problems)
    made_for, made_from = _remembered(path.read_text(encoding="utf-8-sig"))
    return Content(tuple(entries[key] for key in sorted(entries)), tuple(options), made_for, made_from)


def _pinned(requirement: Requirement, hashes: Sequence[str], where: str, problems: list[Problem]) -> Locked | None:
    """One line of a hashed requirements file, or None after a problem was noted."""
    name = canonicalize_name(requirement.name)
    address, _, fragment = (requirement.url or "").partition("#")
    inside = (re.findall(r"(?:^|&)subdirectory=([^&]+)", fragment) or [""])[0]
    if address.startswith("git+"):
        url, _, commit = address.removeprefix("git+").rpartition("@")
        if not COMMIT.fullmatch(commit):
            problems.append(Problem(where, f"{name} is not pinned to a commit.", "Write the whole commit id behind the @."))
            return None
        return Locked(name, "", "vcs", url=without_credentials(url), commit=commit, subdirectory=inside)
    if address:
        hashes = [*hashes, *(f"sha256:{found}" for found in re.findall(r"sha256=([0-9a-f]{64})", fragment))]
    wrong = [each for each in hashes if not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", each)]
    pin = _PINNED.fullmatch(str(requirement.specifier))
    if not hashes:
        problems.append(Problem(where, f"{name} has no hash.", "Every line of a lock needs --hash=sha256:…"))
    elif wrong:
        problems.append(Problem(where, f"{name} has a hash that is no sha256: {wrong[0][:80]}.", "Make the lock with sha256."))
    elif not pin and not address:
        problems.append(Problem(where, f"{requirement} is not pinned with ==.", "A lock names one version of each distribution."))
    else:
        sums = tuple(sorted({each.partition(":")[2].lower() for each in hashes}))
        url = without_credentials(address)
        return Locked(name, pin[1] if pin else "", "file", sums, filename(url), url, subdirectory=inside, direct=bool(url))
    return None


def _remembered(text: str) -> tuple[str, Mapping[str, tuple[str, ...]] | None]:
    """What the comment at the top of a hashed requirements file says it was made for and from: see ``requirements_text``."""
    head = re.match(rf"# Made by {TOOL} lock for (.*), from:\n((?:#   .*\n)*)", text)
    if not head:
        return "", None
    inputs: dict[str, list[str]] = {}
    for match in _MADE_FROM.finditer(head[2]):
        inputs.setdefault(match[1], []).append(match[2])
    return head[1], {where: tuple(lines) for where, lines in inputs.items()}
