"""What a flip takes along, on a real process: files of the system, a service, hooks and a health check; and the way back, when one of them fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builder.install_release import history, release
from builder.install_release.errors import DegradedError, RefusedError, RolledBackError
from builder.install_release.host import Host

from . import stub
from .roots import REPOSITORY, differences, events, id_of, install, journal_state, live, order, past, run, temporary_files
from .stub import asked, hook


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    with stub.ended(tmp_path / "srv/shop") as path:
        yield path


def config(root: Path) -> str:
    """What the system's file says; "" when it is not there."""
    path = root.parents[1] / "system/stub.conf"
    return path.read_text().strip() if path.exists() else ""


def pid(root: Path) -> str:
    return (root / "shared/pid").read_text()


def check_agrees(root: Path, wanted: str, version: str) -> None:
    """Link, file and process are all of one release, and nothing is left over."""
    assert live(root) == wanted
    assert config(root) == f"version = {version}"
    assert asked(root) == (wanted, f"version = {version}")
    assert (journal_state(root), temporary_files(root)) == ("idle", [])


def note_of(root: Path, wanted: str) -> str:
    return past(root).of(wanted).note


def event(root: Path, kind: str) -> dict[str, Any]:
    """The last event of a kind."""
    with Host(str(root)) as host:
        return [each for each in history.read(host) if each["event"] == kind][-1]


def test_install_upgrade_and_rollback(tmp_path: Path, root: Path) -> None:
    """Each time the process is of the live release and has read its configuration; the history says how it was seen to be well."""
    first = install(root, stub.release(tmp_path, "1.0"))
    check_agrees(root, first.id, "1.0")
    second = install(root, stub.release(tmp_path, "1.1"))
    check_agrees(root, second.id, "1.1")
    assert f"services: stub (command)     healthy: answered 200 as {second.id}" in run("status", "--root", root).stdout
    assert event(root, "good")["why"] == f"healthy: answered 200 as {second.id}"
    assert event(root, "good")["log"][-1].endswith(f"2 times: passed: answered 200 as {second.id}")
    release.rollback(order(root))
    check_agrees(root, first.id, "1.0")


def test_what_a_flip_would_do_is_shown_before(tmp_path: Path, root: Path) -> None:
    """With --plan, rollback and activate tell where they would go: files with their diff, services with why, the hooks; and change nothing."""
    hooks = (hook("pre_rollback", "echo", "undo"), hook("post_rollback", "echo", "redone"), hook("pre_flip", "true"))
    first = install(root, stub.release(tmp_path, "1.0", hooks=hooks[1:]))
    second = install(root, stub.release(tmp_path, "1.1", hooks=hooks[:1]))
    serving = pid(root)
    done = run("rollback", "--plan", "--root", root)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"shop: {second.id[:19]}… (1.1) → {first.id[:19]}… (1.0)"), done.stdout
    for words in ("stub: restart", "-version = 1.1", "+version = 1.0", "pre_rollback: echo undo", "post_rollback: echo redone", "health"):
        assert words in done.stdout, words
    assert "pre_flip" not in done.stdout
    value = json.loads(run("activate", first.id, "--plan", "--json", "--root", root).stdout)
    assert (value["from_id"], value["to_id"], value["refused"]) == (second.id, first.id, False)
    assert [each["when"] for each in value["hooks"]] == ["pre_flip"]
    assert "it is live already: nothing would be done" in run("activate", second.id, "--plan", "--root", root).stdout
    check_agrees(root, second.id, "1.1")
    assert pid(root) == serving
    run("mark-bad", first.id, "--root", root)
    done = run("rollback", "--plan", "--root", root)
    assert (done.returncode, "there is nothing to roll back to" in done.stderr) == (3, True), done.stderr


@pytest.mark.parametrize(("behaviour", "words"), [("breaks", "answered 500"), ("hangs", "no answer in time"), ("lies", "but as 20200101000000-0000")])
def test_a_release_that_is_not_well_gives_way_to_the_old_one(tmp_path: Path, root: Path, behaviour: str, words: str) -> None:
    """Status 4, with what the check saw; the old one serves with its configuration; the new one is bad, stays to be looked at, and is no target."""
    first = install(root, stub.release(tmp_path, "1.0"))
    path = stub.release(tmp_path, "1.1", behaviour, deadline=1)
    done = run(path, "--root", root)
    assert done.returncode == 4
    assert "the health check failed, and all of it was taken back" in done.stderr
    assert words in done.stderr.partition("what was seen:")[2]
    check_agrees(root, first.id, "1.0")
    assert past(root).of(id_of(path)).state == "bad"
    assert words in note_of(root, id_of(path))
    assert differences(root, id_of(path)) == []
    assert words in run("log", "--root", root).stdout
    error = json.loads(run("activate", "1.1", "--root", root, "--json").stdout)["error"]
    assert words in "".join(error["log"])
    check_agrees(root, first.id, "1.0")


def test_a_first_installation_that_fails_leaves_nothing_live(tmp_path: Path, root: Path) -> None:
    """No current, no file in the system, no process; the next one works."""
    with pytest.raises(RolledBackError):
        install(root, stub.release(tmp_path, "1.0", "breaks", deadline=1))
    assert (os.path.lexists(root / "current"), config(root), asked(root)) == (False, "", ("", ""))
    assert os.listdir(tmp_path / "system") == []
    second = install(root, stub.release(tmp_path, "1.1"))
    check_agrees(root, second.id, "1.1")


def test_a_release_that_has_it_no_longer(tmp_path: Path, root: Path) -> None:
    """Its file is taken away and its process ended; a rollback brings both back."""
    first = install(root, stub.release(tmp_path, "1.0"))
    install(root, stub.release(tmp_path, "1.1", served=False))
    assert (config(root), asked(root)) == ("", ("", ""))
    release.rollback(order(root))
    check_agrees(root, first.id, "1.0")


def test_nothing_is_restarted_when_nothing_changed(tmp_path: Path, root: Path) -> None:
    """A service that follows its configuration only keeps its process when that stays the same."""
    same = {"restart_on": ("config",), "config": "same\n", "deadline": 0}
    install(root, stub.release(tmp_path, "1.0", **same))
    before = pid(root)
    install(root, stub.release(tmp_path, "1.1", **same))
    assert pid(root) == before
    install(root, stub.release(tmp_path, "1.2", **{**same, "config": "other\n"}))
    assert pid(root) != before


def test_a_hook_before_the_flip_that_fails_stops_it(tmp_path: Path, root: Path) -> None:
    """The old release is untouched: not even restarted. The new one is installed, not bad, and can be tried again."""
    first = install(root, stub.release(tmp_path, "1.0"))
    before = pid(root)
    path = stub.release(tmp_path, "1.1", hooks=(hook("pre_flip", "sh", "-c", "echo migrating; test -e shared || exit 3"),))
    done = run(path, "--root", root)
    assert done.returncode == 4
    assert "pre_flip: sh -c " in done.stderr
    assert "    migrating" in done.stderr
    assert "a hook failed; what was live is live" in done.stderr
    check_agrees(root, first.id, "1.0")
    assert pid(root) == before
    assert past(root).of(id_of(path)).state == "verified"
    assert "ended with status 3: migrating" in note_of(root, id_of(path))


def test_hooks_run_at_their_moments_in_the_release_that_declares_them(tmp_path: Path, root: Path) -> None:
    """Before and after the flip of the new release; before and after a rollback of the one that is left, and of the one that is live again."""
    told = tmp_path / "told"
    words = ("sh", "-c", f'echo "$0 $RELEASE_VERSION $(basename $(readlink {root}/current))" >> {told}')
    hooks = tuple(hook(when, *words, when) for when in ("pre_flip", "post_flip", "pre_rollback", "post_rollback"))
    first = install(root, stub.release(tmp_path, "1.0", hooks=hooks)).id
    second = install(root, stub.release(tmp_path, "1.1", hooks=hooks)).id
    release.rollback(order(root))
    assert told.read_text().splitlines() == [
        "pre_flip 1.0 ",
        f"post_flip 1.0 {first}",
        f"pre_flip 1.1 {first}",
        f"post_flip 1.1 {second}",
        f"pre_rollback 1.1 {second}",
        f"post_rollback 1.0 {first}",
    ]


def test_hooks_for_one_host_of_several_and_none_at_all(tmp_path: Path, root: Path) -> None:
    """--no-once leaves out those that another host runs, --no-hooks all: a rollback must be possible when a hook is what is broken."""
    told = tmp_path / "told"
    hooks = (hook("pre_flip", "sh", "-c", f"echo once >> {told}", once=True), hook("pre_flip", "sh", "-c", f"echo each >> {told}"))
    assert run(stub.release(tmp_path, "1.0", hooks=hooks), "--root", root, "--no-once").returncode == 0
    assert told.read_text() == "each\n"
    assert run(stub.release(tmp_path, "1.1", hooks=(*hooks, hook("pre_rollback", "false"))), "--root", root).returncode == 0
    assert told.read_text() == "each\nonce\neach\n"
    assert run("rollback", "--root", root).returncode == 4
    assert run("rollback", "--root", root, "--no-hooks").returncode == 0
    assert told.read_text() == "each\nonce\neach\n"


def test_a_hook_after_the_flip_that_fails_leads_back(tmp_path: Path, root: Path) -> None:
    """Link, file and process are of the old release; the new one is bad."""
    first = install(root, stub.release(tmp_path, "1.0"))
    path = stub.release(tmp_path, "1.1", hooks=(hook("post_flip", "sleep", "1000", deadline=1),))
    with pytest.raises(RolledBackError, match="a hook failed"):
        install(root, path)
    check_agrees(root, first.id, "1.0")
    assert past(root).of(id_of(path)).state == "bad"


@pytest.mark.parametrize("when", ["pre_flip", "post_flip"])
def test_an_edit_while_it_is_under_way_is_not_lost(tmp_path: Path, root: Path, when: str) -> None:
    """An operator at work on the same file (here: a hook is): link and process are of the old release, the file is as he left it; that is said."""
    first = install(root, stub.release(tmp_path, "1.0"))
    edit = hook(when, "sh", "-c", f"echo edited > {tmp_path}/system/stub.conf; test {when} = pre_flip")
    with pytest.raises(RolledBackError) as caught:
        install(root, stub.release(tmp_path, "1.1", hooks=(edit,)))
    assert any("stub.conf" in problem.what for problem in caught.value.problems if problem.where == "etc"), caught.value.problems
    assert (live(root), config(root)) == (first.id, "edited")
    assert asked(root)[0] == first.id
    assert (journal_state(root), temporary_files(root)) == ("idle", [])


def degrade(tmp_path: Path, root: Path) -> str:
    """Upgrade to a release whose last hook breaks what the way back needs; the id of the old one."""
    first = install(root, stub.release(tmp_path, "1.0"))
    path = stub.release(tmp_path, "1.1", hooks=(hook("post_flip", "sh", "-c", f"touch {root}/shared/broken; exit 1"),))
    with pytest.raises(DegradedError) as caught:
        install(root, path)
    assert any("ended with status 9" in problem.what for problem in caught.value.problems), caught.value.problems
    assert (live(root), config(root)) == (first.id, "version = 1.0")
    return first.id


def test_a_way_back_that_fails_is_degraded(tmp_path: Path, root: Path) -> None:
    """Link and files are back, the service would not follow: status 5; both releases stay; once mended, recover lets it follow."""
    first = degrade(tmp_path, root)
    assert len(os.listdir(root / "releases")) == 2
    assert "problem: degraded: " in run("status", "--root", root).stdout
    done = run("recover", "--root", root)
    assert (done.returncode, "ended with status 9" in done.stderr) == (5, True), done.stderr
    assert run("activate", first, "--root", root).returncode == 5, "it is live already, but not all that runs is its"
    (root / "shared/broken").unlink()
    done = run("recover", "--root", root)
    assert (done.returncode, done.stdout) == (0, f"done: what runs follows {first} again\n"), done.stderr
    check_agrees(root, first, "1.0")
    assert "degraded:" not in run("status", "--root", root).stdout
    assert run("recover", "--root", root).stdout == "nothing to recover\n"


def test_a_degraded_host_takes_the_release_that_mends_it(tmp_path: Path, root: Path) -> None:
    """What could not be restarted is no reason against the next release."""
    degrade(tmp_path, root)
    (root / "shared/broken").unlink()
    third = install(root, stub.release(tmp_path, "1.2"))
    check_agrees(root, third.id, "1.2")
    assert "degraded:" not in run("status", "--root", root).stdout


def begin(path: Path, root: Path, until: str = "health: http") -> subprocess.Popen[str]:
    """Start an installation and wait until it says ``until``: that its health check has begun."""
    words = [sys.executable, "-m", "builder.install_release", str(path), "--root", str(root)]
    words += ["--allow-root"] if os.geteuid() == 0 else []
    process = subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith(until):
        assert line, "it ended before it came to that"
    return process


def test_a_signal_while_it_waits_leads_back(tmp_path: Path, root: Path) -> None:
    """An operator who has seen enough: the old release serves again, the new one is not bad. A second signal does not stop the way back."""
    first = install(root, stub.release(tmp_path, "1.0"))
    path = stub.release(tmp_path, "1.1", "hangs", deadline=1000)
    process = begin(path, root)
    assert process.stderr is not None
    process.send_signal(signal.SIGTERM)
    while not process.stderr.readline().startswith("going back"):
        pass
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 4, said
    assert "interrupted by SIGTERM" in said
    check_agrees(root, first.id, "1.0")
    assert past(root).of(id_of(path)).state == "verified"


def test_nothing_that_is_started_inherits_that_signals_are_held(tmp_path: Path, root: Path) -> None:
    """Neither forward nor on the way back: a service that could not be told to end would be a service for ever."""
    install(root, stub.release(tmp_path, "1.0"))
    with pytest.raises(RolledBackError):
        install(root, stub.release(tmp_path, "1.1", "breaks", deadline=1))
    assert (root / "shared/blocked").read_text().split() == ["0" * 16] * 3


def test_a_signal_while_a_hook_runs(tmp_path: Path, root: Path) -> None:
    """The hook ends, nothing was touched."""
    first = install(root, stub.release(tmp_path, "1.0"))
    before = pid(root)
    path = stub.release(tmp_path, "1.1", hooks=(hook("pre_flip", "sh", "-c", f"echo $$ > {tmp_path}/pid; echo running; sleep 1000"),))
    process = begin(path, root, until="    running")
    process.terminate()
    _, said = process.communicate()
    assert (process.returncode, "interrupted by SIGTERM" in said) == (4, True), said
    assert not stub.lives(int((tmp_path / "pid").read_text()))
    check_agrees(root, first.id, "1.0")
    assert pid(root) == before


def test_an_installer_that_is_killed_while_it_waits(tmp_path: Path, root: Path) -> None:
    """The next command lets link, file and process go back; meanwhile status and plan say that it is due."""
    first = install(root, stub.release(tmp_path, "1.0"))
    path = stub.release(tmp_path, "1.1", "hangs", deadline=1000)
    process = begin(path, root)
    process.kill()
    process.communicate()
    assert (live(root), config(root)) == (id_of(path), "version = 1.1")
    assert "recovery is due: undo the activation of" in run("status", "--root", root).stdout
    assert "undo the activation" in run("recover", "--root", root).stdout
    check_agrees(root, first.id, "1.0")


def test_an_installer_that_is_killed_while_a_hook_runs(tmp_path: Path, root: Path) -> None:
    """The old release was not touched; that the hook may have changed the data is remembered."""
    first = install(root, stub.release(tmp_path, "1.0"))
    hooks = (hook("pre_flip", "sh", "-c", f"echo $$ > {tmp_path}/pid; echo running; exec sleep 1000"),)
    path = stub.release(tmp_path, "2.0", hooks=hooks, rollback_safe_to="2.0")
    process = begin(path, root, until="    running")
    process.kill()
    process.communicate()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert "undo the activation" in run("recover", "--root", root).stdout
    check_agrees(root, first.id, "1.0")
    assert event(root, "failed")["safe_to"] == "2.0"
    assert run(stub.release(tmp_path, "1.1"), "--root", root).returncode == 3
    assert run(stub.release(tmp_path, "1.1"), "--root", root, "--unsafe").returncode == 0


def test_recovery_at_boot_leaves_what_runs_alone(tmp_path: Path, root: Path) -> None:
    """Link and file go back; the services are started by whoever starts them at boot, from there."""
    first = install(root, stub.release(tmp_path, "1.0"))
    process = begin(stub.release(tmp_path, "1.1", "hangs", deadline=1000), root)
    process.kill()
    process.communicate()
    before = pid(root)
    assert run("recover", "--boot", "--root", root).returncode == 0
    assert (live(root), config(root), pid(root)) == (first.id, "version = 1.0", before)
    stub.start(root, tmp_path / "system/stub.conf")
    check_agrees(root, first.id, "1.0")


def test_a_service_that_will_not_recover_stops_no_installation(tmp_path: Path, root: Path) -> None:
    """The next release may be what mends it; recover by itself says that it did not work."""
    install(root, stub.release(tmp_path, "1.0"))
    process = begin(stub.release(tmp_path, "1.1", "hangs", deadline=1000), root)
    process.kill()
    process.communicate()
    (root / "shared/broken").touch()
    assert run("recover", "--root", root).returncode == 5
    (root / "shared/broken").unlink()
    third = install(root, stub.release(tmp_path, "1.2"))
    check_agrees(root, third.id, "1.2")


def test_two_operators(tmp_path: Path, root: Path) -> None:
    """Who comes while the first waits for the health check is told who is at work, and changes nothing."""
    install(root, stub.release(tmp_path, "1.0"))
    process = begin(stub.release(tmp_path, "1.1", "hangs", deadline=1000), root)
    done = run("rollback", "--root", root, "--wait", "0")
    assert done.returncode == 6
    assert f"is held by pid {process.pid}" in done.stderr
    assert f"busy: pid {process.pid}" in run("status", "--root", root).stdout
    process.terminate()
    process.communicate()
    assert process.returncode == 4


def test_nothing_goes_back_across_what_was_done_to_the_data(tmp_path: Path, root: Path) -> None:
    """A rollback, an activation and an installation of what can't run with the data are refused, unless somebody says --unsafe."""
    install(root, stub.release(tmp_path, "1.0", served=False))
    install(root, stub.release(tmp_path, "1.1", served=False))
    install(root, stub.release(tmp_path, "2.0", served=False, rollback_safe_to="1.1"))
    install(root, stub.release(tmp_path, "2.1", served=False))
    with pytest.raises(RefusedError) as caught:
        release.rollback(order(root), "1.0")
    assert "2.0 ran here, and says that no version before 1.1 can run with its data; this is 1.0" in caught.value.problems[0].what
    with pytest.raises(RefusedError):
        release.activate(order(root), "1.0")
    path = stub.release(tmp_path, "1.0.5", served=False)
    plan = run(path, "--root", root, "--plan")
    assert (plan.returncode, "no version before 1.1" in plan.stdout) == (3, True)
    assert run(path, "--root", root).returncode == 3
    assert len(os.listdir(root / "releases")) == 4
    release.rollback(order(root), "1.1")
    assert run("rollback", "1.0", "--root", root).returncode == 3  # 2.0 ran: that 1.1 ran since changes nothing about it


def test_unsafe_means_it(tmp_path: Path, root: Path) -> None:
    """For whoever has put the data back."""
    first = install(root, stub.release(tmp_path, "1.0", served=False))
    install(root, stub.release(tmp_path, "2.0", served=False, rollback_safe_to="2.0"))
    assert run("rollback", "--root", root).returncode == 3
    assert run("rollback", "--root", root, "--unsafe").returncode == 0
    assert live(root) == first.id


def test_the_way_back_by_itself_says_that_the_data_may_not_fit(tmp_path: Path, root: Path) -> None:
    """It goes back all the same, and the plan had said so."""
    first = install(root, stub.release(tmp_path, "1.0"))
    path = stub.release(tmp_path, "2.0", "breaks", deadline=1, rollback_safe_to="2.0")
    assert "1.0 can't run with the data as 2.0 leaves them" in run(path, "--root", root, "--plan").stdout
    done = run(path, "--root", root)
    assert done.returncode == 4
    assert "2.0 says that no version before 2.0 can run with the data as it leaves them, and 1.0 is live" in done.stderr
    check_agrees(root, first.id, "1.0")


def test_the_plan_shows_it_all(tmp_path: Path, root: Path) -> None:
    """Services with verb and why, hooks with their deadline, the health check; for programs too. Nothing is changed."""
    hooks = (hook("pre_flip", "python", "manage.py", "migrate", deadline=120), hook("post_rollback", "true"))
    path = stub.release(tmp_path, "1.0", hooks=hooks)
    shown = run(path, "--root", root, "--plan").stdout
    for line in (
        "  services     stub: start (it is new here)",
        "  hooks        pre_flip: python manage.py migrate (deadline 120 s)",
        "  health       http://stub/health over @root@/shared/s (2 times in a row, within 60 s)",
    ):
        assert f"{line}\n" in shown
    assert "post_rollback" not in shown
    assert "stub.conf" in shown
    install(root, stub.release(tmp_path, "1.0"))
    value = json.loads(run(stub.release(tmp_path, "1.1"), "--root", root, "--plan", "--json").stdout)
    (service,) = value["services"]
    assert (service["name"], service["verb"], service["why"], value["health"]["deadline"]) == (
        "stub",
        "restart",
        "another release, its configuration changed",
        60,
    )
    with open(stub.release(tmp_path, "1.1"), "rb") as stream:
        words = [sys.executable, "-m", "builder.install_release", "-", "--plan", "--root", str(root), "--allow-root"]
        piped = subprocess.run(words, cwd=REPOSITORY, stdin=stream, capture_output=True, text=True).stdout
    assert "not looked at, in a stream" in piped


def test_checks_that_fail_take_the_release_away_again(tmp_path: Path, root: Path) -> None:
    """What its own check says against it is a refusal: nothing of it stays, nothing that runs was told of it."""
    first = install(root, stub.release(tmp_path, "1.0"))
    before = pid(root)
    path = stub.release(tmp_path, "1.1", check=("sh", "-c", "echo no good; exit 1"))
    done = run(path, "--root", root)
    assert (done.returncode, "no good" in done.stderr) == (3, True), done.stderr
    assert os.listdir(root / "releases") == [first.id]
    check_agrees(root, first.id, "1.0")
    assert pid(root) == before
    assert events(root)[-1] == ("failed", id_of(path))


def test_whoever_waits_is_told_what_is_done(tmp_path: Path, root: Path) -> None:
    """Each step that takes time is a line on standard error, also where nobody watches."""
    said = run(stub.release(tmp_path, "1.0"), "--root", root).stderr
    for line in ("stub: start (it is new here)", "health: http://stub/health", "health: passed: answered 200 as"):
        assert line in said
