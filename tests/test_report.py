"""report: what people and programs read."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import pytest

from builder import report
from builder.artifact.inspection import inspect
from builder.changes import Changes, Package, compare
from builder.errors import BuildError, Problem
from builder.lock import Lock
from builder.pipeline import Outcome
from tests.releases import FACTS, THIS_TARGET, write_release

CHANGES = Changes("1.0", "20251123101112-aaaaaaaaaaaa", (), ("src",), 4_100_000)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (119_900_000, "119.9 MB"),
        (999_940, "999.9 kB"),
        (999_950, "1.0 MB"),
        (5_000_000_000_000, "5000.0 GB"),
    ],
)
def test_sizes_are_decimal(count: int, text: str) -> None:
    """Sizes are said in units of a thousand, with one digit after the point."""
    assert report.size(count) == text


@pytest.mark.parametrize(("number", "text"), [(0, "0 wheels"), (1, "1 wheel"), (2, "2 wheels")])
def test_counts_agree_with_their_noun(number: int, text: str) -> None:
    """One wheel, several wheels."""
    assert report.count(number, "wheel") == text


def test_a_refusal_lines_up_its_reasons() -> None:
    """Reasons stand below each other behind where they are, further lines of one below its first, and the next step ends it."""
    error = BuildError(
        "recipes/shop.toml, 3 problems",
        [
            Problem("env.kind", '"vnev" is not one of venv, pex, wheelhouse.', 'Did you mean "venv"?'),
            Problem("depends", "unknown key."),
            Problem("build[0]", "failed:\n    first\n    second"),
        ],
        next_step="build-release lock recipes/shop.toml",
    )
    assert list(report.refusal(error)) == [
        "recipes/shop.toml, 3 problems:",
        '  env.kind  "vnev" is not one of venv, pex, wheelhouse. Did you mean "venv"?',
        "  depends   unknown key.",
        "  build[0]  failed:\n                first\n                second",
        "  next: build-release lock recipes/shop.toml",
    ]


def test_a_long_place_does_not_push_the_others() -> None:
    """A reason whose place is very long has its own column."""
    lines = list(report.reasons([Problem("a", "x"), Problem("p" * 60, "y")]))
    assert lines == [f"  {'a':<41} x", f"  {'p' * 60} y"]


def test_a_remedy_is_a_sentence_of_its_own() -> None:
    """A reason that ends without a full stop gets one before its remedy."""
    assert list(report.reasons([Problem("a", "is no file", "Name one.")])) == ["  a  is no file. Name one."]


def test_a_refusal_without_reasons_is_one_line() -> None:
    """An error that says everything in its message has no colon at its end."""
    assert list(report.refusal(BuildError("there is no recipe x"))) == ["there is no recipe x"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (replace(CHANGES, packages=()), "no package, since 1.0 (20251123101112-aaaaaaaaaaaa)\n4.1 MB in 1 new layer: src"),
        (
            replace(CHANGES, packages=(Package("django", "6.1.2", "6.1.3"), Package("pytz", "2025.1", ""), Package("x", "", "1")), layers=()),
            "django 6.1.2 → 6.1.3, - pytz 2025.1, + x 1, since 1.0 (20251123101112-aaaaaaaaaaaa)",
        ),
        (
            replace(CHANGES, layers=()),
            "no layer, since 1.0 (20251123101112-aaaaaaaaaaaa): only the installer, or what is asked of the host",
        ),
        (replace(CHANGES, since_id="20251124000000-bbbbbbbbbbbb"), "nothing: 1.0 is the same release"),
    ],
)
def test_changes_are_said_in_words(changes: Changes, text: str) -> None:
    """Packages with both versions, what came with +, what went with -, and how much is new."""
    assert report.changed(changes, "20251124000000-bbbbbbbbbbbb") == text


def test_long_lists_are_cut() -> None:
    """Nobody reads the thirteenth name."""
    assert report.some([str(n) for n in range(14)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"


def test_a_summary_says_what_where_and_what_next(tmp_path: Path) -> None:
    """The end of a build names the file, its size, id, time and digest, and the next step."""
    before = write_release(tmp_path, {"src": {"a": "1"}})
    built = write_release(tmp_path, {"src": {"a": "2"}})
    outcome = Outcome(built, compare(before.manifest, before.id, built.manifest), {"source": 0.25, "layers": 0.5})
    first, *lines = report.summary(outcome)
    assert first.startswith("  changed      no package, since 1.0")
    assert lines == [
        f"→ {built.path}   {report.size(built.bytes)}   id {built.id}   0.8 s",
        f"  sha256 {built.sha256}",
        f"  next: scp {built.path} HOST:release.tgz, and on HOST:",
        "        tar xzf release.tgz --occurrence=1 release/install-release && python3 release/install-release release.tgz",
    ]


def test_an_outcome_for_programs_has_the_promised_keys(tmp_path: Path) -> None:
    """--json gives artifact, sha256, id, name, version, bytes, layers with name, kind, bytes and cached, and seconds by stage."""
    built = write_release(tmp_path, {"src": {"a": "1"}})
    value = report.outcome_value(Outcome(built, None, {"source": 0.25}))
    assert Path(value["artifact"]) == built.path
    assert {key: value[key] for key in ("sha256", "id", "name", "version", "bytes", "changes", "seconds")} == {
        "sha256": built.sha256,
        "id": built.id,
        "name": "shop",
        "version": "1.0",
        "bytes": built.path.stat().st_size,
        "changes": None,
        "seconds": {"source": 0.25},
    }
    assert [{key: layer[key] for key in ("name", "kind", "bytes", "cached")} for layer in value["layers"]] == [
        {"name": "src", "kind": "src", "bytes": built.manifest.layers[0].bytes, "cached": False}
    ]


def test_an_inspection_shows_everything_that_matters(tmp_path: Path) -> None:
    """What it is, what it needs, each layer and the largest files stand in one listing."""
    requires = FACTS.requires._replace(linked_dirs=("media",), env=("SECRET_KEY",), commands=("nginx",), bytes=2_000_000, inodes=1)
    target = THIS_TARGET._replace(python="3.11", platform="linux_x86_64", libc=THIS_TARGET.libc._replace(minimum="2.28"))
    built = write_release(tmp_path, {"src": {"manage.py": "x" * 2000}, "wheel:a-1-py3-none-any": {"lib/a.py": "1"}}, requires=requires, target=target)
    text = "\n".join(report.inspection(inspect(built.path)))
    assert text.startswith("shop 1.0   commit aaaaaaaaaaaa (2025-11-23 10:11 UTC)   for CPython 3.11, linux_x86_64, glibc ≥ 2.28\n")
    for line in (
        f"  id           {built.id}",
        f"  sha256       {built.sha256}",
        "  signatures   none",
        "  environment  venv, shared between releases",
        "  root         /srv/shop, keeps 5 releases",
        "  needs        2.0 MB of disk, 1 inode",
        "               commands: nginx",
        "               keys of shared/env: SECRET_KEY",
        "               shared directories: media",
    ):
        assert f"{line}\n" in text
    assert "  src/manage.py  2.0 kB  src\n" in text
    assert [line.split()[:2] for line in text.splitlines() if "py3-none-any" in line] == [["a-1-py3-none-any", "wheel"], ["venv/lib/a.py", "1"]]


def test_progress_that_nobody_watches_is_plain_lines() -> None:
    """Without a terminal a stage leaves nothing but its line, and not even that when it has nothing to say."""
    stream = io.StringIO()
    progress = report.Progress(stream)
    with progress.stage("lock"):
        pass
    progress.done("lock", Lock(None, Path()))
    progress.done("target", None)
    assert stream.getvalue() == "  lock         nothing to lock: the recipe declares no dependencies\n"


def test_a_log_hears_of_a_stage_that_takes_long() -> None:
    """Where there is no terminal a stage is named once it is not done after some seconds; a quick one is not."""
    stream = io.StringIO()
    progress = report.Progress(stream)
    with progress.stage("lock"):
        pass
    assert not stream.getvalue()
    with progress.stage("layers"):
        deadline = time.monotonic() + 4 * report.LONG
        while not stream.getvalue() and time.monotonic() < deadline:
            time.sleep(0.1)
    assert stream.getvalue().split() == ["layers", "…"]
