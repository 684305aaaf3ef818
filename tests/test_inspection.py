"""inspection: what is in an artifact."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builder.artifact.inspection import Content, inspect
from builder.errors import ArtifactError
from tests.releases import write_release


def test_an_artifact_is_described(tmp_path: Path) -> None:
    """Length, digest and id are those of the file; the largest files come first, equal ones by path."""
    built = write_release(tmp_path, {"src": {"big": "x" * 5000, "a": "y", "b": "z"}, "wheel:w-1-py3-none-any": {"lib/w.py": "w" * 300}})
    found = inspect(built.path, most=3)
    assert (found.bytes, found.id, found.manifest, found.signatures) == (built.path.stat().st_size, built.id, built.manifest, ())
    assert found.sha256 == hashlib.sha256(built.path.read_bytes()).hexdigest()
    assert found.largest == (Content("src/big", 5000, "src"), Content("venv/lib/w.py", 300, "w-1-py3-none-any"), Content("src/a", 1, "src"))


@pytest.mark.parametrize("content", [b"", b"no gzip", b"\x1f\x8b" + b"\0" * 600])
def test_what_is_no_artifact_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that build-release did not make is a typed error of the build half, which names it."""
    (tmp_path / "x.tgz").write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        inspect(tmp_path / "x.tgz")
    assert str(tmp_path / "x.tgz") in caught.value.message


def test_a_truncated_artifact_is_refused(tmp_path: Path) -> None:
    """An artifact without its end is not described as if it were whole."""
    built = write_release(tmp_path, {"src": {"a": "1"}})
    built.path.write_bytes(built.path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="not whole"):
        inspect(built.path)
