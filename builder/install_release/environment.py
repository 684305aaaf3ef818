"""Environments on the host: ``envs/<key>``, made from an artifact's layers for the interpreter that was found.

Three kinds, one end: ``bin/x`` for every command, ``bin/python*``, ``pyvenv.cfg`` and the pin. An environment exists when its table,
``.install/envs/<key>.json``, exists: written last, durably. What a crash leaves has none, and is removed and made again. docs/host.md shows both.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence

from . import child, durable, host, inventory, kept, pin, prune
from . import manifest as contract
from .artifact import Artifact
from .errors import ArtifactError, DamagedError, Problem, RolledBackError
from .host import Host
from .interpreter import Interpreter
from .manifest import ENV_LAYERS, Layer, Manifest, canonical
from .records import NamedTuple, as_dict
from .table import Entry
from .typed import Any
from .unpack import Destination, unpack

FORMAT = 1
# pip, but for what its HTTP library does when it is imported: it tries out whether a socket can be bound to IPv6's loopback.
_PIP = "import runpy, socket, sys; socket.has_ipv6 = False; sys.path.insert(0, sys.argv.pop(1)); runpy.run_module('pip', run_name='__main__')"
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))  # made once: an environment has tens of thousands of entries
DEADLINE = 1800.0  # seconds for one child: pip on a slow disk with a large wheelhouse
MAX_TABLE_BYTES = 256 << 20

# Byte-compiles all below a directory, by forked workers. (compileall's own pool opens a socket on 3.13, by a path that may be too long, and tells
# a file that can't be compiled, as some packages ship on purpose, from a full disk by nothing.)
_COMPILE = """
import os, py_compile, sys
top, workers = sys.argv[1], int(sys.argv[2])
files = sorted(os.path.join(above, name) for above, _, names in os.walk(top) for name in names if name.endswith(".py"))
def work(number):
    for path in files[number::workers]:
        try:
            py_compile.compile(path, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        except py_compile.PyCompileError:
            pass
def fork(number):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(number)
            status = 0
        except OSError as error:
            os.write(2, f"{error}\\n".encode("utf-8", "replace"))
        finally:
            os._exit(status)
    return pid
statuses = [os.waitpid(pid, 0)[1] for pid in [fork(number) for number in range(workers)]]
sys.exit(any(statuses))
"""


class Environment(NamedTuple):
    """One environment: its key, the physical path of its interpreter, the layers unpacked in it, and what else is in it, sorted by path.

    What was unpacked is in the layers' own tables, which are kept with it (``expected`` puts both together).
    """

    key: str
    interpreter: str
    layers: tuple[Layer, ...]
    entries: tuple[Entry, ...]


def env_layers(manifest: Manifest) -> tuple[Layer, ...]:
    """The layers that an environment is made from, in their order."""
    return tuple(layer for layer in manifest.layers if layer.kind in ENV_LAYERS)


def key(manifest: Manifest, interpreter: Interpreter, release: str) -> str:
    """16 hex digits: the same for the releases that have the same layers, kind and interpreter, or this release's own if it doesn't share."""
    facts = [
        FORMAT,
        manifest.env.kind,
        [layer.digest for layer in env_layers(manifest)],
        [interpreter.executable, interpreter.version, interpreter.abi],
        bool(manifest.target.byte_code),
        "" if manifest.env.share else release,
    ]
    return hashlib.sha256(canonical(facts)).hexdigest()[:16]


def place(manifest: Manifest, root: Host, interpreter: Interpreter, release: str) -> str:
    """The name of the environment below ``envs/``: its key; with a number behind it where a release still uses one that has lost its table."""
    first = name = key(manifest, interpreter, release)
    number, users = 1, None
    while not root.has_environment(name) and durable.exists(root.fd, f"{host.ENVS}/{name}"):
        users = prune.environment_users(root) if users is None else users
        if not users.get(name):
            break
        name, number = f"{first}-{number}", number + 1
    return name


def make(artifact: Artifact, root: Host, interpreter: Interpreter) -> str:
    """Make the environment of ``artifact``'s release unless it is there, and return its key.

    Raises ``ArtifactError``, ``RolledBackError`` or ``OSError``; then nothing of it is left.
    """
    name = place(artifact.manifest, root, interpreter, artifact.id)
    if root.has_environment(name):
        return name
    made = _Making(artifact, root, interpreter, name)
    made.clear()
    try:
        entries = {"venv": made.venv, "pex": made.pex, "wheelhouse": made.wheelhouse}[artifact.manifest.env.kind]()
        layers = env_layers(artifact.manifest) if artifact.manifest.env.kind == "venv" else ()
        with root.directory(host.ENV_TABLES) as tables:
            durable.write_file(tables, f"{name}.json", to_bytes(Environment(name, interpreter.executable, layers, entries)), 0o644)
    except BaseException:
        made.clear()
        raise
    made.clear_stage()
    return name


def to_bytes(environment: Environment) -> bytes:
    """The table: one JSON object with an entry on each line, so that it can be read line by line."""
    head = {
        "format": FORMAT,
        "interpreter": environment.interpreter,
        "key": environment.key,
        "layers": [as_dict(layer) for layer in environment.layers],
    }
    lines = ",\n".join(_ENCODER.encode(inventory.to_json(entry)) for entry in environment.entries)
    return canonical(head)[:-2] + b',"entries":[\n' + lines.encode("ascii") + b"\n]}\n"


def read(root: Host, name: str) -> Environment:
    """The table of ``envs/<name>``. Raises ``DamagedError``."""
    data = root.read(host.ENV_TABLES, f"{name}.json", most=MAX_TABLE_BYTES)
    where = root.path(host.ENV_TABLES, f"{name}.json")
    if data is None:
        raise DamagedError("an environment has no table", [Problem(where, "is missing.", "Install a release that uses it again.")])
    try:
        head, entries = _parse(data)
        return Environment(head["key"], head["interpreter"], tuple(map(contract.layer, head["layers"])), tuple(entries))
    except (ValueError, KeyError, TypeError, RecursionError, ArtifactError) as error:
        raise DamagedError("an environment's table can't be read", [Problem(where, f"{error}.", "Install a release that uses it again.")]) from None


def expected(root: Host, environment: Environment) -> dict[str, Entry]:
    """Everything that is in an environment as it was made, by path. Raises ``DamagedError`` or ``ArtifactError`` when a table of it is damaged."""
    found: dict[str, Entry] = {}
    for layer in environment.layers:
        for entry in kept.entries(root, f"{host.ENVS}/{environment.key}", layer):
            path = entry.path.partition("/")[2]
            if path:
                found[path] = entry._replace(path=path)
    found.update((entry.path, entry) for entry in environment.entries)
    return found


def _parse(data: bytes) -> tuple[dict[str, Any], Iterator[Entry]]:
    first, *lines = data.split(b"\n")
    head = json.loads(first + b"]}")
    if head["format"] != FORMAT or lines[-2:] != [b"]}", b""]:
        raise ValueError("it is of another format, or not whole")
    return head, (inventory.from_json(json.loads(line.rstrip(b","))) for line in lines[:-2])


def skeleton(fd: int, interpreter: Interpreter, pinned: bool = False) -> list[Entry]:
    """Make in the directory ``fd`` what turns it into a virtual environment of ``interpreter``: links, ``pyvenv.cfg`` and the pin. What it made.

    ``pinned``: a layer of kind ``env``, which is of no wheel, has brought the pin. Raises ``FileExistsError`` for what somebody else has made there.
    """
    site = f"lib/{'pypy' if interpreter.implementation == 'pypy' else 'python'}{interpreter.python}/site-packages"
    made = [entry for directory in ("bin", *_ways(site)) if (entry := _directory(fd, directory))]
    python = f"python{interpreter.python}"
    links = {"python": interpreter.executable, "python3": "python", python: "python"}
    if interpreter.platform.endswith(("64", "64le", "s390x")) and not durable.exists(fd, "lib64"):  # as venv does: what looks there finds lib
        os.symlink("lib", "lib64", dir_fd=fd)
        made.append(Entry("lib64", "link", "777", target="lib"))
    with _opened(fd, "bin") as bin_:
        for name, target in links.items():
            os.symlink(target, name, dir_fd=bin_)
            made.append(Entry(f"bin/{name}", "link", "777", target=target))
    if not pinned:
        with _opened(fd, site) as packages:
            made.append(_file(packages, site, pin.NAME, pin.PTH.encode("ascii")))
    made.append(_file(fd, "", "pyvenv.cfg", configuration(interpreter)))
    return made


def configuration(interpreter: Interpreter) -> bytes:
    """``pyvenv.cfg``: where the interpreter's own library is found, and that nothing of the system's packages is seen."""
    lines = (
        f"home = {os.path.dirname(interpreter.executable)}",
        f"implementation = {interpreter.implementation}",
        "include-system-site-packages = false",
        f"version = {interpreter.version}",
    )
    return "".join(f"{line}\n" for line in lines).encode()


class _Making:
    """One environment in the making. Each kind is a method that returns the sorted entries of the published, synced environment."""

    def __init__(self, artifact: Artifact, root: Host, interpreter: Interpreter, name: str) -> None:
        self.artifact, self.root, self.interpreter, self.name = artifact, root, interpreter, name
        self.stage = f"env-{name}"

    def clear_stage(self) -> None:
        with self.root.directory(host.STAGING) as staging:
            durable.remove_tree(staging, self.stage)

    def clear(self) -> None:
        """Remove what an earlier, killed making left, or this one. The table goes first: without it there is no environment."""
        self.clear_stage()
        with self.root.directory(host.ENV_TABLES) as tables:
            durable.remove_name(tables, f"{self.name}.json")
        with self.root.directory(host.ENVS) as envs:
            durable.remove_tree(envs, self.name)

    def venv(self) -> tuple[Entry, ...]:
        """Unpacked into a stage, completed, synced, and published by a rename: its scripts find their interpreter beside themselves."""
        from . import donors  # only now: each start would pay for it

        layers = env_layers(self.artifact.manifest)
        lent = self.artifact.lender.chosen(layers) if self.artifact.lender else ()
        with self.root.directory(host.STAGING) as staging:
            durable.make_dir(staging, self.stage)
            with _opened(staging, self.stage) as stage:
                with donors.opened(self.root, (*donors.environments(self.root), *lent)) as there:
                    unpack(self.artifact, layers, Destination(stage, strip=True), donors=there)
                try:
                    entries = [*skeleton(stage, self.interpreter, _brings_pin(self.artifact)), *kept.keep(stage, self.artifact, layers)]
                except FileExistsError as error:
                    raise _invalid(f"venv/{error.filename}", "is the host's to make.") from None
                durable.sync_tree(stage)
            with self.root.directory(host.ENVS) as envs:
                durable.publish(staging, self.stage, envs, self.name)
        return tuple(sorted(entries, key=lambda entry: os.fsencode(entry.path)))

    def pex(self) -> tuple[Entry, ...]:
        """Made by the pex's own tools, in the final place (it breaks when moved), with a private PEX_ROOT that is removed."""
        stage = self._unpack_to_stage()
        there = self.root.path(host.ENVS, self.name)
        command = [self.interpreter.executable, f"{stage}/pex/__main__.py", "venv", "--non-hermetic-scripts", "--collisions-ok", there]
        self._run("pex", command, PEX_TOOLS="1", PEX_ROOT=f"{stage}/pex-root", PEX_PYTHON=self.interpreter.executable)
        with self.root.directory(host.ENVS, self.name) as env:
            _remove_foreign(env)
            try:
                skeleton(env, self.interpreter)
            except FileExistsError as error:
                raise _invalid(f"venv/{error.filename}", "is the host's to make.") from None
        return self._finish()

    def wheelhouse(self) -> tuple[Entry, ...]:
        """A virtualenv in its final place, filled by the pip that travels, from the wheels alone, every hash demanded."""
        stage = self._unpack_to_stage()
        wheels = f"{stage}/wheelhouse"
        pips = sorted(name for name in os.listdir(wheels) if name.startswith("pip-") and name.endswith(".whl"))
        if len(pips) != 1:
            raise _invalid("wheelhouse", f"holds {len(pips)} wheels of pip instead of one.")
        with self.root.directory(host.ENVS) as envs:
            durable.make_dir(envs, self.name)
        with self.root.directory(host.ENVS, self.name) as env:
            skeleton(env, self.interpreter)
        command = [
            self.root.path(host.ENVS, self.name, "bin", "python"),
            *("-c", _PIP, f"{wheels}/{pips[0]}"),
            *("--isolated", "--no-input", "--no-cache-dir", "--disable-pip-version-check", "--no-color", "--quiet"),
            *("install", "--no-index", "--require-hashes", "--no-deps", "--only-binary=:all:", "--no-compile", "--no-warn-script-location"),
            *("--find-links", wheels, "--requirement", f"{wheels}/requirements.txt"),
        ]
        if os.path.getsize(f"{wheels}/requirements.txt"):  # an application without dependencies: pip would call that an error
            self._run("pip", command, PIP_CONFIG_FILE=os.devnull, PIP_ROOT_USER_ACTION="ignore")
        return self._finish()

    def _unpack_to_stage(self) -> str:
        """The layers of the environment below the stage, which is empty but for an own home and directory for temporary files. Its path."""
        with self.root.directory(host.STAGING) as staging:
            durable.make_dir(staging, self.stage, 0o700)
            with _opened(staging, self.stage) as stage:
                unpack(self.artifact, env_layers(self.artifact.manifest), Destination(stage))
                for name in ("home", "tmp"):
                    os.mkdir(name, 0o700, dir_fd=stage)
        return self.root.path(host.STAGING, self.stage)

    def _run(self, what: str, command: Sequence[str], **environment: str) -> None:
        stage = self.root.path(host.STAGING, self.stage)
        done = child.run(
            command,
            deadline=DEADLINE,
            environment=child.scrubbed(HOME=f"{stage}/home", TMPDIR=f"{stage}/tmp", PYTHONDONTWRITEBYTECODE="1", PYTHONNOUSERSITE="1", **environment),
            cwd=stage,
        )
        if not done.good:
            tail = " | ".join(line.strip() for line in done.output.strip().splitlines()[-5:])
            raise RolledBackError(
                "the environment could not be made; what was there is untouched",
                [Problem(what, f"{done.reason}.", f"It said: {tail}" if tail else "It said nothing.")],
            )

    def _finish(self) -> tuple[Entry, ...]:
        """Compile, set the modes, sync; then take the inventory of what is there."""
        there = self.root.path(host.ENVS, self.name)
        if self.artifact.manifest.target.byte_code:
            workers = str(min(8, len(os.sched_getaffinity(0))))
            self._run("byte code", [self.interpreter.executable, "-I", "-S", "-W", "ignore", "-c", _COMPILE, f"{there}/lib", workers])
        with self.root.directory(host.ENVS, self.name) as env:
            _set_modes(env)
            durable.sync_tree(env)
            found = tuple(inventory.scan(env))
        ours = hashlib.sha256(pin.PTH.encode("ascii")).hexdigest()
        pins = [each for each in found if each.path.endswith(f"site-packages/{pin.NAME}")]
        if other := next((each for each in pins if each.sha256 != ours), None):  # pip puts a wheel's in the place of ours
            raise _invalid(f"venv/{other.path}", "is the host's to make.")
        return found


def _brings_pin(artifact: Artifact) -> bool:
    """Whether what an environment has beside wheels holds the pin, as what was built does."""
    layers = [layer for layer in artifact.manifest.layers if layer.kind == "env"]
    return any(isinstance(line, Entry) and line.path.endswith(f"site-packages/{pin.NAME}") for layer in layers for line in artifact.table(layer))


def _invalid(where: str, what: str) -> ArtifactError:
    return ArtifactError("the artifact is not valid", [Problem(where, what, "Build it again: build-release verify says what is wrong with it.")])


def _remove_foreign(env: int) -> None:
    """Take away what a tool made in the place of our skeleton, and the activate scripts, which serve a person's shell."""
    with _opened(env, "bin") as bin_:
        for name in os.listdir(bin_):
            if name.startswith(("python", "activate", "Activate")):
                os.unlink(name, dir_fd=bin_)
    for name in (".gitignore", "CACHEDIR.TAG", "pyvenv.cfg"):
        if durable.exists(env, name):
            os.unlink(name, dir_fd=env)


def _set_modes(env: int) -> None:
    """755 for directories and what can be run, 644 for the rest: nothing that others can write, whatever a wheel or a umask says."""
    for _, _, files, here in os.fwalk(".", follow_symlinks=False, dir_fd=env):
        os.fchmod(here, 0o755)
        for name in files:
            mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
            wanted = 0o755 if mode & 0o111 else 0o644
            if stat.S_ISREG(mode) and stat.S_IMODE(mode) != wanted:
                os.chmod(name, wanted, dir_fd=here)


def _ways(path: str) -> list[str]:
    """``a/b/c`` as ``a``, ``a/b``, ``a/b/c``."""
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _directory(fd: int, path: str) -> Entry | None:
    """Make a directory, 755; None when it is there."""
    parent, _, name = path.rpartition("/")
    with _opened(fd, parent) as above:
        if durable.exists(above, name):
            return None
        os.mkdir(name, 0o755, dir_fd=above)
        os.chmod(name, 0o755, dir_fd=above)
    return Entry(path, "dir", "755")


def _file(fd: int, directory: str, name: str, data: bytes) -> Entry:
    durable.create_file(fd, name, data, 0o644)
    return Entry(f"{directory}/{name}" if directory else name, "file", "644", len(data), hashlib.sha256(data).hexdigest())


class _opened:
    """A directory below a descriptor ("" is itself), as a context manager."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = durable.open_dir(fd, path) if path else os.dup(fd)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
