"""One process of the campaign, started under the shim: it makes its own world, takes jobs as lines of JSON, and answers each with a line.

It is the zygote: every point is a command that a fork of it runs, so that no interpreter starts and no module is imported again.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import builder.install_release

from . import full, oracle, scenarios, shim, traps
from .cache import Building
from .scenarios import Ready
from .world import Done, World


class Worker:
    """A world, its scenarios at rest, and what was already looked at."""

    def __init__(self, directory: Path) -> None:
        self.world = World(directory)
        self.control = shim.Control.of_this_process()
        self.made = {make.__name__: make for make in scenarios.ALL}
        self.ready: dict[str, Ready] = {}
        self.seen: set[tuple[str, ...]] = set()
        self.warm: set[str] = set()
        self.world.ended = self.control.pause

    def scenario(self, name: str) -> Ready:
        if name not in self.ready:
            self.world.restore({"root": {}, "system": {"": (0o40755, b"")}, "run": {"": (0o40755, b"")}})
            self.ready[name] = self.made[name](self.world)
        return self.ready[name]

    def count(self, name: str, here: bool = False) -> dict[str, Any]:
        """The calls of a scenario to which nothing happens, which is looked at as well; and how it ends. ``here``: see ``_faulty``."""
        ready = self.scenario(name)
        for _ in range(2 if here else 1):  # what a module makes when it is first used is made
            self.world.restore(ready.saved)
            done, _, _ = self._faulty(ready.words, shim.COUNT, 0, 0, here)
        calls = self.control.calls()
        wrong = [*oracle.at_once(self.world, ready, done), *oracle.recovered(self.world, ready, done)]
        assert done.status == ready.status, f"{name}: {done}"
        assert not wrong, f"{name}: {wrong}"
        return {"calls": [(str(call), call.cls) for call in calls], "status": ready.status}

    def point(self, name: str, mode: int, target: int, error: int = 0) -> dict[str, Any]:
        """One fault, and all that follows from it."""
        here = mode not in (shim.KILL, shim.KILL_GROUP)
        if here and name not in self.warm:
            self.count(name, here)
            self.warm.add(name)
        ready = self.scenario(name)
        self.world.restore(ready.saved)
        done, hit, wrong = self._faulty(ready.words, mode, target, error, here)
        if not hit:
            return {"hit": 0, "wrong": [], "status": done.status, "call": "", "recovery": ""}
        call = self.control.struck
        found, recovery = self._follow(ready, done, oracle.fingerprint(self.world))
        return {"hit": hit, "wrong": wrong + found, "status": done.status, "call": call, "recovery": recovery}

    def double(self, name: str, target: int, way: str, errors: list[int], limit: int) -> dict[str, Any]:
        """Killed at ``target``; and then recovery, which goes this ``way``, is killed, or told of an error, at each of its calls."""
        ready = self.scenario(name)
        for near in sorted(range(-12, 13), key=abs):  # how often something was waited for moves the numbers a little
            self.world.restore(ready.saved)
            self._faulty(ready.words, shim.KILL, target + near, 0)
            again = ready._replace(saved=self.world.save(), words=self.world.command("recover"), either=True)
            if not (self.world.root / ".install").exists():
                return {"points": 0, "wrong": []}
            self._faulty(again.words, shim.COUNT, 0, 0)
            if self._way() == way:
                break
        else:
            return {"points": 0, "wrong": [f"{name} killed at {target}: recovery does not go that way again: {way}"]}
        points, wrong = 0, []
        changing = [number for number, call in enumerate(self.control.calls(), 1) if call.cls == shim.CHANGES]
        for place, number in enumerate(changing[:: max(1, len(changing) // limit)]):
            error = errors[place % len(errors)] if errors else 0
            for mode in (shim.KILL, *((shim.FAIL_LASTING if place % 2 else shim.FAIL,) if error else ())):
                self.world.restore(again.saved)
                done, hit, found = self._faulty(again.words, mode, number, error, here=mode != shim.KILL)
                call = self.control.struck
                found += self._follow(again, done, oracle.fingerprint(self.world))[0] if hit else []
                points += bool(hit)
                wrong += [f"{name} killed at {target}, recovery: mode {mode} error {error} at {number} ({call}): {each}" for each in found]
        return {"points": points, "wrong": wrong}

    def _faulty(self, words: list[str], mode: int, target: int, error: int, here: bool = False) -> tuple[Done, int, list[str]]:
        """Run it with one fault. ``here``: in this process, not in a fork of it."""
        if here:
            done = self.world.run_here(words, lambda: self.control.arm(mode, target, error, here=True))
        else:
            self.control.arm(mode, target, error)
            done = self.world.run(words)
        _, hit, again = self.control.disarm()
        return done, hit, ["a file was synced again after that had failed"] if again else []

    def _way(self) -> str:
        """Which calls changed something just now, in their order; one that was made for several files counts once."""
        return " ".join(kind for kind, _ in groupby(call.kind for call in self.control.calls() if call.cls == shim.CHANGES))

    def _follow(self, ready: Ready, done: Done, state: str) -> tuple[list[str], str]:
        """Look at it; recover, twice; install what follows: what is wrong, and which kind of recovery it took.

        What was seen from the same state is not looked at again.
        """
        if (key := (ready.name, ready.words[0], state, str(done.status))) in self.seen and not oracle.untyped(done):
            return [], ""
        self.seen.add(key)
        recovery = ""
        wrong = list(oracle.at_once(self.world, ready, done))
        if (self.world.root / ".install").exists():
            self.control.arm()
            repair = self.world.run(self.world.command("recover"))
            self.control.disarm()
            recovery = self._way()
            if repair.status != 0:
                return [*wrong, f"recover ended with status {repair.status}: {repair.said}"], recovery
            wrong += oracle.recovered(self.world, ready, done)
        if (key := (ready.name, after := oracle.fingerprint(self.world))) not in self.seen:
            self.seen.add(key)
            if (self.world.root / ".install").exists():
                self.world.run(self.world.command("recover"))
                if oracle.fingerprint(self.world) != after:
                    wrong.append("a second recovery changed something")
            before = oracle.live(self.world)
            wrong += oracle.installed(self.world, ready, before, self.world.run(self.world.install(ready.following, *ready.answers)))
        return wrong, recovery


def _import_all() -> None:
    """What the installer imports only when it is wanted is here already: it would be imported anew in each fork."""
    for each in pkgutil.walk_packages(builder.install_release.__path__, "builder.install_release."):
        if not each.name.endswith("__main__"):
            importlib.import_module(each.name)
    for name in ("ctypes", "subprocess", "traceback", "shlex", "select", "difflib", "tempfile", "urllib.parse", "shutil", "argparse", "locale"):
        importlib.import_module(name)


def answers(directory: Path, lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    _import_all()
    worker = Worker(directory)
    building: Building | None = None
    for line in lines:
        what, *values = json.loads(line)
        start = time.monotonic()
        if what == "count":
            yield worker.count(*values)
        elif what == "points":
            name, mode, error, targets = values
            found = {target: worker.point(name, mode, target, error) for target in targets}
            yield {"points": found, "seconds": time.monotonic() - start}
        elif what == "double":
            yield worker.double(*values)
        elif what == "trap":
            yield traps.tried(worker.world, *values)
        elif what == "build":
            building = building or Building(directory / "build", worker.control)
            if len(values) == 1:
                yield {"calls": building.calls(*values)}
            else:
                name, mode, error, targets = values
                yield {"points": {target: building.point(name, mode, target, error) for target in targets}}
        elif what == "full":
            name, *how = values
            yield full.tried(worker.world, worker.control, worker.scenario(name), *how)


if __name__ == "__main__":
    for answer in answers(Path(sys.argv[1]), iter(sys.stdin)):
        print(json.dumps(answer), flush=True)
