from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .system import System


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """An empty system and root."""
    found = System(tmp_path)
    yield found
    found.host.close()
