"""A bucket as a store. Endpoint, region, profile and credentials are boto3's own business.

Every object is written with its SHA-256, which the server checks; of a large one each part is, and what the server says of the whole is compared.
An ETag is a tag for ``If-Match`` on what one PUT wrote, and never taken for a hash.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ..errors import ArtifactError, ChecksumError, DeniedError, MovedError, Problem, StoreError, UsageError
from . import Found, Listed, Moved, Source, Span, refusals
from .parts import Part, plan

WORKERS = 8
PATIENCE = 60.0  # seconds that a request is tried again for, when nothing answers or the server is ill
_CHUNK = 1 << 20
_TRIES = 3  # of a whole upload, when others come in between
_CHECKSUM_TRIES = 3
_OPTIONS = ("addressing", "ca", "verify", "patience")
_SPOILED = ("BadDigest", "InvalidPart", "InvalidPartOrder", "EntityTooSmall")
_FAMILY = (BotoCoreError, ClientError)  # all that boto3 raises on purpose


@dataclass(frozen=True)
class _Settings:
    """``s3://bucket/prefix?addressing=path|virtual|auto&ca=FILE&verify=no&patience=SECONDS``, the environment filling what is not said."""

    bucket: str
    prefix: str
    addressing: str
    verify: bool | str | None
    patience: float

    @classmethod
    def read(cls, url: str, environ: Mapping[str, str]) -> _Settings:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        problems = [Problem(f"?{key}", "is unknown", f"There are {', '.join(_OPTIONS)}.") for key in sorted(set(options) - set(_OPTIONS))]
        if not parts.netloc or "@" in parts.netloc or ":" in parts.netloc:
            remedy = "Like s3://releases/shop. Credentials are found as the aws command finds them; the endpoint is AWS_ENDPOINT_URL."
            problems.append(Problem(url.split("?")[0].replace(parts.netloc, "***") if "@" in parts.netloc else url, "names no bucket", remedy))
        addressing = options.get("addressing", environ.get("BUILD_RELEASE_S3_ADDRESSING", ""))
        if addressing not in ("", "path", "virtual", "auto"):
            problems.append(Problem("?addressing", f"{addressing!r} is not path, virtual or auto"))
        if options.get("verify", "yes") not in ("yes", "no"):
            problems.append(Problem("?verify", "is not yes or no"))
        patience = options.get("patience", environ.get("BUILD_RELEASE_S3_PATIENCE", f"{PATIENCE:g}"))
        if not patience.isdecimal():
            problems.append(Problem("?patience", f"{patience!r} is no number of seconds"))
        if problems:
            raise UsageError("the store can't be understood", problems, next_step="docs/store.md")
        verify = False if options.get("verify") == "no" else options.get("ca")
        return cls(parts.netloc, parts.path.strip("/"), addressing, verify, float(patience))


class S3Store:
    """A bucket, or what is below a prefix in it."""

    copies = True

    def __init__(self, url: str, environ: Mapping[str, str] | None = None) -> None:
        self.url = url.split("?")[0].rstrip("/")
        self._settings = _Settings.read(url, os.environ if environ is None else environ)
        self._bucket = self._settings.bucket
        self._stopping = threading.Event()
        style = {"addressing_style": self._settings.addressing} if self._settings.addressing else {}
        config = Config(
            connect_timeout=10,
            read_timeout=120,
            retries={"total_max_attempts": 1},  # how often, and for how long, is decided here
            max_pool_connections=WORKERS + 2,
            signature_version="s3v4",
            request_checksum_calculation="when_required",  # every one that counts is given
            response_checksum_validation="when_required",
            s3=style or None,
        )
        try:
            self._client: Any = boto3.session.Session().client("s3", config=config, verify=self._settings.verify)
        except (BotoCoreError, ValueError, OSError) as error:
            raise refusals.told(error, self.url, self.url, 0) from None

    def get(self, key: str, most: int) -> bytes | None:
        found = self._get(key, most)
        return found.data if found else None

    def pointer(self, key: str) -> Found | None:
        return self._get(key, 64 << 20)

    def _get(self, key: str, most: int) -> Found | None:
        def request() -> Found:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
            return Found(answer["Body"].read(most + 1), answer["ETag"])

        try:
            found: Found = self._try(request)
        except _FAMILY as error:
            if refusals.code(error) == "NoSuchKey":
                return None
            raise self._told(error, key) from None
        if len(found.data) > most:
            raise ChecksumError("the store holds something else than a release", [Problem(self._shown(key), f"is longer than {most} bytes")])
        return found

    def create(self, key: str, data: bytes) -> bool:
        return self._put(key, data, {"IfNoneMatch": "*"})

    def swap(self, key: str, data: bytes, tag: str | None) -> bool:
        won = self._put(key, data, {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag})
        if won:
            return True
        now = self.pointer(key)  # a reply was lost, and what was there at the second try was our own: no two callers' data are the same
        return now is not None and now.data == data

    def _put(self, key: str, data: bytes, condition: Mapping[str, str]) -> bool:
        """False: the condition did not hold, at last."""
        sha256 = _base64(hashlib.sha256(data).digest())
        try:
            self._try(
                lambda: self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=data, ChecksumSHA256=sha256, **condition),
            )
        except _FAMILY as error:
            # 412: something else is there. 404 to If-Match: nothing is there any more.
            if refusals.status(error) == 412 or ("IfMatch" in condition and refusals.code(error) == "NoSuchKey"):
                return False
            raise self._told(error, key) from None
        return True

    def listing(self, prefix: str) -> Iterator[Listed]:
        for page in self._pages("list_objects_v2", prefix):
            for each in page.get("Contents", ()):
                yield Listed(each["Key"][len(self._key("")) :], each["Size"], each["LastModified"])

    def folders(self, prefix: str) -> tuple[str, ...]:
        whole = self._key(prefix)
        pages = self._pages("list_objects_v2", prefix, Delimiter="/")
        return tuple(sorted(each["Prefix"][len(whole) :].rstrip("/") for page in pages for each in page.get("CommonPrefixes", ())))

    def _pages(self, operation: str, prefix: str, **more: str) -> Iterator[Mapping[str, Any]]:
        """Each page is tried again by itself: boto3's own iterator, once it has failed, ends as if there were no more."""
        token: dict[str, str] = {}
        while True:
            where = {"Bucket": self._bucket, "Prefix": self._key(prefix), **more, **token}
            with self._telling(prefix):
                page: Mapping[str, Any] = self._try(partial(getattr(self._client, operation), **where))
            yield page
            if not page.get("IsTruncated"):
                return
            token = {name: page[f"Next{name}"] for name in ("ContinuationToken", "KeyMarker", "UploadIdMarker") if page.get(f"Next{name}")}

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        position, end = offset, offset + length
        attempt = _Attempt(self._settings.patience, self._stopping)
        while position < end:
            try:
                body = self._client.get_object(Bucket=self._bucket, Key=self._key(key), Range=f"bytes={position}-{end - 1}")["Body"]
                while piece := body.read(min(_CHUNK, end - position)):
                    yield piece
                    position += len(piece)
                    attempt = _Attempt(self._settings.patience, self._stopping)  # it goes on
                    if position == end:
                        break
            except _FAMILY as error:
                if refusals.code(error) != "InvalidRange":
                    if not attempt.again(error):
                        raise self._told(error, key) from None
                    continue
            if position < end:
                raise ChecksumError("an object of the store is cut off", [Problem(self._shown(key), f"ends {end - position} bytes too early")])

    def remove(self, key: str) -> None:
        with self._telling(key):
            self._try(lambda: self._client.delete_object(Bucket=self._bucket, Key=self._key(key)))

    def remove_stale(self, prefix: str, before: datetime) -> int:
        stale = [each for each in self._uploads(prefix) if each["Initiated"] < before]
        for each in stale:
            self._abort(each["Key"], each["UploadId"])
        return len(stale)

    def address(self, key: str, seconds: int) -> str:
        with self._telling(key):
            where = {"Bucket": self._bucket, "Key": self._key(key)}
            return str(self._client.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds))

    # Large objects

    def write(self, key: str, source: Source, spans: Sequence[Span], sound: Callable[[], None], moved: Moved) -> bool:
        """In parts, some of them copied from other objects; what an earlier try has left there is taken up."""
        parts = plan(spans)
        if len(parts) < 2 and not any(part.key for part in parts):
            sound()
            data = source.read(0, source.size)
            made = self.create(key, data)
            moved("sent", len(data))
            return made
        resume = True
        for _ in range(_TRIES):
            made_here = self._write_parts(key, source, parts, sound, moved, resume)
            if made_here is not None:
                return made_here
            resume = False
        raise MovedError("the upload was ended by others, time and again", [Problem(self._shown(key), "is being written by somebody else too")])

    def _write_parts(self, key: str, source: Source, parts: Sequence[Part], sound: Callable[[], None], moved: Moved, resume: bool) -> bool | None:
        """None: others ended this upload, or spoilt it, and it has to begin anew."""
        upload = _Upload(self._key(key), *(self._begun(key) if resume else ("", {})))
        if not upload.id:
            with self._telling(key):
                made = self._try(lambda: self._client.create_multipart_upload(Bucket=self._bucket, Key=upload.key, ChecksumAlgorithm="SHA256"))
            upload = _Upload(upload.key, made["UploadId"], {})
        try:
            sent = self._send_all(upload, source, parts, moved)
            sound()
        except _FAMILY as error:
            if refusals.code(error) == "NoSuchUpload":
                return self._after_others(key)
            raise self._told(error, key) from None
        except ArtifactError:  # ``sound`` says no: nothing of it may stay
            self._abort(upload.key, upload.id)
            raise
        return self._complete(key, upload, sent)

    def _after_others(self, key: str) -> bool | None:
        """Somebody ended an upload that several shared: by completing it (False: an object is there), or by giving it up (None)."""
        return False if self._facts(key) else None

    def _send_all(self, upload: _Upload, source: Source, parts: Sequence[Part], moved: Moved) -> list[_Sent]:
        self._stopping.clear()
        with ThreadPoolExecutor(WORKERS) as pool:
            begun = [pool.submit(self._send, upload, number, part, source, moved) for number, part in enumerate(parts, 1)]
            try:
                done, _ = wait(begun, return_when=FIRST_EXCEPTION)
                for each in done:
                    each.result()
            except BaseException:
                self._stopping.set()
                pool.shutdown(cancel_futures=True)
                raise
            return [each.result() for each in begun]

    def _send(self, upload: _Upload, number: int, part: Part, source: Source, moved: Moved) -> _Sent:
        """One part, unless it is there from an earlier try: then its hash must be right, which the server compares at the end if not before."""
        data = b"" if part.key or part.length > _Body.WHOLE else source.read(part.offset, part.length)
        digest = hashlib.sha256(data).digest() if data else _digest(source, part)
        sha256 = _base64(digest)
        there = upload.there.get(number)
        if there and there["Size"] == part.length and there.get("ChecksumSHA256", sha256) == sha256:
            moved("kept", part.length)
            return _Sent(number, there["ETag"], digest)
        where = {"Bucket": self._bucket, "Key": upload.key, "UploadId": upload.id, "PartNumber": number}
        if part.key and (tag := self._copy(where, part, sha256)):
            moved("copied", part.length)
            return _Sent(number, tag, digest)
        answer = self._try(
            lambda: self._client.upload_part(**where, Body=data or _Body(source, part), ContentLength=part.length, ChecksumSHA256=sha256)
        )
        moved("sent", part.length)
        return _Sent(number, answer["ETag"], digest)

    def _copy(self, where: Mapping[str, Any], part: Part, sha256: str) -> str:
        """The ETag of a part that the store copied; "" when it can't, or when what it copied has another hash, or none that it says."""
        source = {"Bucket": self._bucket, "Key": self._key(part.key)}
        span = f"bytes={part.start}-{part.start + part.length - 1}"
        try:
            answer = self._try(lambda: self._client.upload_part_copy(**where, CopySource=source, CopySourceRange=span))["CopyPartResult"]
        except _FAMILY as error:
            if refusals.code(error) in ("NoSuchKey", "AccessDenied", "InvalidRange", "NotImplemented", "InvalidRequest"):
                return ""
            raise
        return str(answer["ETag"]) if answer.get("ChecksumSHA256") == sha256 else ""

    def _complete(self, key: str, upload: _Upload, sent: Sequence[_Sent]) -> bool | None:
        parts = [{"PartNumber": each.number, "ETag": each.tag, "ChecksumSHA256": _base64(each.digest)} for each in sent]
        whole = f"{_base64(hashlib.sha256(b''.join(each.digest for each in sent)).digest())}-{len(sent)}"
        where = {"Bucket": self._bucket, "Key": upload.key, "UploadId": upload.id}
        try:
            answer = self._try(lambda: self._client.complete_multipart_upload(**where, IfNoneMatch="*", MultipartUpload={"Parts": parts}), checksum=1)
        except _FAMILY as error:
            if refusals.status(error) == 412 or refusals.code(error) == "NoSuchUpload":
                facts = self._facts(key)
                if refusals.status(error) == 412:
                    self._abort(upload.key, upload.id)
                if facts and facts.get("ChecksumSHA256") == whole:
                    return True  # ours: the reply was lost, or the same parts of somebody else
                return False if facts or refusals.status(error) == 412 else None
            if refusals.code(error) in _SPOILED:
                self._abort(upload.key, upload.id)
                return None
            raise self._told(error, key) from None
        said = answer.get("ChecksumSHA256") or (self._facts(key) or {}).get("ChecksumSHA256")
        if said != whole:
            with suppress(StoreError):
                self.remove(key)
            what = f"has the checksum {said or '(none)'} where {whole} was sent"
            remedy = "A store has to keep SHA-256 checksums of multipart uploads (ChecksumAlgorithm=SHA256)."
            raise ChecksumError("what arrived is not what was sent", [Problem(self._shown(key), what, remedy)])
        for other in self._uploads(key):
            if other["Key"] == upload.key:
                self._abort(upload.key, other["UploadId"])  # nothing can come of it now
        return True

    def _begun(self, key: str) -> tuple[str, dict[int, Mapping[str, Any]]]:
        """The newest upload of ``key`` that was not ended, and its parts by number; "" when there is none, or we may not know."""
        mine = [each for each in self._uploads(key) if each["Key"] == self._key(key) and each.get("ChecksumAlgorithm", "SHA256") == "SHA256"]
        if not mine:
            return "", {}
        identity = max(mine, key=lambda each: each["Initiated"])["UploadId"]
        try:
            pages = self._client.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=self._key(key), UploadId=identity)
            parts = self._try(lambda: [part for page in pages for part in page.get("Parts", ())])
        except _FAMILY:
            return "", {}
        return identity, {part["PartNumber"]: part for part in parts}

    def _uploads(self, prefix: str) -> list[Mapping[str, Any]]:
        """Multipart uploads that were begun and not ended; none when we may not know."""
        try:
            return [each for page in self._pages("list_multipart_uploads", prefix) for each in page.get("Uploads", ())]
        except DeniedError:
            return []

    def _facts(self, key: str) -> Mapping[str, Any] | None:
        """What the store says of an object, its checksum too."""
        try:
            answer: Mapping[str, Any] = self._try(lambda: self._client.head_object(Bucket=self._bucket, Key=self._key(key), ChecksumMode="ENABLED"))
        except _FAMILY as error:
            if refusals.status(error) == 404:
                return None
            raise self._told(error, key) from None
        return answer

    def _abort(self, key: str, upload: str) -> None:
        with suppress(*_FAMILY):
            self._try(lambda: self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload))

    def _try(self, request: Callable[[], Any], *, checksum: int = _CHECKSUM_TRIES) -> Any:
        """What ``request`` gives, again for as long as that may help; bytes that arrived as others, ``checksum`` times."""
        attempt = _Attempt(self._settings.patience, self._stopping, checksum)
        while True:
            try:
                return request()
            except _FAMILY as error:
                if not attempt.again(error):
                    raise

    @contextmanager
    def _telling(self, key: str) -> Iterator[None]:
        try:
            yield
        except _FAMILY as error:
            raise self._told(error, key) from None

    def _told(self, error: BaseException, key: str) -> StoreError:
        where = f"s3://{self._bucket}" if refusals.code(error) == "NoSuchBucket" else self._shown(key)
        return refusals.told(error, where, self._client.meta.endpoint_url, self._settings.patience)

    def _key(self, key: str) -> str:
        return f"{self._settings.prefix}/{key}" if self._settings.prefix else key

    def _shown(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._key(key)}"


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


class _Attempt:
    """Whether, and when, a request is made again."""

    def __init__(self, patience: float, stopping: threading.Event, checksum: int = 0) -> None:
        self._until = time.monotonic() + patience
        self._stopping = stopping
        self._checksum = checksum
        self._made = 0

    def again(self, error: BaseException) -> bool:
        """Waits, and says whether to go on."""
        self._made += 1
        if refusals.code(error) == "BadDigest":
            return self._made < self._checksum
        if not refusals.may_pass(error) or time.monotonic() >= self._until:
            return False
        return not self._stopping.wait(min(0.1 * 2**self._made, 5.0) * random.uniform(0.5, 1.0))


class _Body(io.RawIOBase):
    """A part that is too long to be held, as a file: read as it is sent, and from its beginning when it is sent again."""

    WHOLE = 32 << 20  # bytes up to which a part is held

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


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
