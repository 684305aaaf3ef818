"""The whole way and back: real applications, each kind of environment, onto a host that is not the build machine and has no network."""

from __future__ import annotations

from pathlib import Path

import pytest

from .applications import APPLICATIONS, Application, Workshop
from .deploy import INSTALLER, RUN, bootstrap, current, install, served, set_up, shows
from .host import Host


@pytest.mark.parametrize("kind", ["venv", "pex", "wheelhouse"])
@pytest.mark.parametrize("application", APPLICATIONS, ids=lambda application: application.name)
def test_whole_way(application: Application, kind: str, workshop: Workshop, host: Host, tmp_path: Path) -> None:
    """Built, copied, installed, served; a second version served with the first one's data; rolled back, and the first is served again."""
    older, newer = application.versions
    first, second = (workshop.artifact(application, version, kind) for version in (older, newer))
    log = tmp_path / "service.log"
    set_up(host, application)

    bootstrap(host, first.path)
    assert current(host) == first.id
    for command in application.prepare:
        host.run(RUN, *command)
    with served(host, application, log):
        shows(host, application, older)

    install(host, second.path)
    assert current(host) == second.id
    with served(host, application, log):
        shows(host, application, newer)

    host.run(INSTALLER, "rollback")
    assert current(host) == first.id
    with served(host, application, log):
        shows(host, application, older)
    host.run(INSTALLER, "verify")
