"""A host's life, in any order: a state machine beside a small model of what a host should be, on a clock that jumps. Row ``life``.

Everything runs in one process, but for what is to be killed: that is forked, and killed at the n-th of its calls that change something.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from builder.install_release import floor, history, overlay, release, status
from builder.install_release.artifact import open_artifact
from builder.install_release.declared import Conflict, Copied, Health, Hook, Overlay
from builder.install_release.errors import InstallError
from builder.install_release.host import Host
from builder.install_release.verify import verify
from tests.conftest import missing
from tests.install_release.roots import REPOSITORY, artifact, id_of, journal_state, order, temporary_files

from .report import Report

KEEP = 2
CLOCKS = (0, -20700 * 86400, 27000 * 86400, -3600, 86400)  # seconds from now: 1970, 2100, and what the end of summer time or a wrong zone does
_CLOCK = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long jump(void) { const char *seconds = getenv("CLOCK_JUMP"); return seconds ? atol(seconds) : 0; }
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) now->tv_sec += jump();
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}
time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""  # libfaketime makes Python's sleep fail now and then: an absolute end that has passed is an error to it


def campaign(bounded: bool, report: Report) -> None:
    compiler = shutil.which("cc") or missing("no C compiler is installed")
    with tempfile.TemporaryDirectory() as directory:
        library = f"{directory}/clock.so"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, "-x", "c", "-"], input=_CLOCK, text=True, check=True)
        lives = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.life", str(seed), *(("6", "30") if bounded else ("60", "60"))],
                cwd=REPOSITORY,
                env={**os.environ, "LD_PRELOAD": library},
                stdout=subprocess.PIPE,
                text=True,
            )
            for seed in ((1,) if bounded else (1, 2))
        ]
        counts: Counter[str] = Counter()
        for process in lives:
            *said, last = process.communicate()[0].splitlines()
            counts.update(json.loads(last))
            if process.returncode:
                report.violation("life", "\n".join(said))
    report.count("life", sum(counts.values()))
    report.detail("life", steps=dict(sorted(counts.items())))


@dataclass(frozen=True)
class Model:
    """What a host should be. Releases are numbers; ``line`` is the way to the live one, which an operator may have taken ``current`` from."""

    live: int | None = None
    previous: int | None = None
    line: tuple[int, ...] = ()
    here: frozenset[int] = frozenset()
    states: dict[int, str] = field(default_factory=dict)
    installed: tuple[int, ...] = ()  # in the order of their last installation
    pinned: frozenset[int] = frozenset()
    floored: bool = False  # whether the policy asks for a floor; what it revokes; and the floor, -1 for none yet
    revoked: frozenset[int] = frozenset()
    floor: int = -1

    def refuses(self, number: int) -> bool:
        """The policy; a later number is a newer commit."""
        live = self.line[-1] if self.line and self.line[-1] in self.here else -1
        floor = max(self.floor, live)
        return number in self.revoked or (self.floored and number < floor and self.states.get(number) != "good")

    def stage(self, number: int) -> Model:
        if number in self.here and self.states[number] != "staged":
            return self
        installed = (*(each for each in self.installed if each != number), number)
        return replace(self.mark(number, "good" if self.states.get(number) == "good" else "verified"), here=self.here | {number}, installed=installed)

    def publish(self, number: int) -> Model:
        """There, and not yet in the history: known by what was known of it before."""
        if number in self.here:
            return self
        return replace(self, here=self.here | {number}, states={number: "staged", **self.states})

    def mark(self, number: int, state: str) -> Model:
        return replace(self, states={**self.states, number: state})

    def flip(self, number: int, back: bool = False, keep: bool = False) -> Model:
        line = (*(each for each in self.line if each != number), number)
        if back and number in self.line:
            line = self.line[: self.line.index(number) + 1]
        left, floor = self.live, self.floor
        if self.floored:
            floor = max(number, floor, self.line[-1] if self.line and self.line[-1] in self.here else -1)
        flipped = replace(self.mark(number, "good"), live=number, line=line, previous=self.previous if left is None else left, floor=floor)
        return flipped.mark(left, "bad") if back and not keep and left is not None else flipped

    def _order(self, number: int) -> int:
        return self.installed.index(number) if number in self.installed else -1

    def target(self, revoked: frozenset[int] = frozenset()) -> int | None:
        """Where a rollback goes."""
        before = self.line[: self.line.index(self.live)] if self.live in self.line else self.line
        return next((each for each in reversed(before) if each in self.here - revoked and self.states[each] == "good"), None)

    def prune(self, leased: set[int]) -> Model:
        if self.live is None:
            return self
        good = [each for each in self.here if self.states[each] == "good"]
        good.sort(key=lambda each: (self.line.index(each) if each in self.line else -1, self._order(each)), reverse=True)
        newer = [each for each in self.here - set(good) if self._order(each) > self._order(self.live)]
        stay = {*good[:KEEP], *newer, *self.pinned, *leased, self.live, self.previous, self.target()}
        return replace(self, here=self.here & stay)


@dataclass(frozen=True)
class Pool:
    """Real artifacts, made once, and the one place where they go."""

    directory: Path
    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    texts: tuple[str | None, ...]  # what each lays down as system/app.conf

    @property
    def root(self) -> Path:
        return self.directory / "root"

    @property
    def conf(self) -> Path:
        return self.directory / "system/app.conf"


def pool(directory: Path) -> Pool:
    """Six releases: of two environments, with hooks that fail while a file says so, one with a check, some with a file for the system."""
    texts = ("one\n", "two\n", "three\n", None, "five\n", "one\n")
    policies = ("take-new", "keep-local", "beside", "take-new", "take-new", "keep-local")
    paths = []
    for number, (text, policy) in enumerate(zip(texts, policies, strict=True)):
        copied = (
            Overlay((Copied("app.conf", str(directory / "system/app.conf")),), (Conflict("**", policy),))
            if text
            else Overlay((), (Conflict("**", policy),))
        )
        hooks = [Hook(moment, ("sh", "-c", f"test ! -e {directory}/sick-{moment}")) for moment in ("pre_flip", "post_flip")]
        check = Health(socket=f"{directory}/well", passes=1, deadline=1)
        facts = {"hooks": tuple(hooks) if number % 2 else (), "health": check if number == 4 else Health()}
        etc = {"app.conf": text} if text else {}
        paths.append(artifact(directory, f"1.{number}", wheel=str(number % 2), etc=etc, overlay=copied, keep_releases=KEEP, **facts))
    return Pool(directory, tuple(paths), tuple(map(id_of, paths)), texts)


NUMBERS = st.integers(0, 5)
SICK = st.sampled_from(("", "", "", "sick-pre_flip", "sick-post_flip", "ill"))
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate", "os.chmod", "os.chown", "subprocess.Popen"}
COUNTS: Counter[str] = Counter()
SAID: list[str] = []  # by the last act that failed
LIVED: list[str] = []  # the steps of this life, for people
SEEN: list[str] = []  # what went wrong, when it did for the first time: what hypothesis does to find it again may find something else


@contextmanager
def remembered(step: str) -> Iterator[None]:
    LIVED.append(step)
    try:
        yield
    except Exception:
        if not SEEN:
            SEEN.extend([*LIVED, f"said last: {SAID}", traceback.format_exc()])
        raise


class Life(RuleBasedStateMachine):
    """``candidates``: what the host may be now; more than one only between a kill and the next look."""

    pool: Pool

    @initialize(own=st.booleans())
    def begin(self, own: bool) -> None:
        LIVED.clear()
        for name in ("root", "system", "home"):
            shutil.rmtree(self.pool.directory / name, ignore_errors=True)
        self.pool.conf.parent.mkdir()
        self.model, self.edits, self.number, self.edited = Model(), set[str](), 0, False
        if own:
            self.operator_edits(False)
        self.leases: dict[int, subprocess.Popen[bytes]] = {}

    # What people do

    @rule(
        number=NUMBERS, sick=SICK, activate=st.sampled_from((True, True, True, False)), at=st.none() | st.integers(0, 120), again=st.integers(0, 60)
    )
    def install(self, number: int, sick: str, activate: bool, at: int | None, again: int) -> None:
        def act() -> None:
            with open_artifact(self.pool.paths[number]) as opened:
                release.install(opened, order(self.pool.root, "install"), activate=activate)

        published, staged = self.model.publish(number), self.model.stage(number)
        fails = self._fails(number, sick)
        if self.model.refuses(number):
            possible, wanted = [self.model], 3
        elif number == self.model.live:
            possible, wanted = [self.model], 0
        elif not activate:
            possible, wanted = [self.model, published, staged], 0
        elif fails:
            possible, wanted = [self.model, published, staged, fails(staged)], 4
        else:
            flipped = staged.flip(number)
            possible, wanted = [self.model, published, staged, flipped, flipped.prune(set(self.leases))], 0
        self._do("install", act, possible, wanted, sick, at, again)

    @rule(number=NUMBERS, sick=SICK, at=st.none() | st.integers(0, 40), again=st.integers(0, 40))
    def activate(self, number: int, sick: str, at: int | None, again: int) -> None:
        fails = self._fails(number, sick)
        staged = self.model.stage(number)
        possible, wanted = [self.model, staged, staged.flip(number)], 0
        if number not in self.model.here:
            possible, wanted = [self.model], 3
        elif number == self.model.live:
            possible = [self.model]
        elif self.model.refuses(number):
            possible, wanted = [self.model, staged], 3
        elif fails:
            possible, wanted = [self.model, staged, fails(staged)], 4
        self._do("activate", lambda: release.activate(order(self.pool.root), self.pool.ids[number]), possible, wanted, sick, at, again)

    @rule(keep=st.booleans(), at=st.none() | st.integers(0, 40), again=st.integers(0, 40))
    def rollback(self, keep: bool, at: int | None, again: int) -> None:
        target = self.model.target(self.model.revoked)
        possible, wanted = [self.model], 3
        if self.model.live is not None and target is not None:
            possible, wanted = [self.model, self.model.flip(target, True, keep)], 0
        self._do("rollback", lambda: release.rollback(order(self.pool.root), keep=keep), possible, wanted, "", at, again)

    @rule(at=st.none() | st.integers(0, 30), again=st.integers(0, 30))
    def prune(self, at: int | None, again: int) -> None:
        self._do("prune", lambda: release.prune_now(order(self.pool.root)), [self.model, self.model.prune(set(self.leases))], 0, "", at, again)

    @rule(number=NUMBERS, kind=st.sampled_from(("pinned", "unpinned", "bad")), at=st.none() | st.integers(0, 6))
    def mark(self, number: int, kind: str, at: int | None) -> None:
        possible, wanted = [self.model], 3
        if number in self.model.here:
            pinned = self.model.pinned - {number} | ({number} if kind == "pinned" else set())
            done = self.model.mark(number, "bad") if kind == "bad" else replace(self.model, pinned=frozenset(pinned))
            possible, wanted = [self.model, done], 0
        self._do(f"mark {kind}", lambda: release.mark(order(self.pool.root), self.pool.ids[number], kind), possible, wanted, "", at, 0)

    @rule()
    def recover(self) -> None:
        self._do("recover", lambda: release.recover_now(order(self.pool.root)), [self.model], 0, "", None, 0)

    @rule(floored=st.booleans(), revoked=st.frozensets(NUMBERS, max_size=1))
    def policy_changes(self, floored: bool, revoked: frozenset[int]) -> None:
        COUNTS["policy"] += 1
        LIVED.append(f"the policy: floor {floored}, revoked {revoked}")
        self.model = replace(self.model, floored=floored, revoked=revoked)
        policy = self.pool.directory / "home/.config/install-release/shop.ini"
        policy.parent.mkdir(parents=True, exist_ok=True)
        listed = "".join(f"\n    {self.pool.ids[number]}" for number in revoked)
        policy.write_text(f"[releases]\nfloor = {'yes' if floored else 'no'}\nrevoked ={listed}\n")

    @rule(removes=st.booleans())
    def operator_edits(self, removes: bool) -> None:
        """A text that nobody else has; or the file is removed."""
        COUNTS["edit"] += 1
        LIVED.append(f"the operator edits, removes: {removes}")
        self.edited = True
        if self.pool.conf.exists():
            self.edits.discard(self.pool.conf.read_text())
            self.pool.conf.unlink()
        if not removes:
            self.number += 1
            self.pool.conf.write_text(f"edit {self.number}\n")
            self.edits.add(f"edit {self.number}\n")

    @rule()
    def operator_removes_current(self) -> None:
        COUNTS["current removed"] += 1
        LIVED.append("the operator removes current")
        if os.path.lexists(self.pool.root / "current"):
            os.unlink(self.pool.root / "current")
            self.model = replace(self.model, live=None)

    @rule(clock=st.sampled_from(CLOCKS))
    def clock_jumps(self, clock: int) -> None:
        COUNTS["clock"] += 1
        LIVED.append(f"the clock jumps {clock}")
        os.environ["CLOCK_JUMP"] = str(clock)

    @rule()
    def something_starts(self) -> None:
        """A process through the launcher; one of each release is enough."""
        COUNTS["lease"] += 1
        LIVED.append("something starts")
        if self.model.live is not None and self.model.live not in self.leases:
            words = [str(self.pool.root / "current/bin/run"), "sh", "-c", "echo; exec sleep 1000 >/dev/null"]
            process = subprocess.Popen(words, env={"PATH": os.environ["PATH"]}, stdout=subprocess.PIPE)
            assert process.stdout is not None
            process.stdout.read()
            self.leases[self.model.live] = process

    @rule()
    def something_ends(self) -> None:
        COUNTS["lease freed"] += 1
        LIVED.append("something ends")
        for number in list(self.leases)[:1]:
            self._end(self.leases.pop(number))

    @rule()
    def somebody_looks(self) -> None:
        """What only reads says something, and changes nothing."""
        COUNTS["look"] += 1
        if (self.pool.root / ".install").exists():
            with Host(str(self.pool.root)) as host:
                assert list(status.to_text(status.gather(host), history.now()))

    # How it is done

    def _fails(self, number: int, sick: str) -> Callable[[Model], Model] | None:
        """What a failing hook or check makes of a host whose ``number`` was about to be live; None where nothing fails."""
        if number % 2 and sick == "sick-pre_flip":
            return lambda model: model
        if (number % 2 and sick == "sick-post_flip") or (number == 4 and sick == "ill"):
            return lambda model: model.mark(number, "bad")
        return None

    def _do(self, name: str, act: Callable[[], object], possible: list[Model], wanted: int, sick: str, at: int | None, again: int) -> None:
        """``act``, to its end, or killed at its ``at``-th change and its recovery at the ``again``-th. Then the host is the last of ``possible``;
        if it was killed any of them, or between two of them in what pruning had removed."""
        if not (self.pool.root / ".install").exists() and name != "install":
            return
        with remembered(f"{name} {sick} killed at {at}, recovery at {again}; wanted {wanted} and one of {possible}"):
            self._done(name, act, possible, wanted, sick, at, again)

    def _done(self, name: str, act: Callable[[], object], possible: list[Model], wanted: int, sick: str, at: int | None, again: int) -> None:
        killed = False
        cause = self.pool.directory / ("well" if sick == "ill" else sick or "nothing")
        if sick == "ill":
            cause.rename(f"{cause}-not")
        elif sick:
            cause.touch()
        COUNTS[name] += 1
        if at is None:
            found = _status(act)
        elif (found := forked(act, at)) == -signal.SIGKILL:
            killed = True
            COUNTS["kill"] += 1
            if forked(lambda: release.recover_now(order(self.pool.root)), again) == -signal.SIGKILL:
                COUNTS["kill of recovery"] += 1
        if sick == "ill":
            Path(f"{cause}-not").rename(cause)
        elif sick:
            cause.unlink()
        if killed and (self.pool.root / ".install").exists():
            release.recover_now(order(self.pool.root))
        assert killed or found == wanted, f"{name} ended with {found} instead of {wanted}: {SAID}"
        self._settle(possible if killed else possible[-1:])

    def _settle(self, possible: list[Model]) -> None:
        """Which of the models it is. Where a flip was killed, the floor may be that of before or of after it; it never falls."""
        seen = self._seen()
        assert seen.floor >= self.model.floor
        assert seen.floor in {model.floor for model in possible}
        for model in possible:
            if model.here == seen.here and self._same(model, seen):
                self.model = replace(model, floor=seen.floor)
                return
        for before, after in itertools.pairwise(possible):
            if self._same(before, after) and self._same(after, seen) and after.here <= seen.here <= before.here:
                self.model = replace(after, here=seen.here, floor=seen.floor)
                return
        raise AssertionError(f"this is no host that may be: {seen}; it may be one of {possible}; said last: {SAID}")

    @staticmethod
    def _same(one: Model, other: Model) -> bool:
        states = [{number: each.states.get(number) for number in one.here & other.here} for each in (one, other)]
        return (one.live, one.previous, one.line, one.pinned, states[0]) == (other.live, other.previous, other.line, other.pinned, states[1])

    def _seen(self) -> Model:
        """The host as it is, in the model's words."""
        if not (self.pool.root / ".install").exists():
            return Model()
        number = {name: place for place, name in enumerate(self.pool.ids)}
        with Host(str(self.pool.root)) as host:
            past = history.fold(history.read(host))
            here = frozenset(number[each] for each in host.releases())
            return Model(
                number.get(host.current() or ""),
                number.get(host.pointer("previous").id),
                tuple(number[each] for each in past.line),
                here,
                {each: past.of(self.pool.ids[each]).state for each in here},
                (),
                frozenset(number[each] for each, its in past.releases.items() if its.pinned),
                floor=number.get(floor.read(host).release, -1),
            )

    # What must hold

    @invariant()
    def everything_here_is_whole(self) -> None:
        if not hasattr(self, "model") or not (self.pool.root / ".install").exists():
            return
        with remembered("look whether all is whole"), Host(str(self.pool.root)) as host:
            for each in host.releases():
                assert verify(host, each).differences == ()
            assert overlay.leftovers(host) == ()
            assert temporary_files(self.pool.root) == []
            assert journal_state(self.pool.root) in ("none", "idle")
            self._settle([self.model])

    @invariant()
    def no_edit_is_lost(self) -> None:
        """What an operator wrote is where he wrote it, beside it, or kept; where he wrote nothing, the system's file is that of what is live."""
        if not hasattr(self, "model"):
            return
        with remembered("look for what was edited"):
            blobs = self.pool.root / ".install/overlay"
            files = [*self.pool.conf.parent.iterdir(), *(blobs.iterdir() if blobs.exists() else ())]
            assert self.edits <= {path.read_text() for path in files}
            assert not [path for path in self.pool.conf.parent.iterdir() if ".rel-tmp." in path.name]
            if not self.edited and self.model.line:
                there = self.pool.conf.read_text() if self.pool.conf.exists() else None
                assert there == self.pool.texts[self.model.line[-1]]

    def teardown(self) -> None:
        for process in getattr(self, "leases", {}).values():
            self._end(process)
        os.environ["CLOCK_JUMP"] = "0"

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()


def _status(act: Callable[[], object]) -> int:
    try:
        act()
    except InstallError as error:
        SAID[:] = [str(error), *map(str, error.problems), *error.log]
        return error.status
    return 0


def forked(act: Callable[[], object], at: int) -> int:
    """``act`` in a process of its own, which is killed before its ``at``-th change (from 0); its exit status, negative for a signal."""
    hear, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        left = at + 1

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _CHANGES or writes:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(count)
            status = _status(act)
        except BaseException:
            status, SAID[:] = 1, [traceback.format_exc()]
        os.write(tell, "\n".join(SAID).encode()[:4096])
        os._exit(status)
    os.close(tell)
    with os.fdopen(hear, "rb") as said:
        SAID[:] = said.read().decode().splitlines()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(chance: int, examples: int, steps: int) -> int:
    """Run it, and print how often each step was done; 1 when something did not hold."""
    directory = Path(tempfile.mkdtemp(prefix="life-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    os.chmod(directory, 0o755)
    os.umask(0o022)
    try:
        Life.pool = pool(directory)
        os.environ["HOME"] = str(directory / "home")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{directory}/well")
        listener.listen(4096)  # nobody takes the connections: that they can be made is what the check asks
        # Many different lives rather than the smallest one that fails.
        chosen = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        run_state_machine_as_test(seed(chance)(Life), settings=chosen)
    except Exception:
        print(*SEEN or [traceback.format_exc()], sep="\n", flush=True)
        return 1
    finally:
        shutil.rmtree(directory)
        print(json.dumps(COUNTS, sort_keys=True), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
