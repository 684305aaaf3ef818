"""The manifest: one spelling, and every contradiction named."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.install_release import manifest as contract
from builder.install_release.artifact import open_artifact
from builder.install_release.crc import crc32_combine
from builder.install_release.declared import Health, Hook, Service
from builder.install_release.errors import ArtifactError
from builder.install_release.records import as_dict
from tests.releases import write_release

SERVICE = as_dict(Service("web", "systemd", unit="web.service", restart_on=("release",)))
HOOK = as_dict(Hook("pre_flip", ("true",)))
HEALTH = as_dict(Health(url="http://127.0.0.1:8000/", status=200, passes=1, deadline=1))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    built = write_release(tmp_path_factory.mktemp("a"), {"src": {"a.py": "a"}, "wheel:x-1-py3-none-any": {"lib/x.py": "x"}})
    with open_artifact(built.path) as artifact:
        return artifact.manifest_bytes


def test_a_manifest_survives_a_round_trip(data: bytes) -> None:
    """Parsing and writing again gives the same bytes."""
    assert contract.to_bytes(contract.parse(data)) == data


def test_the_id_is_derived_from_the_commit_time_and_the_manifest(data: bytes) -> None:
    """14 digits of the commit's time in UTC, 12 of the manifest's sha256."""
    identity = contract.release_id(1763892672, data)
    assert identity.startswith("20251123101112-")
    assert contract.RELEASE_ID.fullmatch(identity)


@pytest.mark.parametrize(
    "spelling",
    [
        lambda text: text.replace(",", ", ", 1),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace('"format":1', '"format":1.0'),
        lambda text: text.replace('"name":"shop"', '"name":"shop","name":"shop"'),
        lambda text: text.replace('"shop"', '"sh\\u006fp"', 1),
        lambda text: "[" * 100_000,
        lambda text: text.replace("shop", "sh\u00f6p"),
        lambda text: text.replace('"commit_time":1763892672', '"commit_time":NaN'),
        lambda text: text.replace('"keep_releases":5', '"keep_releases":' + "9" * 900_000),
        lambda text: text.replace("{", "{" + " " * (1 << 20), 1),
    ],
)
def test_only_one_spelling_is_read(data: bytes, spelling: Callable[[str], str]) -> None:
    """White space, floats, duplicate keys, escapes and the like are refused: two readers must not see two manifests."""
    with pytest.raises(ArtifactError):
        contract.parse(spelling(data.decode()).encode("latin-1"))


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda m: m.update(name="../x"), "name"),
        (lambda m: m.update(version="1 0"), "version"),
        (lambda m: m.update(commit="abc"), "commit"),
        (lambda m: m.update(commit_time=-1), "commit_time"),
        (lambda m: m.update(root="srv"), "root"),
        (lambda m: m.update(root="/srv/../etc"), "root"),
        (lambda m: m.update(keep_releases=0), "keep_releases"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m.pop("target"), "target"),
        (lambda m: m["env"].update(kind="egg"), "env.kind"),
        (lambda m: m["env"].update(share=1), "env.share"),
        (lambda m: m["requires"].update(linked_dirs=["../media"]), "requires.linked_dirs"),
        (lambda m: m["requires"].update(env=["A-B"]), "requires.env"),
        (lambda m: m["layers"][0].update(kind="evil"), "layers[src]"),
        (lambda m: m["layers"][0].update(name="../src"), "layers[../src]"),
        (lambda m: m["layers"][1].update(name="src"), "layers[src]"),
        (lambda m: m["layers"][0].update(bytes=1), "layers[src]"),
        (lambda m: m["layers"][0]["table"].update(sha256="0"), "layers[src].table"),
        (lambda m: m["layers"][1]["table"].update(offset=0), "layers[x-1-py3-none-any].table"),
        (lambda m: m["layers"].reverse(), "layers[src].table"),
        (lambda m: m["tail"].update(bytes=5), "tail.bytes"),
        (lambda m: m["tail"].update(crc32=1 << 40), "tail.crc32"),
        (lambda m: m["installer"].update(offset=1), "installer"),
        (lambda m: m.update(format=2), "format"),
        (lambda m: m.update(layers={}), "layers"),
        (lambda m: m.update(layers=[{}] * 5000), "layers"),
        (lambda m: m.update(root="/srv/\x1b[2J"), "root"),
        (lambda m: m.update(root="/srv/\ud800"), "root"),
        (lambda m: m.update(minimum_installer="\u00b2.0"), "minimum_installer"),
        (lambda m: m.update(minimum_installer="9" * 5000), "minimum_installer"),
        (lambda m: m["target"].update(python="\uff13.11"), "target.python"),
        (lambda m: m["target"].update(abi="\x1b[2J"), "target.abi"),
        (lambda m: m["target"].update(byte_code="xyz"), "target.byte_code"),
        (lambda m: m["target"]["libc"].update(minimum="2." + "9" * 5000), "target.libc.minimum"),
        (lambda m: m["requires"].update(commands=["\x1b[2J"]), "requires.commands"),
        (lambda m: m["requires"].update(linked_dirs=[f"m{n}" for n in range(300)]), "requires.linked_dirs"),
        (lambda m: m["installer"].update(size=5 << 20), "installer"),
    ],
)
def test_what_contradicts_itself_is_refused_where_it_does(data: bytes, change: Callable[[Any], Any], where: str) -> None:
    """Each problem names the key that is wrong."""
    value = json.loads(data)
    change(value)
    with pytest.raises(ArtifactError) as caught:
        contract.parse(contract.canonical(value))
    assert where in [problem.where for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda m: m["overlay"].update(copied=[{"path": "../a", "to": "/etc/a"}]), "overlay.copied"),
        (lambda m: m["overlay"].update(copied=[{"path": "a", "to": "etc/a"}]), "overlay.copied"),
        (lambda m: m["overlay"].update(copied=[{"path": "a", "to": "/etc/../a"}]), "overlay.copied"),
        (lambda m: m["overlay"].update(copied=[{"path": "a", "to": "/etc/a/"}]), "overlay.copied"),
        (lambda m: m["overlay"].update(copied=[{"path": "a", "to": "/x"}, {"path": "b", "to": "/x/y"}]), "overlay.copied"),
        (lambda m: m["overlay"].update(copied=[{"path": f"a{i}", "to": f"/x{i}"} for i in range(300)]), "overlay.copied"),
        (lambda m: m["overlay"].update(on_conflict=[{"path": "/a", "verdict": "refuse"}]), "overlay.on_conflict"),
        (lambda m: m["overlay"].update(on_conflict=[{"path": "a", "verdict": "delete"}]), "overlay.on_conflict"),
        (lambda m: m.update(services=[{**SERVICE, "kind": "docker"}]), "services[web].kind"),
        (lambda m: m.update(services=[{**SERVICE, "name": "../x"}]), "services[../x].name"),
        (lambda m: m.update(services=[{**SERVICE, "unit": "--force"}]), "services[web].unit"),
        (lambda m: m.update(services=[{**SERVICE, "unit": ""}]), "services[web].unit"),
        (lambda m: m.update(services=[{**SERVICE, "program": "x"}]), "services[web].program"),
        (lambda m: m.update(services=[{**SERVICE, "config": ["../../etc/shadow"]}]), "services[web].config"),
        (lambda m: m.update(services=[{**SERVICE, "restart_on": ["always"]}]), "services[web].restart_on"),
        (lambda m: m.update(services=[{**SERVICE, "restart_on": ["env", "env"]}]), "services[web].restart_on"),
        (lambda m: m.update(services=[{**SERVICE, "deadline": 0}]), "services[web].deadline"),
        (lambda m: m.update(services=[{**SERVICE, "deadline": 1 << 40}]), "services[web].deadline"),
        (lambda m: m.update(services=[{**SERVICE, "kind": "command", "unit": "", "restart": ["a\0b"]}]), "services[web].restart"),
        (lambda m: m.update(services=[{**SERVICE, "kind": "command", "unit": "", "restart": ["--x"]}]), "services[web].restart"),
        (lambda m: m.update(services=[{**SERVICE, "kind": "command", "unit": "", "restart": ["x"] * 300}]), "services[0].restart"),
        (lambda m: m.update(services=[SERVICE, SERVICE]), "services"),
        (lambda m: m.update(services=[{**SERVICE, "name": f"s{i}", "unit": f"s{i}.service"} for i in range(300)]), "services"),
        (lambda m: m.update(services=[{**SERVICE, "surprise": 1}]), "services[0].surprise"),
        (lambda m: m.update(hooks=[{**HOOK, "when": "now"}]), "hooks[0].when"),
        (lambda m: m.update(hooks=[{**HOOK, "run": []}]), "hooks[0].run"),
        (lambda m: m.update(hooks=[{**HOOK, "run": [""]}]), "hooks[0].run"),
        (lambda m: m.update(hooks=[{**HOOK, "deadline": 0}]), "hooks[0].deadline"),
        (lambda m: m["health"].update(passes=3), "health.url"),
        (lambda m: m.update(health={**HEALTH, "tcp": "h:1"}), "health.tcp"),
        (lambda m: m.update(health={**HEALTH, "url": "file:///etc/passwd"}), "health.url"),
        (lambda m: m.update(health={**HEALTH, "url": "http://h/a b"}), "health.url"),
        (lambda m: m.update(health={**HEALTH, "url": "http://u@h/"}), "health.url"),
        (lambda m: m.update(health={**HEALTH, "url": "https://h/"}), "health.url"),
        (lambda m: m.update(health={**HEALTH, "url": "http://h:65536/"}), "health.url"),
        (lambda m: m.update(health={**HEALTH, "socket": "@root@/../x"}), "health.socket"),
        (lambda m: m.update(health={**HEALTH, "status": 99}), "health.status"),
        (lambda m: m.update(health={**HEALTH, "passes": 1000}), "health.passes"),
        (lambda m: m.update(health={**HEALTH, "passes": 5}), "health.passes"),
        (lambda m: m.update(health={**HEALTH, "deadline": 0}), "health.deadline"),
        (lambda m: m.update(health={**HEALTH, "body": "x" * 5000}), "health.body"),
        (lambda m: m.update(rollback_safe_to="1 0"), "rollback_safe_to"),
    ],
)
def test_what_a_host_is_asked_to_do_is_checked_again_where_it_is_read(data: bytes, change: Callable[[Any], Any], where: str) -> None:
    """A manifest need not come from a recipe: paths, names, words and numbers are bounded here too."""
    value = json.loads(data)
    change(value)
    with pytest.raises(ArtifactError) as caught:
        contract.parse(contract.canonical(value))
    assert where in [problem.where for problem in caught.value.problems]


def test_what_a_host_can_be_asked_to_do_is_read(data: bytes) -> None:
    """The same values without the faults."""
    value = json.loads(data)
    copied = [{"path": "a", "to": "/etc/a"}, {"path": "b", "to": "/etc/ab"}]
    value["overlay"] = {"copied": copied, "on_conflict": [{"path": "**/*.conf", "verdict": "beside"}]}
    value.update(services=[SERVICE], hooks=[HOOK], health={**HEALTH, "socket": "@root@/shared/x"}, rollback_safe_to="1.2")
    manifest = contract.parse(contract.canonical(value))
    assert manifest.services == (Service("web", "systemd", unit="web.service", restart_on=("release",)),)
    assert manifest.hooks == (Hook("pre_flip", ("true",)),)
    assert manifest.health.declared


def test_all_problems_are_reported_together(data: bytes) -> None:
    """One reading names every mistake."""
    value = json.loads(data)
    value.update(name="", commit="", root="")
    with pytest.raises(ArtifactError) as caught:
        contract.parse(contract.canonical(value))
    assert {problem.where for problem in caught.value.problems} >= {"name", "commit", "root"}


@pytest.mark.parametrize("path", ["", "/a", "a//b", "a/../b", "./a", "a/.", "a\nb", "a\0b", "x" * 256, "a/" * 128 + "a", "\ud800", "a\u202eb"])
def test_paths_that_lead_astray_are_not_safe(path: str) -> None:
    """No root, no way up, no control or direction characters, nothing longer than a file system holds."""
    assert not contract.safe_relative(path)


@pytest.mark.parametrize("path", ["a", "a/b c/d", "käse/ø.py", "..a/b..", "a/" * 127 + "a", "x" * 255])
def test_ordinary_paths_are_safe(path: str) -> None:
    """Spaces, letters of any language and dots in names are fine."""
    assert contract.safe_relative(path)


@pytest.mark.parametrize("length", [0, 1, 511, 70_000])
def test_checksums_of_parts_combine(length: int) -> None:
    """The CRC-32 of A + B follows from those of A and B."""
    first, second = b"first" * 99, bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    assert crc32_combine(zlib.crc32(first), zlib.crc32(second), len(second)) == zlib.crc32(first + second)


def test_the_reading_end_needs_no_file(tmp_path: Path) -> None:
    """A path that isn't there, and one that is a directory, are typed errors."""
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(ArtifactError):
            open_artifact(path)
