"""Hostile thin artifacts: ``thin.json`` says what is not so, or in another spelling, or of layers that nobody left out; or the host lacks them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from builder.install_release.artifact import MANIFEST_PATH, THIN_PATH, member, signature_path, stored
from builder.install_release.manifest import canonical

from .forge import LAYERS, WHEEL, Forged, deflate, honest
from .hostile_cases import ACCEPTED, Case

SRC, TINY = (layer.name for layer in LAYERS)
BASE = Forged(left_out=(TINY,))  # which the host has, in the environment of the release that is live
WHOLE = Forged()
ETC = Forged(layers=(LAYERS[0], honest("etc", {"shop.conf": b"server\n"}), LAYERS[1]))
DIGESTS = {layer.name: hashlib.sha256(layer.table.data).hexdigest() for layer in LAYERS}
GROUP = "thin"


def _says(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda said: said.update(values)


def _sound() -> Iterator[Case]:
    yield Case.of(GROUP, "of what the host has", "", BASE, statuses=ACCEPTED)
    yield Case.of(GROUP, "without a layer that the host lacks", "nothing here has it", BASE.but(left_out=(SRC, TINY)), hosts=True)
    yield Case.of(GROUP, "with another checksum than that of what is left", "", BASE.but(thin=_says(crc32=7)), statuses=ACCEPTED, verified="tail")
    yield Case.of(GROUP, "with another length than that of what is left", "", BASE.but(thin=_says(size=7)), statuses=ACCEPTED, verified="tail")


def _lists() -> Iterator[Case]:
    tiny = DIGESTS[TINY]
    unsorted = sorted(DIGESTS.values(), reverse=True)
    for name, says, forged, left_out in (
        ("that leaves nothing out", "the whole artifact", BASE.but(left_out=()), []),
        ("that says nothing of what it leaves out", "the whole artifact", BASE, []),
        ("that names a layer twice", "twice", BASE, [tiny, tiny]),
        ("not in order", "sorted", BASE.but(left_out=(SRC, TINY)), unsorted),
        ("of nobody's layer", "no layer of the manifest", BASE, ["0" * 64]),
        ("of a layer and nobody's", "no layer of the manifest", BASE, sorted([tiny, "0" * 64])),
        ("of a layer in capitals", "no layer of the manifest", BASE, [tiny.upper()]),
        ("of a layer's name", "no layer of the manifest", BASE, [TINY]),
        ("of half a digest", "no layer of the manifest", BASE, [tiny[:32]]),
        ("of 7 000 layers", "no layer of the manifest", BASE, sorted(hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(7_000))),
        ("of an escape", "no layer of the manifest", BASE, ["\x1b[2J"]),
        ("that is no list", "no list", BASE, {tiny: 1}),
        ("that is a string", "no list", BASE, tiny),
        ("of numbers", "no list", BASE, [1]),
        ("of lists", "no list", BASE, [[tiny]]),
        ("of nothing", "no list", BASE, [None]),
        ("of another layer than the one that is missing", "long", BASE, [DIGESTS[SRC]]),
        ("of more than what is missing", "too many", BASE, sorted(DIGESTS.values())),
        ("of less than what is missing", "too few", BASE.but(left_out=(SRC, TINY)), [tiny]),
        ("of a layer that is there", "too many", BASE.but(left_out=()), [tiny]),
    ):
        yield Case.of(f"{GROUP}: layers", name, says, forged.but(thin=_says(left_out=left_out)))
    yield Case.of(f"{GROUP}: layers", "of an etc", "can't be left out", ETC.but(left_out=("etc",)))
    yield Case.of(f"{GROUP}: layers", "of an etc and a wheel", "can't be left out", ETC.but(left_out=("etc", TINY)))


def _numbers() -> Iterator[Case]:
    for key in ("size", "crc32"):
        for value in (-1, 1 << 32 if key == "crc32" else 1 << 53, 1 << 99, True, None, "1", [1], {}):
            yield Case.of(f"{GROUP}: numbers", f"{key} {value!r}", "", BASE.but(thin=_says(**{key: value})))
        yield Case.of(f"{GROUP}: numbers", f"{key} that is missing", "keys", BASE.but(thin=lambda said, key=key: said.pop(key)))  # type: ignore[misc]
    yield Case.of(f"{GROUP}: numbers", "a key too many", "keys", BASE.but(thin=_says(more=1)))
    yield Case.of(f"{GROUP}: numbers", "no list at all", "keys", BASE.but(thin=lambda said: said.pop("left_out")))


def _spelled(change: Callable[[bytes, dict[str, Any]], bytes]) -> Forged:
    return BASE.but(thin=lambda said: said.update(spelled=change(canonical(dict(said)), dict(said))))


def _spellings() -> Iterator[Case]:
    for name, change in (
        ("with white space", lambda data, said: json.dumps(said, sort_keys=True).encode() + b"\n"),
        ("not sorted", lambda data, said: json.dumps(dict(reversed(said.items())), separators=(",", ":")).encode() + b"\n"),
        ("without its line feed", lambda data, said: data[:-1]),
        ("with a line feed too many", lambda data, said: data + b"\n"),
        ("with a carriage return", lambda data, said: data[:-1] + b"\r\n"),
        ("with a float", lambda data, said: data.replace(b'"size":', b'"size":1.')),
        ("with a key twice", lambda data, said: data.replace(b'"size":', b'"size":1,"size":')),
        ("with a BOM", lambda data, said: b"\xef\xbb\xbf" + data),
        ("with NUL behind it", lambda data, said: data + b"\0"),
        ("in another encoding", lambda data, said: data.decode().encode("utf-16")),
        ("that is a list", lambda data, said: b"[]\n"),
        ("that is null", lambda data, said: b"null\n"),
        ("that is a number", lambda data, said: b"1\n"),
        ("that is a number of 300 000 digits", lambda data, said: b"9" * 300_000 + b"\n"),
        ("of lists in lists", lambda data, said: b"[" * 100_000 + b"]" * 100_000 + b"\n"),
        ("of no bytes", lambda data, said: b"\n"),
        ("of noise", lambda data, said: b"noise"),
        ("of 600 KiB", lambda data, said: canonical({**said, "left_out": ["0" * 64] * 9000})),
    ):
        yield Case.of(f"{GROUP}: spelling", name, "", _spelled(change))


def _members() -> Iterator[Case]:
    """The member itself: it has one place and one spelling."""
    said: dict[str, Any] = {}
    BASE.but(thin=said.update).artifact()
    data = canonical(said)
    signed = BASE.but(signatures=(b"x" * 99,))
    for name, change in (
        ("executable", lambda there: stored(member(THIN_PATH, data, 0o755))),
        ("under another name", lambda there: stored(member("release/thin.jsom", data))),
        ("in another directory", lambda there: stored(member("thin.json", data))),
        ("compressed", lambda there: deflate(member(THIN_PATH, data))),
        ("twice", lambda there: there * 2),
        ("cut off", lambda there: there[:-99]),
        ("with a gap", lambda there: there + bytes(512)),
        ("in two blocks", lambda there: stored(member(THIN_PATH, data)[:512]) + stored(member(THIN_PATH, data)[512:])),
        ("with an empty block before it", lambda there: b"\0\0\0\xff\xff" + there),
        ("with a signature behind it", lambda there: there + stored(member(signature_path(1), b"x" * 99))),
        ("with another manifest behind it", lambda there: there + stored(member(MANIFEST_PATH, b"{}\n"))),
        ("missing", lambda there: b""),
    ):
        yield Case.of(f"{GROUP}: member", name, "", BASE.but(thinned=change))
    yield Case.of(
        f"{GROUP}: member", "before the signature", "", signed.but(signed=lambda there: stored(member(THIN_PATH, data)) + there, left_out=None)
    )
    for name, change in (
        ("with another trailer", lambda there: there[:-1] + bytes([there[-1] ^ 1])),
        ("with the trailer of the whole", lambda there: there[:-8] + WHOLE.artifact()[-8:]),
        ("cut off", lambda there: there[:-9]),
        ("with a byte behind it", lambda there: there + b"\0"),
        ("with the whole behind it", lambda there: there + WHOLE.artifact()),
    ):
        yield Case.of(f"{GROUP}: ends", name, "", BASE.but(whole=change))


def _donors() -> Iterator[Case]:
    """The table that the host kept is the one of that digest, whatever else the manifest says of the layer."""
    for name, lies in (
        ("of more files", {"files": len(WHEEL) + 1}),
        ("of more bytes", {"size": 1 << 30}),
        ("under another name", {"name": "tony-1.0-py3-none-any"}),
    ):

        def change(value: dict[str, Any], lies: dict[str, Any] = lies) -> None:
            value["layers"][1].update(lies)
            value["env"]["share"] = False  # else the environment that is here is used as it is

        yield Case.of(f"{GROUP}: donors", name, "", BASE.but(change=change), statuses=(0, 3))


def cases() -> Iterator[Case]:
    yield from _sound()
    yield from _lists()
    yield from _numbers()
    yield from _spellings()
    yield from _members()
    yield from _donors()
