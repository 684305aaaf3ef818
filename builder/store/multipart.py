"""Large objects of a bucket, in parts: sent, or copied from other objects there, each compared by its SHA-256. What was broken off goes on."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..errors import ArtifactError, ChecksumError, DeniedError, MovedError, Problem
from . import Moved, Source, refusals
from .bucket import FAMILY, WORKERS, Bucket, base64_of
from .parts import Part

_CHUNK = 1 << 20
_TRIES = 3  # of a whole upload, when others come in between
_NOT_COPIED = ("NoSuchKey", "NoSuchUpload", "AccessDenied", "InvalidRange", "NotImplemented", "InvalidRequest")
_SCRATCH = ".part-"  # in the key of an object that is only there to be copied
_SCRATCH_KEY = re.compile(r"\.part-[0-9a-f]{16}\Z")
_SPOILED = ("BadDigest", "InvalidPart", "InvalidPartOrder", "EntityTooSmall")


@dataclass(frozen=True)
class _Upload:
    """A multipart upload: its key, its id, the parts that are there from an earlier try, by number."""

    key: str
    id: str
    there: Mapping[int, Mapping[str, Any]]


@dataclass(frozen=True)
class _Sent:
    """A part that is there: its number, its ETag, and the SHA-256 that it must have."""

    number: int
    tag: str
    digest: bytes


class Multipart:
    """Writes the large objects of one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def write(self, key: str, source: Source, parts: Sequence[Part], sound: Callable[[], None], moved: Moved) -> bool:
        """The protocol's ``write``, of ``parts``."""
        resume = True
        for _ in range(_TRIES):
            made_here = self._write_parts(key, source, parts, sound, moved, resume)
            if made_here is not None:
                return made_here
            resume = False
        raise MovedError(
            "the upload was ended by others, time and again", [Problem(self._bucket.shown(key), "is being written by somebody else too")]
        )

    def _write_parts(self, key: str, source: Source, parts: Sequence[Part], sound: Callable[[], None], moved: Moved, resume: bool) -> bool | None:
        """None: others ended this upload, or spoilt it, and it has to begin anew."""
        upload = _Upload(self._bucket.key(key), *(self._begun(key) if resume else ("", {})))
        if not upload.id:
            with self._bucket.telling(key):
                upload = self._create(key)
        try:
            sent = self._send_all(upload, source, parts, moved)
            sound()
        except FAMILY as error:
            if refusals.code(error) == "NoSuchUpload":
                return self._after_others(key)
            raise self._bucket.told(error, key) from None
        except ArtifactError:  # ``sound`` says no: nothing of it may stay
            self._abort(upload.key, upload.id)
            raise
        return self._complete(key, upload, sent)

    def _after_others(self, key: str) -> bool | None:
        """Somebody ended an upload that several shared: by completing it (False: an object is there), or by giving it up (None)."""
        return False if self.facts(key) else None

    def _send_all(self, upload: _Upload, source: Source, parts: Sequence[Part], moved: Moved) -> list[_Sent]:
        pool = ThreadPoolExecutor(WORKERS)
        try:
            begun = [pool.submit(self._send, upload, number, part, source, moved) for number, part in enumerate(parts, 1)]
            done, _ = wait(begun, return_when=FIRST_EXCEPTION)
            for each in done:
                each.result()
        except BaseException as error:
            self._bucket.stopping.set()
            pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)  # a signal does not wait for what is under way
            self._bucket.stopping.clear()
            raise
        pool.shutdown()
        return [each.result() for each in begun]

    def _send(self, upload: _Upload, number: int, part: Part, source: Source, moved: Moved) -> _Sent:
        """One part, unless it is there from an earlier try: then its hash must be right, which the server compares at the end if not before."""
        data = b"" if part.key or part.length > _Body.WHOLE else source.read(part.offset, part.length)
        digest = hashlib.sha256(data).digest() if data else _digest(source, part)
        sha256 = base64_of(digest)
        there = upload.there.get(number)
        if there and there["Size"] == part.length and there.get("ChecksumSHA256", sha256) == sha256:
            moved("kept", part.length)
            return _Sent(number, there["ETag"], digest)
        where = {"Key": upload.key, "UploadId": upload.id, "PartNumber": number}
        if part.grafted and (tag := self._graft(where, part, sha256, source, moved)):
            return _Sent(number, tag, digest)
        if part.key and not part.grafted and (tag := self._copy(where, part, sha256)):
            moved("copied", part.length)
            return _Sent(number, tag, digest)

        def send() -> Any:
            body = data or _Body(source, part)  # each time from its beginning
            return self._bucket.client.upload_part(**where, Bucket=self._bucket.name, Body=body, ContentLength=part.length, ChecksumSHA256=sha256)

        answer = self._bucket.insist(send)
        moved("sent", part.length)
        return _Sent(number, answer["ETag"], digest)

    def _copy(self, where: Mapping[str, Any], part: Part, sha256: str) -> str:
        """The ETag of a part that the store copied; "" when it can't, or when what it copied has another hash, or none that it says."""
        source = {"Bucket": self._bucket.name, "Key": self._bucket.key(part.key)}
        span = f"bytes={part.start}-{part.start + part.length - 1}"
        try:
            answer = self._bucket.ask("upload_part_copy", **where, CopySource=source, CopySourceRange=span)["CopyPartResult"]
        except FAMILY as error:
            if refusals.code(error) in _NOT_COPIED:
                return ""
            raise
        return str(answer["ETag"]) if answer.get("ChecksumSHA256") == sha256 else ""

    def _graft(self, where: Mapping[str, Any], part: Part, sha256: str, source: Source, moved: Moved) -> str:
        """Like ``_copy``, of a part whose end is sent. Only an object's last part may be short: it is that of a scratch object, which is then copied.

        Nothing but the hash of the copy counts: if another publisher made the same scratch object, or removed it, all is well or the part is sent.
        """
        copied = part.length - part.grafted
        pieces = (Part(part.offset, copied, part.key, part.start), Part(part.offset + copied, part.grafted))
        key = f"{where['Key'][len(self._bucket.key('')) :]}{_SCRATCH}{hashlib.sha256(sha256.encode()).hexdigest()[:16]}"
        upload = _Upload(self._bucket.key(key), "", {})
        try:
            upload = self._create(key)
            sent = [self._send(upload, number, piece, source, moved) for number, piece in enumerate(pieces, 1)]
            self._put_together(upload, sent)
        except FAMILY as error:
            if refusals.may_pass(error):
                raise  # nothing answers: a prune ends what was begun
            if upload.id:
                self._abort(upload.key, upload.id)
            if refusals.code(error) in _NOT_COPIED:
                return ""
            if refusals.status(error) != 412:  # else one is there, of an earlier try
                raise
        tag = self._copy(where, Part(part.offset, part.length, key), sha256)
        self._remove(upload.key)
        return tag

    def _create(self, key: str) -> _Upload:
        made = self._bucket.ask("create_multipart_upload", Key=self._bucket.key(key), ChecksumAlgorithm="SHA256")
        return _Upload(self._bucket.key(key), made["UploadId"], {})

    def _complete(self, key: str, upload: _Upload, sent: Sequence[_Sent]) -> bool | None:
        whole = f"{base64_of(hashlib.sha256(b''.join(each.digest for each in sent)).digest())}-{len(sent)}"
        try:
            answer = self._put_together(upload, sent)
        except FAMILY as error:
            if refusals.status(error) == 412 or refusals.code(error) == "NoSuchUpload":
                facts = self.facts(key)
                if refusals.status(error) == 412:
                    self._abort(upload.key, upload.id)
                if facts and facts.get("ChecksumSHA256") == whole:
                    return True  # ours: the reply was lost, or the same parts of somebody else
                return False if facts or refusals.status(error) == 412 else None
            if refusals.code(error) in _SPOILED:
                self._abort(upload.key, upload.id)
                return None
            raise self._bucket.told(error, key) from None
        said = answer.get("ChecksumSHA256") or (self.facts(key) or {}).get("ChecksumSHA256")
        if said != whole:
            self._remove(upload.key)
            what = f"has the checksum {said or '(none)'} where {whole} was sent"
            remedy = "A store has to keep SHA-256 checksums of multipart uploads (ChecksumAlgorithm=SHA256)."
            raise ChecksumError("what arrived is not what was sent", [Problem(self._bucket.shown(key), what, remedy)])
        for other in self._uploads(key):
            if other["Key"] == upload.key:
                self._abort(upload.key, other["UploadId"])  # nothing can come of it now
        return True

    def _put_together(self, upload: _Upload, sent: Sequence[_Sent]) -> Mapping[str, Any]:
        parts = [{"PartNumber": each.number, "ETag": each.tag, "ChecksumSHA256": base64_of(each.digest)} for each in sent]
        where = {"Key": upload.key, "UploadId": upload.id}
        answer: Mapping[str, Any] = self._bucket.ask("complete_multipart_upload", **where, IfNoneMatch="*", MultipartUpload={"Parts": parts})
        return answer

    def _remove(self, key: str) -> None:
        """Whoever may not leaves it to a prune."""
        with suppress(*FAMILY):
            self._bucket.ask("delete_object", Key=key)

    def abandon(self, prefix: str, before: datetime, act: bool) -> int:
        """End the uploads below ``prefix`` that were begun before that time and never finished, remove what was there to be copied; how many."""
        stale = [each for each in self._uploads(prefix) if each["Initiated"] < before]
        objects = (each for page in self._bucket.pages("list_objects_v2", prefix) for each in page.get("Contents", ()))
        scratch = [each["Key"] for each in objects if _SCRATCH_KEY.search(each["Key"]) and each["LastModified"] < before]
        if act:
            for each in stale:
                self._abort(each["Key"], each["UploadId"])
            for key in scratch:
                self._remove(key)
        return len(stale) + len(scratch)

    def _begun(self, key: str) -> tuple[str, dict[int, Mapping[str, Any]]]:
        """The newest upload of ``key`` that was not ended, and its parts by number; "" when there is none, or we may not know."""
        mine = [each for each in self._uploads(key) if each["Key"] == self._bucket.key(key) and each.get("ChecksumAlgorithm", "SHA256") == "SHA256"]
        if not mine:
            return "", {}
        identity = max(mine, key=lambda each: each["Initiated"])["UploadId"]
        try:
            pages = self._bucket.client.get_paginator("list_parts").paginate(Bucket=self._bucket.name, Key=self._bucket.key(key), UploadId=identity)
            parts = self._bucket.insist(lambda: [part for page in pages for part in page.get("Parts", ())])  # from the first page, each time
        except FAMILY:
            return "", {}
        return identity, {part["PartNumber"]: part for part in parts}

    def _uploads(self, prefix: str) -> list[Mapping[str, Any]]:
        """Multipart uploads that were begun and not ended; none when we may not know."""
        try:
            return [each for page in self._bucket.pages("list_multipart_uploads", prefix) for each in page.get("Uploads", ())]
        except DeniedError:
            return []

    def facts(self, key: str) -> Mapping[str, Any] | None:
        """What the store says of an object, its checksum too."""
        try:
            answer: Mapping[str, Any] = self._bucket.ask("head_object", Key=self._bucket.key(key), ChecksumMode="ENABLED")
        except FAMILY as error:
            if refusals.status(error) == 404:
                return None
            raise self._bucket.told(error, key) from None
        return answer

    def _abort(self, key: str, upload: str) -> None:
        with suppress(*FAMILY):
            self._bucket.ask("abort_multipart_upload", Key=key, UploadId=upload)


class _Body(io.RawIOBase):
    """A part that is too long to be held, as a file: read as it is sent, and from its beginning when it is sent again."""

    WHOLE = 16 << 20  # bytes up to which a part is held

    def __init__(self, source: Source, part: Part) -> None:
        self._source, self._part, self._position = source, part, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._part.length)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def __len__(self) -> int:
        return self._part.length

    def read(self, size: int | None = -1) -> bytes:
        left = self._part.length - self._position
        length = left if size is None or size < 0 else min(size, left)
        data = self._source.read(self._part.offset + self._position, length) if length > 0 else b""
        self._position += len(data)
        return data


def _digest(source: Source, part: Part) -> bytes:
    digest = hashlib.sha256()
    for start in range(0, part.length, _CHUNK):
        digest.update(source.read(part.offset + start, min(_CHUNK, part.length - start)))
    return digest.digest()
