"""The example application, in the environment that `build-release env` makes for development: what its own tests say, and that its etc/ holds."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from builder import recipe
from tests.conftest import MACHINE

from .integration.commands import BUILD_RELEASE

REPOSITORY = Path(__file__).parent.parent
SHOP = REPOSITORY / "recipes" / "shop"
ETC = sorted(path for path in (SHOP / "etc").rglob("*") if path.is_file())
SET_UPS = ("systemd", "supervisord", "apache")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the example's development environment. Its dependencies are real ones: pip is used as this machine has it configured."""
    work = tmp_path_factory.mktemp("example")
    command = [BUILD_RELEASE, "env", REPOSITORY / "recipes" / "shop.toml", work / "env"]
    done = subprocess.run(command, env={**MACHINE, "BUILD_RELEASE_CACHE": str(work / "cache")}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return work / "env" / "bin" / "python"


def manage(python: Path, *words: str, **env: str) -> str:
    """Run manage.py, warnings being errors; its whole output."""
    command = [python, "-B", "-W", "error", SHOP / "manage.py", *words]
    done = subprocess.run(command, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_examples_own_tests_pass(python: Path) -> None:
    """manage.py test passes in the environment that production would get."""
    output = manage(python, "test", str(SHOP), SECRET_KEY="test")
    assert re.search(r"Ran [1-9]\d* tests", output)


def test_the_example_passes_djangos_deployment_checks(python: Path) -> None:
    """manage.py check --deploy has nothing to say about the production settings."""
    manage(python, "check", "--deploy", "--fail-level", "WARNING", SECRET_KEY="0123456789abcdefghij" * 4)


def test_the_examples_migrations_are_complete(python: Path, tmp_path: Path) -> None:
    """The models need no migration that is not there."""
    manage(python, "makemigrations", "--check", "--dry-run", SECRET_KEY="test", DATABASE=str(tmp_path / "shop.sqlite3"))


def test_the_example_refuses_to_run_without_a_secret_key(python: Path) -> None:
    """Without SECRET_KEY and DEBUG the settings do not load, and say what to do."""
    done = subprocess.run([python, "-B", SHOP / "manage.py", "check"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "SECRET_KEY is not set: put it into shared/env" in done.stderr


def test_the_examples_lock_names_no_index() -> None:
    """requirements.txt is names, versions and hashes: no option, no URL."""
    text = (SHOP / "requirements.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-", re.sub(r"^\s+--hash=sha256:[0-9a-f]{64}( \\)?$", "", text, flags=re.MULTILINE), re.MULTILINE)


@pytest.mark.parametrize("path", ETC, ids=lambda path: path.relative_to(SHOP / "etc").as_posix())
def test_what_the_examples_etc_starts_goes_through_bin_run(path: Path) -> None:
    """No file of etc/ starts a program of current/ but through bin/run, and none names src or venv through the link: that would unpin."""
    text = path.read_text()
    assert not re.search(r"current/(src|venv)", text)
    for line in text.splitlines():
        if "gunicorn" in line.partition("=")[2] or "manage.py" in line:
            assert "@root@/current/bin/run " in line


@pytest.mark.parametrize("name", SET_UPS)
def test_a_set_up_adds_to_the_example_what_serves_it(name: str) -> None:
    """It is the recipe of the plain example, but for etc/, services, health check, and the directories that they share."""
    plain, made = (recipe.load(REPOSITORY / "recipes" / f"{each}.toml") for each in ("shop", f"shop-{name}"))
    assert set(plain.host.linked_dirs) <= set(made.host.linked_dirs)
    assert made.health.declared
    assert replace(made, path=plain.path, etc=None, services=(), health=plain.health, host=plain.host) == plain


@pytest.mark.parametrize("name", SET_UPS)
def test_each_file_of_a_set_up_belongs_to_a_service(name: str) -> None:
    """No file of its etc/ is there for nothing, and no service names one that is not there."""
    made = recipe.load(REPOSITORY / "recipes" / f"shop-{name}.toml")
    files = {path.relative_to(SHOP / "etc" / name).as_posix() for path in ETC if path.is_relative_to(SHOP / "etc" / name)}
    claimed = [{file for file in files if fnmatchcase(file, pattern)} for service in made.services for pattern in service.config]
    assert all(claimed)
    assert set().union(*claimed) == files


def test_the_examples_supervisor_configuration_is_the_kind_that_refuses_nothing() -> None:
    """supervisord holds a TCP socket and runs two processes, so that one can be restarted after the other."""
    parser = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=(";",))
    parser.read(SHOP / "etc" / "supervisord" / "supervisor" / "conf.d" / "shop.conf")
    program = parser["fcgi-program:shop"]
    assert program["socket"].startswith("tcp://")
    assert int(program["numprocs"]) >= 2
