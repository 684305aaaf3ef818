"""Roots that people, disks and other programs have been at: what is said then, what still works, and that nothing gets worse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from builder.install_release import release
from builder.install_release.errors import DamagedError
from tests.conftest import missing

from .roots import REPOSITORY, artifact, differences, events, id_of, install, live, order, run, snapshot, temporary_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "srv/shop"


def test_an_environment_without_a_table_is_not_taken_from_under_a_release(tmp_path: Path, root: Path) -> None:
    """Its table was deleted by hand: the next release gets an environment of its own, and once nobody uses the old one, that is removed."""
    first = install(root, artifact(tmp_path, "1.0", keep_releases=1))
    (root / ".install/envs" / f"{first.env}.json").unlink()
    before = snapshot(root / "envs" / first.env)
    second = install(root, artifact(tmp_path, "1.1", keep_releases=1))
    assert snapshot(root / "envs" / first.env) == before
    assert second.env != first.env
    assert differences(root, second.id) == []
    third = install(root, artifact(tmp_path, "1.2", keep_releases=1))
    assert third.env == second.env
    assert not (root / "releases" / first.id).exists()
    release.recover_now(order(root))
    assert os.listdir(root / "envs") == [second.env]


def test_a_deleted_state_directory(tmp_path: Path, root: Path) -> None:
    """Without .install, versions are still told, a change is refused with the way out, and an installation begins a new history."""
    first = install(root, artifact(tmp_path, "1.0"))
    shutil.rmtree(root / ".install")
    assert "current 1.0" in run("status", "--root", root).stdout
    done = run("rollback", "--root", root)
    assert done.returncode == 7
    assert ".install  is missing, though releases are here" in done.stderr
    second = install(root, artifact(tmp_path, "1.1"))
    assert (second.before, differences(root, second.id)) == (first.id, [])
    assert release.mark(order(root), "1.0", "pinned").id == first.id


def test_a_deleted_environment_of_the_live_release_is_made_again(tmp_path: Path, root: Path) -> None:
    """Installing the same artifact again does not say that all is well: it makes what is missing."""
    path = artifact(tmp_path, "1.0")
    first = install(root, path)
    shutil.rmtree(root / "envs" / first.env)
    done = run(path, "--root", root)
    assert (done.returncode, "was gone, and is made again" in done.stderr) == (0, True), done.stderr
    assert differences(root, first.id) == []


def test_a_release_whose_interpreter_is_gone_is_not_activated(tmp_path: Path, root: Path) -> None:
    """A rollback to what can't start any more is refused, and verify says why."""
    python = tmp_path / "usr/bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    python.parent.mkdir(parents=True)
    shutil.copy(os.path.realpath(sys.executable), python)
    home = Path(os.path.realpath(sys.executable)).parents[1]
    (tmp_path / "usr/lib").symlink_to(home / "lib")
    first = install(root, artifact(tmp_path, "1.0"), python=str(python))
    second = install(root, artifact(tmp_path, "1.1"))
    python.unlink()
    assert ("removed", str(python)) in differences(root, first.id)
    with pytest.raises(DamagedError):
        release.rollback(order(root))
    assert live(root) == second.id
    install(root, artifact(tmp_path, "1.0"))
    assert differences(root, first.id) == []


@pytest.mark.parametrize("damage", ["release.json", "install.json"])
def test_a_live_release_that_is_damaged_is_no_reason_against_the_next(tmp_path: Path, root: Path, damage: str) -> None:
    """The plan says so, the installation works, and the damaged one can be installed again afterwards."""
    first = install(root, artifact(tmp_path, "1.0"))
    (root / "releases" / first.id / damage).unlink()
    path = artifact(tmp_path, "1.1")
    assert run(path, "--root", root, "--plan").returncode == 0
    assert run("status", "--root", root).returncode == 0
    second = install(root, path)
    assert live(root) == second.id
    assert install(root, artifact(tmp_path, "1.0")).before == second.id
    assert differences(root, first.id) == []


def test_a_previous_that_is_a_directory_is_refused_by_the_preflight(tmp_path: Path, root: Path) -> None:
    """Before anything is unpacked, not when the links are set."""
    install(root, artifact(tmp_path, "1.0"))
    (root / "previous").mkdir()
    done = run(artifact(tmp_path, "1.1"), "--root", root)
    assert done.returncode == 3
    assert f"previous  {root}/previous is not a link. Move it away" in done.stderr
    assert len(os.listdir(root / "releases")) == 1


def test_a_damaged_journal_or_history_is_told_by_the_plan_and_the_log_is_still_shown(tmp_path: Path, root: Path) -> None:
    """The log is what a journal is to be compared with; a plan does not promise what the installation would refuse."""
    install(root, artifact(tmp_path, "1.0"))
    path = artifact(tmp_path, "1.1")
    (root / ".install/journal.json").write_text("garbage")
    done = run("log", "--root", root)
    assert (done.returncode, "good" in done.stdout, "can't be trusted" in done.stdout) == (0, True, True)
    assert run(path, "--plan", "--root", root).returncode == 7
    (root / ".install/journal.json").unlink()
    with open(root / ".install/history.jsonl", "a") as file:
        file.write("garbage\n")
    assert run(path, "--plan", "--root", root).returncode == 7


def test_the_same_artifact_twice_at_once(tmp_path: Path, root: Path) -> None:
    """The one that comes second finds it live: it is not made live again, and does not become its own predecessor."""
    install(root, artifact(tmp_path, "1.0"))
    path = artifact(tmp_path, "1.1")
    words = [sys.executable, "-m", "builder.install_release", "--root", str(root), "--wait", "60", *(["--allow-root"] if os.geteuid() == 0 else [])]
    for _ in range(2):
        running = [subprocess.Popen([*words, path], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
        said = [process.communicate() for process in running]
        assert [process.returncode for process in running] == [0, 0, 0], said
    assert events(root).count(("activated", id_of(path))) == 1
    assert os.readlink(root / "previous") != os.readlink(root / "current")


def test_a_directory_that_is_mounted_below_the_root_is_refused(tmp_path: Path, root: Path) -> None:
    """Also one of the same file system, from which nothing could be renamed: before anything is unpacked."""
    install(root, artifact(tmp_path, "1.0"))
    (tmp_path / "elsewhere").mkdir()
    flags = ["--allow-root", "--root", str(root)]
    program = [sys.executable, "-m", "builder.install_release", str(artifact(tmp_path, "1.1")), *flags]
    script = 'mount --bind "$1" "$2" || exit 99; shift 2; exec "$@"'
    words = ["unshare", "-r", "-m", "sh", "-c", script, "sh", str(tmp_path / "elsewhere"), str(root / ".install/staging"), *program]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode in (1, 99):
        missing("nothing can be mounted here")
    assert done.returncode == 3
    assert f"{root}/.install/staging is on another file system" in done.stderr
    assert os.listdir(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(("call", "error"), [("openat", "EIO"), ("openat", "EMFILE"), ("close", "EIO")])
def test_no_error_after_the_flip_makes_a_failure_of_it(tmp_path: Path, root: Path, call: str, error: str) -> None:
    """Once current was set and recorded, no file that can't be opened or closed makes the status 3 or 4: it is 0 or 5."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    for version in ("1.0", "1.1"):
        install(root, artifact(tmp_path, version))
    words = [sys.executable, "-m", "builder.install_release", "rollback", "--keep", "--root", str(root)]
    words += ["--allow-root"] if os.geteuid() == 0 else []
    strace = ["strace", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call},renameat"]
    spare = tmp_path / "spare"
    shutil.copytree(root, spare, symlinks=True)
    assert subprocess.run([*strace, *words], cwd=REPOSITORY, capture_output=True).returncode == 0
    lines = (tmp_path / "trace").read_text().splitlines()
    flipped = next(number for number, line in enumerate(lines) if '".current.new"' in line)
    opened = [number for number, line in enumerate(lines) if line.startswith(f"{call}(")]
    first = sum(number < flipped for number in opened) + 1
    for point in range(first, len(opened) + 1, 2 if call == "close" else 1):
        shutil.rmtree(root)
        shutil.copytree(spare, root, symlinks=True)
        was = live(root)
        done = subprocess.run([*strace, "-e", f"inject={call}:error={error}:when={point}", *words], cwd=REPOSITORY, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        assert (done.returncode in (0, 5)) == (live(root) != was), f"{point}: {done.returncode} {done.stderr}"
        release.recover_now(order(root))
        assert temporary_files(root) == []


def test_every_command_says_one_object(tmp_path: Path, root: Path) -> None:
    """Also when the state is damaged, each prints exactly one object."""
    path = artifact(tmp_path, "1.0")
    install(root, path)
    (root / ".install/journal.json").write_text("garbage")
    before = snapshot(root)
    commands = ("status", "log", "verify", "prune", "recover", "pin 1.0", "unpin 1.0", "mark-bad 1.0", "activate 1.0", "rollback")
    for words in (*commands, f"{path} --plan", f"{path}"):
        done = run(*words.split(), "--root", root, "--json")
        value = json.loads(done.stdout)
        assert ("error" in value, done.returncode) in ((False, 0), (True, 7)), words
    assert snapshot(root) == before, "nothing may be changed where the journal can't be trusted"


def test_no_process_can_be_forked(tmp_path: Path, root: Path) -> None:
    """A user who has as many processes as he may have waits longer for what several would share, and gets all of it."""
    if not shutil.which("strace"):
        missing("strace is not installed")
    path = artifact(tmp_path, "1.0", {f"{number}.bin": os.urandom(100_000) for number in range(30)})
    words = [sys.executable, "-m", "builder.install_release", str(path), "--root", str(root), "--python", sys.executable]
    words += ["--allow-root"] if os.geteuid() == 0 else []
    strace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=clone3,clone,fork,vfork", "-e", "inject=clone3,clone,fork,vfork:error=EAGAIN"]
    done = subprocess.run([*strace, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert differences(root, live(root)) == []
    assert temporary_files(root) == []


def test_a_root_that_others_could_replace_is_not_changed(tmp_path: Path, root: Path) -> None:
    """Whoever can write above it could put another one there: no command changes anything; at boot, links and files are set right all the same."""
    install(root, artifact(tmp_path, "1.0"))
    root.parent.chmod(0o777)
    before = snapshot(root)
    for words in ("rollback", "activate 1.0", "prune", "pin 1.0", "mark-bad 1.0", "recover"):
        done = run(*words.split(), "--root", root)
        assert (done.returncode, f"chmod go-w {root.parent}" in done.stderr) == (3, True), done.stderr
    assert snapshot(root) == before
    assert run("recover", "--boot", "--root", root).returncode == 0


def test_another_application_is_refused(tmp_path: Path, root: Path) -> None:
    """A root is one application's: the artifact of another does not become live in its place by an oversight."""
    install(root, artifact(tmp_path, "1.0"))
    done = run(artifact(tmp_path, "1.1", name="blog"), "--root", root)
    assert done.returncode == 3
    assert f"root  {root} holds shop; this is blog. Name its own root with --root." in done.stderr
