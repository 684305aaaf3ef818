"""``install-release have``: the layers that need not be sent again, and nothing that can't be made again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import pytest

from builder.install_release import have, prune
from builder.install_release.artifact import open_artifact
from builder.install_release.host import Host

from .roots import SITE, artifact, has, id_of, install, run, snapshot

NOTHING = {"current": "", "format": 1, "installer": {"sha256": "", "version": ""}, "layers": [], "name": ""}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "srv/shop"


def digests(path: Path, *kinds: str) -> set[str]:
    with open_artifact(path) as opened:
        return {layer.digest for layer in opened.manifest.layers if layer.kind in kinds}


def test_a_bare_host_has_nothing(tmp_path: Path, root: Path) -> None:
    """Without a root, and with an empty one: status 0, an empty list, and nothing is made."""
    done = run("have", "--root", root, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {**NOTHING, "root": str(root)})
    assert not root.exists()
    root.mkdir(parents=True)
    done = run("have", "--root", root, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {**NOTHING, "root": str(root)})
    assert list(root.iterdir()) == []
    assert run("have", "--root", root).stdout == f"nothing is live at {root}: 0 layers need not be sent again\n"


def test_it_says_what_every_release_and_environment_can_lend(tmp_path: Path, root: Path) -> None:
    """Of all that are here, good or not, live or not: source, assets and wheels; never etc, of which the host keeps what it made. Sorted."""
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "1.1", wheel="2")
    install(root, first)
    install(root, second, activate=False)
    before = snapshot(root)
    done = run("have", "--root", root, "--json")
    value = json.loads(done.stdout)
    assert value["layers"] == sorted(digests(first, "src", "wheel") | digests(second, "src", "wheel"))
    program = (root / "bin/install-release").read_bytes()
    assert value["installer"] == {"version": "1.0.0", "sha256": hashlib.sha256(program).hexdigest()}
    assert (value["name"], value["root"], value["current"], value["format"]) == ("shop", str(root), id_of(first), 1)
    shown = run("have", "--root", root).stdout.splitlines()
    assert shown[0] == f"shop is live at {root}: 4 layers need not be sent again"
    assert [line.split()[1] for line in shown[1:]].count("lib-1-py3-none-any") == 2
    assert snapshot(root) == before


def test_what_was_pruned_is_not_there(tmp_path: Path, root: Path) -> None:
    """When a release and its environment are gone, so are their layers; an environment without a table is none."""
    first, second = artifact(tmp_path, "1.0"), artifact(tmp_path, "1.1", wheel="2")
    gone = install(root, first)
    install(root, second)
    with Host(str(root)) as host:
        prune.discard_release(host, gone.id)
        assert has(root) == digests(first, "wheel") | digests(second, "src", "wheel")
        prune.discard_environment(host, gone.env)
    assert has(root) == digests(second, "src", "wheel")
    for table in root.glob(".install/envs/*.json"):
        table.unlink()
    assert has(root) == digests(second, "src")


def test_a_file_that_was_touched_is_read(tmp_path: Path, root: Path) -> None:
    """An edit counts, wherever it is and whatever the file's time says; a file that was only copied or touched, and is the same, does not."""
    path = artifact(tmp_path, "1.0")
    outcome = install(root, path)
    module, source = root / "envs" / outcome.env / SITE / "lib.py", root / "releases" / outcome.id / "src/app.py"
    everything = has(root)
    time.sleep(0.02)  # a file system's clock ticks
    os.utime(module)
    shutil.copy2(source, tmp_path / "copy")
    os.replace(tmp_path / "copy", source)
    assert has(root) == everything
    for place, kind in ((module, "wheel"), (source, "src")):
        data, times = place.read_bytes(), place.stat()
        place.write_bytes(data.swapcase())
        os.utime(place, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert has(root) == everything - digests(path, kind)
        place.write_bytes(data)
        assert has(root) == everything


@pytest.mark.parametrize(
    "harm", ["releases/*/release.json", "releases/*/install.json", ".install/envs/*.json", "envs/*/.tables/*", "releases/*/.tables/src"]
)
def test_damaged_records_lend_nothing_and_stop_nothing(tmp_path: Path, root: Path, harm: str) -> None:
    """Whatever of a host's state is gone or is noise: what hangs on it is not said, and all else is."""
    path = artifact(tmp_path, "1.0")
    install(root, path)
    (place,) = root.glob(harm)
    sound, lost = has(root), digests(path, "wheel" if "env" in harm else "src")
    place.write_bytes(b"noise")
    noise = run("have", "--root", root, "--json")
    place.unlink()
    gone = run("have", "--root", root, "--json")
    assert noise.returncode == gone.returncode == 0
    kept = sound if harm.endswith("install.json") else sound - lost  # of that only its time is needed
    assert set(json.loads(noise.stdout)["layers"]) == kept
    assert set(json.loads(gone.stdout)["layers"]) == sound - lost


def test_the_source_only_installation_does_not_import_it(tmp_path: Path, root: Path) -> None:
    """Nothing of this is loaded where a whole artifact is installed and its environment is there: each start would pay for it."""
    import subprocess
    import sys

    install(root, artifact(tmp_path, "1.0"))
    path = artifact(tmp_path, "1.1")
    program = (
        "import sys; from builder.install_release import cli\n"
        f"status = cli.main([{str(path)!r}, '--root', {str(root)!r}, '--allow-root'])\n"
        "names = ('have', 'donors', 'thin', 'spool')\n"
        "print(status, [name for name in names if f'builder.install_release.{name}' in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.splitlines()[-1] == "0 []"


def test_layers_are_sorted_by_digest(tmp_path: Path, root: Path) -> None:
    """And each is there once, though several environments have it."""
    for number in range(3):
        install(root, artifact(tmp_path, f"1.{number}", wheel=str(number % 2)))
    said = [layer.digest for layer in have.gather(str(root)).layers]
    assert said == sorted(set(said))
