"""Downloading: pip fetches exactly the files that a lock names, into the cache. What is there already is not asked for."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import Problem, WheelhouseError
from ..frozen import frozen
from ..install_release.manifest import canonical
from ..lock.lockfile import Locked, requirements_text
from ..pip import OLDEST_OWN, command, environment, pip, yanked
from ..run import run
from ..target import Interpreter
from .wheel_cache import Stored, WheelCache, file_sha256

_ONLY_WHEELS = ["--only-binary", ":all:"]
_NO_WHEEL = "If it is only there as source, name it in dependencies.sdists."


@frozen
class Wanted:
    """The files of one lock: ``entries`` (all of kind ``file``), where to look, which of them may be source, and what pins those are built with."""

    entries: tuple[Locked, ...]
    index_options: tuple[str, ...] = ()
    sdists: tuple[str, ...] = ()
    build_pins: Callable[[], Path | None] = lambda: None


def fetch(wanted: Wanted, interpreter: Interpreter, cache: WheelCache) -> dict[str, Stored]:
    """Every file that is ``wanted``, by the name of its distribution. Raises ``WheelhouseError``."""
    found = {entry.name: _cached(entry, interpreter, cache) for entry in wanted.entries}
    needed = tuple(entry for entry in wanted.entries if found[entry.name] is None)
    if needed:
        with cache.scratch() as scratch:
            # Asking pip for source runs it: only of those that the recipe names.
            binary = [entry for entry in needed if entry.name not in wanted.sdists]
            source = [entry for entry in needed if entry.name in wanted.sdists]
            if binary:
                _download(binary, _ONLY_WHEELS, wanted.index_options, interpreter, scratch)
            if source:
                pins = wanted.build_pins()
                _download(source, ["--build-constraint", str(pins)] if pins else [], wanted.index_options, interpreter, scratch)
            _take_in(needed, scratch, interpreter, cache)
        found |= {entry.name: _cached(entry, interpreter, cache) for entry in needed}
    lost = [name for name, stored in found.items() if stored is None]
    if lost:
        raise WheelhouseError("the download failed", [Problem(name, "was not downloaded, though pip did not say why.") for name in lost])
    return {name: stored for name, stored in found.items() if stored is not None}


def missing(entries: Iterable[Locked], interpreter: Interpreter, cache: WheelCache) -> tuple[Locked, ...]:
    """Those of ``entries`` (all of kind ``file``) that would have to be downloaded."""
    return tuple(entry for entry in entries if _cached(entry, interpreter, cache) is None)


def _cached(entry: Locked, interpreter: Interpreter, cache: WheelCache) -> Stored | None:
    """The file of ``entry``. Where several would do, the one that pip chose for this target."""
    if len(entry.hashes) == 1:
        return cache.get(entry.hashes[0])
    chosen = cache.note("chosen", _choice(entry, interpreter))
    return cache.get(chosen) if isinstance(chosen, str) and chosen in entry.hashes else None


def _choice(entry: Locked, interpreter: Interpreter) -> str:
    return hashlib.sha256(canonical([entry.name, entry.version, list(entry.hashes), interpreter.identity])).hexdigest()


def _download(entries: Sequence[Locked], options: Sequence[str], index_options: Sequence[str], interpreter: Interpreter, scratch: Path) -> None:
    """Have pip put the files of ``entries`` into ``scratch``. The back end of a source archive, which pip runs on the way, runs offline."""
    from . import guard

    python = guard.make(interpreter, Path(tempfile.mkdtemp(dir=scratch)))
    argv = [*command(interpreter, python), "download", "--no-deps", "--dest", str(scratch), *options]
    if all(entry.url.startswith(("https://", "http://")) and entry.filename.endswith(".whl") for entry in entries) and _urls_will_do(interpreter):
        # pip skips the pages of the index for a lock that names URLs. If one of them is gone, the index may have the file elsewhere.
        with suppress(WheelhouseError):
            lock = scratch / "pylock.download.toml"
            lock.write_text(_pylock(entries))
            pip([*argv, "-r", lock], what="downloading", error=WheelhouseError, env=environment())
            return
    wanted = scratch / "requirements.txt"
    wanted.write_text("".join(f"{option}\n" for option in index_options) + requirements_text(entries))
    try:
        log = pip([*argv, "--require-hashes", "-r", wanted], what="downloading", error=WheelhouseError, env=environment())
    except WheelhouseError as error:
        raise WheelhouseError(error.message, _with_advice(error.problems, entries, options), next_step=error.next_step) from None
    taken_back = yanked(log)
    if taken_back:
        raise WheelhouseError("a locked release was yanked", taken_back)


def _with_advice(problems: Iterable[Problem], entries: Sequence[Locked], options: Sequence[str]) -> Iterator[Problem]:
    for problem in problems:
        only_source = options == _ONLY_WHEELS and "not on the index" in problem.what and not any(entry.filename for entry in entries)
        yield Problem(problem.where, problem.what, f"{problem.remedy} {_NO_WHEEL}") if only_source else problem


def _urls_will_do(interpreter: Interpreter) -> bool:
    """Whether the URLs in a lock may be used: not where pip is told of another index, which may be the only one that can be reached."""
    if tuple(int(part) for part in interpreter.python.split(".")) < OLDEST_OWN:
        return False  # its pip doesn't read pylock.toml
    if any(os.environ.get(name) for name in ("PIP_INDEX_URL", "PIP_NO_INDEX")):
        return False
    settings = run([*command(interpreter), "config", "list"], what="asking pip for its configuration", error=WheelhouseError, env=environment()).text
    return not any(line.partition("=")[0].endswith((".index-url", ".no-index")) for line in settings.splitlines())


def _pylock(entries: Sequence[Locked]) -> str:
    packages = [
        {"name": entry.name, "version": entry.version, "wheels": [{"name": entry.filename, "url": entry.url, "hashes": {"sha256": entry.hashes[0]}}]}
        for entry in entries
    ]
    import tomli_w

    return tomli_w.dumps({"lock-version": "1.0", "created-by": "build-release", "packages": packages})


def _take_in(entries: Sequence[Locked], scratch: Path, interpreter: Interpreter, cache: WheelCache) -> None:
    """Move what was downloaded into the cache; a file that no entry names is none of ours."""
    by_hash: Mapping[str, Locked] = {each: entry for entry in entries for each in entry.hashes}
    for path in sorted(scratch.iterdir()):
        entry = by_hash.get(file_sha256(path)) if path.is_file() else None
        if entry is not None:
            stored = cache.add(path)
            if len(entry.hashes) > 1:
                cache.write_note("chosen", _choice(entry, interpreter), stored.sha256)
