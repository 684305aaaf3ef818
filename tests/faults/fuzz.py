"""Whatever reads bytes that others wrote, with bytes that nobody would write: it accepts them or raises its own typed error, soon.

Each reader gets noise, and what it accepts with something done to it: bits, slices, tokens, values of JSON of any other kind, sealed again where it
is sealed. Controls: each seed is accepted, and a reader with a bug is found out.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from builder.install_release import cli, environment, floor, history, journal, manifest, policy, signatures, spool, table, thin
from builder.install_release.artifact import Artifact, inflate
from builder.install_release.bin_run import EnvironmentFileError, parse_environment
from builder.install_release.declared import matching, safe_glob
from builder.install_release.errors import ArtifactError, DamagedError, RefusedError
from builder.install_release.host import CURRENT, ENV_TABLES, HISTORY, JOURNAL, LEDGER, RELEASES, STATE, Host
from builder.install_release.manifest import canonical
from builder.install_release.overlay import ledger, values
from builder.install_release.overlay.render import render
from builder.install_release.records import as_dict
from builder.install_release.seal import seal

from .forge import LAYERS, Forged, deflate, honest
from .hostile_manifests import FULL
from .report import Report

ROW = "fuzz"
SECONDS = 2.0
EXAMPLES, BOUNDED = 4_000, 250  # inputs for each reader
RELEASE = "20251123101112-0123456789ab"
NAMESPACE = "install-release:shop"
THIN = Forged(signatures=(b"x" * 99,), left_out=(LAYERS[1].name,))


@dataclass(frozen=True)
class Reader:
    """Something that reads bytes. ``seeds`` are accepted; ``errors`` are what it may raise otherwise; ``wrap`` is done to what was made of a seed."""

    name: str
    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    errors: tuple[type[Exception], ...] = ()
    wrap: Callable[[bytes], bytes] = bytes


def _open(data: bytes) -> object:
    """An artifact in memory: its head, then every table and segment that it speaks of."""
    file = os.memfd_create("artifact", os.MFD_CLOEXEC)
    os.write(file, data)
    with Artifact(file, "x") as artifact:
        return [sum(1 for _ in artifact.table(layer)) for layer in artifact.manifest.layers if layer.digest not in artifact.left_out]


def _stream(data: bytes) -> object:
    left = memoryview(data)

    def read(count: int) -> bytes:
        nonlocal left
        piece, left = bytes(left[:count]), left[count:]
        return piece

    head = spool.read_head(read)
    return head, head.lender("/nowhere")


def _thin(data: bytes) -> object:
    return thin.parse(data, manifest.parse(THIN.manifest()))


def _said() -> bytes:
    """What a thin one says of itself."""
    made = thin.of(manifest.parse(THIN.manifest()), frozenset([hashlib.sha256(LAYERS[1].table.data).hexdigest()]), 4096, 1)
    return thin.to_bytes(made)


def _table(data: bytes) -> object:
    return list(table.parse([data.removesuffix(b"\n")], "src", "src"))


def _glob(data: bytes) -> object:
    pattern = data.decode("latin-1")
    return safe_glob(pattern) and matching(["nginx/a.conf", "a" * 200, "a/" * 60 + "b"], pattern)


def _render(data: bytes) -> object:
    return render("a", data, "644", values.Values({"root": "/srv/shop", "name": "shop", "a": "@b@"}, {"secret": "x" * 99}, True))


def _laid_table() -> bytes:
    lines: list[bytes] = []
    for line in _lines(honest("src", {"app.py": b"1", "d/e/f": b"x" * 999, "l": Path("d/e"), "\xe9": b""}).table.data):
        lines.append(line)
    return b"\n".join(lines) + b"\n"


def _lines(packed: bytes) -> Iterator[bytes]:
    import zlib

    plain = zlib.decompressobj(-15).decompress(packed)
    yield from plain[512:].rstrip(b"\0").splitlines()


POLICY = b"""# a host's policy
[signatures]
required = 1
allowed_signers = /etc/install-release/signers
principals = ci@example release@example
revocations = /etc/install-release/revocations
[releases]
floor = yes
allow_downgrade = no
revoked =
    20261123101112-5f0c9a7be2d1
[overlay]
roots =
    /etc/nginx/sites-available
[commands]
run =
    python manage.py migrate **
    /usr/bin/curl *
services = systemd:shop.service nginx:*
"""
HOST_INI = b"""; of this host
[values]
server_name = shop.example
[secrets]
db_password = a b  c
"""
ENVIRONMENT = b'# a comment\nA=1\nB=\'two words\' and more\nC="a \\"quote\\" \\\n and more"\nD=back\\slash\n'
EVENTS = (
    {"time": "2026-11-24T15:20:47Z", "event": "installed", "id": RELEASE, "who": "ci", "why": "install", "version": "1.0", "record": "0" * 64},
    {"time": "2026-11-24T15:20:48Z", "event": "activated", "id": RELEASE, "who": "ci", "why": "install", "from": "", "how": "activate"},
    {"time": "2026-11-24T15:20:49Z", "event": "good", "id": RELEASE, "who": "ci", "why": "200", "log": ["a line"], "safe_to": "1.0"},
    {"time": "2026-11-24T15:20:50Z", "event": "degraded", "id": RELEASE, "who": "ci", "why": "it would not follow"},
)
_CONTENT = {"sha256": "a" * 64, "mode": "644", "group": 0}
_CHANGE: dict[str, Any] = {
    "path": "/etc/a",
    "etc": "a",
    "old": None,
    "new": _CONTENT,
    "source": f"releases/{RELEASE}/etc/a",
    "laid": _CONTENT,
    "before": None,
    "edited": False,
    "beside": "",
    "directories": ["/etc"],
    "alone": False,
}
_TRANSACTION = {
    "tx": "0123",
    "state": "switching",
    "to": RELEASE,
    "before": "",
    "previous": "",
    "who": "ci",
    "events": EVENTS[:1],
    "changes": [_CHANGE],
}
_LEDGER = {
    "format": 1,
    "tx": "0123",
    "release": RELEASE,
    "files": {"/etc/a": {"etc": "a", "content": _CONTENT, "release": RELEASE, "before": None, "beside": ""}},
    "left": {RELEASE: {"/etc/a": {"live": _CONTENT, "before": None, "beside": ""}}},
    "directories": ["/etc/shop"],
}
_RECORD = {"id": RELEASE, "name": "shop", "version": "1.0", "env": "0123456789abcdef", "made": [{"path": "src", "type": "dir", "mode": "755"}]}


@contextmanager
def readers() -> Iterator[tuple[Reader, ...]]:
    """All of them. Those of a root's state have one of their own."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name, Host.create(f"{name}/root") as host:
        os.mkdir(host.path(RELEASES, RELEASE))

        def state(path: str, read: Callable[[], object]) -> Callable[[bytes], object]:
            def act(data: bytes) -> object:
                Path(host.path(path)).write_bytes(data)
                return read()

            return act

        env = environment.Environment(
            "k" * 16, "/usr/bin/python3.11", (), (table.Entry("bin", "dir", "755"), table.Entry("a", "file", "644", 1, "0" * 64))
        )
        damaged = (DamagedError,)
        link = Path(host.path(CURRENT))

        def pointer(data: bytes) -> object:
            link.unlink(missing_ok=True)
            try:
                link.symlink_to(os.fsdecode(data.replace(b"\0", b"0")[:4000] or b"x"))
            except OSError:  # no link that there can be
                return None
            return host.current()

        history_of = b"".join(canonical(event) for event in EVENTS)
        os.makedirs(host.path(ENV_TABLES), exist_ok=True)
        yield (
            Reader("artifact", _open, (Forged().artifact(), Forged(signatures=(b"x" * 99,)).artifact(), THIN.artifact()), (ArtifactError,)),
            Reader("standard input", _stream, (Forged().artifact(), THIN.artifact()), (ArtifactError,)),
            Reader("thin.json", _thin, (_said(),), (ArtifactError,)),
            Reader("manifest", manifest.parse, (Forged().manifest(), FULL.manifest()), (ArtifactError,)),
            Reader("table", _table, (_laid_table(),), (ArtifactError,)),
            Reader("segment", lambda data: inflate(data, 4096, "x"), (deflate(bytes(range(256)) * 16),), (ArtifactError,)),
            Reader(
                "layer", lambda data: manifest.layer(json.loads(data)), (json.dumps(_layer()).encode(),), (ArtifactError, ValueError, RecursionError)
            ),
            Reader("policy", lambda data: policy.parse(data, "policy"), (POLICY,), (RefusedError,)),
            Reader("allowed signers", lambda data: signatures.signers(data, "x"), (b'a@b namespaces="x" ssh-ed25519 AAAA\n# nobody\n',)),
            Reader("revocations", lambda data: signatures.revocations(data, "x"), (b"# revocations v1\n",)),
            Reader("signature", lambda data: signatures.parse(data, NAMESPACE, "x"), (), (ArtifactError,)),
            Reader("host.ini", values.parse, (HOST_INI,)),
            Reader("shared/env", parse_environment, (ENVIRONMENT,), (EnvironmentFileError,)),
            Reader("placeholders", _render, (b"a @name@ b @secret@ @@a@ a@b@c @nobody@\n",)),
            Reader("globs", _glob, (b"nginx/**", b"*a*b?c*/**/x")),
            Reader("journal", state(f"{STATE}/{JOURNAL}", lambda: journal.read(host)), (canonical(_TRANSACTION),), damaged, seal),
            Reader("history", state(f"{STATE}/{HISTORY}", lambda: _past(host)), (history_of,), damaged),
            Reader("ledger", state(f"{STATE}/{LEDGER}", lambda: list(ledger.read(host).blobs())), (canonical(_LEDGER),), damaged, seal),
            Reader("floor", state(f"{STATE}/{floor.NAME}", lambda: floor.read(host)), (canonical(as_dict(floor.Floor())),), damaged, seal),
            Reader("install.json", state(f"{RELEASES}/{RELEASE}/install.json", lambda: host.record(RELEASE)), (canonical(_RECORD),), damaged),
            Reader(
                "environment", state(f"{ENV_TABLES}/{'k' * 16}.json", lambda: environment.read(host, "k" * 16)), (environment.to_bytes(env),), damaged
            ),
            Reader("current", pointer, (f"releases/{RELEASE}".encode(),), damaged),
            Reader("lock", state(f"{STATE}/lock", host.holder), (b'{"pid":1,"command":"x","since":"now"}\n',)),
        )


COMMANDS = (
    ("status",),
    ("log",),
    ("verify",),
    ("doctor",),
    ("activate", "1.0", "--plan"),
    ("rollback", "--plan"),
    ("pin", "1.0"),
    ("prune",),
    ("recover",),
)
DAMAGED = ("install.json", "history", "journal", "ledger", "floor", "environment", "release.json")


@contextmanager
def roots() -> Iterator[tuple[Reader, ...]]:
    """Every command on a root in which one file of the state is damaged: it ends with a status of its own, and no traceback (status 1)."""
    with tempfile.TemporaryDirectory(prefix="fuzz-root-") as name:
        place = Path(name)
        for version in ("0.9", "1.0"):
            path = place / f"{version}.tgz"

            def change(value: dict[str, Any], version: str = version) -> None:
                value.update(version=version, commit_time=value["commit_time"] + int(version == "1.0"))

            path.write_bytes(Forged(layers=(*LAYERS, honest("etc", {"a.conf": b"a\n"})), change=change).artifact())
            status, said = _command(place, "install", str(path), "--python", sys.executable)
            assert status == 0, said
        commands = (*COMMANDS, ("install", str(path), "--plan", "--python", sys.executable))
        root = place / "root"
        release = os.readlink(root / "current")
        (env,) = os.listdir(root / "envs")
        files = {
            "install.json": root / release / "install.json",
            "history": root / STATE / HISTORY,
            "journal": root / STATE / JOURNAL,
            "ledger": root / STATE / LEDGER,
            "floor": root / STATE / floor.NAME,
            "environment": root / ENV_TABLES / f"{env}.json",
            "release.json": root / release / "release.json",
        }
        shutil.copytree(root, place / "sound", symlinks=True)

        def damaging(file: Path) -> Callable[[bytes], object]:
            def act(data: bytes) -> object:
                for number, command in enumerate(commands):
                    if number == 0 or command[0] in ("pin", "prune", "recover"):
                        shutil.rmtree(root)
                        shutil.copytree(place / "sound", root, symlinks=True)
                        file.write_bytes(data)
                    status, said = _command(place, *command)
                    if status not in (0, 2, 3, 4, 5, 7) or "Traceback" in said:
                        raise AssertionError(f"{command}: {status}: {said[-400:]}")
                return None

            return act

        seeds = {key: (path.read_bytes(),) for key, path in files.items() if path.exists()}
        yield tuple(Reader(f"commands, {key} damaged", damaging(files[key]), seeds.get(key, ())) for key in DAMAGED)


def _command(place: Path, *words: str) -> tuple[int, str]:
    """A command in a fork of this process: its status, and what it said."""
    output = place / "output"
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, 1)
            os.dup2(file, 2)
            status = cli.main([*words, "--root", str(place / "root"), "--allow-root"])
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status, output.read_text(errors="replace")


def _layer() -> Any:
    return json.loads(Forged().manifest())["layers"][0]


def _past(host: Host) -> object:
    events = history.read(host)
    past = history.fold(events)
    return [history.with_log(event) for event in events], history.rollback_target(past, past.live, [RELEASE]), history.demands(past, RELEASE)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["a" * 300, "\ud800", "\x1b[2J", "../x", 1 << 64, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)
_TOKENS = st.sampled_from(
    [
        b"\0",
        b"\n",
        b"\r",
        b"\xff",
        b"\\",
        b'"',
        b"'",
        b"{",
        b"[",
        b"[" * 3000,
        b"=",
        b"@",
        b"#",
        b" ",
        b"-",
        b"9" * 5000,
        b"1e999",
        b"null",
        b"\x1b[2J",
        b"\xc0\xaf",
    ]
)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _paths(item, (*path, key))


@st.composite
def _edited(draw: st.DrawFn, seed: bytes) -> bytes:
    """``seed`` with up to four things done to its bytes."""
    data = bytearray(seed)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 99)))
        how = draw(st.integers(0, 5))
        if how == 0 and start < len(data):
            data[start] ^= 1 << draw(st.integers(0, 7))
        elif how == 1:
            del data[start:end]
        elif how == 2:
            data[start:start] = data[start:end]
        elif how == 3:
            data[start:end] = draw(_TOKENS)
        elif how == 4:
            data[start:end] = draw(st.binary(max_size=9))
        else:
            del data[start:]
    return bytes(data)


@st.composite
def _valued(draw: st.DrawFn, seed: bytes) -> bytes:
    """``seed``, lines of JSON, with a value of one line replaced, left out or added to; spelled as it was."""
    lines = seed.splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    value = json.loads(lines[number])
    path = draw(st.sampled_from(list(_paths(value))))
    new = draw(_JSON)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if not path:
        value = new
    elif draw(st.booleans()):
        holder[path[-1]] = new
    elif isinstance(holder, dict):
        del holder[path[-1]]
        holder[draw(st.text(max_size=9))] = new
    else:
        holder.append(new)
    text = json.dumps(value, sort_keys=isinstance(value, dict), separators=(",", ":"), ensure_ascii=True)
    return b"".join(line + b"\n" for line in [*lines[:number], text.encode("ascii"), *lines[number + 1 :]])


def inputs(reader: Reader) -> st.SearchStrategy[bytes]:
    """What it is given."""
    ways = [st.binary(max_size=300)]
    for seed in reader.seeds:
        ways += [_edited(seed).map(reader.wrap), _edited(reader.wrap(seed))]
        if _is_json(seed):
            ways += [_valued(seed).map(reader.wrap)] * 2
    return st.one_of(ways)


def _is_json(seed: bytes) -> bool:
    try:
        return bool([json.loads(line) for line in seed.splitlines()])
    except ValueError:
        return False


def try_out(reader: Reader, examples: int, random: bool = True) -> tuple[int, int, str]:
    """How many inputs it was given, how many it accepted, and the first that it neither accepted nor refused, in words ("": none)."""
    tried = accepted = 0

    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        derandomize=not random,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
    )
    @given(inputs(reader))
    def attempt(data: bytes) -> None:
        nonlocal tried, accepted
        tried += 1
        start = time.process_time()
        try:
            reader.read(data)
            accepted += 1
        except reader.errors:
            pass
        except Exception as error:
            raise AssertionError(f"{type(error).__name__}: {error}: {data[:300]!r}") from error
        if time.process_time() - start > SECONDS:
            raise AssertionError(f"took {time.process_time() - start:.1f} s: {data[:300]!r}")

    try:
        attempt()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        errors = getattr(error, "exceptions", (error,))
        return tried, accepted, " | ".join(str(each).splitlines()[0] if str(each) else repr(each) for each in errors)
    return tried, accepted, ""


def planted() -> Reader:
    """A reader with a bug, for the control: it believes what it reads."""
    return Reader("planted", lambda data: json.loads(data)["layers"][0]["name"], (Forged().manifest(),), (ValueError,))


def campaign(bounded: bool, report: Report) -> None:
    examples = BOUNDED if bounded else EXAMPLES
    counts: dict[str, int] = {}
    with readers() as found:
        for reader in found:
            for seed in reader.seeds:
                reader.read(reader.wrap(seed))
            tried, accepted, wrong = try_out(reader, examples, random=not bounded)
            counts[reader.name] = accepted
            report.count(ROW, tried)
            if wrong:
                report.violation(ROW, f"{reader.name}: {wrong}")
    with roots() as found:
        for reader in found:
            tried, _, wrong = try_out(reader, max(6, examples // 100), random=not bounded)
            report.count(ROW, tried)
            if wrong:
                report.violation(ROW, f"{reader.name}: {wrong}")
    if not try_out(planted(), examples)[2]:
        report.violation(ROW, "the control: a planted bug was not found")
    report.detail(ROW, readers=len(counts), accepted=counts)
