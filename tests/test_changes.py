"""changes: what one release has that another has not."""

from __future__ import annotations

import os
from pathlib import Path

from builder.changes import Changes, Package, compare, last_of, packages
from tests.releases import write_release


def test_packages_are_read_from_the_names_of_wheels(tmp_path: Path) -> None:
    """Name and version of each distribution come from its layer's name: normalised name, epoch, local version and build number included."""
    layers = {
        "src": {"a": "1"},
        "wheel:Django-5.2-py3-none-any": {"a": "1"},
        "wheel:ruamel_yaml.clib-1!0.2+local-7b-cp311-cp311-linux_x86_64": {"b": "1"},
    }
    assert packages(write_release(tmp_path, layers).manifest) == {"django": "5.2", "ruamel-yaml-clib": "1!0.2+local"}


def test_packages_that_came_went_and_moved_are_told(tmp_path: Path) -> None:
    """Only what differs is listed, sorted by name, with the bytes of the layers that are new."""
    before = write_release(
        tmp_path,
        {"src": {"a": "1"}, "wheel:a-1-py3-none-any": {"a": "1"}, "wheel:b-1-py3-none-any": {"b": "1"}, "wheel:c-1-py3-none-any": {"c": "1"}},
    )
    after = write_release(
        tmp_path,
        {"src": {"a": "2"}, "wheel:a-1-py3-none-any": {"a": "1"}, "wheel:b-2-py3-none-any": {"b": "2"}, "wheel:d-1-py3-none-any": {"d": "1"}},
        version="1.1",
    )
    new = [layer for layer in after.layers if layer.name in ("src", "b-2-py3-none-any", "d-1-py3-none-any")]
    assert compare(before.manifest, before.id, after.manifest) == Changes(
        since="1.0",
        since_id=before.id,
        packages=(Package("b", "1", "2"), Package("c", "1", ""), Package("d", "", "1")),
        layers=("src", "b-2-py3-none-any", "d-1-py3-none-any"),
        new_bytes=sum(layer.bytes for layer in new),
    )


def test_the_last_artifact_is_the_one_written_last(tmp_path: Path) -> None:
    """Of the artifacts of one application the newest file counts; others, broken ones and other applications' do not."""
    assert last_of("shop", tmp_path) is None
    first = write_release(tmp_path, {"src": {"a": "1"}})
    second = write_release(tmp_path, {"src": {"a": "2"}}, version="0.9")
    os.utime(first.path, (1000, 1000))
    write_release(tmp_path, {"src": {"a": "3"}}, name="shop-admin", version="7")
    (tmp_path / "shop-broken.tgz").write_bytes(b"x")
    found = last_of("shop", tmp_path)
    assert found is not None
    assert found[1] == second.id


def test_a_directory_that_is_not_there_holds_no_artifact(tmp_path: Path) -> None:
    """The first build into a new directory has nothing to be compared with."""
    assert last_of("shop", tmp_path / "none") is None
