"""bin/run: what a command of a release finds when it is started."""

from __future__ import annotations

import ctypes
import fcntl
import glob
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from builder.install_release import bin_run, launcher
from builder.install_release.errors import RefusedError
from tests.conftest import PYTHONS, missing

ID, NEXT = "20261123101112-1a2b3c4d5e6f", "20261124101112-aaaaaaaaaaaa"


class Root:
    """Two releases in one root with a space and a quote in its path; ``current`` leads to ``ID``."""

    def __init__(self, path: Path, python: Path) -> None:
        self.path = path
        self.python = Path(os.path.realpath(python))
        for release, key in ((ID, "key"), (NEXT, "next")):
            directory = path / "releases" / release
            for made in (directory / "bin", directory / "src", path / "envs" / key / "bin"):
                made.mkdir(parents=True)
            (directory / "venv").symlink_to(f"../../envs/{key}")
            (directory / ".lease").touch()
            (directory / "src" / "which.py").write_text(f"print({release!r})\n")
            (directory / "bin" / "run").write_bytes(launcher.render(str(self.python), "1.4.2"))
            (directory / "bin" / "run").chmod(0o755)
            (path / "envs" / key / "bin" / "python").symlink_to(self.python)
            (path / "envs" / key / "pyvenv.cfg").write_text(f"home = {self.python.parent}\n")
        (path / "shared").mkdir()
        self.flip(ID)

    def flip(self, release: str) -> None:
        (self.path / "new").symlink_to(f"releases/{release}")
        (self.path / "new").rename(self.path / "current")

    @property
    def run(self) -> str:
        return f"{self.path}/current/bin/run"

    def script(self, name: str, text: str, mode: int = 0o755) -> Path:
        """A command of the environment."""
        script = self.path / "envs" / "key" / "bin" / name
        script.write_text(text)
        script.chmod(mode)
        return script

    def call(self, *command: str, env: Mapping[str, str] | None = None, cwd: str = "/") -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"} if env is None else dict(env)
        return subprocess.run([self.run, *command], env=environment, cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """A root on the Python that runs the tests."""
    return Root(tmp_path / "it's a root", Path(sys.executable))


@pytest.mark.parametrize("version", PYTHONS)
def test_it_runs_under_every_python(version: str, tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """The program works on every supported Python, and starts that release's interpreter in that release's source."""
    if version not in interpreters:
        pytest.skip(f"no Python {version} here")
    root = Root(tmp_path / "a root", interpreters[version])
    (root.path / "shared" / "env").write_text("SECRET='a b'\n")
    shown = root.call("python", "-W", "error", "-c", "import os, sys; print(sys.version_info[:2], os.getcwd(), os.environ['SECRET'])")
    wanted = tuple(int(part) for part in version.split("."))
    assert (shown.stdout, shown.stderr) == (f"{wanted} {root.path}/releases/{ID}/src a b\n", "")


def test_what_a_command_finds(root: Root) -> None:
    """Its environment holds the release's facts, shared/env over what was inherited, and nothing that leads through ``current``."""
    (root.path / "shared" / "env").write_text(
        "FROM_FILE=yes\nBOTH=file\nRELEASE_ID=forged\nPYTHONHOME=/nowhere\n"
        f"PYTHONPATH={root.path}/current/src:{root.path}/current/lib:/extra\n"  # nobody should; it is taken to this release
    )
    inherited = {"PATH": f"/usr/bin:/bin:{root.path}/current/venv/bin", "BOTH": "inherited", "KEPT": "1", "PWD": "/", "LC_ALL": "C.UTF-8"}
    shown = dict(line.split("=", 1) for line in root.call("env", env=inherited).stdout.splitlines())
    release = f"{root.path}/releases/{ID}"
    assert shown == {
        "FROM_FILE": "yes",
        "BOTH": "file",
        "KEPT": "1",
        "LC_ALL": "C.UTF-8",
        "RELEASE_ID": ID,
        "RELEASE_DIR": release,
        "RELEASE_VERSION": "1.4.2",
        "PWD": f"{release}/src",
        "VIRTUAL_ENV": f"{root.path}/envs/key",
        "PYTHONPATH": f"{release}/src:{release}/lib:/extra",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": f"{root.path}/envs/key/bin:/usr/bin:/bin",
    }


def test_commands_of_the_environment_come_first_and_by_their_physical_path(root: Root) -> None:
    """A command is taken from the environment before PATH, and sees the path that no flip moves; arguments arrive as they are."""
    root.script("env", '#!/bin/sh\nprintf "%s|" "$0" "$@"\n')
    assert root.call("env", "a b", "", "$x", "'").stdout == f"{root.path}/envs/key/bin/env|a b||$x|'|"
    through = f"{root.path}/current/venv/bin/env"
    assert root.call(through).stdout == f"{root.path}/envs/key/bin/env|"


def test_a_path_with_a_slash_is_relative_to_the_source(root: Root) -> None:
    """``bin/run ./x`` means src/x, whatever directory it is called from."""
    tool = root.path / "releases" / ID / "src" / "tool"
    tool.write_text("#!/bin/sh\npwd\n")
    tool.chmod(0o755)
    assert root.call("./tool", cwd="/tmp").stdout == f"{root.path}/releases/{ID}/src\n"


def test_it_is_found_through_links_and_by_name(root: Root, tmp_path: Path) -> None:
    """A link to bin/run, a relative call, ``sh bin/run`` and a look-up by PATH all mean the release that ``current`` leads to."""
    (tmp_path / "shop-run").symlink_to(root.run)
    environment = {"PATH": f"{root.path}/current/bin:/usr/bin:/bin"}
    calls = (
        ([str(tmp_path / "shop-run")], "/"),
        (["./current/bin/run"], str(root.path)),
        (["sh", root.run], "/"),
        (["/usr/bin/env", "run"], "/"),
    )
    for command, cwd in calls:
        shown = subprocess.run([*command, "python", "which.py"], cwd=cwd, env=environment, capture_output=True, text=True)
        assert (shown.stdout, shown.stderr) == (f"{ID}\n", "")


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (("nothing-like-it",), 127, "nothing-like-it is neither in"),
        (("which.py",), 127, "which.py is in src/: say 'python which.py'"),
        (("./gone",), 127, "is not there"),
        (("plain",), 126, "plain is not executable"),
        (("lost",), 127, "the interpreter that it names is not"),
        (("no-line",), 126, "has it a first line that names an interpreter?"),
        (("./",), 126, "Permission denied"),
        ((), 125, "usage:"),
        (("sh", "-c", "exit 7"), 7, ""),
    ],
)
def test_exit_statuses_are_those_of_env(root: Root, command: tuple[str, ...], status: int, said: str) -> None:
    """125: it failed itself, 126: the command can't be run, 127: it isn't there; otherwise the command's own."""
    root.script("plain", "#!/bin/sh\n", 0o644)
    root.script("lost", "#!/no/such/shell\n")
    root.script("no-line", "echo no\n")
    done = root.call(*command)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GOOD=1\nexport X=1\n", "shared/env, line 2: 'export' is no name of a variable: leave out 'export'"),
        (b"\n\nsecretword\n", "line 3: 'secretword' assigns nothing"),
        (b"A='1\n2'\nB=\"never\n", "line 3: a double quote is opened and never closed"),
        (b"A=\xff\n", "line 1: is not UTF-8"),
        (b"# a comment \\\nA=1\n", "line 1: a comment that ends in a backslash"),
    ],
)
def test_a_bad_line_of_shared_env_stops_the_start(root: Root, content: bytes, said: str) -> None:
    """What systemd would drop with a warning is an error here, with its line, and nothing starts."""
    (root.path / "shared" / "env").write_bytes(content)
    done = root.call("env")
    assert (done.returncode, done.stdout) == (125, "")
    assert said in done.stderr


def test_signals_and_descriptors_are_as_they_were(root: Root) -> None:
    """SIGPIPE ends a command as usual; besides the three standard ones only the lease is open, with a number of 10 or more."""
    ask = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))); print(open('/proc/self/status').read())"
    shown = root.call("python", "-S", "-c", ask).stdout
    descriptors = [int(fd) for fd in shown.splitlines()[0].strip("[]").split(",")]
    assert [fd for fd in descriptors if fd < 10][:3] == [0, 1, 2]
    assert len([fd for fd in descriptors if fd >= 10]) == 1
    ignored = int(next(line for line in root.call("cat", "/proc/self/status").stdout.splitlines() if line.startswith("SigIgn")).split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1))


def is_leased(root: Root, release: str) -> bool:
    """Whether a pruning installer would find the lease taken."""
    with open(root.path / "releases" / release / ".lease") as lease:
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_the_lease_lasts_as_long_as_the_command(root: Root) -> None:
    """A running command holds its release's lease, not the next one's after a flip, and a killed one gives it back."""
    with subprocess.Popen([root.run, "sh", "-c", "echo up; read x; :"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        root.flip(NEXT)
        assert is_leased(root, ID)
        assert not is_leased(root, NEXT)
        process.kill()
    assert not is_leased(root, ID)


def test_a_release_that_is_being_removed_gives_way_to_the_next(root: Root) -> None:
    """While a pruner holds the lease the start waits, and then takes the release that ``current`` leads to."""
    with open(root.path / "releases" / ID / ".lease") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        process = subprocess.Popen([root.run, "python", "which.py"], stdout=subprocess.PIPE, text=True)
        time.sleep(0.2)
        assert process.poll() is None
        root.flip(NEXT)
        assert process.communicate(timeout=30)[0] == f"{NEXT}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_service_user_needs_no_right_to_write(root: Root, tmp_path: Path) -> None:
    """A user who owns nothing runs commands, holds the lease, and is told when shared/env is not for it to read."""
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & 0o001:
            if directory.name in ("root", "home"):
                pytest.skip(f"other users can't pass {directory}")
            directory.chmod(directory.stat().st_mode | 0o011)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", root.run]
    python = root.path / "releases" / ID / "bin" / "run"
    python.write_bytes(launcher.render("/usr/bin/python3", "1"))
    if not os.path.exists("/usr/bin/python3"):
        missing("no Python that every user can run")
    with subprocess.Popen([*nobody, "sh", "-c", "echo up; read x; :"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert is_leased(root, ID)
        process.kill()
    (root.path / "shared" / "env").write_text("A=1\n")
    (root.path / "shared" / "env").chmod(0o640)
    done = subprocess.run([*nobody, "env"], capture_output=True, text=True)
    assert done.returncode == 125
    assert "shared/env can't be read: Permission denied; run this as a user of its group" in done.stderr


def test_a_start_is_quick(root: Root) -> None:
    """It costs little more than a bare start of Python (10 ms where that takes 6); a busy machine is allowed 150."""
    times = []
    for _ in range(5):
        before = time.perf_counter()
        root.call("true")
        times.append(time.perf_counter() - before)
    assert min(times) < 0.15


@pytest.mark.parametrize("path", ["relative/python", "/a\\b/python", "/a\nb/python", "/a\udcffb/python"])
def test_a_path_that_a_script_cannot_hold_is_refused(path: str) -> None:
    """An interpreter's path that shell and Python would read differently is refused, never written."""
    with pytest.raises(RefusedError, match="can't be written"):
        launcher.render(path, "1")


def test_the_installer_holds_the_program_inside_its_zip_file(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """From a zip file, on the oldest Python and in isolated mode, the same text is rendered."""
    package = Path(launcher.__file__).parent
    with zipfile.ZipFile(tmp_path / "installer.zip", "w") as archive:
        for source in package.glob("*.py"):
            archive.write(source, f"install_release/{source.name}")
    program = "import sys; sys.path.insert(0, sys.argv[1]); from install_release import launcher; sys.stdout.buffer.write(launcher.render('/p', '1'))"
    command = [next(iter(interpreters.values())), "-I", "-S", "-W", "error", "-c", program, str(tmp_path / "installer.zip")]
    assert subprocess.run(command, capture_output=True, check=True).stdout == launcher.render("/p", "1")


# What systemd's own tests expect of its reader (test-env-file), and cases around them.
TABLE = [
    ("a=a\na=b\n", {"a": "b"}),
    ("b=b\\\nc\nd= d\\\ne  \\\nf  \ng=g\\ \n", {"b": "bc", "d": "de  f", "g": "g "}),
    ("h= ąęół\\ śćńźżμ \ni=i\\", {"h": "ąęół śćńźżμ", "i": "i"}),
    ('# Generated\n\nM="coretemp f71882fg"\n; also\nM0=coretemp\nM1=f71882fg', {"M": "coretemp f71882fg", "M0": "coretemp", "M1": "f71882fg"}),
    ("a=\nb=", {"a": "", "b": ""}),
    ("a=\\ \\n \\t \\x \\y \\' \nb= \\$'   \n", {"a": " n t x y '", "b": "$'"}),
    ("c= ' \\n\\t\\$\\`\\\\\n'   \n", {"c": " \\n\\t\\$\\`\\\\\n"}),
    ('d= " \\n\\t\\$\\`\\\\\n"   \n', {"d": " \\n\\t$`\\\n"}),
    ("a='x' y\"z\"\n", {"a": 'xy"z"'}),
    ("a='x'\"y\"  'z'\n", {"a": "xyz"}),
    ("a=x'y'\n", {"a": "x'y'"}),
    ("  a  =  b  \r\nc=1 # no comment\r\n", {"a": "b", "c": "1 # no comment"}),
    ("URL=postgres://u:p@h/d?x=1&y=2\nD=$HOME ${X} `x`\n", {"URL": "postgres://u:p@h/d?x=1&y=2", "D": "$HOME ${X} `x`"}),
    ('a="x\\\ny"\n', {"a": "xy"}),
]


@pytest.mark.parametrize(("text", "values"), TABLE)
def test_an_environment_file_means_what_it_means_to_systemd(text: str, values: Mapping[str, str]) -> None:
    """Comments, quotes, continuation lines and backslashes are systemd's; nothing is expanded."""
    assert bin_run.parse_environment(text.encode()) == values


class Systemd:
    """systemd's own reader of environment files, out of its shared library."""

    def __init__(self, library: str) -> None:
        self.load = ctypes.CDLL(library).load_env_file

    def read(self, path: Path) -> dict[str, str]:
        found = ctypes.POINTER(ctypes.c_char_p)()
        assert self.load(None, bytes(path), ctypes.byref(found)) == 0
        values, index = {}, 0
        while found and (pair := found[index]):
            name, _, value = pair.decode().partition("=")
            values[name] = value
            index += 1
        return values


@pytest.fixture(scope="module")
def systemd() -> Systemd:
    """The reader of the systemd that this machine has."""
    libraries = glob.glob("/usr/lib/systemd/libsystemd-shared-*.so") + glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so")
    if not libraries:
        pytest.skip("no systemd here")
    return Systemd(libraries[0])


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file, written again for each example."""
    return tmp_path_factory.mktemp("systemd") / "env"


@settings(max_examples=400, deadline=None, database=None)
@given(text=st.text(st.sampled_from("aB_1= \t\n\r'\"\\#;$`é"), max_size=40))
@example(text="".join(text + "\n" for text, _ in TABLE))
def test_what_is_accepted_is_what_systemd_reads(systemd: Systemd, scratch: Path, text: str) -> None:
    """For any file that is accepted, systemd's own reader finds the same variables with the same values."""
    try:
        values = bin_run.parse_environment(text.encode())
    except bin_run.EnvironmentFileError:
        return
    scratch.write_bytes(text.encode())
    assert values == systemd.read(scratch)
