"""What people read: progress while a build runs, then what it made. Only words are made here; ``cli`` decides where they go.

A line is a label and a text. Sizes are decimal, as ``ls -h --si`` shows them.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from . import changes
from .changes import Changes, Package
from .errors import BuildError, Problem
from .install_release.errors import visible
from .install_release.manifest import Manifest, Target
from .install_release.records import as_dict

if TYPE_CHECKING:
    from pathlib import Path

    from .artifact.inspection import Inspection
    from .artifact.layers import PackedLayer
    from .cache import Entry, Pruned
    from .install_release.signatures import Signature
    from .lock import Lock
    from .pipeline import Outcome, Plan
    from .recipe import BuildStep, Recipe
    from .signing import Signed
    from .source import Source
    from .target import Interpreter
    from .wheelhouse import Wheelhouse

_LABEL = 13  # columns
_WIDEST = 40  # a longer label pushes its own text, not everybody's
_MOST = 12  # packages that a summary names
LONG = 5.0  # seconds until a log hears of a stage that is not done
_EVERY = 30.0  # seconds after which it hears of it again


class Progress:
    """One line on ``stream`` per finished stage, and a spinner for the running one when ``stream`` is a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show that the stage ``name`` runs, for as long as the block does; in a log, once it takes long."""
        if not self._stream.isatty():
            notice = threading.Timer(LONG, self._say, [labelled(name, "…")])
            notice.daemon = True
            notice.start()
            try:
                yield
            finally:
                notice.cancel()
            return
        from rich.console import Console

        with Console(file=self._stream).status(f"{name} …", spinner="dots"):
            yield

    @contextmanager
    def transfer(self, name: str) -> Iterator[Callable[[str, int], None]]:
        """Show how many bytes have gone, for as long as the block does: it tells how, and how many; first, as ``of``, how many there will be.

        A bar on a terminal; in a log a line once it takes long, and every half minute.
        """
        if self._stream.isatty():
            with _bar(self._stream, name) as advance:
                yield advance
            return
        gone, ended = {"of": 0, "": 0}, threading.Event()

        def moved(how: str, count: int) -> None:
            gone["of" if how == "of" else ""] += count

        def tell() -> None:
            wait = LONG
            while not ended.wait(wait):
                self._say(labelled(name, f"{size(gone[''])} of {size(gone['of'])} …" if gone["of"] else f"{size(gone[''])} …"))
                wait = _EVERY

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield moved
        finally:
            ended.set()
            teller.join()

    def done(self, name: str, value: object) -> None:
        """Say what the stage ``name`` made, where that is worth a line."""
        if name in _SENTENCES:
            self._say(labelled(name, _SENTENCES[name](value)))

    def note(self, line: str) -> None:
        """Say what somebody else says meanwhile."""
        self._say(f"  {visible(line)}")

    def begin(self, recipe: Recipe, source: Source, interpreter: Interpreter) -> None:
        """Say what it is about: the line that all others belong to."""
        self._say(f"{recipe.name} {source.version}   {commit(source.commit, source.time)}   for {system(interpreter)}")

    def _say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever watched has gone: the work goes on
            self._stream.write(f"{text}\n")
            self._stream.flush()


@contextmanager
def _bar(stream: TextIO, name: str) -> Iterator[Callable[[str, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(file=stream), transient=True) as bars:
        bar = bars.add_task(name, total=None)
        total = 0

        def moved(how: str, count: int) -> None:
            nonlocal total
            if how == "of":
                total += count
                bars.update(bar, total=total)
            else:
                bars.advance(bar, count)

        yield moved


def _lock(lock: Lock) -> str:
    return f"{count(len(lock.entries), 'distribution')}, {lock.path.name}" if lock.path else "nothing to lock: the recipe declares no dependencies"


def _wheelhouse(house: Wheelhouse) -> str:
    built = [f"{wheel.name} {wheel.version} from {_ORIGINS[wheel.origin.kind]}" for wheel in house.wheels if wheel.built]
    lines = [count(len(house.wheels), "wheel") + (f", {len(built)} built here: {some(built)}" if built else "")]
    lines += [f"! {wheel.name} {wheel.version} builds differently each time: {some(wheel.differing, 3)}" for wheel in house.wheels if wheel.differing]
    return "\n".join(lines)


def _layers(layers: Sequence[PackedLayer]) -> str:
    new = [layer_name(layer.name) for layer in layers if not layer.cached]
    cached = len(layers) - len(new)
    return f"{len(layers)}, {size(sum(layer.bytes for layer in layers))}; {cached} from the cache" + (f", made: {some(new, 4)}" if new else "")


_ORIGINS = {"sdist": "its sdist", "vcs": "git", "directory": "a directory", "project": "this source"}


def _healed(layers: Sequence[PackedLayer]) -> str:
    return f"{some([layer_name(layer.name) for layer in layers])}: damaged in the cache, made again"


_SENTENCES: Mapping[str, Callable[[Any], str]] = {"lock": _lock, "wheelhouse": _wheelhouse, "layers": _layers, "healed": _healed}


def labelled(label: str, text: str, width: int = _LABEL) -> str:
    """``label`` and ``text`` in two columns, further lines of the text below its first."""
    first, *more = text.splitlines() or [""]
    return "\n".join([f"  {label:<{width - 1}} {first}".rstrip(), *(f"  {'':<{width - 1}} {line}" for line in more)])


def refusal(error: BuildError) -> Iterator[str]:
    """An error, every reason, and the next step."""
    yield error.message + (":" if error.problems else "")
    yield from reasons(error.problems)
    if error.next_step:
        yield f"  next: {error.next_step}"


def reasons(problems: Sequence[Problem]) -> Iterator[str]:
    """One line or more per problem; the texts stand below each other."""
    width = min(_WIDEST, max((len(problem.where) for problem in problems), default=0)) + 2
    for problem in problems:
        yield labelled(problem.where, _sentences(problem), width)


def _sentences(problem: Problem) -> str:
    stop = "" if not problem.remedy or problem.what.endswith((".", ":", "?", "!")) else "."
    return f"{problem.what}{stop} {problem.remedy}".rstrip()


def outcome_value(outcome: Outcome) -> dict[str, Any]:
    """What a build made, for programs."""
    built, manifest = outcome.built, outcome.built.manifest
    return {
        "artifact": str(built.path.absolute()),
        "sha256": built.sha256,
        "id": built.id,
        "name": manifest.name,
        "version": manifest.version,
        "commit": manifest.commit,
        "bytes": built.bytes,
        "target": as_dict(manifest.target),
        "layers": [{key: getattr(layer, key) for key in ("name", "kind", "bytes", "cached", "files", "size")} for layer in built.layers],
        "changes": asdict(outcome.changes) if outcome.changes else None,
        "shared_files": [problem.where for problem in outcome.shared],
        "signatures": [_signature(each) for each in built.signatures],
        "trimmed_bytes": sum(entry.bytes for entry in outcome.pruned.removed) if outcome.pruned else 0,
        "seconds": dict(outcome.seconds),
    }


def inspection_value(found: Inspection) -> dict[str, Any]:
    """An artifact, for programs."""
    keys = ("name", "kind", "bytes", "files", "size", "digest")
    return {
        "artifact": str(found.path.absolute()),
        "sha256": found.sha256,
        "id": found.id,
        "name": found.manifest.name,
        "version": found.manifest.version,
        "bytes": found.bytes,
        "signatures": [{**_signature(each), "verified": False} for each in found.signatures],
        "layers": [{key: getattr(layer, key) for key in keys} for layer in found.manifest.layers],
        "left_out": sorted(found.left_out),
        "largest": [asdict(content) for content in found.largest],
        "manifest": as_dict(found.manifest),
    }


def _signature(signature: Signature) -> dict[str, str]:
    return {"kind": signature.kind, "key": signature.fingerprint}


def signed(done: Signed) -> Iterator[str]:
    """What ``sign`` did."""
    for path in done.files:
        yield f"→ {path}"
    yield f"  id {done.id}"
    yield f"  sha256 {done.sha256}"
    for each in done.signatures:
        yield f"  signed by {each}" if each in done.added else f"  carries a signature by {each}, not verified"


def signed_value(done: Signed) -> dict[str, Any]:
    """What ``sign`` did, for programs."""
    return {
        "artifact": str(done.path.absolute()),
        "id": done.id,
        "sha256": done.sha256,
        "signatures": [{**_signature(each), "added": each in done.added} for each in done.signatures],  # added: made just now; else not verified
        "files": [str(path.absolute()) for path in done.files],
    }


def summary(outcome: Outcome) -> Iterator[str]:
    """What a build made: where, how big, what is new in it, and what to do next."""
    built = outcome.built
    if outcome.changes is not None:
        yield labelled("changed", changed(outcome.changes, built.id))
    if outcome.shared:
        yield labelled("shared", f"{count(len(outcome.shared), 'file')} in several wheels, alike: {some([each.where for each in outcome.shared], 3)}")
    if outcome.pruned and outcome.pruned.removed:
        yield labelled("cache", f"trimmed: {_amount(outcome.pruned.removed)} went, used least recently; {_amount(outcome.pruned.kept)} stay")
    took = sum(outcome.seconds.values())
    yield f"→ {built.path}   {size(built.bytes)}   id {built.id}   {took:.1f} s"
    yield f"  sha256 {built.sha256}"
    for signature in built.signatures:
        yield f"  signed by {signature}"
    yield f"  next: scp {shlex.quote(str(built.path))} HOST:release.tgz, and on HOST:"
    yield "        tar xzf release.tgz --occurrence=1 release/install-release && python3 release/install-release release.tgz"


def changed(found: Changes, identity: str) -> str:
    """What is new since the last artifact, in one line or a few."""
    if found.since_id == identity:
        return f"nothing: {found.since} is the same release"
    since = f"since {found.since} ({found.since_id})"
    if not found.layers and not found.packages:
        return f"no layer, {since}: only the installer, or what is asked of the host"
    lines = [f"{package_list(found.packages) or 'no package'}, {since}"]
    if found.layers:
        lines.append(f"{size(found.new_bytes)} in {count(len(found.layers), 'new layer')}: {some([*map(layer_name, found.layers)])}")
    return "\n".join(lines)


def layer_name(name: str) -> str:
    """A layer in few words: that of a wheel is called by its distribution."""
    found = changes.package(name)
    return " ".join(found) if found else name


def package_list(packages: Sequence[Package]) -> str:
    """``django 6.1.2 → 6.1.3, + whitenoise 6.9, - pytz 2025.1``"""
    words = []
    for package in packages:
        if not package.before:
            words.append(f"+ {package.name} {package.after}")
        elif not package.after:
            words.append(f"- {package.name} {package.before}")
        else:
            words.append(f"{package.name} {package.before} → {package.after}")
    return some(words)


def some(words: Sequence[str], most: int = _MOST) -> str:
    """A list in words, cut where nobody reads on."""
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")


def plan(made: Plan) -> Iterator[str]:
    """What a build would do, step by step."""
    recipe, source, lock = made.recipe, made.source, made.lock
    files = [entry for entry in lock.entries if entry.kind == "file"]
    to_build = [str(entry) for entry in lock.entries if entry.from_source] + (["the project"] if recipe.env.project else [])
    yield labelled("source", f"{commit(source.commit, source.time)}, version {source.version}")
    yield labelled("target", f"{system(made.interpreter)}: {made.interpreter.executable}")
    yield labelled("lock", recipe.dependencies.lock or _lock(lock))
    yield labelled("cached", f"{len(files) - len(made.missing)} of {count(len(files), 'locked file')}")
    yield labelled("download", some([str(entry) for entry in made.missing]) or "nothing")
    if to_build:
        yield labelled("build", f"{some(to_build)}: without network, unless it was built before")
    for step in recipe.build:
        yield labelled("run", _step(step))
    yield labelled("env", recipe.env.kind)
    yield labelled("artifact", f"{made.out}/{recipe.name}-{made.source.version}-{made.interpreter.abi}-{made.interpreter.platform}-….tgz")
    yield "nothing was done"


def plan_value(made: Plan) -> dict[str, Any]:
    """What a build would do, for programs."""
    source, interpreter = made.source, made.interpreter
    return {
        "name": made.recipe.name,
        "version": source.version,
        "commit": source.commit,
        "dirty": source.dirty,
        "target": as_dict(interpreter.target("")),
        "interpreter": str(interpreter.executable),
        "lock": made.recipe.dependencies.lock or None,
        "distributions": [{"name": entry.name, "version": entry.version} for entry in made.lock.entries],
        "download": [entry.name for entry in made.missing],
        "build": [entry.name for entry in made.lock.entries if entry.from_source],
        "project": made.recipe.env.project,
        "steps": [{"run": list(step.run), "network": step.network, "outputs": list(step.outputs)} for step in made.recipe.build],
        "env": made.recipe.env.kind,
        "out": str(made.out.absolute()),
    }


def _step(step: BuildStep) -> str:
    made = f" → {', '.join(step.outputs)}" if step.outputs else ""
    return shlex.join(step.run) + (" (with network)" if step.network else "") + made


def wheelhouse_value(house: Wheelhouse) -> dict[str, Any]:
    """The wheels of an environment, for programs."""
    keys = ("name", "version", "filename", "sha256", "built", "reproducible")
    wheels = [{**{key: getattr(wheel, key) for key in keys}, "path": str(wheel.path), "origin": asdict(wheel.origin)} for wheel in house.wheels]
    return {"wheels": wheels}


def inspection(found: Inspection) -> Iterator[str]:
    """An artifact for people: what it is and needs, its layers, its largest files."""
    manifest = found.manifest
    yield headline(manifest)
    yield labelled("file", f"{found.path}   {size(found.bytes)}")
    yield labelled("id", found.id)
    yield labelled("sha256", found.sha256)
    yield labelled("signatures", "\n".join(f"{each}, not verified" for each in found.signatures) or "none")
    yield labelled("environment", manifest.env.kind + (", shared between releases" if manifest.env.share else ""))
    yield labelled("root", f"{manifest.root}, keeps {manifest.keep_releases} releases")
    yield labelled("needs", needs(manifest))
    if found.left_out:
        yield labelled("thin", f"{count(len(found.left_out), 'layer')} left out, for a host that has them")
    packed = {layer: "left out" if layer.digest in found.left_out else size(layer.bytes) for layer in manifest.layers}
    rows = [[layer.name, layer.kind, packed[layer], size(layer.size), f"{layer.files}", layer.digest[:12]] for layer in manifest.layers]
    yield ""
    yield from table(["layer", "kind", "packed", "unpacked", "files", "digest"], rows, right={2, 3, 4})
    yield ""
    yield from table(["largest files", "size", "layer"], [[item.path, size(item.bytes), item.layer] for item in found.largest], right={1})


def cache(root: Path, entries: Sequence[Entry], bound: int) -> Iterator[str]:
    """What ``cache info`` says."""
    yield labelled("cache", str(root))
    yield labelled("holds", f"{_amount(entries)}; a build trims it to {size(bound)}")
    rows = [[kind, f"{len(each)}", size(sum(entry.bytes for entry in each)), *map(_minute, _span(each))] for kind, each in _by_kind(entries).items()]
    if rows:
        yield ""
        yield from table(["kind", "entries", "size", "oldest use", "last use"], rows, right={1, 2})


def cache_value(root: Path, entries: Sequence[Entry], bound: int) -> dict[str, Any]:
    """What ``cache info --json`` prints; times are UTC."""
    kinds = []
    for kind, each in _by_kind(entries).items():
        oldest, last = map(_utc, _span(each))
        places = sorted({str(entry.path.parent) for entry in each})
        kinds.append(
            {"kind": kind, "entries": len(each), "bytes": sum(entry.bytes for entry in each), "oldest": oldest, "last": last, "where": places}
        )
    return {"cache": str(root), "bound": bound, "bytes": sum(entry.bytes for entry in entries), "kinds": kinds}


def pruned(root: Path, done: Pruned) -> Iterator[str]:
    """What ``cache prune`` says."""
    yield labelled("cache", str(root))
    yield labelled("removed", _amount(done.removed))
    for kind, each in _by_kind(done.removed).items():
        yield labelled("", f"{kind}: {_amount(each)}")
    yield labelled("kept", _amount(done.kept) + (f", of which running builds hold {_amount(done.held)}" if done.held else ""))


def pruned_value(root: Path, done: Pruned) -> dict[str, Any]:
    """What ``cache prune --json`` prints; ``bound`` is null for --all."""
    removed = [{"kind": entry.kind, "path": str(entry.path), "bytes": entry.bytes, "used": _utc(entry.used)} for entry in done.removed]
    sums = {
        f"{name}_bytes": sum(entry.bytes for entry in each) for name, each in (("removed", done.removed), ("kept", done.kept), ("held", done.held))
    }
    return {"cache": str(root), "bound": done.bound if done.bound >= 0 else None, "removed": removed, **sums}


def _by_kind(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.kind, []).append(entry)
    return found


def _amount(entries: Sequence[Entry]) -> str:
    return f"{count(len(entries), 'entry', 'entries')}, {size(sum(entry.bytes for entry in entries))}"


def _span(entries: Iterable[Entry]) -> tuple[int, int]:
    times = [entry.used for entry in entries]
    return min(times), max(times)


def _utc(time: int) -> str:
    return datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _minute(time: int) -> str:
    return datetime.fromtimestamp(time // 10**9, UTC).strftime("%Y-%m-%d %H:%M")


def headline(manifest: Manifest) -> str:
    """``shop 1.4.2   commit 1a2b3c4d5e6f (2026-11-23 10:11 UTC)   for CPython 3.11, linux_x86_64, glibc ≥ 2.28``"""
    target = manifest.target
    libc = f"{target.libc.name} ≥ {target.libc.minimum}" if target.libc.minimum else target.libc.name
    return f"{manifest.name} {manifest.version}   {commit(manifest.commit, manifest.commit_time)}   for {system(target)}, {libc}"


def commit(identity: str, time: int) -> str:
    """``commit 1a2b3c4d5e6f (2026-11-23 10:11 UTC)``"""
    return f"commit {identity[:12]} ({datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC)"


def system(target: Target | Interpreter) -> str:
    """``CPython 3.11, linux_x86_64``"""
    name = {"cpython": "CPython", "pypy": "PyPy"}.get(target.implementation, target.implementation)
    return f"{name} {target.python}, {target.platform}"


def needs(manifest: Manifest) -> str:
    """What a host must have, a line for each kind."""
    required = manifest.requires
    lines = [f"{size(required.bytes)} of disk, {count(required.inodes, 'inode')}"]
    for label, values in {
        "commands": required.commands,
        "keys of shared/env": required.env,
        "shared directories": required.linked_dirs,
        "shared files": required.linked_files,
    }.items():
        if values:
            lines.append(f"{label}: {', '.join(values)}")
    return "\n".join(lines)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Iterable[int] = ()) -> Iterator[str]:
    """Columns as wide as their widest cell, those in ``right`` flush right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in [heads, *rows]:
        cells = [cell.rjust(width) if i in right else cell.ljust(width) for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        yield ("  " + "  ".join(cells)).rstrip()


def size(count: int) -> str:
    """``119.9 MB``"""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.95 or unit == "GB":
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError  # pragma: no cover


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 wheel``, ``67 wheels``"""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
