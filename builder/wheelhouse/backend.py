"""Building wheels from source: back ends of others, run without network and without anything of the user's environment.

A distribution is built by ``pip wheel``, the project itself by ``build``; what they need is there before, as wheels that the build lock names.
"""

from __future__ import annotations

import stat
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import build as pypa_build
from pyproject_hooks import BuildBackendWarning

from ..errors import BuildError, LockError, Problem, WheelhouseError
from ..frozen import frozen
from ..pip import OWN_SETTINGS, command, environment, pip
from ..run import EARLIEST, build_environment, redact, run
from ..target import Interpreter

_DATE = (1980, 1, 1, 0, 0, 0)


@frozen
class Tools:
    """What source is built with: ``folder`` holds the wheels of the build lock, ``pins`` is a file that names each with its hash."""

    folder: Path
    pins: Path


@frozen
class Made:
    """A wheel that was built, and the members of it that a second build, elsewhere, made differently."""

    path: Path
    differing: tuple[str, ...]


Lay = Callable[[Path], int]  # lays a source tree into an empty directory, returns its time in seconds
Build = Callable[[Path, Path, Mapping[str, str]], None]  # (source tree, where the wheel goes, environment)


def make_wheel(what: str, lay: Lay, build: Build, scratch: Path) -> Made:
    """Build twice, in two places; keep the first wheel, written again so that its bytes depend on nothing but its content."""
    wheels = []
    for place in ("1", "the-second-one"):
        work = scratch / place
        (work / "source").mkdir(parents=True)
        epoch = max(lay(work / "source"), EARLIEST)
        (work / "out").mkdir()
        build(work / "source", work / "out", build_environment(work, epoch))
        made = list((work / "out").glob("*.whl"))
        if len(made) != 1:
            raise WheelhouseError(f"{what} failed", [Problem(what, f"made {len(made)} wheels, expected one.")])
        wheels.append(made[0])
    differing = _differences(*wheels)
    return Made(rewrite(wheels[0], scratch / wheels[0].name), differing)


def pip_wheel(what: str, interpreter: Interpreter, tools: Callable[[], Tools | None]) -> Build:
    """Build with ``pip wheel``: in isolation, from the wheels of ``tools`` alone, offline."""

    def build(source: Path, out: Path, env: Mapping[str, str]) -> None:
        found = tools()
        there = ["--find-links", str(found.folder), "--build-constraint", str(found.pins)] if found else []
        words = ["wheel", "--no-deps", "--no-index", "--no-cache-dir", *there, "--wheel-dir", str(out), str(source)]
        pip([*command(interpreter), *words], what=what, error=WheelhouseError, env={**env, **OWN_SETTINGS}, cwd=source.parent, offline=True)

    return build


def build_project(what: str, interpreter: Interpreter, tools: Callable[[], Tools | None], extra: Mapping[str, str]) -> Build:
    """Build with ``build``, in an environment that holds exactly the wheels of ``tools``, offline."""

    def build(source: Path, out: Path, env: Mapping[str, str]) -> None:
        python = isolated(interpreter, source.parent / "env", tools())
        with _failures(what, WheelhouseError):
            _project(source, python, {**env, **extra}).build("wheel", out)

    return build


def requires(what: str, source: Path, interpreter: Interpreter, scratch: Path) -> tuple[str, ...]:
    """What the back end of the tree ``source`` says it needs to build a wheel, beyond ``build-system.requires``. Uses the network for those."""
    with _failures(what, LockError):
        python = isolated(interpreter, scratch / "env", None)
        builder = _project(source, python, build_environment(scratch, EARLIEST))
        static = sorted(builder.build_system_requires)
        if static:
            wanted = scratch / "build-system.txt"
            wanted.write_text("".join(f"{each}\n" for each in static))
            pip([*command(interpreter, python), "install", "--only-binary", ":all:", "-r", wanted], what=what, error=LockError, env=environment())
        return tuple(sorted(builder.get_requires_for_build("wheel")))


def isolated(interpreter: Interpreter, place: Path, tools: Tools | None) -> Path:
    """A virtual environment of the target at ``place`` with the wheels of ``tools`` and nothing else; returns its interpreter."""
    words = ["virtualenv", "--no-seed", "--no-periodic-update", "--app-data", str(place.parent / "app-data")]
    clean = build_environment(place.parent, EARLIEST)
    argv = [sys.executable, "-I", "-m", *words, "--python", str(interpreter.executable), str(place)]
    run(argv, what="making an environment to build in", error=WheelhouseError, env=clean)
    python = place / "bin" / "python"
    if tools is not None and tools.pins.read_bytes():
        options = ["--no-index", "--no-deps", "--require-hashes", "--find-links", str(tools.folder), "-r", str(tools.pins)]
        installing = [*command(interpreter, python), "install", *options]
        pip(installing, what="installing the build requirements", error=WheelhouseError, env={**clean, **OWN_SETTINGS}, offline=True)
    return python


def unpack_sdist(archive: Path, into: Path) -> int:
    """Lay the tree of a source archive into ``into``, without its top directory. Returns the newest time in it, in seconds.

    Regular files, and links that stay inside; anything else is refused. Modes are 644 or 755.
    """
    newest = 0
    for name, mode, time, target, content in _members(archive):
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts:
            raise WheelhouseError(f"{archive.name} can't be used", [Problem(archive.name, f"holds a path that leads out of it: {name!r}.")])
        place = into.joinpath(*parts[1:])
        if target:
            inside = (place.parent / target).resolve().is_relative_to(into.resolve())
            if target.startswith("/") or not inside:
                raise WheelhouseError(f"{archive.name} can't be used", [Problem(archive.name, f"holds a link that leads out of it: {name!r}.")])
        if len(parts) < 2:
            continue
        newest = max(newest, time)
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.parent.resolve().is_relative_to(into.resolve()):
            raise WheelhouseError(f"{archive.name} can't be used", [Problem(archive.name, f"writes through a link: {name!r}.")])
        if place.is_symlink() or place.is_file():
            place.unlink()
        if target:
            place.symlink_to(target)
        else:
            place.write_bytes(content)
            place.chmod(0o755 if mode & 0o100 else 0o644)
    return newest


def rewrite(wheel: Path, to: Path) -> Path:
    """The same wheel, its members in the same order, stored, without times: its bytes depend on nothing but its content."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as new:
        for member in old.infolist():
            if member.is_dir():
                continue
            info = zipfile.ZipInfo(member.filename, _DATE)
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | _mode(member)) << 16
            new.writestr(info, old.read(member))
    return to


def _project(source: Path, python: Path, env: Mapping[str, str]) -> pypa_build.ProjectBuilder:
    def runner(cmd: Sequence[str], cwd: str | None = None, extra_environ: Mapping[str, str] | None = None) -> None:
        where = Path(cwd) if cwd else None
        run(cmd, what="running the build back end", error=WheelhouseError, cwd=where, env={**env, **(extra_environ or {})}, offline=True, log=True)

    return pypa_build.ProjectBuilder(source, python_executable=str(python), runner=runner)


@contextmanager
def _failures(what: str, error: type[BuildError]) -> Iterator[None]:
    """Turns what ``build`` raises into our own errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", BuildBackendWarning)  # it talks to the authors of the project
            yield
    except (pypa_build.BuildException, pypa_build.BuildBackendException, pypa_build.FailedProcessError) as reason:
        cause = getattr(reason, "exception", None)
        if isinstance(cause, WheelhouseError):  # our own runner's
            raise error(f"{what} failed: its back end failed", cause.problems) from None
        raise error(f"{what} failed", [Problem("pyproject.toml", redact(str(reason)))]) from None


def _members(archive: Path) -> Iterator[tuple[str, int, int, str, bytes]]:
    """(name, mode, time, link target or empty, content) of each file and link in a .tar.* or .zip."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                for info in zipped.infolist():
                    if not info.is_dir():
                        yield info.filename, info.external_attr >> 16, EARLIEST, "", zipped.read(info)
            return
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.issym():
                    yield member.name, 0o644, int(member.mtime), member.linkname, b""
                elif member.isfile() or member.islnk():
                    file = tar.extractfile(member)
                    assert file is not None
                    yield member.name, member.mode, int(member.mtime), "", file.read()
                elif not member.isdir():
                    raise WheelhouseError(f"{archive.name} can't be used", [Problem(archive.name, f"holds a device or pipe: {member.name!r}.")])
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, KeyError) as error:
        raise WheelhouseError(f"{archive.name} can't be used", [Problem(archive.name, f"is damaged: {error}.")]) from None


def _differences(first: Path, second: Path) -> tuple[str, ...]:
    """The members of two wheels that are not the same: in name, mode or content."""
    if first.name != second.name:
        return (f"{first.name} and {second.name}",)
    one, two = _contents(first), _contents(second)
    return tuple(sorted(name for name in {*one, *two} if one.get(name) != two.get(name)))


def _contents(wheel: Path) -> dict[str, tuple[int, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        return {member.filename: (_mode(member), archive.read(member)) for member in archive.infolist() if not member.is_dir()}


def _mode(member: zipfile.ZipInfo) -> int:
    return 0o755 if member.external_attr >> 16 & 0o100 else 0o644
