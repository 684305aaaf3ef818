"""A store of each kind, empty, for every test that asks for one; the server behind the second is one for the whole session."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.store import Store, open_store
from tests.store.weed import BUCKET, Server, serving

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A real S3 server."""
    with tempfile.TemporaryDirectory(prefix="weed-") as directory, serving(Path(directory)) as running:
        yield running


@pytest.fixture
def bucket(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty prefix; boto3 finds the server, and is its builder."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/test-{next(_numbers)}"


@pytest.fixture(params=["directory", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store."""
    if request.param == "s3":
        address: str = request.getfixturevalue("bucket")
        return address
    (tmp_path / "store").mkdir()
    return str(tmp_path / "store")


@pytest.fixture
def store(url: str) -> Store:
    return open_store(url)
