"""What is sent: made once for all hosts that have the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.artifact import thin
from builder.deploy.load import opened
from builder.errors import ArtifactError
from builder.install_release.artifact import open_artifact
from tests.releases import PROGRAM
from tests.store.releases import Wheels, release

WHEELS = Wheels({"a": ("a", 100_000), "b": ("b", 100_000)})


def test_a_thin_one_is_made_once_for_all_that_have_the_same(tmp_path: Path) -> None:
    """Other layers that a host has make no difference; one that has nothing of it gets the artifact itself. In the end nothing is left."""
    built = release(tmp_path, wheels=WHEELS)
    with open_artifact(built.path) as artifact:
        digests = {layer.name: layer.digest for layer in artifact.manifest.layers}
    with opened(built.path, None) as load:
        one = load.without(frozenset({digests["a"], "f" * 64}))
        assert load.without(frozenset({digests["a"], "0" * 64})) is one
        assert one.left_out == 1
        assert one.bytes == one.path.stat().st_size < load.bytes - 90_000
        with open_artifact(one.path) as artifact:
            assert (artifact.id, artifact.left_out) == (load.id, {digests["a"]})
        both = load.without(frozenset(digests.values()))
        assert both.bytes < one.bytes
        assert load.without(frozenset({"f" * 64})) is load.whole
        assert load.whole.path == built.path
        assert (load.installer, load.bytes) == (PROGRAM, built.bytes)
    assert not one.path.parent.exists()


def test_what_is_expected_is_compared_here_and_there(tmp_path: Path) -> None:
    """The whole one here; what is sent, by its own digest, on the host."""
    built = release(tmp_path, wheels=WHEELS)
    with open_artifact(built.path) as artifact:
        have = frozenset(layer.digest for layer in artifact.manifest.layers)
    with opened(built.path, built.sha256.upper()) as load:
        assert load.whole.sha256.lower() == built.sha256
        parcel = load.without(have)
        with open_artifact(parcel.path) as artifact:
            assert parcel.sha256 == artifact.sha256()
    with opened(built.path, None) as load:
        assert load.whole.sha256 == load.without(have).sha256 == ""


@pytest.mark.parametrize("expected", ["0" * 64, ""])
def test_another_artifact_is_refused(tmp_path: Path, expected: str) -> None:
    """An empty value too: it comes from a variable that was not set."""
    with pytest.raises(ArtifactError, match="another artifact"), opened(release(tmp_path).path, expected):
        pass


def test_what_is_no_whole_artifact_is_refused_here(tmp_path: Path) -> None:
    """Damaged, absent, or thin: no host is asked for that."""
    built = release(tmp_path, wheels=WHEELS)
    with open_artifact(built.path) as artifact:
        have = frozenset(layer.digest for layer in artifact.manifest.layers)
    thin.write(built.path, have, tmp_path / "thin.tgz")
    (tmp_path / "cut.tgz").write_bytes(built.path.read_bytes()[:-100])
    for name, said in (("thin.tgz", "thin artifact"), ("cut.tgz", "damaged|not whole"), ("none.tgz", "can't be opened")):
        with pytest.raises(ArtifactError, match=said), opened(tmp_path / name, None):
            pass
