"""The Python that a release will run on: found, resolved to where it really is, and proven by running it.

What is linked into an environment is the physical ``pythonX.Y``: not ``python3``, which the next upgrade of the system moves to another
version, not a version manager's shim, which is a shell script, and not the ``python`` of a virtualenv, which is somebody's to remove.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence

from .child import run, scrubbed
from .errors import Problem
from .manifest import Target
from .records import NamedTuple
from .typed import Any

PROBE_SECONDS = 20.0
# $HOME, not "~": where it is not set, that would be asked of name services, through a socket.
_PLACES = ("/usr/bin", "/usr/local/bin", "/opt/*/bin", "/opt/python/*/bin", "$HOME/.pyenv/versions/*/bin")

# Runs in any Python, old ones included, so that they can be told apart in words; the answer is a literal because a stripped one has no json.
_QUESTION = """
import sys
facts = {
    "executable": sys.executable,
    "implementation": getattr(getattr(sys, "implementation", None), "name", "cpython"),
    "version": "%d.%d.%d" % sys.version_info[:3],
    "abi": "cp%d%d%s" % (sys.version_info[0], sys.version_info[1], getattr(sys, "abiflags", "")),
}
try:
    import importlib.util, os
    names = ("ctypes", "dataclasses", "email", "json", "logging", "subprocess", "zlib")
    facts["missing"] = [name for name in names if importlib.util.find_spec(name) is None]
    machine = "%s_%s" % (sys.platform, os.uname()[4])
    if sys.maxsize < 2 ** 32:
        machine = {"linux_x86_64": "linux_i686", "linux_aarch64": "linux_armv8l"}.get(machine, machine)
    if facts["implementation"] != "cpython":
        import sysconfig  # asks name services for the user's home when it is asked
        facts["abi"] = "_".join((sysconfig.get_config_var("SOABI") or "").split("-")[:2])
    try:
        libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
    except (OSError, ValueError):
        libc = []
    if not libc:
        with open("/proc/self/maps") as maps:
            loaders = [line.split()[-1] for line in maps if "/ld-musl-" in line]
        libc = ["musl", loaders[0]] if loaders else ["", ""]
    facts.update(platform=machine, byte_code=importlib.util.MAGIC_NUMBER.hex(), libc=libc[:2])
except (ImportError, OSError, AttributeError):
    pass
"""
_MARK = "the facts: "


class Interpreter(NamedTuple):
    """A Python that was run and asked.

    ``executable`` is its physical path; ``version`` like ``3.11.2``, ``abi`` ``cp311`` (``cp313t``: free-threaded, ``cp311d``: debug), ``platform``
    ``linux_x86_64``, ``libc`` ``glibc`` or ``musl`` and ``libc_version`` like ``2.36``, ``byte_code`` the magic number in hexadecimal.
    ``missing`` names modules of the standard library that it lacks.
    """

    executable: str
    implementation: str
    version: str
    abi: str
    platform: str
    libc: str
    libc_version: str
    byte_code: str
    missing: tuple[str, ...] = ()

    @property
    def python(self) -> str:
        """Like ``3.11``."""
        return ".".join(self.version.split(".")[:2])


class Search(NamedTuple):
    """What was found: the interpreter that fits, or else the one that comes nearest (None: none at all), and in words what else was tried."""

    interpreter: Interpreter | None
    tried: tuple[str, ...] = ()


def find(target: Target, explicit: str | None = None, candidates: Sequence[str] | None = None) -> Search:
    """The first interpreter that ``target`` fits, and that any user can reach if there is such a one.

    ``explicit`` (a path or a command) is the only one tried when it is given.
    """
    if candidates is None:
        candidates = [explicit if "/" in explicit else _on_path(explicit) or explicit] if explicit else list(usual(target.python))
    tried, nearest, private, seen = [], None, None, set()
    for candidate in candidates:
        try:
            path = resolve(candidate, target.python)
            if path in seen:
                continue
            seen.add(path)
            found = ask(path)
            if found.executable != path:  # a shim, or a wrapper
                found = ask(resolve(found.executable, target.python))
        except (OSError, ValueError) as error:
            tried.append(f"{candidate}: {getattr(error, 'strerror', None) or error}")
            continue
        wrong = mismatches(target, found)
        if not wrong and not private_ancestor(found.executable):
            return Search(found, tuple(tried))
        if not wrong:
            private = private or found
            continue
        tried.append(f"{found.executable}: {found.implementation} {found.version}, {found.abi}, {found.platform}")
        if nearest is None or len(wrong) < len(mismatches(target, nearest)):
            nearest = found
    return Search(private or nearest, tuple(tried))


def usual(python: str) -> Iterator[str]:
    """Where Python ``python`` (like ``3.11``) may be, best first; then any Python 3, to say what there is instead."""
    name = f"python{python}"
    on_path = _on_path(name)
    if on_path:
        yield on_path
    import glob  # only now: each start would pay for it

    for place in _PLACES:
        for directory in sorted(glob.glob(os.path.expandvars(place)), reverse=True):
            if os.access(os.path.join(directory, name), os.X_OK):
                yield os.path.join(directory, name)
    if sys.executable:
        yield sys.executable
    on_path = _on_path("python3")
    if on_path:
        yield on_path


def _on_path(command: str) -> str | None:
    import shutil  # only now: each start would pay for it

    return shutil.which(command)


def resolve(path: str, python: str) -> str:
    """The physical path of the interpreter ``path``; of a virtualenv's, that of the one it was made from. Prefers the name ``pythonX.Y``."""
    real = os.path.realpath(path)
    home = _home(real)
    if home:
        named = [os.path.join(home, name) for name in (f"python{python}", "python3", "python")]
        real = os.path.realpath(next(filter(os.path.exists, named), real))
    versioned = os.path.join(os.path.dirname(real), f"python{python}")
    return versioned if os.path.exists(versioned) and os.path.samefile(versioned, real) else real


def _home(executable: str) -> str:
    """``home`` of the ``pyvenv.cfg`` that belongs to ``executable``; empty when it is in no virtualenv."""
    directory = os.path.dirname(executable)
    for place in (directory, os.path.dirname(directory)):
        try:
            with open(os.path.join(place, "pyvenv.cfg"), encoding="utf-8", errors="replace") as file:
                pairs = (line.partition("=") for line in file)
                return next((value.strip() for key, _, value in pairs if key.strip() == "home"), "")
        except OSError:
            continue
    return ""


def ask(path: str) -> Interpreter:
    """Run the interpreter ``path`` (unless it is the one that runs this) and take down its answer. Raises ``OSError`` or ``ValueError``, in words."""
    if not re.fullmatch(r"[^\x00-\x1f\x7f\\]+", path) or not path.isprintable():
        raise ValueError("has a control character or a backslash in its path")
    if path == resolve(sys.executable, f"{sys.version_info[0]}.{sys.version_info[1]}"):
        space: dict[str, Any] = {}
        exec(_QUESTION, space)
        return _answer(path, {**space["facts"], "executable": path})
    done = run([path, "-I", "-S", "-c", f"{_QUESTION}\nprint({_MARK!r} + repr(facts))"], deadline=PROBE_SECONDS, environment=_probe_environment())
    lines = [line for line in done.output.splitlines() if line.startswith(_MARK)]
    if not done.good or not lines:
        raise ValueError(f"can't be run as Python 3: {done.reason}")
    import ast

    return _answer(path, ast.literal_eval(lines[-1][len(_MARK) :]))


def _probe_environment() -> dict[str, str]:
    """A version manager's shim finds its interpreter by HOME and PATH."""
    return scrubbed(**{name: os.environ[name] for name in ("HOME", "PATH", "PYENV_ROOT", "PYENV_VERSION") if name in os.environ})


def _answer(path: str, facts: dict[str, Any]) -> Interpreter:
    libc, libc_version = facts.get("libc", ("", ""))
    real = os.path.realpath(facts["executable"] or path)
    return Interpreter(
        executable=path if real == os.path.realpath(path) else real,
        implementation=facts["implementation"],
        version=facts["version"],
        abi=facts["abi"],
        platform=facts.get("platform", ""),
        libc=libc,
        libc_version=_musl_version(libc_version) if libc == "musl" else libc_version,
        byte_code=facts.get("byte_code", ""),
        missing=tuple(facts.get("missing", ())),
    )


def _musl_version(loader: str) -> str:
    """musl's version, which its loader says when it is run without arguments; empty when it doesn't."""
    found = re.search(r"^Version (\d+\.\d+)", run([loader], deadline=5).output, re.MULTILINE)
    return found[1] if found else ""


def mismatches(target: Target, found: Interpreter) -> tuple[Problem, ...]:
    """Why ``found`` can't run what was built for ``target``. Empty: it can. (The libc's version is the host's matter, see ``preflight``.)"""
    problems = []
    have = f"{_pretty(found.implementation)} {found.version}"
    if (found.implementation, found.python, found.abi) != (target.implementation, target.python, target.abi):
        needs = f"needs {_pretty(target.implementation)} {target.python} with ABI {target.abi}"
        wrong = f"found {have} with ABI {found.abi} ({found.executable})."
        if found.python == target.python:
            remedy = f"Install a Python {target.python} of that ABI and name it with --python."
        else:
            remedy = f"Install python{target.python}, name one with --python, or build for {found.python} (python.version in the recipe)."
        problems.append(Problem("python", f"{needs}; {wrong}", remedy))
    elif target.byte_code and found.byte_code != target.byte_code:
        what = f"{found.executable} ({have}) does not read the byte code that travels (magic number {found.byte_code}, needs {target.byte_code})."
        problems.append(Problem("python", what, f"Use a released Python {target.python}: an alpha or beta has other byte code."))
    if found.platform != target.platform:
        what = f"needs {target.platform}; {found.executable} is {found.platform or 'of an unknown one'}."
        problems.append(Problem("platform", what, "Build it for this machine."))
    if target.libc.name and found.libc != target.libc.name:
        what = f"needs {target.libc.name}; {found.executable} runs on {found.libc or 'an unknown libc'}."
        problems.append(Problem("libc", what, f"Build it on a system with {found.libc or 'the same libc'}, or use one with {target.libc.name}."))
    if found.missing:
        what = f"{found.executable} is a stripped Python: it lacks {', '.join(found.missing)}."
        problems.append(Problem("python", what, f"Install the full one (on Debian: python{found.python}, not python{found.python}-minimal)."))
    return tuple(problems)


def _pretty(implementation: str) -> str:
    return {"cpython": "CPython", "pypy": "PyPy"}.get(implementation, implementation)


def private_ancestor(path: str) -> str:
    """The first directory on the way to ``path`` that other users can't pass; empty when all can."""
    parts = path.split("/")[1:-1]
    for count in range(1, len(parts) + 1):
        directory = "/" + "/".join(parts[:count])
        if not stat.S_IMODE(os.stat(directory).st_mode) & stat.S_IXOTH:
            return directory
    return ""
