"""Applications that nobody here wrote, and our own example: two versions of each, in a git repository, with recipe and lock.

The sources are sdists from the package index, imported as one commit each. Locks are made when the tests run, by ``build-release lock``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.conftest import KEPT, MACHINE

from .commands import Artifact, build, build_release

SAMPLES = Path(__file__).parent.parent / "samples" / "applications"
CHECKOUT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Application:
    """What a test has to know of an application: how it is set up on a host, started, and how its versions are told apart."""

    name: str
    versions: Mapping[str, str]  # version -> sha256 of its sdist; older first
    wsgi: tuple[str, ...]  # what gunicorn is told to serve; nothing where its configuration says it
    settings: str  # the text of shared/env
    marks: Mapping[str, tuple[str, str]]  # version -> what its page has, and what it has not
    files: Mapping[str, str] = field(default_factory=dict)  # other files below shared/
    prepare: tuple[tuple[str, ...], ...] = ()  # commands that run through bin/run before it is first served
    page: str = "/"


DPASTE = Application(
    name="dpaste",
    versions={
        "3.4": "54c3abc838c49bac683e245327f5d06ccc9d5b9816b29f4b3f9db465c4dd001d",
        "3.5": "cbcb510a533fcd78e71ca828a2f59b952ed0f4376ca23707652db9f837b19818",
    },
    wsgi=("dpaste.wsgi",),
    settings="DATABASE_URL=sqlite:////srv/app/shared/dpaste.sqlite\nSECRET_KEY='not a secret'\n"
    "DJANGO_SETTINGS_MODULE=dpaste.settings.base\nSTATIC_ROOT=../assets/static\n",
    prepare=(("python", "-m", "django", "migrate", "--no-input"),),
    marks={"3.4": ("<title>dpaste</title>", "#copyHeadline"), "3.5": ("#copyHeadline", "Internal Server Error")},
)
ISSO = Application(
    name="isso",
    versions={
        "0.13.2": "1aa94eafa14ff9e82982aaa445c2e35c677107f8be8fefd6adbe486b99d4c928",
        "0.14.0": "9e2ac090f49aeb8e33871280fcf9680e0ec68dcca50b5ef72e5f275df623c9e5",
    },
    wsgi=("isso.run",),
    settings="ISSO_SETTINGS=/srv/app/shared/isso.cfg\n",
    files={"isso.cfg": "[general]\ndbpath = /srv/app/shared/comments.db\nhost = http://127.0.0.1:8000/\n[server]\nlisten = http://127.0.0.1:8000/\n"},
    page="/info",
    marks={"0.13.2": ('"version": "0.13.2"', "0.14"), "0.14.0": ('"version": "0.14.0"', "0.13")},
)
SHOP = Application(
    name="shop",
    versions={"1.0": "", "2.0": ""},
    wsgi=(),
    settings="SECRET_KEY='not a secret'\nHTTPS=0\n",
    prepare=(("python", "manage.py", "migrate", "--no-input"), ("python", "manage.py", "seed_shop")),
    marks={"1.0": ("<h1>The shop</h1>", "second"), "2.0": ("<h1>The second shop</h1>", "The shop</h1>")},
)
APPLICATIONS = (SHOP, DPASTE, ISSO)
UNHEALTHY = "3.0"
"""A version of the example that is as good as any, but for its health check: that fails."""


class Workshop:
    """Where the applications are built, once in a session: their repositories, recipes, locks, caches and artifacts are below ``work``."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self._artifacts: dict[tuple[str, str, str], Artifact] = {}

    def artifact(self, application: Application, version: str, kind: str) -> Artifact:
        """The artifact of one version with one kind of environment, built when first asked for."""
        key = (application.name, version, kind)
        if key not in self._artifacts:
            self._artifacts[key] = build(self.recipe(application, version, kind), self.work / "artifacts" / kind, env=online())
        return self._artifacts[key]

    def example(self, set_up: str, version: str) -> Artifact:
        """The artifact of the example in one of its set-ups: that of recipes/shop-<set-up>.toml."""
        key = (f"{SHOP.name}-{set_up}", version, "venv")
        if key not in self._artifacts:
            text = self._example(f"{SHOP.name}-{set_up}")
            if version == UNHEALTHY:
                text = text.replace("[health]\n", "[health]\ndeadline = 5\n")
            self._artifacts[key] = build(self._recipe(SHOP, version, "venv", text), self.work / "artifacts" / set_up, env=online())
        return self._artifacts[key]

    def recipe(self, application: Application, version: str, kind: str) -> Path:
        """A recipe in the application's folder, its lock made."""
        return self._recipe(application, version, kind, self._template(application, version))

    def _recipe(self, application: Application, version: str, kind: str, text: str) -> Path:
        folder = self.work / application.name
        if not folder.exists():
            self._import(application, folder)
        lock = f"{application.name}-{version.replace('.', '-')}"
        for name, value in {"version": version, "lock": lock, "kind": kind}.items():
            text = text.replace(f"@{name}@", value)
        recipe = folder / f"{lock}-{kind}.toml"
        recipe.write_text(text)
        if f"pylock.{lock}.toml" in text and not (folder / f"pylock.{lock}.toml").exists():
            build_release("lock", recipe, env=online())
        return recipe

    def _template(self, application: Application, version: str) -> str:
        if application is SHOP:
            return self._example(SHOP.name)
        sample = SAMPLES / application.name
        template = sample / f"recipe-{version}.toml"
        return (template if template.exists() else sample / "recipe.toml").read_text()

    def _example(self, name: str) -> str:
        """A recipe that people start from, for a repository that it does not stand in."""
        text = (CHECKOUT / "recipes" / f"{name}.toml").read_text()
        for old, new in {
            "[source]": '[python]\nversion = "3.11"\n\n[source]\nrepository = "repository"\nref = "v@version@"',
            'kind = "venv"': 'kind = "@kind@"',
            'version = "1.0.0"': 'version = "@version@"',
        }.items():
            assert text.count(old) == 1, f"recipes/{name}.toml has not one line {old}"
            text = text.replace(old, new)
        return text

    def _import(self, application: Application, folder: Path) -> None:
        """One commit and one tag for each version."""
        repository = folder / "repository"
        repository.mkdir(parents=True)
        _git(repository, "init", "--quiet", "--initial-branch=main")
        versions = {**application.versions, **({UNHEALTHY: ""} if application is SHOP else {})}
        for number, (version, digest) in enumerate(versions.items()):
            for old in repository.iterdir():
                if old.name != ".git":
                    shutil.rmtree(old) if old.is_dir() else old.unlink()
            if digest:
                _unpack(application, version, digest, repository)
            else:
                _copy_example(version, repository)
            date = f"2026-01-0{number + 1}T00:00:00+00:00"
            _git(repository, "add", "--all", "--force")
            _git(repository, "commit", "--quiet", f"--message={version}", env={"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date})
            _git(repository, "tag", f"v{version}")


def _unpack(application: Application, version: str, digest: str, repository: Path) -> None:
    with tempfile.TemporaryDirectory(dir=repository.parent) as work:
        with tarfile.open(sdist(application.name, version, digest)) as archive:
            archive.extractall(work, filter="data")
        for entry in Path(work, f"{application.name}-{version}").iterdir():
            shutil.move(entry, repository)


def _copy_example(version: str, repository: Path) -> None:
    """Our example as it is in the working tree; its second version has another heading, its third one fails when it is asked how it is."""
    files = subprocess.run(["git", "ls-files", "-z", "recipes/shop"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, repository / name)
    edits = {
        "2.0": ("templates/catalogue/index.html", "<h1>The shop</h1>", "<h1>The second shop</h1>"),
        UNHEALTHY: ("views.py", '"""Says which release answers', '"""Says nothing."""\n    raise RuntimeError("not well")\n    """'),
    }
    if version in edits:
        path, old, new = edits[version]
        file = repository / "recipes/shop/catalogue" / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))


def sdist(name: str, version: str, digest: str) -> Path:
    """The sdist with this sha256, from the package index, kept in the user's cache."""
    kept = KEPT / "sdists"
    path = kept / f"{name}-{version}.tar.gz"
    if not path.exists():
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", name, "--dest", kept, f"{name}=={version}"],
            env={**os.environ, **online()},
            check=True,
        )
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, f"{path} is not what was looked at when this test was written"
    return path


@cache
def online() -> Mapping[str, str]:
    """What pip needs to reach the index that this machine uses, and a cache that outlives the session."""
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], env=MACHINE, capture_output=True, text=True)
    index = MACHINE.get("PIP_INDEX_URL") or asked.stdout.strip()
    return {"PIP_CACHE_DIR": str(KEPT / "pip"), **({"PIP_INDEX_URL": index} if index else {})}


def _git(repository: Path, *argv: str, env: Mapping[str, str] | None = None) -> None:
    subprocess.run(["git", *argv], cwd=repository, env={**os.environ, **(env or {})}, check=True)
