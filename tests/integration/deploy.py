"""What an operator does with an application on a host: set it up, install, serve, look."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .applications import Application
from .host import Host, wait_until

ROOT = "/srv/app"
ADDRESS = "127.0.0.1:8000"
INSTALLER = f"{ROOT}/bin/install-release"
RUN = f"{ROOT}/current/bin/run"


def set_up(host: Host, application: Application) -> None:
    """What the host has to know before the first release: its ``shared/env``, and other files that are its own."""
    for name, text in {"env": application.settings, **application.files}.items():
        host.run("sh", "-c", 'mkdir -p "${0%/*}" && umask 027 && cat > "$0"', f"{ROOT}/shared/{name}", input=text)


def bootstrap(host: Host, artifact: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The first installation: the installer comes out of the artifact itself."""
    host.copy(artifact, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "release/install-release", cwd=host.upload)
    return host.run("python3", "release/install-release", "release.tgz", "--root", ROOT, *options, cwd=host.upload)


def set_up_by_bootstrap(host: Host, artifact: Path, root: str) -> str:
    """What an administrator does once: print the script for a release as the user who deploys, run it as root. The script.

    The installer stays in the upload directory.
    """
    host.copy(artifact, "release.tgz")
    host.run("tar", "xzf", "release.tgz", "--occurrence=1", "--strip-components=1", "release/install-release", cwd=host.upload)
    script = host.run("python3", "install-release", "bootstrap", "--print", "release.tgz", "--root", root, cwd=host.upload).stdout
    said = host.administrate("sh", "-c", "sh 2>&1 || echo failed", input=script)
    assert not said.endswith("failed\n"), said
    return script


def install(host: Host, artifact: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A later installation, by the installer that the host has."""
    return host.run(INSTALLER, host.copy(artifact, "release.tgz"), *options)


def current(host: Host) -> str:
    """The id of the live release."""
    return os.path.basename(host.run("readlink", f"{ROOT}/current").stdout.strip())


@contextmanager
def served(host: Host, application: Application, log: Path) -> Iterator[None]:
    """The application, served by gunicorn through ``bin/run`` for as long as the block lasts."""
    with host.service(RUN, "gunicorn", "--workers=2", f"--bind={ADDRESS}", *application.wsgi, log=log) as process:
        try:
            wait_until(lambda: process.poll() is not None or host.get(f"http://{ADDRESS}{application.page}"))
            assert process.poll() is None
        except AssertionError:
            raise AssertionError(f"the service does not answer:\n{log.read_text()}") from None
        yield


def shows(host: Host, application: Application, version: str) -> None:
    """The page is that of ``version``, and of no other."""
    page = host.get(f"http://{ADDRESS}{application.page}")
    has, has_not = application.marks[version]
    assert has in page, f"{has!r} is not in:\n{page[:2000]}"
    assert has_not not in page, f"{has_not!r} is in:\n{page[:2000]}"
