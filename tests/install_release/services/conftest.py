"""A place for each test of services, and whether the programs are here that it is about."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from builder.install_release.services import commands
from tests.conftest import missing

from .place import Place


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


def needed(*programs: str) -> None:
    for name in programs:
        if not commands.find(name):
            missing(f"{name} is not installed")
