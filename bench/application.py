"""What everyone builds: 400 modules of own source in a git repository, 67 locked distributions, and a filled wheelhouse.

Branches of the repository: ``main``; ``changed``, whose lock has another version of one distribution; ``edit-N``, one edit of one module each.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES, MODULES = 20, 20
LIBRARIES = [
    "allauth",
    "boto3",
    "celery",
    "cryptography.fernet",
    "django.contrib.admin",
    "django.db.models",
    "django.http",
    "django.template",
    "django_filters",
    "drf_spectacular",
    "gunicorn",
    "httpx",
    "lxml.etree",
    "markdown",
    "nh3",
    "openpyxl",
    "pandas",
    "PIL.Image",
    "psycopg",
    "pydantic",
    "reportlab.pdfgen.canvas",
    "requests",
    "rest_framework",
    "sentry_sdk",
    "storages",
    "whitenoise",
]
RECIPE = """\
name = "bench"
version = "1.0"
root = "/srv/bench"

[python]
interpreter = "{python}"

[dependencies]
requirements = ["requirements.in"]
lock = "requirements.txt"
"""
_TIME = "2026-01-01T00:00:00+00:00"
GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Bench",
    "GIT_AUTHOR_EMAIL": "bench@example.org",
    "GIT_AUTHOR_DATE": _TIME,
    "GIT_COMMITTER_NAME": "Bench",
    "GIT_COMMITTER_EMAIL": "bench@example.org",
    "GIT_COMMITTER_DATE": _TIME,
}


@dataclass(frozen=True)
class Application:
    """The directories that hold it. ``IMPORT``, run anywhere, fails unless every library and every own module can be imported."""

    repository: Path
    wheels: Path
    distributions: int
    modules: int


IMPORT = "import bench_app.everything"


def make(work: Path, python: Path, edits: int) -> Application:
    """The application below ``work``, to be run by ``python``, with ``edits`` branches of one edit each."""
    repository, wheels = work / "repository", work / "wheels"
    lock = (HERE / "requirements.txt").read_text()
    modules = _write_source(repository)
    (repository / "bench.toml").write_text(RECIPE.format(python=python))
    (repository / "wheelhouse.toml").write_text(RECIPE.format(python=python) + '\n[env]\nkind = "wheelhouse"\n')
    (repository / "requirements.in").write_text((HERE / "requirements.in").read_text())
    (repository / "requirements.txt").write_text(lock)
    _git(repository, "init", "--quiet", "--initial-branch", "main")
    _commit(repository, "The application")
    for number in range(edits):
        _git(repository, "checkout", "--quiet", "-b", f"edit-{number}", "main")
        with (repository / "bench_app/part_07/module_07.py").open("a") as file:
            file.write(f"\nEDIT = {number}\n")
        _commit(repository, f"Edit {number}")
    _git(repository, "checkout", "--quiet", "-b", "changed", "main")
    (repository / "requirements.txt").write_text(_changed_lock(lock))
    _commit(repository, "Another version of one distribution")
    _git(repository, "checkout", "--quiet", "main")
    shutil.copytree(_wheelhouse(), wheels)
    return Application(repository, wheels, len(_entries(lock)), modules)


def _write_source(repository: Path) -> int:
    """The package ``bench_app``, the same text every time; the number of its modules."""
    rng = random.Random(67)
    package = repository / "bench_app"
    names = []
    for part in range(PACKAGES):
        directory = package / f"part_{part:02}"
        directory.mkdir(parents=True)
        (directory / "__init__.py").write_text("")
        for module in range(1, MODULES):
            name = f"module_{module:02}"
            (directory / f"{name}.py").write_text(_module(rng, f"part_{part:02}.{name}"))
            names.append(f"bench_app.part_{part:02}.{name}")
    (package / "__init__.py").write_text("")
    (package / "ready.py").write_text(
        '"""An entry point that does nothing: what starts is the environment."""\n\n\ndef main() -> None:\n    print("ready")\n'
    )
    settings = 'from django.conf import settings\n\nsettings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"])\n'
    setup = "import django\n\ndjango.setup()\n"
    (package / "everything.py").write_text(settings + setup + "".join(f"import {name}\n" for name in [*LIBRARIES, *names]))
    return PACKAGES * MODULES


def _module(rng: random.Random, name: str) -> str:
    """A module as people write them: some records, some functions over them, words in docstrings."""
    words = ["order", "invoice", "basket", "customer", "price", "stock", "parcel", "refund", "voucher", "account", "ledger", "shelf"]
    lines = [
        f'"""{name}: {" ".join(rng.choices(words, k=12))}."""',
        "",
        "from __future__ import annotations",
        "",
        "from dataclasses import dataclass",
        "",
    ]
    for number in range(rng.randint(3, 9)):
        noun = rng.choice(words)
        fields = rng.sample(words, rng.randint(3, 6))
        lines += ["", "@dataclass(frozen=True)", f"class {noun.title()}{number}:", f'    """{" ".join(rng.choices(words, k=20))}."""', ""]
        lines += [f"    {field}: int = {rng.randint(0, 10**6)}" for field in fields]
        for method in rng.sample(words, 3):
            total = " + ".join(f"self.{field} * {rng.randint(2, 99)}" for field in fields)
            lines += ["", f"    def {method}_of(self, factor: int) -> int:", f'        """{" ".join(rng.choices(words, k=10))}."""']
            lines += [f"        total = {total}", f"        return total % {rng.randint(2, 999)} if factor else total", ""]
    return "\n".join(lines) + "\n"


def _entries(lock: str) -> list[str]:
    return re.findall(r"^[a-z].*?--hash=\S+$", lock, re.MULTILINE | re.DOTALL)


def _changed_lock(lock: str) -> str:
    (new,) = _entries((HERE / "changed.txt").read_text())
    name = new.partition("==")[0]
    (old,) = [entry for entry in _entries(lock) if entry.startswith(f"{name}==")]
    return lock.replace(old, new)


def _wheelhouse() -> Path:
    """The wheels of both locks, downloaded once, by pip as this machine has it configured."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    wheels = (Path(base) if base.startswith("/") else Path.home() / ".cache") / "build-release-bench" / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    there = {hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels.glob("*.whl")}
    for lock in (HERE / "requirements.txt", HERE / "changed.txt"):
        if not there >= set(re.findall(r"sha256:(\w+)", lock.read_text())):
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
            subprocess.run([sys.executable, "-m", "pip", "download", *options, "-r", str(lock), "-d", str(wheels)], check=True)
    return wheels


def _commit(repository: Path, message: str) -> None:
    _git(repository, "add", "--all")
    _git(repository, "commit", "--quiet", "--message", message)


def _git(repository: Path, *words: str) -> None:
    repository.mkdir(parents=True, exist_ok=True)
    environ: Mapping[str, str] = {**os.environ, **GIT}
    subprocess.run(["git", *words], cwd=repository, env=environ, check=True)
