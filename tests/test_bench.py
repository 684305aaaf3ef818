"""The bench: what it measures is what it says, and what it measured is what the pages say. What it compares is run by `make bench` alone."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from bench import pages, picture
from bench.machine import Machine
from bench.measure import Bench, BenchError, Sample, Series, Step, ratio
from bench.results import Group, Results

TOP = Path(__file__).parent.parent
LAUNCH = TOP / "bench/launch.py"


def results() -> Results:
    """Of one group, in which a peer is faster than ours."""
    machine = Machine("a processor", 2, 4.0, "6.1", "Python 3.11.7", "tmpfs", 0.1, {"tar": "1.34"})
    ours = Series(Step("build-release", "", "", remark="digests checked"), [Sample(2.0, 3.0, 1 << 20), Sample(2.2, 3.0, 2 << 20)])
    peer = Series(Step("tar xzf", "", ""), [Sample(1.0, 1.0, 1 << 20), Sample(1.0, 1.0, 1 << 20)])
    group = Group("install", "Install on an empty host", {"build-release": ours, "tar xzf": peer})
    return Results(machine, "an application", 2, True, (group,), None)


@pytest.mark.parametrize("page", ["README.md", "docs/performance.md", "docs/store.md"])
def test_the_pages_say_what_was_measured(page: str) -> None:
    """The figures of README and docs are those of the files that the bench wrote."""
    text = (TOP / page).read_text(encoding="utf-8")
    assert pages.updated(Path(page).name, text) == text


def test_only_what_stands_between_the_markers_is_written() -> None:
    """What stands around the markers stays; markers that are gone or double are an error."""
    assert (
        pages.between("a\n<!-- x: begin -->\nold \\1\n<!-- x: end -->\nb\n", "x", r"new \1") == "a\n<!-- x: begin -->\nnew \\1\n<!-- x: end -->\nb\n"
    )
    with pytest.raises(ValueError, match="once"):
        pages.between("<!-- x: begin -->", "x", "new")


def test_a_faster_peer_is_named() -> None:
    """The page says who is faster than ours, by how much."""
    text = "\n".join(pages.full(json.loads(json.dumps(results().to_json()))))
    assert "Where others are faster: tar xzf (install on an empty host: 1.00 s, ours 2.10 s)." in text
    assert "| install on an empty host ÷ tar xzf of the same tree | 2.100 | 2.000 … 2.200 | 0.40 | **missed** | tar xzf |" in text


def test_the_picture_is_for_light_and_dark_pages() -> None:
    """It is valid XML, has a bar for each step, and colours of its own for dark pages."""
    text = picture.draw(results())
    root = ElementTree.fromstring(text)
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 2
    assert "@media (prefers-color-scheme: dark)" in text


def test_a_ratio_has_the_spread_of_rounds() -> None:
    """Medians are divided, and the extremes are those of one round each."""
    one = Series(Step("one", "", ""), [Sample(1, 1, 1), Sample(2, 1, 1), Sample(9, 1, 1)])
    other = Series(Step("other", "", ""), [Sample(1, 1, 1), Sample(4, 1, 1), Sample(10, 1, 1)])
    found = ratio(one, other)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 1.0)


def measured(tmp_path: Path, every: str) -> dict[str, float]:
    """What the launcher says of a process that starts two, each with 40 MiB of its own for a second."""
    child = "import time; data = b'x' * (40 << 20); time.sleep(1)"
    parent = f"import subprocess, sys; [p.wait() for p in [subprocess.Popen([sys.executable, '-c', {child!r}]) for _ in range(2)]]"
    out = tmp_path / "figures"
    subprocess.run([sys.executable, "-I", "-S", LAUNCH, out, every, "--", sys.executable, "-c", parent], check=True)
    return dict(json.loads(out.read_text()))


def test_memory_is_that_of_all_processes_together(tmp_path: Path) -> None:
    """Where it is looked at, two processes of 40 MiB are more than 80; else the largest counts."""
    assert 40 << 20 < measured(tmp_path, "0")["peak"] < 80 << 20
    assert measured(tmp_path, "0.01")["peak"] > 80 << 20


def test_a_step_that_fails_is_no_figure(tmp_path: Path) -> None:
    """Neither a script that fails nor a result that does not hold is measured; the error says what it said."""
    bench = Bench(tmp_path, {"PATH": "/usr/bin:/bin"}, Path(sys.executable), runs=1, warm_up=0, offline=False)
    with pytest.raises(BenchError, match="no such luck"):
        bench.run([Step("broken", "here", "echo no such luck >&2; exit 1")], lambda _: None)
    with pytest.raises(BenchError, match="hollow: the check failed"):
        bench.run([Step("hollow", "here", "true", check="test -e made")], lambda _: None)


def test_steps_take_turns(tmp_path: Path) -> None:
    """A B A B: with one round to warm up, each is run once more than it is measured; what is warm is not."""
    bench = Bench(tmp_path, {"PATH": "/usr/bin:/bin"}, Path(sys.executable), runs=2, warm_up=1, offline=False)
    steps = [Step(name, "here", f"echo {name}$ROUND >> log") for name in "ab"]
    found = bench.run(steps, lambda _: None)
    assert (tmp_path / "here/log").read_text().split() == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert [len(series.samples) for series in found.values()] == [2, 2]
    assert len(bench.run(steps[:1], lambda _: None, warm=True)["a"].samples) == 2
    assert (tmp_path / "here/log").read_text().split()[-2:] == ["a0", "a1"]
