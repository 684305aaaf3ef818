"""What was measured, as values: groups of series, sizes, and how the targets of the design fare."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .builders import OURS
from .installers import TAR, UV_WARM
from .machine import Machine
from .measure import Ratio, Series, ratio

MAX_PEAK = 64 << 20


@dataclass(frozen=True)
class Group:
    """Series that answer one question, by step. ``ours`` names the one that the others are compared with."""

    key: str
    title: str
    series: Mapping[str, Series]
    ours: str = OURS

    def phases(self) -> dict[str, float]:
        """Median seconds of each stage of our own, as its ``--json`` tells."""
        told = [value for sample in self.series[self.ours].samples if (value := _seconds(sample.said))]
        return {stage: round(statistics.median(each[stage] for each in told), 3) for stage in told[0]} if told else {}


def _seconds(said: str) -> dict[str, float]:
    try:
        return dict(json.loads(said)["seconds"])
    except (ValueError, KeyError, TypeError):
        return {}


@dataclass(frozen=True)
class Sizes:
    """Bytes of our artifact, and of ``tar c | gzip -6`` of the same tree."""

    artifact: int
    gzip: int


@dataclass(frozen=True)
class Target:
    """What the design asks for. ``ratio`` is what was measured, ``against`` what it was divided by."""

    what: str
    most: float
    ratio: Ratio
    against: str

    @property
    def met(self) -> bool:
        return self.ratio.value <= self.most


@dataclass(frozen=True)
class Results:
    """One run. ``failed``: why a group that was wanted is not among ``groups``."""

    machine: Machine
    application: str
    runs: int
    offline: bool
    groups: tuple[Group, ...]
    sizes: Sizes | None
    failed: tuple[str, ...] = ()

    def targets(self) -> tuple[Target, ...]:
        """Those of which everything was measured."""
        found: list[Target] = []
        groups = {group.key: group for group in self.groups}
        build = groups.get("build")
        if build:
            found += [
                _fastest("build, no layer cached ÷ fastest peer that ships byte code", 0.70, build, build, byte_code=True),
                _fastest("build, no layer cached ÷ fastest peer", 0.85, build, build),
            ]
        for key, what, most in (("rebuild", "one source edit", 0.03), ("dependency", "one dependency changed", 0.10)):
            if again := groups.get(key):
                if build:  # what these people's machines do: the same again
                    found.append(_fastest(f"rebuild after {what} ÷ fastest peer's build anew", most, again, build))
                found.append(_fastest(f"rebuild after {what} ÷ fastest peer that keeps its directory", most, again, again))
        if install := groups.get("install"):
            found.append(_against("install on an empty host ÷ tar xzf of the same tree", 0.40, install, OURS, TAR))
        if disk := groups.get("durable"):
            found += [
                _against("the same, durably, on a disk ÷ tar xzf, then sync", 0.60, disk, f"{OURS}, durable", f"{TAR}, then sync"),
                _against("durably ÷ the same without its syncs", 2.5, disk, f"{OURS}, durable", f"{OURS}, not synced"),
            ]
        if source := groups.get("source"):
            found.append(_against("install when only the source changed ÷ uv with a warm cache", 0.50, source, OURS, UV_WARM))
        if wheel := groups.get("wheel"):
            found.append(_against("install when one wheel of 67 changed ÷ tar xzf", 0.20, wheel, OURS, TAR))
        if start := groups.get("start"):
            found += [
                _against(f"first import, {what} ÷ pip-made virtualenv", 1.0, start, f"{what}: {OURS}", f"{what}: virtualenv + pip") for what in STARTS
            ]
        if self.sizes:
            share = self.sizes.artifact / self.sizes.gzip
            found.append(Target("artifact ÷ tar c | gzip -6 of the same tree", 1.05, Ratio(share, share, share), "tar c | gzip -6"))
        if install:
            share = install.series[OURS].peak / MAX_PEAK
            found.append(Target("installer's peak memory ÷ 64 MiB", 1.0, Ratio(share, share, share), "64 MiB"))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        return {
            "machine": asdict(self.machine),
            "application": self.application,
            "runs": self.runs,
            "offline": self.offline,
            "groups": {group.key: _group_json(group) for group in self.groups},
            "sizes": asdict(self.sizes) if self.sizes else None,
            "targets": [_target_json(target) for target in self.targets()],
        }


STARTS = ("everything", "Django alone")


def _fastest(what: str, most: float, group: Group, peers: Group, *, byte_code: bool = False) -> Target:
    able = [series for name, series in peers.series.items() if name != OURS and (series.step.ships_byte_code or not byte_code)]
    best = min(able, key=lambda series: series.median)
    return Target(what, most, ratio(group.series[OURS], best), best.step.name)


def _against(what: str, most: float, group: Group, one: str, other: str) -> Target:
    return Target(what, most, ratio(group.series[one], group.series[other]), other)


def _group_json(group: Group) -> dict[str, Any]:
    steps = {
        name: {
            "median": round(series.median, 4),
            "seconds": [round(each, 4) for each in series.seconds],
            "cpu": round(series.cpu, 3),
            "peak": series.peak,
            "remark": remark(series),
        }
        for name, series in group.series.items()
    }
    return {"title": group.title, "steps": steps, "phases": group.phases()}


def _target_json(target: Target) -> dict[str, Any]:
    ratio = {key: round(value, 4) for key, value in asdict(target.ratio).items()}
    return {"what": target.what, "most": target.most, "against": target.against, "met": target.met, **ratio}


def remark(series: Series) -> str:
    """What must be known to read a figure."""
    return "; ".join(_remarks(series))


def _remarks(series: Series) -> Iterable[str]:
    if not series.step.ships_byte_code:
        yield "ships no byte code"
    if series.step.remark:
        yield series.step.remark
