"""Times steps in turn, A B A B, and keeps every figure."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

_LAUNCH = Path(__file__).with_name("launch.py")
_EVERY = 0.002  # seconds between two looks at the memory of a step's processes


class BenchError(Exception):
    """A step failed, or what it made can't be used: there is no figure then."""


@dataclass(frozen=True)
class Step:
    """Something that takes time: a shell script, run in the directory ``place`` below the work directory; $ROUND in it stands for the run's number.

    ``before`` brings the state about that it starts from, ``check`` proves what it made; neither is timed. A check costs time of its own: with
    ``check_once`` only the last run's result is checked. ``weigh``: it runs once more, untimed, for the memory of all its processes together.
    ``ships_byte_code`` is for builds. ``remark`` is for people who read the table.
    """

    name: str
    place: str
    script: str
    before: str = ""
    check: str = ""
    check_once: bool = False
    weigh: bool = False
    ships_byte_code: bool = True
    remark: str = ""


@dataclass(frozen=True)
class Sample:
    """One run: seconds of the wall clock, seconds of all processors, peak memory in bytes (see ``launch``); and its standard output."""

    seconds: float
    cpu: float
    peak: int
    said: str = ""


@dataclass
class Series:
    """What one step took, run after run."""

    step: Step
    samples: list[Sample] = field(default_factory=list)
    weighed: int = 0

    @property
    def seconds(self) -> list[float]:
        return [sample.seconds for sample in self.samples]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def cpu(self) -> float:
        return statistics.median(sample.cpu for sample in self.samples)

    @property
    def peak(self) -> int:
        return max(self.weighed, *(sample.peak for sample in self.samples))


@dataclass(frozen=True)
class Ratio:
    """One thing's median by another's; ``low`` and ``high`` are the extremes of the ratios of runs of the same round."""

    value: float
    low: float
    high: float


def ratio(one: Series, other: Series) -> Ratio:
    """``one`` ÷ ``other``."""
    rounds = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
    return Ratio(one.median / other.median, min(rounds), max(rounds))


@dataclass(frozen=True)
class Bench:
    """Where steps run, with which variables, how often. ``offline``: in a network namespace with nothing in it."""

    work: Path
    variables: Mapping[str, str]
    python: Path
    runs: int
    warm_up: int
    offline: bool

    def run(self, steps: Sequence[Step], progress: Callable[[str], None], *, warm: bool = False) -> dict[str, Series]:
        """Every step, in turn, as often as it takes; by name. The first rounds warm up and are not counted; none do when all is ``warm``.

        Raises ``BenchError``.
        """
        series = {step.name: Series(step) for step in steps}
        warm_up = 0 if warm else self.warm_up
        for number in range(warm_up + self.runs):
            last = number == warm_up + self.runs - 1
            for step in steps:
                progress(f"{step.name}, {'warm-up' if number < warm_up else f'run {number - warm_up + 1} of {self.runs}'}")
                sample = self.once(step, number, check=last or not step.check_once)
                if number >= warm_up:
                    series[step.name].samples.append(sample)
        for step in (step for step in steps if step.weigh):
            progress(f"{step.name}, memory")
            series[step.name].weighed = self.once(step, warm_up + self.runs, check=False, weigh=_EVERY).peak
        return series

    def once(self, step: Step, number: int, *, check: bool = True, weigh: float = 0) -> Sample:
        """One run of ``step``; the scripts find ``number`` in $ROUND. ``weigh``: look at its memory that often, in seconds."""
        place = self.work / step.place.replace("$ROUND", str(number))
        variables = {**self.variables, "ROUND": str(number), "HERE": str(place)}
        if step.before:
            self._shell(step, "before", step.before, self.work, variables)
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryFile() as errors:
            figures, said = Path(scratch) / "figures", Path(scratch) / "said"
            command = [str(self.python), "-I", "-S", str(_LAUNCH), str(figures), f"{weigh}", "--", "sh", "-euc", step.script]
            with said.open("w+b") as out:
                if self._run(command, place, variables, out, errors):
                    raise BenchError(f"{step.name} failed:\n{_end(out)}\n{_end(errors)}")
            sample = Sample(**json.loads(figures.read_text()), said=said.read_text(errors="replace"))
        if check and step.check:
            self._shell(step, "the check", step.check, place, variables)
        return sample

    def shell(self, script: str) -> None:
        """Something that isn't timed, in the work directory. Raises ``BenchError``."""
        self._shell(Step("preparation", "", script), "it", script, self.work, {**self.variables, "HERE": str(self.work)})

    def _shell(self, step: Step, what: str, script: str, place: Path, variables: Mapping[str, str]) -> None:
        with tempfile.TemporaryFile() as out:
            if self._run(["sh", "-euc", script], place, variables, out, out):
                raise BenchError(f"{step.name}: {what} failed:\n{_end(out)}")

    def _run(self, command: Sequence[str], place: Path, variables: Mapping[str, str], out: IO[bytes], errors: IO[bytes]) -> int:
        """The exit status. When we are stopped, so is all that was started."""
        jail = ["unshare", "-n"] if self.offline else []
        process = subprocess.Popen(
            [*jail, *command], cwd=place, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, start_new_session=True
        )
        try:
            return process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise


def _end(out: IO[bytes]) -> str:
    out.seek(0)
    return "\n".join(out.read().decode(errors="replace").splitlines()[-30:])


def can_jail() -> bool:
    """Whether this user may make an empty network namespace."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0
