"""``release/thin.json``: which layers a thin artifact leaves out, and what is left. docs/format.md specifies it.

It is not signed: all that it may say follows from the manifest, but for a choice of layers and the checksum of what is left.
"""

from __future__ import annotations

from . import manifest as contract
from .errors import ArtifactError, Problem
from .manifest import Manifest, Tail, canonical
from .records import NamedTuple
from .typed import Any

MAX_BYTES = 512 << 10  # 4 096 digests and a little
NEVER = ("etc",)  # kinds of layer that are never left out: a host keeps what it made of them with its own values
_KEYS = {"crc32", "left_out", "size"}


class Thin(NamedTuple):
    """``left_out``: digests of layers; ``tail``: what there is from the installer to the trailer; ``gaps``: begin and end of what there is not,
    counted as ranges are, in order."""

    left_out: frozenset[str]
    tail: Tail
    gaps: tuple[tuple[int, int], ...]


def of(manifest: Manifest, left_out: frozenset[str], size: int, crc32: int) -> Thin:
    """A thin artifact without the layers ``left_out``. ``size`` and ``crc32`` are those of what is left, inflated."""
    gaps: list[tuple[int, int]] = []
    for layer in manifest.layers:
        if layer.digest in left_out:
            begin, end = layer.table.offset, layer.table.offset + layer.bytes
            if gaps and gaps[-1][1] == begin:
                begin, _ = gaps.pop()
            gaps.append((begin, end))
    return Thin(left_out, Tail(manifest.tail.bytes - sum(end - begin for begin, end in gaps), size, crc32), tuple(gaps))


def to_bytes(thin: Thin) -> bytes:
    """Its one spelling."""
    return canonical({"crc32": thin.tail.crc32, "left_out": sorted(thin.left_out), "size": thin.tail.size})


def parse(data: bytes, manifest: Manifest) -> Thin:
    """Read what stands behind the signatures of a thin artifact. Raises ``ArtifactError``."""
    try:
        value = contract.load_canonical(data, "thin.json")
    except ArtifactError as error:
        raise _wrong(*error.problems) from None
    problems = [Problem("thin.json", what) for what in _problems(value, manifest)]
    if problems:
        raise _wrong(*problems)
    return of(manifest, frozenset(value["left_out"]), value["size"], value["crc32"])


def _problems(value: Any, manifest: Manifest) -> list[str]:
    if not isinstance(value, dict) or value.keys() != _KEYS:
        return [f"has other keys than {', '.join(sorted(_KEYS))}"]
    left_out, found = value["left_out"], []
    if type(value["size"]) is not int or not 0 <= value["size"] < 1 << 53:
        found.append("size is no length")
    if type(value["crc32"]) is not int or not 0 <= value["crc32"] < 1 << 32:
        found.append("crc32 is no 32-bit number")
    if not isinstance(left_out, list) or not left_out or not all(isinstance(each, str) for each in left_out):
        return [*found, "left_out is no list of digests: what leaves nothing out is the whole artifact"]
    if left_out != sorted(set(left_out)):
        found.append("left_out is not sorted, or holds a digest twice")
    wanted, known = set(left_out), {layer.digest for layer in manifest.layers}
    found += [f"left_out holds {each[:64]!r}, which is no layer of the manifest" for each in left_out if each not in known][:1]
    never = [layer.name for layer in manifest.layers if layer.kind in NEVER and layer.digest in wanted]
    found += [f"{name} can't be left out: a host keeps what it made of it with its own values" for name in never[:1]]
    return found


def _wrong(*problems: Problem) -> ArtifactError:
    return ArtifactError("the thin artifact is not valid", problems)
