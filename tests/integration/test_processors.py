"""The same bytes on every processor: what compresses chooses its instructions when it is loaded, and must choose nothing else."""

from __future__ import annotations

import json
import marshal
import platform
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from builder.artifact.layers import LEVEL
from tests.conftest import missing

REPOSITORY = Path(__file__).parent.parent.parent
PROCESSORS = ("Nehalem", "Haswell", "max")
"""Emulated: one with SSE 4.2 and no AVX, one with AVX2, and one with all that the emulator knows."""
# A level of its own is how the control below makes other bytes; it is set in the child only.
_PROGRAM = """\
import hashlib, json, pathlib, sys
from builder.artifact import layers
layers.LEVEL = int(sys.argv[1])
print(json.dumps({path.name: hashlib.sha256(layers.compress(path.read_bytes())).hexdigest() for path in sorted(pathlib.Path(sys.argv[2]).iterdir())}))
"""


@pytest.fixture(scope="module", autouse=True)
def _emulator() -> None:
    if platform.machine() != "x86_64":
        pytest.skip("the emulated processors run x86_64 programs, and this machine has none")
    if not shutil.which("qemu-x86_64"):
        missing("qemu-x86_64 is not installed")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few MB of what artifacts hold: each kind alone, a whole segment of all mixed, and short ones, where special cases live."""
    directory = tmp_path_factory.mktemp("inputs")
    sources = [path.read_text(encoding="utf-8") for part in ("builder", "tests") for path in sorted((REPOSITORY / part).rglob("*.py"))]
    chance = random.Random(1)
    kinds = {
        "text": "".join(sources).encode(),
        "byte-code": b"".join(marshal.dumps(compile(source, "x.py", "exec")) for source in sources),
        "zeros": bytes(1 << 20),
        "random": chance.randbytes(1 << 20),
        "elf": Path(sys.executable).resolve().read_bytes()[: 2 << 20],
    }
    pieces = [data[at : at + 16384] for data in kinds.values() for at in range(0, len(data), 16384)]
    chance.shuffle(pieces)
    kinds["mixed"] = b"".join(pieces)[: 4 << 20]
    kinds |= {f"short-{length}": kinds["mixed"][:length] for length in (0, 1, 31, 257, 4096)}
    for name, data in kinds.items():
        (directory / name).write_bytes(data)
    return directory


def digests(inputs: Path, processor: str = "", level: int = LEVEL) -> Mapping[str, str]:
    """The digest of each input, compressed by this machine's processor or an emulated one."""
    emulator = ["qemu-x86_64", "-cpu", processor] if processor else []
    command = [*emulator, sys.executable, "-c", _PROGRAM, str(level), str(inputs)]
    said: dict[str, str] = json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, timeout=300).stdout)
    assert len(said) == 11
    return said


@pytest.fixture(scope="module")
def native(inputs: Path) -> Mapping[str, str]:
    return digests(inputs)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_same_bytes_on_every_processor(processor: str, inputs: Path, native: Mapping[str, str]) -> None:
    """Text, byte code, zeros, noise, machine code, and all of them mixed compress to the same bytes here and on an older and a newer processor."""
    assert digests(inputs, processor) == native


def test_other_bytes_are_noticed(inputs: Path, native: Mapping[str, str]) -> None:
    """The comparison can fail: with another level an emulated processor gives other digests for what can be compressed in several ways."""
    other = digests(inputs, "max", LEVEL + 1)
    assert {name for name in native if other[name] != native[name]} >= {"text", "byte-code", "elf", "mixed"}


@pytest.mark.parametrize(("processor", "newest"), [("Nehalem", "x86-64-v2"), ("Haswell", "x86-64-v3")])
def test_the_emulated_processors_differ(processor: str, newest: str) -> None:
    """A program that asks its processor sees the emulated one, not this machine's."""
    loader = "/lib64/ld-linux-x86-64.so.2"
    said = subprocess.run(["qemu-x86_64", "-cpu", processor, loader, "--help"], check=True, capture_output=True, text=True).stdout
    assert re.findall(r"(x86-64-v\d) \(supported", said)[:1] == [newest]
