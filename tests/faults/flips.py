"""Every byte of a small release with a bit flipped, every length that it could be cut to, and whatever may stand behind it: nothing of that is taken.

It is a whole release: source, etc/, assets, an environment, two signatures. What an installer does with it is done here, in this process: all that
the file holds is read, as for a host that has nothing yet, and unpacked in memory's own file system where there is one.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from builder.artifact.verify import verify
from builder.errors import ArtifactError as BuildError
from builder.install_release.artifact import GZIP_HEADER, Artifact
from builder.install_release.errors import ArtifactError
from builder.install_release.unpack import Destination, unpack
from tests import keys

from .forge import SOURCE, Forged, honest
from .report import Report

ROW = "flips"
_MEMORY = Path("/dev/shm")
_SAMPLE = 1500  # of a bounded run


def signature(number: int) -> bytes:
    """Nobody's, and well-formed: by a key that is all the same byte."""
    key = text(b"ssh-ed25519") + text(bytes([number]) * 32)
    parts = (key, keys.NAMESPACE.encode(), b"", b"sha512", text(b"ssh-ed25519") + text(bytes([number]) * 64))
    return keys.armour(b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(text, parts)))


def text(data: bytes) -> bytes:
    """A string of OpenSSH's."""
    return len(data).to_bytes(4, "big") + data


def release(left_out: tuple[str, ...] | None = None) -> bytes:
    """At most 64 KiB, with something of everything; told the truth by ``verify`` as well. ``left_out``: the names of layers, of a thin one."""
    noise = random.Random(11)
    layers = (
        honest("src", {**SOURCE, "empty": b"", "noise": noise.randbytes(9_000), "text": b"word " * 4_000}),
        honest("etc", {"nginx/shop.conf": b"server {}\n"}),
        honest("assets", {"logo": noise.randbytes(3_000)}),
        honest("wheel", {f"lib/m{number}.py": f"x = {number}\n".encode() for number in range(20)}, "tiny-1.0"),
    )
    data = Forged(layers=layers, signatures=(signature(1), signature(2)), left_out=left_out).artifact()
    assert len(data) <= 64 << 10
    return data


def tree(directory: Path) -> dict[str, tuple[int, bytes | str]]:
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in directory.rglob("*"):
        mode = path.lstat().st_mode
        found[str(path.relative_to(directory))] = (mode, os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "")
    return found


def take(path: Path, place: Path) -> dict[str, tuple[int, bytes | str]]:
    """All that an installer takes from an artifact on a bare host, signatures included. Raises ``ArtifactError``."""
    place.mkdir()
    to = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Artifact(os.open(path, os.O_RDONLY), "x") as artifact:
            program = artifact.read(artifact.manifest.installer)
            there = [layer for layer in artifact.manifest.layers if layer.digest not in artifact.left_out]
            unpack(artifact, there, Destination(to), processes=1)
            signed = {f"signature {number}": (0, data) for number, data in enumerate(artifact.signatures)}
            return {**tree(place), **signed, "manifest": (0, artifact.manifest_bytes), "program": (0, program)}
    finally:
        os.close(to)
        shutil.rmtree(place)


def flipped(data: bytes, positions: list[int], chosen: random.Random) -> Iterator[tuple[str, bytes]]:
    made = bytearray(data)
    for position in positions:
        bit = 1 << chosen.randrange(8)
        made[position] ^= bit
        yield f"byte {position}, bit {bit:#x}", bytes(made)
        made[position] ^= bit


def extended(data: bytes) -> Iterator[tuple[str, bytes]]:
    for name, more in (
        *((f"{count} zeros", bytes(count)) for count in (1, 2, 511, 512, 1024, 10240, 1 << 20)),
        ("a byte", b"x"),
        ("a gzip header", GZIP_HEADER),
        ("its own first half", data[: len(data) // 2]),
        ("itself", data),
        ("its own trailer", data[-8:]),
        *((f"noise of {count}", random.Random(count).randbytes(count)) for count in (1, 8, 9, 100, 1000, 4096)),
    ):
        yield f"{name} behind it", data + more
        yield f"{name} before it", more + data
        yield f"{name} in its middle", data[: len(data) // 2] + more + data[len(data) // 2 :]


def check(report: Report, cases: Iterator[tuple[str, bytes]], sound: dict[str, tuple[int, bytes | str]], verified: Callable[[int], bool]) -> int:
    """Each is refused with a typed error, by the installer and, for those numbers that are ``verified``, by ``verify``."""
    count = 0
    memory = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="flips-", dir=memory) as name:
        path = Path(name) / "x.tgz"
        for number, (words, data) in enumerate(cases):
            count += 1
            path.write_bytes(data)
            try:
                got = take(path, Path(name) / "out")
                report.violation(ROW, f"{words}: was taken, {'and is another' if got != sound else 'though what it holds is the same'}")
            except ArtifactError:
                pass
            except Exception as error:
                report.violation(ROW, f"{words}: {type(error).__name__}: {error}")
            if verified(number):
                try:
                    verify(path)
                    report.violation(ROW, f"{words}: verify takes it")
                except BuildError:
                    pass
                except Exception as error:
                    report.violation(ROW, f"{words}: verify: {type(error).__name__}: {error}")
    report.count(ROW, count)
    return count


def campaign(bounded: bool, report: Report) -> None:
    details = {"whole": _campaign(bounded, report, release(), 30), "thin": _campaign(bounded, report, release(("src", "tiny-1.0")), 4)}
    report.detail(ROW, **details)


def _campaign(bounded: bool, report: Report, data: bytes, least: int) -> dict[str, int]:
    chosen = random.Random(7)
    with tempfile.TemporaryDirectory(prefix="flips-") as name:  # the control
        path = Path(name) / "x.tgz"
        path.write_bytes(data)
        verify(path)
        sound = take(path, Path(name) / "out")
        assert len(sound) > least, sorted(sound)
    every = list(range(len(data)))
    positions = sorted({*chosen.sample(every, _SAMPLE // 2), *every[:600], *every[-60:]}) if bounded else every
    lengths = sorted(chosen.sample(every, _SAMPLE // 4)) if bounded else every
    step = 16 if bounded else 4
    flips = check(report, flipped(data, positions, chosen), sound, lambda number: number % step == 0)
    cuts = check(report, ((f"cut to {length}", data[:length]) for length in lengths), sound, lambda number: number % step == 0)
    more = check(report, extended(data), sound, lambda number: True)
    return {"bytes": len(data), "flips": flips, "truncations": cuts, "extensions": more}
