"""Hooks: real commands, started as a release starts them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from builder.install_release import hooks
from builder.install_release.declared import Hook


@pytest.fixture
def launcher(tmp_path: Path) -> str:
    """A ``bin/run`` that only starts what follows."""
    path = tmp_path / "run"
    path.write_text('#!/bin/sh\nexec "$@"\n')
    path.chmod(0o755)
    return str(path)


def hook(*words: str, deadline: int = 60, when: str = "pre_flip", once: bool = False) -> Hook:
    return Hook(when, words, deadline, once)


def run(launcher: str, *them: Hook) -> list[str]:
    told: list[str] = []
    hooks.run(them, launcher, told.append)
    return told


def test_each_line_is_told_as_it_comes(launcher: str) -> None:
    """In order, the command first; a line without an end too; control characters can't play with a terminal."""
    told = run(launcher, hook("printf", "a\\nb \\033[2J\\nc"), hook("echo", "two words"))
    assert told == ["pre_flip: printf 'a\\nb \\033[2J\\nc'", "    a", "    b ?[2J", "    c", "pre_flip: echo 'two words'", "    two words"]


def test_the_first_that_fails_is_the_last(launcher: str, tmp_path: Path) -> None:
    """The error says what failed and how, and repeats the end of what it said."""
    fails = hook("sh", "-c", "for i in $(seq 30); do echo line $i; done; exit 7", when="post_flip")
    with pytest.raises(hooks.HookError) as caught:
        run(launcher, fails, hook("touch", str(tmp_path / "never")))
    (problem,) = caught.value.problems
    assert (problem.where, caught.value.status) == ("post_flip", 4)
    assert "ended with status 7: line 30." in problem.what
    assert caught.value.log == tuple(f"line {number}" for number in range(11, 31))
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    "program", ["import time\nwhile True: time.sleep(9)", "while True: print('x' * 999)", "import os\nos.fork()\nos.wait()\nwhile 1: 1"]
)
def test_one_that_does_not_end_is_killed(launcher: str, program: str) -> None:
    """One that hangs, one that floods, one that forks: by its deadline, which the error names."""
    with pytest.raises(hooks.HookError) as caught:
        run(launcher, hook(sys.executable, "-c", program, deadline=1))
    assert "did not end in time and was killed" in caught.value.problems[0].what
    assert "(deadline 1 s)" in caught.value.problems[0].what
    assert len(caught.value.log) <= 20
    assert all(len(line) <= 300 for line in caught.value.log)


def test_a_flood_is_not_passed_on_for_ever(launcher: str) -> None:
    """A hook that says very much succeeds all the same; what is told of it has an end."""
    told = run(launcher, hook(sys.executable, "-c", "print(('x' * 99 + chr(10)) * 100_000)"))
    assert told[-1] == "    … more than is shown"
    assert sum(map(len, told)) < 1 << 20


def test_what_a_hook_started_ends_with_it(launcher: str, tmp_path: Path) -> None:
    """It is no place to start a daemon."""
    told = tmp_path / "pid"
    run(launcher, hook("sh", "-c", f"sleep 1000 & echo $! > {told}"))
    while _runs(int(told.read_text())):  # it is killed, and has yet to be seen dead
        time.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_launcher_that_is_missing(tmp_path: Path) -> None:
    """Of a damaged release no hook can run: the error says so."""
    with pytest.raises(hooks.HookError) as caught:
        run(str(tmp_path / "none"), hook("true"))
    assert "can't be run: No such file or directory" in caught.value.problems[0].what


def test_which_are_due() -> None:
    """By the moment, in their order; those for one host of several only where they are wanted."""
    all_ = (hook("a"), hook("b", when="post_flip"), hook("c", once=True), hook("d"))
    assert [each.run for each in hooks.chosen(all_, "pre_flip", once=True)] == [("a",), ("c",), ("d",)]
    assert [each.run for each in hooks.chosen(all_, "pre_flip", once=False)] == [("a",), ("d",)]
    assert hooks.described(all_[2]) == "pre_flip: c (deadline 60 s, on one host of several)"
