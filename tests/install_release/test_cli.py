"""The command line, as people and programs call it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.install_release.cli import _with_command
from builder.zipapp import installer
from tests.conftest import missing

from .roots import REPOSITORY, artifact, id_of, install, live, past, run, snapshot, temporary_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "srv/shop"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["install"]),
        (["release.tgz"], ["install", "release.tgz"]),
        (["-"], ["install", "-"]),
        (["--root", "status", "x.tgz"], ["install", "--root", "status", "x.tgz"]),
        (["--root", "/srv", "status", "--json"], ["status", "--root", "/srv", "--json"]),
        (["--json", "rollback", "1.0"], ["rollback", "--json", "1.0"]),
        (["./status"], ["install", "./status"]),
        (["--help"], ["--help"]),
        (["--plan"], ["install", "--plan"]),
    ],
)
def test_a_first_word_that_is_no_command_is_an_artifact(words: list[str], expected: list[str]) -> None:
    """Options may stand before the command; their values are not taken for it."""
    assert _with_command(words) == expected


def test_install_status_rollback(tmp_path: Path, root: Path) -> None:
    """The commands of a day, with what they say."""
    for version in ("1.0", "1.1"):
        path = artifact(tmp_path, version)
        done = run(path, "--root", root)
        assert done.returncode == 0, done.stderr
        assert f"shop {version} ({id_of(path)}) is live at {root}" in done.stdout
    assert "is already live" in run(path, "--root", root).stdout
    assert "current 1.1" in run("status", "--root", root).stdout
    assert "all as they were installed" in run("verify", "--root", root).stdout
    assert run("rollback", "--root", root, "--why", "too slow").returncode == 0
    assert "current 1.0" in run("status", "--root", root).stdout
    log = run("log", "--root", root).stdout.splitlines()
    assert log[-1].endswith("too slow")
    assert all(id_of(path) in line for line in run("log", "1.1", "--root", root).stdout.splitlines())
    assert run("pin", "1.1", "--root", root).stdout.endswith("is pinned\n")
    assert run("unpin", "1.1", "--root", root).stdout.endswith("is unpinned\n")
    assert run("mark-bad", "1.1", "--root", root).stdout.endswith("is bad already\n")
    assert run("activate", "1.1", "--root", root).returncode == 0
    assert run("prune", "--root", root).stdout == "nothing to remove\n"
    assert run("recover", "--root", root).stdout == "nothing to recover\n"


def test_json_is_one_object(tmp_path: Path, root: Path) -> None:
    """Every command prints exactly one object on standard output with --json; install's has the keys of the contract."""
    path = artifact(tmp_path, "1.0")
    value = json.loads(run(path, "--root", root, "--json").stdout)
    assert {key: value[key] for key in ("id", "name", "version", "state", "root", "from", "already")} == {
        "id": id_of(path),
        "name": "shop",
        "version": "1.0",
        "state": "good",
        "root": str(root),
        "from": "",
        "already": False,
    }
    assert value["env"]
    assert value["seconds"]["total"] > 0
    assert json.loads(run(path, "--root", root, "--json").stdout)["already"]
    for words in ("status", "log", "verify", "prune", "recover", "pin 1.0", "activate 1.0", f"{path} --plan"):
        done = run(*words.split(), "--root", root, "--json")
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), dict)


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("words", "status", "where"),
    [
        ("--frob", 2, "install-release install"),
        ("rollback 1 2", 2, "install-release rollback"),
        ("rollback --root ROOT", 3, "root"),
        ("status", 2, "root"),
        ("nowhere.tgz", 3, "nowhere.tgz"),
        (f"{__file__}", 3, __file__),
        ("ARTIFACT --expect-sha256 00 --root ROOT", 3, "sha256"),
        ("ARTIFACT --expect-sha256= --root ROOT", 3, "sha256"),
        ("ARTIFACT --expect-sha256= --root ROOT --plan", 3, "sha256"),
        ("ARTIFACT --python /bin/true --root ROOT", 3, "python"),
    ],
)
def test_errors(tmp_path: Path, root: Path, words: str, status: int, where: str, as_json: bool) -> None:
    """Each has its status, says where, what, and what to do; nothing is made; with --json it is one object."""
    path = artifact(tmp_path, "1.0")
    argv = [word.replace("ROOT", str(root)).replace("ARTIFACT", str(path)) for word in words.split()]
    done = run(*argv, *(["--json"] if as_json else []), cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == status, done.stderr
    assert not root.exists()
    if as_json:
        error = json.loads(done.stdout)["error"]
        assert error["status"] == status
        assert (error["problems"][0]["where"], bool(error["problems"][0]["remedy"])) == (where, True)
    else:
        assert done.stdout == ""
        assert where in done.stderr
        assert done.stderr.endswith(f"exit {status}\n")


def test_root_is_refused(tmp_path: Path, root: Path) -> None:
    """A user with all rights, also one of a user namespace, is turned away before anything is looked at."""
    words = [sys.executable, "-m", "builder.install_release", str(artifact(tmp_path, "1.0")), "--root", str(root)]
    if os.geteuid() != 0:
        words = ["unshare", "-r", *words]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 3
    assert "--allow-root" in done.stderr
    assert not root.exists()


def test_plan_changes_nothing(tmp_path: Path, root: Path) -> None:
    """It says from what to what; with a refusal its status is that of a refusal."""
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "1.1")
    done = run(first, "--plan", "--root", root)
    assert (done.returncode, root.exists()) == (0, False)
    install(root, first)
    before = snapshot(root)
    done = run(second, "--plan", "--root", root)
    assert done.returncode == 0
    assert "(1.0) → " in done.stdout
    assert run(second, "--plan", "--root", root, "--python", "/bin/true").returncode == 3
    assert snapshot(root) == before


def test_standard_input(tmp_path: Path, root: Path) -> None:
    """An artifact from a pipe is installed as from a file; what follows it, or an early end, is refused and leaves nothing."""
    data = artifact(tmp_path, "1.0").read_bytes()
    words = [sys.executable, "-m", "builder.install_release", "-", "--root", str(root), *(["--allow-root"] if os.geteuid() == 0 else [])]
    for bad in (b"", data[:100], data[:-1], data + b"x", data + bytes(3 << 20)):
        done = subprocess.run(words, cwd=REPOSITORY, input=bad, capture_output=True)
        assert done.returncode == 3, done.stderr
        assert not os.path.lexists(root / "current")
    done = subprocess.run(words, cwd=REPOSITORY, input=data, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert temporary_files(root) == []
    plan = subprocess.run([*words, "--plan"], cwd=REPOSITORY, input=data, capture_output=True)
    assert b"live already" in plan.stdout


def test_default_artifact_and_places_of_the_root(tmp_path: Path, root: Path) -> None:
    """Without a word it takes release.tgz here; INSTALL_RELEASE_ROOT names the root; an installer below a root knows its place."""
    shutil.copy(artifact(tmp_path, "1.0"), tmp_path / "release.tgz")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "INSTALL_RELEASE_ROOT": str(root)}
    assert run(cwd=tmp_path, env=environment).returncode == 0
    assert live(root)
    done = subprocess.run([sys.executable, "-IS", root / "bin/install-release", "status"], cwd="/", capture_output=True, text=True)
    assert done.stdout.startswith(f"shop   {root}   current 1.0")


def test_the_zipapp_is_what_is_kept(tmp_path: Path, root: Path) -> None:
    """The installer in an artifact, and then in bin/, is the zipapp, byte for byte; with its help it lists the exit statuses."""
    install(root, artifact(tmp_path, "1.0"))
    assert (root / "bin/install-release").read_bytes() == installer()
    done = subprocess.run([sys.executable, "-IS", root / "bin/install-release", "--help"], capture_output=True, text=True)
    for text in ("0 done", "3 refused", "7 state damaged", "rollback"):
        assert text in done.stdout
    ascii_only = {"LC_ALL": "C", "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-IS", root / "bin/install-release", "log"], capture_output=True, env=ascii_only)
    assert done.returncode == 0


def test_verify_has_a_status_of_its_own(tmp_path: Path, root: Path) -> None:
    """Differences are listed, and the status is that of damaged state."""
    release = install(root, artifact(tmp_path, "1.0")).id
    (root / "releases" / release / "src/app.py").write_text("edited")
    done = run("verify", "--root", root)
    assert done.returncode == 7
    assert f"edited     releases/{release}/src/app.py" in done.stdout
    assert not json.loads(run("verify", "--root", root, "--json").stdout)["good"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_in_the_stage_rolls_back(tmp_path: Path, root: Path, number: signal.Signals) -> None:
    """Stopped while it unpacks: status 4, the stage is gone, what was live is live."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "2.0", wheel="2")
    install(root, first)
    inject = f"inject=symlinkat,symlink:signal={number.name}:when=1"  # the first link: in the middle of making the environment
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=symlinkat,symlink", "-e", inject, sys.executable, "-m", "builder.install_release"]
    words += [str(second), "--root", str(root), *(["--allow-root"] if os.geteuid() == 0 else [])]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert number.name in done.stderr
    assert live(root) == id_of(first)
    assert os.listdir(root / "releases") == [id_of(first)]
    assert len(os.listdir(root / "envs")) == 1
    assert temporary_files(root) == []


def test_many_installers_at_once_take_turns(tmp_path: Path, root: Path) -> None:
    """Each waits for the one before it; all are installed, the last one is live, and nothing is left over."""
    paths = [artifact(tmp_path, f"1.{number}") for number in range(4)]
    words = [sys.executable, "-m", "builder.install_release", "--root", str(root), "--wait", "60", *(["--allow-root"] if os.geteuid() == 0 else [])]
    running = [subprocess.Popen([*words, path], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for path in paths]
    said = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0] * 4, said
    assert sorted(os.listdir(root / "releases")) == sorted(map(id_of, paths))
    assert live(root) == past(root).live
    assert temporary_files(root) == []


def test_a_full_log_changes_nothing_about_what_is_done(tmp_path: Path, root: Path) -> None:
    """An installation whose output nobody takes is done, and its status says so; a reading command that can't say anything fails."""
    words = [sys.executable, "-m", "builder.install_release"]
    flags = ["--root", str(root), *(["--allow-root"] if os.geteuid() == 0 else [])]
    with open("/dev/full", "w") as full:
        for action, status in ([str(artifact(tmp_path, "1.0"))], 0), (["pin", "1.0"], 0), (["status"], 3), (["activate", "nonsense"], 3):
            assert subprocess.run([*words, *action, *flags], cwd=REPOSITORY, stdout=full, stderr=full).returncode == status
    assert live(root)


def test_busy_is_said(tmp_path: Path, root: Path) -> None:
    """While another installer is at work the status is 6, and reading commands say who."""
    path = artifact(tmp_path, "1.0")
    install(root, path)
    code = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.readline()"
    words = [sys.executable, "-c", code, root / ".install/lock"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        start = time.monotonic()
        assert run("rollback", "--root", root, "--wait", "0.1").returncode == 6
        assert time.monotonic() - start < 5
        assert "busy: " in run("status", "--root", root).stdout
        process.communicate("go\n")
    assert run("pin", "1.0", "--root", root).returncode == 0


def test_every_interpreter_can_install(tmp_path: Path, interpreters: Mapping[str, Path]) -> None:
    """The zipapp itself runs under each Python from 3.9 on, without site, and installs a release for another."""
    program = tmp_path / "install-release"
    program.write_bytes(installer())
    flags = ["--allow-root"] if os.geteuid() == 0 else []
    chosen = ["--python", sys.executable]
    for version, python in interpreters.items():
        root = tmp_path / version
        for words in ([artifact(tmp_path, "1.0"), *chosen], ["pin", "1.0"]):
            done = subprocess.run([python, "-W", "error", "-IS", program, *words, "--root", root, *flags], capture_output=True, text=True)
            assert done.returncode == 0, f"{version}: {done.stderr}"
        for words in (["status"], ["verify", "--json"]):
            done = subprocess.run([python, "-W", "error", "-IS", program, *words, "--root", root], capture_output=True, text=True)
            assert done.returncode == 0, f"{version}: {done.stderr}"
        assert live(root) == id_of(artifact(tmp_path, "1.0"))


def test_no_socket_and_no_write_outside_the_root(tmp_path: Path, root: Path) -> None:
    """Of all its system calls none makes a socket, and none opens for writing, makes, moves or removes what is not below the root."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    program, trace = tmp_path / "install-release", tmp_path / "trace"
    program.write_bytes(installer())
    root.parent.mkdir(parents=True)
    flags = ["--root", str(root), *(["--allow-root"] if os.geteuid() == 0 else [])]
    for words in ([artifact(tmp_path, "1.0")], [artifact(tmp_path, "1.1", wheel="2", keep_releases=1)], ["rollback"], ["prune"], ["recover"]):
        strace = ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", "trace=%network,%file,%desc", "-e", "signal=none", "-o", str(trace)]
        done = subprocess.run([*strace, sys.executable, "-IS", program, *words, *flags], cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        lines = trace.read_text().splitlines()
        assert any("O_CREAT" in line and str(root) in line for line in lines)
        for line in lines:
            call = re.sub(r"^\d+ +", "", line)
            assert not re.match(r"(socket|connect|bind|sendto|sendmsg)\(", call), call
            if re.match(r"open(at2?)?\(", call) and not re.search(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC", call):
                continue
            if re.match(r"(open|mkdir|rename|unlink|rmdir|symlink|link|chmod|fchmodat|chown|fchownat|mknod|truncate|utimens)\w*\(", call):
                made_outside = call.startswith("mkdir") and f'"{root.name}"' in call  # the root itself
                inside = re.search(rf"<{re.escape(str(root))}[/>]", call) or f'"{root}/' in call
                assert inside or made_outside or "/dev/null" in call or " = -1 " in call, call


@pytest.mark.parametrize("why", [b"a\nb", b"\xff", "\u2028 é".encode()])
def test_any_reason_can_be_given(tmp_path: Path, root: Path, why: bytes) -> None:
    """A reason of several lines, or of bytes that are no text, is one line of the log, and stops neither this command nor the next."""
    path = tmp_path / os.fsdecode(b"odd\xff\n.tgz")
    artifact(tmp_path, "1.0").rename(path)
    assert run(path, "--root", root).returncode == 0
    assert run("pin", "1.0", "--root", root, "--why", os.fsdecode(why)).returncode == 0
    log = run("log", "--root", root)
    assert (log.returncode, len(log.stdout.splitlines())) == (0, 5)
    assert (root / "revisions.log").read_text(encoding="utf-8").splitlines() == log.stdout.splitlines()


def test_every_line_of_the_log_names_a_version(tmp_path: Path, root: Path) -> None:
    """Also what a rollback says of the release that it left."""
    for version in ("1.0", "1.1"):
        install(root, artifact(tmp_path, version))
    assert run("rollback", "--root", root).returncode == 0
    lines = run("log", "--root", root).stdout.splitlines()
    assert all(re.search(r"-[0-9a-f]{12} \(1\.[01]\) by ", line) for line in lines), lines


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_without_standard_streams(tmp_path: Path, root: Path, closed: tuple[int, ...]) -> None:
    """Started without a standard input, output or error, as some schedulers do, it works, and writes nothing into a file of the root instead."""
    shut = " ".join(f"{number}>&-" for number in closed)
    program = [sys.executable, "-m", "builder.install_release", "--root", str(root), *(["--allow-root"] if os.geteuid() == 0 else [])]
    for words, status in ([str(artifact(tmp_path, "1.0"))], 0), (["pin", "1.0"], 0), (["-"], 3), (["nonsense"], 3):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        done = subprocess.run(["sh", "-c", f'exec "$@" {shut}', "sh", *program, *words], cwd=REPOSITORY, **streams)  # type: ignore[call-overload]
        assert (done.returncode, b"Traceback" in done.stderr + done.stdout) == (status, False), done
    assert run("verify", "--root", root).returncode == 0
    assert (root / ".install/lock").read_bytes() == b""


def test_a_closed_umask_is_overruled(tmp_path: Path, root: Path) -> None:
    """Under a umask that leaves nobody any right, everything has the modes that the documentation says."""
    words = [sys.executable, "-m", "builder.install_release", str(artifact(tmp_path, "1.0")), "--root", str(root)]
    done = subprocess.run([*words, *(["--allow-root"] if os.geteuid() == 0 else [])], cwd=REPOSITORY, umask=0o777, capture_output=True)
    assert done.returncode == 0, done.stderr
    names = ("", "releases", "shared", ".install", ".install/staging", "revisions.log")
    modes = {name: f"{(root / name).stat().st_mode & 0o7777:o}" for name in names}
    assert modes == {"": "755", "releases": "755", "shared": "755", ".install": "750", ".install/staging": "700", "revisions.log": "644"}


@pytest.mark.parametrize("wait", ["nan", "-1", "soon"])
def test_a_wait_is_a_number_of_seconds(root: Path, wait: str) -> None:
    """Anything else is a mistake on the command line, not a wait without end."""
    assert run("recover", "--root", root, f"--wait={wait}").returncode == 2


@pytest.mark.parametrize(("words", "meant"), [("stats", "status"), ("roll-back", "rollback"), ("verfy --json", "verify")])
def test_a_mistyped_command_is_told(root: Path, words: str, meant: str) -> None:
    """What is neither a file nor a command, but nearly one, is a mistake on the command line, not an artifact that can't be opened."""
    done = run(*words.split(), "--root", root)
    assert (done.returncode, f"Did you mean {meant}?" in done.stdout + done.stderr) == (2, True), done


def test_an_empty_root_is_refused(tmp_path: Path) -> None:
    """A variable that was not set must not send a release to another place."""
    done = run(artifact(tmp_path, "1.0"), "--root", "")
    assert (done.returncode, "--root has an empty value" in done.stderr) == (2, True)


def test_the_log_says_what_was_wrong_with_an_artifact(tmp_path: Path, root: Path) -> None:
    """Not only that it was damaged: where."""
    path = artifact(tmp_path, "1.0", {"big.bin": os.urandom(600_000)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert run(path, "--root", root).returncode == 3
    assert re.search(r"failed .*: the artifact is damaged: src: differs from its digest", run("log", "--root", root).stdout)


def test_no_name_gives_orders_to_a_terminal(tmp_path: Path) -> None:
    """What an artifact is called, or says that it is called, is shown with what is not printable spelled out."""
    path = tmp_path / "evil\x1b[2J\u202e.tgz"
    path.write_bytes(b"no release")
    done = run(path, "--root", tmp_path / "root")
    assert done.returncode == 3
    assert "evil\\x1b[2J\\u202e.tgz" in done.stderr
    assert "\x1b" not in done.stderr
