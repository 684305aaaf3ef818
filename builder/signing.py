"""Signatures of an artifact: made by ``ssh-keygen`` over its manifest, put into the artifact, or beside it.

A key is a file with a private key, or with a public one whose private half is in the ssh-agent (or a security token): the secret itself never
comes near this process. What is signed is the manifest alone; everything else hangs off it by digests, so that a signature can be added later.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from . import run
from .artifact import publish
from .artifact.head import head, trailer
from .artifact.thin import insist_whole
from .errors import ArtifactError, Problem, SigningError
from .install_release.artifact import MAX_SIGNATURES, TRAILER_BYTES, Artifact, open_artifact
from .install_release.errors import ArtifactError as Damaged
from .install_release.manifest import Manifest
from .install_release.signatures import NAMESPACE, Signature, parse

_CHUNK = 1 << 20
_PATIENCE = 120.0  # seconds for one signature: a token waits to be touched


@dataclass(frozen=True)
class Signed:
    """An artifact and all its signatures, as they read; ``added`` are those that are new, ``files`` what was written (the artifact, or detached
    signatures). ``sha256`` is that of the artifact as it is now."""

    path: Path
    id: str
    sha256: str
    signatures: tuple[Signature, ...]
    added: tuple[Signature, ...]
    files: tuple[Path, ...]


def check(keys: Sequence[Path]) -> None:
    """Notice before the work what can't be signed with. Raises ``SigningError``."""
    remedy = "Name a key's file: the private key, or the public one of a key in the ssh-agent."
    problems = [Problem(str(key), "can't be read.", remedy) for key in keys if not _readable(key)]
    if keys and not shutil.which("ssh-keygen"):
        problems.append(Problem("ssh-keygen", "is not on PATH.", "Install OpenSSH's client (Debian: openssh-client)."))
    if problems:
        raise SigningError("the artifact could not be signed", problems)


def make(keys: Sequence[Path], name: str, manifest: bytes) -> tuple[Signature, ...]:
    """A signature of ``manifest``, that of the application ``name``, by each key; by one that is named twice, one. Raises ``SigningError``."""
    found: dict[bytes, Signature] = {}
    for key in keys:
        argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key.absolute()), "-n", f"{NAMESPACE}{name}"]
        done = run.run(argv, what=f"signing with {key}", error=SigningError, input=manifest, timeout=_PATIENCE, check=False)
        if done.returncode:
            hint = "A key with a passphrase belongs into the ssh-agent (ssh-add): nothing is asked for here."
            raise run.failure(done, f"signing with {key}", SigningError, hint)
        try:
            signature = parse(done.stdout, f"{NAMESPACE}{name}", str(key))
        except Damaged as error:
            raise SigningError("no host would accept a signature by that key", error.problems) from None
        found.setdefault(signature.key, signature)
    return tuple(found.values())


def read(artifact: Artifact) -> tuple[Signature, ...]:
    """The signatures in an artifact. Raises ``ArtifactError`` for one that no host would accept."""
    try:
        return tuple(parse(data, _namespace(artifact.manifest), f"signature {n}") for n, data in enumerate(artifact.signatures, 1))
    except Damaged as error:
        raise ArtifactError(f"{artifact.name}: {error.message}", error.problems) from None


def add(path: Path, keys: Sequence[Path], *, detached: bool = False) -> Signed:
    """Sign an artifact with further keys; one that has signed it already adds nothing. Raises ``SigningError`` or ``ArtifactError``.

    What stands there in a key's name and is of something else (the artifact was built anew; somebody has put it there) is replaced. The artifact
    is replaced by one with the signatures in it, whole or not at all. ``detached``: it stays as it is, and each signature goes to a file beside
    it, ``<artifact>.sig.1`` and so on.
    """
    check(keys)
    try:
        with open_artifact(path) as artifact:
            insist_whole(artifact)
            made = make(keys, artifact.manifest.name, artifact.manifest_bytes)
            there = tuple(each for each in read(artifact) if not _is_stale(each, made))
            lying = _beside(path, artifact.manifest) if detached else {}
            beside = tuple(each for each in lying.values() if not _is_stale(each, made))
            known = {each.key for each in (*there, *beside)}
            new = tuple(each for each in made if each.key not in known)
            if len(known) + len(new) > MAX_SIGNATURES:
                problem = Problem(str(path), f"would have more than {MAX_SIGNATURES} signatures.", "Begin with an artifact that has fewer.")
                raise SigningError("the artifact could not be signed", [problem])
            files: tuple[Path, ...] = ()
            if new and detached:
                free = [place for place in _detached(path) if lying.get(place) not in beside]
                files = tuple(_write_beside(free, new))
            elif new:
                publish(path, _Copy(artifact, (*(each.armour for each in there), *(each.armour for each in new))))
                files = (path,)
            identity = artifact.id
        with open_artifact(path) as artifact:
            sha256 = artifact.sha256()
    except Damaged as error:
        raise ArtifactError(f"{path}: {error.message}", error.problems) from None
    if (digests := path.with_name(f"{path.name}.sha256")).exists() and not detached:
        publish(digests, lambda out: _put(out, f"{sha256}  {path.name}\n".encode()))
    return Signed(path, identity, sha256, (*there, *beside, *new), new, files)


class _Copy:
    """Writes an artifact again, with these signatures: head and trailer anew, the body byte for byte."""

    def __init__(self, artifact: Artifact, signatures: Sequence[bytes]) -> None:
        self.artifact, self.signatures = artifact, signatures

    def __call__(self, out: BinaryIO) -> None:
        artifact = self.artifact
        _put(out, head(artifact.manifest_bytes, self.signatures))
        with open(artifact.name, "rb", buffering=0) as file:
            file.seek(artifact.body)
            left = artifact.size - artifact.body - TRAILER_BYTES
            while left and (piece := file.read(min(left, _CHUNK))):
                _put(out, piece)
                left -= len(piece)
        if left:
            raise ArtifactError("the artifact is not whole", [Problem(artifact.name, "became shorter while it was copied.", "Copy it again.")])
        _put(out, trailer(artifact.manifest, artifact.manifest_bytes, self.signatures))


def _put(out: BinaryIO, data: bytes) -> None:
    out.write(data)


def _namespace(manifest: Manifest) -> str:
    return f"{NAMESPACE}{manifest.name}"


def _detached(path: Path) -> Iterator[Path]:
    for number in range(1, MAX_SIGNATURES + 1):
        yield path.with_name(f"{path.name}.sig.{number}")


def _beside(path: Path, manifest: Manifest) -> dict[Path, Signature]:
    """The detached signatures that are there. Raises ``Damaged``."""
    return {each: parse(each.read_bytes(), _namespace(manifest), str(each)) for each in _detached(path) if each.exists()}


def _is_stale(there: Signature, made: Sequence[Signature]) -> bool:
    """Whether it is not what its own key has just made of this manifest. (A token counts its signatures: no two of it are the same.)"""
    return there.kind == "ED25519" and any(each.key == there.key and each.armour != there.armour for each in made)


def _write_beside(free: Sequence[Path], signatures: Sequence[Signature]) -> Iterator[Path]:
    for signature, place in zip(signatures, free, strict=False):
        publish(place, lambda out, data=signature.armour: _put(out, data))  # type: ignore[misc]
        yield place


def _readable(key: Path) -> bool:
    try:
        with key.open("rb"):
            return True
    except OSError:
        return False
