"""The target interpreter: which one, and what it says of itself.

Nothing is guessed from our own interpreter: the target is run, and asked. It need not be the one that builds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import packaging

from .cache import used
from .errors import Problem, TargetError
from .frozen import frozen
from .install_release.manifest import Libc, Target, canonical
from .recipe import PythonSpec
from .run import run

if TYPE_CHECKING:
    from packaging.tags import Tag

OLDEST = (3, 9)
# The glibc that the tags from before PEP 600 stand for.
_LEGACY_GLIBC = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
# Relative relocations are no numbered version: glibc 2.36 brought them, and older ones refuse to load such a file.
_RELATIVE_RELOCATIONS = (b"\0GLIBC_ABI_DT_RELR\0", (2, 36))

# Runs in the target with -I -S: only its standard library, and packaging, which is the last place on the path.
_PROBE = """
import importlib.util, json, os, sys, sysconfig
facts = {"version": "%d.%d.%d" % sys.version_info[:3]}
if sys.version_info[:2] >= (3, 9):
    sys.path.append(sys.argv[1])
    from packaging import _musllinux, markers, tags
    base = "/base"
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    paths = sysconfig.get_paths(scheme, {"base": base, "platbase": base, "installed_base": base, "installed_platbase": base})
    supported = [str(tag) for tag in tags.sys_tags()]
    musl = _musllinux._get_musl_version(sys.executable)
    try:
        glibc = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")[2]
    except (AttributeError, OSError, ValueError):
        glibc = ""
    facts.update({
        "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
        "implementation": sys.implementation.name,
        "system": sys.platform,
        "cache_tag": sys.implementation.cache_tag,
        "soabi": sysconfig.get_config_var("SOABI") or "",
        "byte_code": importlib.util.MAGIC_NUMBER.hex(),
        "libc": ["musl", "%d.%d" % musl] if musl else ["glibc", glibc],
        "markers": markers.default_environment(),
        "tags": supported,
        "paths": {key: os.path.relpath(paths[key], base) for key in ("purelib", "platlib", "scripts", "data")},
    })
print(json.dumps(facts))
"""


@frozen
class Interpreter:
    """A Python that was run and asked. ``version`` is ``3.11.7``, ``byte_code`` the magic number in hexadecimal.

    ``libc_version`` is the build machine's. ``paths`` (purelib, platlib, scripts, data) are relative to an environment; ``markers`` is the
    environment of PEP 508; ``tags`` are the wheel tags it supports, best first, as text.
    """

    executable: Path
    version: str
    implementation: str
    abi: str
    cache_tag: str
    soabi: str
    byte_code: str
    platform: str
    libc: str
    libc_version: str
    markers: Mapping[str, str]
    tags: tuple[str, ...]
    paths: Mapping[str, str]

    @property
    def python(self) -> str:
        """Like ``3.11``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment that markers of requirements are evaluated in."""
        return self.markers

    @cached_property
    def identity(self) -> str:
        """A hash of all that can change what is built for, or compiled by, this interpreter: not of where it stands."""
        facts = [self.implementation, self.version, self.abi, self.soabi, self.cache_tag, self.byte_code, self.platform, self.libc]
        return hashlib.sha256(canonical([*facts, *self.tags])).hexdigest()

    @cached_property
    def supported(self) -> tuple[Tag, ...]:
        """The wheel tags it supports, best first, as ``packaging`` has them."""
        from packaging.tags import Tag

        return tuple(Tag(*tag.split("-")) for tag in self.tags)

    def target(self, minimum_libc: str, byte_code: bool = True) -> Target:
        """The manifest's words for it. ``minimum_libc`` like ``2.28``, empty when no wheel needs one."""
        return Target(self.implementation, self.python, self.abi, self.platform, Libc(self.libc, minimum_libc), self.byte_code if byte_code else "")


def find(spec: PythonSpec, cache: Path | None = None) -> Interpreter:
    """The first interpreter of the wanted version that can be run. Raises ``TargetError`` with what was wrong with each one tried.

    What one says of itself is kept in ``cache``: asking takes 0.1 s.
    """
    problems: list[Problem] = []
    for candidate in _candidates(spec):
        try:
            interpreter = _remembered(candidate, cache) if cache else ask(candidate)
        except TargetError as error:
            problems += error.problems or [Problem(candidate, error.message)]
            continue
        if interpreter.python == spec.version:
            return interpreter
        problems.append(Problem(candidate, f"is Python {interpreter.version}."))
    if spec.interpreter is not None:
        remedy = f"correct python.interpreter in the recipe, which wants Python {spec.version}"
    else:
        remedy = f"install Python {spec.version}, or name one in the recipe: python.interpreter"
        problems = problems or [Problem(f"python{spec.version}", "is neither on PATH nor in ~/.pyenv/versions.")]
    raise TargetError(f"no usable Python {spec.version} for the target", problems, next_step=remedy)


def _remembered(candidate: str, cache: Path) -> Interpreter:
    """What ``ask`` says, asked once for as long as the program, the C library and the question are the same."""
    path = shutil.which(candidate)
    try:
        with open(path or candidate, "rb") as file:
            facts = os.fstat(file.fileno())
            if file.read(4) != b"\x7fELF":  # a shim, which may start another interpreter tomorrow
                return ask(candidate)
        settings = Path(path or candidate).absolute().parent.parent / "pyvenv.cfg"
        said_by = [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, str(Path(path or candidate).absolute())]
        asked = [packaging.__version__, _PROBE, os.confstr("CS_GNU_LIBC_VERSION"), settings.read_text() if settings.is_file() else ""]
    except (OSError, ValueError):
        return ask(candidate)
    entry = cache / "interpreters" / f"{hashlib.sha256(canonical([said_by, asked])).hexdigest()}.json"
    try:
        used(cache, entry)
        known = json.loads(entry.read_bytes())
        return Interpreter(**{**known, "executable": Path(known["executable"]), "tags": tuple(known["tags"])})
    except (OSError, ValueError, TypeError, KeyError):
        interpreter = ask(candidate)
    entry.parent.mkdir(parents=True, exist_ok=True)
    scratch = entry.with_name(f".{entry.name}.{os.getpid()}")
    scratch.write_bytes(canonical({**asdict(interpreter), "executable": str(interpreter.executable)}))
    os.replace(scratch, entry)
    return interpreter


def ask(executable: str | Path) -> Interpreter:
    """Run ``executable`` and take down what it says of itself. Raises ``TargetError``."""
    library = str(Path(packaging.__file__).parent.parent)
    question = [executable, "-I", "-S", "-c", _PROBE, library]
    completed = run(question, what="asking the target interpreter", error=TargetError, timeout=60, check=False)
    if completed.returncode != 0:
        lines = completed.log.strip().splitlines() or [f"exit status {completed.returncode}"]
        said = lines[-1 if lines[0].startswith("Traceback") else 0].strip()  # a shim explains itself at length, the reason first
        raise TargetError("that is no Python 3", [Problem(str(executable), f"does not answer as a Python 3 does: {said}")])
    try:
        facts: dict[str, Any] = json.loads(completed.text)
        if tuple(int(part) for part in facts["version"].split(".")[:2]) < OLDEST:
            problem = Problem(str(executable), f"is Python {facts['version']}.", "The oldest that a release can be made for is 3.9.")
            raise TargetError("the target interpreter is too old", [problem])
    except (ValueError, KeyError):
        raise TargetError("that is no Python 3", [Problem(str(executable), "does not answer as a Python 3 does.")]) from None
    if facts["system"] != "linux":
        raise TargetError("the target is no Linux", [Problem(str(executable), f"runs on {facts['system']}.", "Releases are made for Linux.")])
    tags = tuple(facts["tags"])
    return Interpreter(
        executable=Path(facts["executable"]),
        version=facts["version"],
        implementation=facts["implementation"],
        abi=tags[0].split("-")[1],
        cache_tag=facts["cache_tag"],
        soabi=facts["soabi"],
        byte_code=facts["byte_code"],
        platform=next(platform for platform in (tag.split("-")[2] for tag in tags) if platform.startswith("linux_")),
        libc=facts["libc"][0],
        libc_version=facts["libc"][1],
        markers=facts["markers"],
        tags=tags,
        paths=facts["paths"],
    )


def wheel_tags(filename: str) -> frozenset[str]:
    """The tags in the name of a wheel, as text: ``six-1.17.0-py2.py3-none-any.whl`` has ``py2-none-any`` and ``py3-none-any``."""
    interpreters, abis, platforms = (part.split(".") for part in filename.removesuffix(".whl").lower().split("-")[-3:])
    return frozenset(f"{interpreter}-{abi}-{platform}" for interpreter in interpreters for abi in abis for platform in platforms)


def minimum_libc(wheels: Iterable[Path], interpreter: Interpreter) -> str:
    """The oldest libc that all these wheel files run on, like ``2.28``; empty when none of them says.

    A wheel's tags say it (the least of those that the target supports: one is enough). A wheel that was built here has a plain ``linux`` tag
    and says nothing: its ELF files do, by the symbol versions they were linked to.
    """
    highest: tuple[int, ...] = ()
    supported = frozenset(interpreter.tags)
    for path in wheels:
        platforms = {tag.split("-")[2] for tag in wheel_tags(path.name) & supported}
        if "any" in platforms:
            continue
        stated = [version for version in map(_stated_libc, platforms) if version]
        highest = max(highest, min(stated) if stated else _linked_libc(path, interpreter))
    return ".".join(map(str, highest))


def _stated_libc(platform: str) -> tuple[int, ...]:
    """``manylinux_2_28_x86_64`` → (2, 28); empty for a tag that names no libc."""
    match = re.match(r"(?:many|musl)linux_(\d+)_(\d+)_", platform)
    if match:
        return int(match[1]), int(match[2])
    return _LEGACY_GLIBC.get(platform.partition("_")[0], ())


def _linked_libc(wheel: Path, interpreter: Interpreter) -> tuple[int, ...]:
    """The newest symbol version of glibc in the wheel's ELF files. musl has none: what it was built with is what it needs."""
    highest: tuple[int, ...] = ()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            data = archive.read(member)
            if not data.startswith(b"\x7fELF"):
                continue
            if interpreter.libc == "musl":
                return tuple(int(part) for part in interpreter.libc_version.split("."))
            # The versions are strings of .dynstr. Reading all of the file can only find more than are needed, never fewer.
            found = [(int(match[1]), int(match[2])) for match in re.finditer(rb"\0GLIBC_(\d+)\.(\d+)(?=[.\0])", data)]
            if _RELATIVE_RELOCATIONS[0] in data:
                found.append(_RELATIVE_RELOCATIONS[1])
            highest = max([highest, *found])
    return highest


def _candidates(spec: PythonSpec) -> Iterator[str]:
    """Where an interpreter may be, best first."""
    if spec.interpreter is not None:
        yield spec.interpreter
        return
    name = f"python{spec.version}"
    on_path = shutil.which(name)
    if on_path:
        yield on_path
    installed = Path(os.path.expanduser("~")) / ".pyenv" / "versions"  # "~" itself for a user without a home: nothing is there
    for version in sorted(installed.glob(f"{spec.version}.*"), key=lambda path: [int(part) for part in re.findall(r"\d+", path.name)], reverse=True):
        yield str(version / "bin" / name)
    if spec.version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield sys.executable
