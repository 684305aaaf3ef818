"""What a newcomer does: the README's commands as they stand there, in a fresh clone, with an empty home."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import MACHINE

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = sorted(path.relative_to(REPOSITORY).as_posix() for part in ("*.md", "docs/**/*.md", "recipes/**/*.md") for path in REPOSITORY.glob(part))
OWN_SETTINGS = ("BUILD_RELEASE", "GIT_", "INSTALL_RELEASE", "MAKE", "MFLAGS", "VIRTUAL_ENV", "XDG_")


def machine_with_home(home: Path) -> dict[str, str]:
    """The environment that the tests were started from, as it would be for a user who has nothing but this machine's pip configuration."""
    config = MACHINE.get("XDG_CONFIG_HOME") or os.path.join(MACHINE.get("HOME", "/"), ".config")
    kept = {name: value for name, value in MACHINE.items() if not name.startswith(OWN_SETTINGS)}
    return {**kept, "HOME": str(home), "XDG_CONFIG_HOME": config, "TMPDIR": str(home / "tmp")}


@dataclass(frozen=True)
class Visit:
    """A clone in which the README's five minutes were run: where, in which environment, and what that gave."""

    clone: Path
    environment: dict[str, str]
    done: subprocess.CompletedProcess[str]


def make(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run make in ``clone``, as from a shell of its own: `make test` leaves its flags to its children."""
    return subprocess.run(["make", *words], cwd=clone, env=machine_with_home(clone.parent / "home"), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clone = tmp_path_factory.mktemp("front-door") / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", REPOSITORY, clone], check=True)
    return clone


@pytest.fixture(scope="module")
def visit(clone: Path) -> Iterator[Visit]:
    home = clone.parent / "home"
    (home / "tmp").mkdir(parents=True)
    environment = machine_with_home(home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        environment["PORT"] = str(free.getsockname()[1])
    command = ["bash", "-euo", "pipefail", "-c", five_minutes()]
    try:
        done = subprocess.run(command, cwd=clone, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900, check=False)
        yield Visit(clone, environment, done)
    finally:
        for pid in (home / "tmp").glob("*/pid"):  # what a failure half-way left running
            os.kill(int(pid.read_text()), signal.SIGTERM)


def five_minutes() -> str:
    """The commands between the README's two marks, in their order."""
    part = README.partition("<!-- five minutes: begin -->")[2].partition("<!-- five minutes: end -->")[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    return "\n".join(blocks)


# The five minutes


def test_readme_runs_as_written(visit: Visit) -> None:
    """Every command of the five minutes succeeds in a fresh clone, without an answer from anyone."""
    assert visit.done.returncode == 0, f"{visit.done.stdout}\n{visit.done.stderr}"


def test_readme_serves_a_release_the_next_and_the_first_again(visit: Visit) -> None:
    """The site answers with the first release's id, the second's, and after the rollback the first's; its data stay."""
    answers = [json.loads(line) for line in visit.done.stdout.splitlines() if line.startswith('{"release"')]
    first, second, third = (answer["release"] for answer in answers)
    assert first == third != second
    assert re.fullmatch(r"\d{14}-[0-9a-f]{12}", first)
    assert {answer["products"] for answer in answers} == {3}
    assert re.findall("<h1>.*</h1>", visit.done.stdout) == ["<h1>The tea shop</h1>", "<h1>The shop</h1>"]


def test_readme_leaves_nothing_behind(visit: Visit) -> None:
    """After the last command the temporary directory is empty, and the clone has no file that git would report."""
    assert not list(Path(visit.environment["TMPDIR"]).iterdir())
    status = subprocess.run(["git", "status", "--porcelain"], cwd=visit.clone, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_make_artifact_leaves_both_programs_in_venv(visit: Visit) -> None:
    """.venv/bin has build-release and install-release, and they run."""
    for program in ("build-release", "install-release"):
        subprocess.run([visit.clone / ".venv" / "bin" / program, "--help"], check=True, capture_output=True)


def test_venv_is_made_anew_when_and_only_when_pyproject_changes(visit: Visit) -> None:
    """A second make finds .venv up to date; a changed pyproject.toml, or a .venv without its stamp, is made anew."""
    assert "-m venv" not in make(visit.clone, "--dry-run", "venv").stdout
    project = visit.clone / "pyproject.toml"
    text = project.read_text()
    try:
        project.write_text(text + "# changed\n")
        assert "-m venv" in make(visit.clone, "--dry-run", "venv").stdout
    finally:
        project.write_text(text)
    (stamp,) = (visit.clone / ".venv").glob(".made-*")
    stamp.rename(visit.clone / "stamp")
    try:
        assert "-m venv" in make(visit.clone, "--dry-run", "venv").stdout
    finally:
        (visit.clone / "stamp").rename(stamp)


# The Makefile and the pages, without building anything


def test_make_takes_a_recipe_and_a_place(clone: Path) -> None:
    """RECIPE and OUT reach build-release as they are."""
    done = make(clone, "--dry-run", "artifact", "RECIPE=x/y.toml", "OUT=z")
    assert done.stdout.splitlines()[-1] == ".venv/bin/build-release x/y.toml -o z"


def test_make_without_a_usable_python_says_what_to_do(clone: Path) -> None:
    """A Python that is too old or not there is one line that names the remedy, and no half-made .venv."""
    done = make(clone, "venv", "PYTHON=/no/such/python")
    assert done.returncode != 0
    assert "no Python 3.11 or newer among: /no/such/python" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_make_help_names_every_target(clone: Path) -> None:
    """make alone lists the targets that people use."""
    done = make(clone)
    targets = re.search(r"^\.PHONY: (.*)$", (clone / "Makefile").read_text(), re.MULTILINE)
    assert targets is not None
    assert [line.split()[1] for line in done.stdout.splitlines()] == [target for target in targets[1].split() if target != "packages"]


def test_ci_runs_what_the_readme_tells_a_contributor() -> None:
    """.ci/run is make lint and make test, the README's own words, and stops at the first that fails."""
    lines = (REPOSITORY / ".ci" / "run").read_text().splitlines()
    assert "set -eu" in lines
    assert [line for line in lines if line.startswith("make ")] == ["make lint", "make test"]
    assert "`make lint` and `make test`" in README


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is pip's own configuration: no file of this repository names the public index, a lock least of all."""
    names = ["pypi" + ".org", "python" + "hosted"]
    found = subprocess.run(
        ["git", "grep", "-I", "-n", *(word for name in names for word in ("-e", name))], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert found.stdout == ""


@pytest.mark.parametrize("page", PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    """Every relative link of a page is a file or folder of this repository."""
    path = REPOSITORY / page
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target
