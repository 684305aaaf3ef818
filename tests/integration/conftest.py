"""What the tests on real hosts share: a root file system, hosts, and the applications built once in a session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from tests.distributions import Index, serve

from .applications import Workshop
from .host import Host
from .probe import Probe
from .rootfs import UID, root_file_system


class MakeHost(Protocol):
    """Starts a host; it ends with the test."""

    def __call__(self, tree: Path | None = None, *, uid: int = UID, srv_bytes: int | None = None) -> Host: ...


@pytest.fixture(scope="session")
def debian() -> Path:
    """The root file system of a plain Debian 12 with its own Python 3.11 and nothing else."""
    return root_file_system("bookworm", "python3")


@pytest.fixture
def make_host(debian: Path, tmp_path: Path) -> Iterator[MakeHost]:
    """Hosts of this test; each has a /srv of its own."""
    with ExitStack() as hosts:
        count = 0

        def make(tree: Path | None = None, *, uid: int = UID, srv_bytes: int | None = None) -> Host:
            nonlocal count
            count += 1
            return hosts.enter_context(Host(tree or debian, tmp_path / f"srv{count}", uid=uid, srv_bytes=srv_bytes))

        yield make


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    """A plain host."""
    return make_host()


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """Where applications are built; caches and artifacts last for the session."""
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """A package index of this test's own, empty at first."""
    with serve(tmp_path / "index") as served:
        yield served


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    """The probe and its index; artifacts last for the session."""
    with serve(tmp_path_factory.mktemp("probe-index")) as served:
        yield Probe(tmp_path_factory.mktemp("probe"), served)
