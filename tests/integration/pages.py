"""An application with something of each kind of service, in releases that differ in what their configuration says."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.distributions import Index

from .commands import Artifact, build, build_release
from .probe import published

SAMPLE = Path(__file__).parent.parent / "samples" / "pages"
# Version -> the word in its configuration. 3.0 has none, and no service.
SAID = {"1.0": "one", "1.1": "one", "2.0": "two", "3.0": ""}
_KEYS = ("Provides", "Required-Start", "Required-Stop", "Default-Start", "Default-Stop")
_HEADER = "".join(["### BEGIN INIT INFO\n", *(f"# {key}:\n" for key in _KEYS), "### END INIT INFO\n"])
# What is broken -> the file of etc/ that stands in the place of the one of 2.0.
BROKEN = {
    "nginx": ("nginx/sites-available/pages.conf", "server { listen 8081; locatio / { } }\n"),
    "apache": ("apache2/sites-available/pages.conf", "Listen 8082\n<VirtualHost *:8082>\nRewriteEngin on\n</VirtualHost>\n"),
    "web": ("systemd/system/pages.service", "[Service]\nExecStrat=@root@/current/bin/run gunicorn pages\n"),
    "app": ("systemd/system/pages.service", "[Service]\nType=notify\nUser=deploy\nExecStart=@root@/current/bin/run gunicorn no_such_module\n"),
    "tick": ("systemd/system/pages-tick.timer", "[Timer]\nOnCalendar=someday\n[Install]\nWantedBy=timers.target\n"),
    "worker": ("supervisor/conf.d/pages.conf", "[program:pages-worker]\ncommand=/bin/true\nautostart=perhaps\n"),
    "logs": ("logrotate.conf", "@root@/shared/log/*.log {\n    weakly\n}\n"),
    "old": ("init.d/pages-old", f"#!/bin/sh\n{_HEADER}case $1 in\n    start) if true; then echo ;;\nesac\n"),
}
# The same, where the letters alone tell it: no artifact is made of it.
UNBUILDABLE = {
    "unpinned": ("systemd/system/pages.service", "[Service]\nExecStart=@root@/current/venv/bin/gunicorn --chdir @root@/current/src pages\n"),
    "cron": ("crontab", "61 4 * * *  @root@/current/bin/run true\n"),
    "old-header": ("init.d/pages-old", "#!/bin/sh\ntrue\n"),
}


class Pages:
    """Builds them, each when first asked for: those of ``SAID`` by their version, those of ``BROKEN`` by the name of what is broken."""

    def __init__(self, work: Path, index: Index) -> None:
        self.work, self.index = work, index
        self._artifacts: dict[str, Artifact] = {}
        self._git("init", "--quiet", "--initial-branch=main", str(work / "repository"), cwd=work)
        published("gunicorn", index.directory)

    def artifact(self, which: str) -> Artifact:
        """The artifact of one release."""
        if which not in self._artifacts:
            self._artifacts[which] = build(self._recipe(which), self.work / "artifacts", env=self.index.environment)
        return self._artifacts[which]

    def refusal(self, which: str) -> str:
        """What the build says of one of ``UNBUILDABLE``."""
        done = build_release(self._recipe(which), "-o", self.work / "none", env=self.index.environment, check=False)
        assert done.returncode == 3, done.stderr
        return done.stderr

    def _recipe(self, which: str) -> Path:
        version = which if which in SAID else f"2.0+{which}"
        text = (SAMPLE / "recipe.toml").read_text().replace("@version@", version)
        if SAID.get(version) == "":
            text = text.partition("# ----\n")[0].replace('etc = "etc"\n', "")
        self._commit(version, {**BROKEN, **UNBUILDABLE}.get(which))
        recipe = self.work / f"{which}.toml"
        recipe.write_text(text)
        if not (self.work / "pylock.pages.toml").exists():
            build_release("lock", recipe, env=self.index.environment)
        return recipe

    def _commit(self, version: str, broken: tuple[str, str] | None) -> None:
        """One commit with a tag. Each version's source says which one it is."""
        repository = self.work / "repository"
        for old in repository.iterdir():
            if old.name != ".git":
                shutil.rmtree(old) if old.is_dir() else old.unlink()
        shutil.copytree(SAMPLE / "repository", repository, dirs_exist_ok=True)
        (repository / "VERSION").write_text(version)
        for path in sorted((repository / "etc").rglob("*")):
            if path.is_file():
                path.write_text(path.read_text().replace("VERSION", SAID.get(version, "two")))
        if broken:
            (repository / "etc" / broken[0]).write_text(broken[1])
        self._git("add", "--all", "--force")
        self._git("commit", "--quiet", f"--message={version}")
        self._git("tag", f"v{version}")

    def _git(self, *argv: str, cwd: Path | None = None) -> None:
        subprocess.run(["git", *argv], cwd=cwd or self.work / "repository", env=os.environ, check=True)
