"""What goes, and what never does."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.install_release import history, prune, release
from builder.install_release.prune import Facts

from .roots import REPOSITORY, artifact, events, install, order, run, snapshot, temporary_files
from .test_history import told

FOUR_GOOD = ", ".join(f"installed {each}, activated {each}, good {each}" for each in "ABCD")


@pytest.mark.parametrize(
    ("text", "current", "keep", "stay"),
    [
        (FOUR_GOOD, "D", 2, "CD"),
        (FOUR_GOOD, "D", 9, "ABCD"),
        (FOUR_GOOD, "D", 1, "CD"),  # the predecessor stays whatever is kept
        (f"{FOUR_GOOD}, pinned A", "D", 2, "ACD"),
        (f"{FOUR_GOOD}, pinned A, unpinned A", "D", 2, "CD"),
        (f"{FOUR_GOOD}, bad C", "D", 2, "BD"),
        (f"{FOUR_GOOD}, back C, good C, bad D", "C", 2, "BCD"),  # what was rolled back from stays until a later one is live
        (f"{FOUR_GOOD}, installed E", "D", 2, "CDE"),  # staged for later
        (f"installed E, {FOUR_GOOD}", "D", 2, "CD"),  # overtaken
        (f"{FOUR_GOOD}, back A, good A", "A", 1, "A"),
    ],
)
def test_what_stays(text: str, current: str, keep: int, stay: str) -> None:
    """N good ones, the live one, its predecessor, pinned ones, and what was installed after the live one."""
    facts = Facts(history.fold(told(text)), ("A", "B", "C", "D", "E") if "E" in text else ("A", "B", "C", "D"), current, "", frozenset(), keep)
    assert "".join(sorted(prune.reasons(facts))) == stay


def test_what_is_used_or_previous_stays() -> None:
    """A release that a process runs from, or that previous leads to, is not among those that go."""
    facts = Facts(history.fold(told(FOUR_GOOD)), ("A", "B", "C", "D"), "D", "B", frozenset("A"), 1)
    assert prune.reasons(facts) == {"A": "in use", "B": "previous", "C": "rollback target", "D": "current"}


def test_installing_prunes_releases_and_then_environments(tmp_path: Path) -> None:
    """The oldest goes with the environment that only it had; the history says so; nothing is left over."""
    root = tmp_path / "root"
    outcomes = [install(root, artifact(tmp_path, f"{number}.0", wheel=str(number), keep_releases=2)) for number in range(1, 5)]
    assert sorted(os.listdir(root / "releases")) == [outcome.id for outcome in outcomes[2:]]
    assert set(os.listdir(root / "envs")) == {outcome.env for outcome in outcomes[2:]}
    assert set(os.listdir(root / ".install/envs")) == {f"{outcome.env}.json" for outcome in outcomes[2:]}
    assert [release_id for event, release_id in events(root) if event == "pruned"] == [outcome.id for outcome in outcomes[:2]]
    assert temporary_files(root) == []


def test_a_plan_says_what_would_go_and_why_the_rest_stays(tmp_path: Path) -> None:
    """It changes nothing, and pruning then does what it said."""
    root = tmp_path / "root"
    first, second, third = (install(root, artifact(tmp_path, f"{number}.0", wheel=str(number))) for number in (1, 2, 3))
    release.mark(order(root, why="it leaks"), "1.0", "bad")
    before = snapshot(root)
    done = run("prune", "--plan", "--root", root)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        [
            f"would remove {first.id}",
            f"would remove environment {first.env}",
            f"  {second.id} stays: rollback target",
            f"  {third.id} stays: current",
        ],
    )
    said = json.loads(run("prune", "--plan", "--json", "--root", root).stdout)
    assert snapshot(root) == before
    pruned = release.prune_now(order(root))
    assert [said["releases"], said["environments"]] == [list(pruned.releases), list(pruned.environments)] == [[first.id], [first.env]]
    assert said["stays"] == {second.id: "rollback target", third.id: "current"}


def test_a_lease_keeps_a_release(tmp_path: Path) -> None:
    """While a process holds it, even through a descriptor for reading only, the release stays; then it goes."""
    root = tmp_path / "root"
    first = install(root, artifact(tmp_path, "1.0", keep_releases=1)).id
    with (root / "releases" / first / ".lease").open() as lease:
        fcntl.flock(lease, fcntl.LOCK_SH)
        for number in (2, 3):
            install(root, artifact(tmp_path, f"{number}.0", keep_releases=1))
        assert (root / "releases" / first).is_dir()
    assert release.prune_now(order(root)).releases == (first,)


def test_a_process_without_a_lease_keeps_a_release(tmp_path: Path) -> None:
    """One that was started past bin/run is seen by its working directory."""
    root = tmp_path / "root"
    first = install(root, artifact(tmp_path, "1.0", keep_releases=1)).id
    sleeper = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(sleeper, cwd=root / "current/src", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for number in (2, 3):
            install(root, artifact(tmp_path, f"{number}.0", keep_releases=1))
        assert (root / "releases" / first).is_dir()
        process.communicate()
    assert release.prune_now(order(root)).releases == (first,)


# A process that shows the world no more than its command line, as a service's of another user; it and a child of its hold a lease.
_HIDDEN = """
import ctypes, fcntl, os, sys
lease = open(os.environ["LEASE"])
fcntl.flock(lease, fcntl.LOCK_SH)
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
if os.fork():
    print(flush=True)
sys.stdin.read()
"""
_PRUNE = """
import sys
from builder.install_release import release
from tests.install_release.roots import order
print(release.prune_now(order(sys.argv[1])))
"""
_STATUS = "import sys; from builder.install_release.cli import main; sys.exit(main(['status', '--root', sys.argv[1], '--allow-root']))"


def test_a_service_of_another_user_keeps_its_own_release_only(tmp_path: Path) -> None:
    """Its environment, which releases share, is all that its command line tells; the lease tells which of them it runs."""
    root = tmp_path / "root"
    installed = [install(root, artifact(tmp_path, f"{number}.0")) for number in (1, 2, 3)]
    (env,) = {each.env for each in installed}
    blind = ["setpriv", "--bounding-set=-sys_ptrace"] if os.geteuid() == 0 else []  # else root sees everything
    service = [sys.executable, "-c", _HIDDEN, str(root / "envs" / env / "bin")]
    hidden = {**os.environ, "LEASE": str(root / "releases" / installed[2].id / ".lease")}
    with subprocess.Popen(service, env=hidden, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        release.mark(order(root, why="it leaks"), "1.0", "bad")
        look = [*blind, sys.executable, "-c"]
        seen = subprocess.run([*look, _STATUS, root], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
        gone = subprocess.run([*look, _PRUNE, root], capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout
        process.communicate()
    assert f"{process.pid} (+1) from 3.0" in seen
    assert gone.startswith(f"Pruned(releases=('{installed[0].id}',)")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start something as another user")
def test_the_lease_of_another_user_holds(tmp_path: Path) -> None:
    """A service of a real other user, in an environment that all releases have, of an older release, seen by nothing but its lease: what it runs from
    stays after two flips, and goes once it was killed."""
    root = tmp_path / "root"
    paths = [artifact(tmp_path, f"{number}.0", keep_releases=1) for number in (1, 2, 3)]
    first = install(root, paths[0])
    # The capability only lets it pass the directories of this test's user: it is another user all the same.
    other = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    blind = ["setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-m", "builder.install_release"]
    flags = ["--root", root, "--allow-root"]
    words = [*other, root / "current/bin/run", "sh", "-c", "id -u; exec sleep 1000 >/dev/null"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as service:
        assert service.stdout is not None
        assert service.stdout.read() == b"54321\n"
        for path in paths[1:]:
            subprocess.run([*blind, path, *flags], cwd=REPOSITORY, check=True, capture_output=True)
        plan = subprocess.run([*blind, "prune", "--plan", *flags], cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
        assert f"{first.id} stays: in use" in plan
        assert (root / "envs" / first.env).is_dir()
        service.kill()
    done = subprocess.run([*blind, "prune", *flags], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert done.stdout == f"removed {first.id}\n"


def test_without_a_live_release_nothing_goes(tmp_path: Path) -> None:
    """Nobody can say then what will be wanted."""
    root = tmp_path / "root"
    install(root, artifact(tmp_path, "1.0"), activate=False)
    assert release.prune_now(order(root)) == prune.Pruned()


def test_a_release_whose_lease_can_not_be_read_stays(tmp_path: Path) -> None:
    """Nobody can say whether a process runs from it; the deployment goes on all the same."""
    root = tmp_path / "root"
    first = install(root, artifact(tmp_path, "1.0", keep_releases=1)).id
    install(root, artifact(tmp_path, "2.0", keep_releases=1))
    lease = root / "releases" / first / ".lease"
    lease.unlink()
    lease.symlink_to("/nowhere")
    assert install(root, artifact(tmp_path, "3.0", keep_releases=1)).state == "good"
    assert (root / "releases" / first).is_dir()
