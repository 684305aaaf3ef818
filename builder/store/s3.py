"""A bucket as a store. Endpoint, region, profile and credentials are boto3's own business.

Every object is written with its SHA-256, which the server checks; of a large one each part is, and what the server says of the whole is compared.
An ETag is a tag for ``If-Match`` on what one PUT wrote, and never taken for a hash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from ..errors import ChecksumError, Problem
from . import Found, Listed, Moved, Source, Span, refusals
from .bucket import FAMILY, Bucket, base64_of
from .multipart import Multipart
from .parts import plan

_CHUNK = 256 << 10  # bytes of an answer that are handed on at once: they stay in a processor's cache


class S3Store:
    """A bucket, or what is below a prefix in it."""

    copies = True

    def __init__(self, url: str, environ: Mapping[str, str] | None = None) -> None:
        self.url = url.split("?")[0].rstrip("/")
        self._bucket = Bucket(url, os.environ if environ is None else environ)
        self._multipart = Multipart(self._bucket)

    def get(self, key: str, most: int) -> bytes | None:
        found = self._get(key, most)
        return found.data if found else None

    def pointer(self, key: str) -> Found | None:
        return self._get(key, 64 << 20)

    def _get(self, key: str, most: int) -> Found | None:
        def request() -> Found:
            answer = self._bucket.client.get_object(Bucket=self._bucket.name, Key=self._bucket.key(key))
            return Found(answer["Body"].read(most + 1), answer["ETag"])

        try:
            found: Found = self._bucket.insist(request)
        except FAMILY as error:
            if refusals.code(error) == "NoSuchKey":
                return None
            raise self._bucket.told(error, key) from None
        if len(found.data) > most:
            raise ChecksumError("the store holds something else than a release", [Problem(self._bucket.shown(key), f"is longer than {most} bytes")])
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
        sha256 = base64_of(hashlib.sha256(data).digest())
        try:
            self._bucket.ask("put_object", Key=self._bucket.key(key), Body=data, ChecksumSHA256=sha256, **condition)
        except FAMILY as error:
            # 412: something else is there. 404 to If-Match: nothing is there any more.
            if refusals.status(error) == 412 or ("IfMatch" in condition and refusals.code(error) == "NoSuchKey"):
                return False
            raise self._bucket.told(error, key) from None
        return True

    def listing(self, prefix: str) -> Iterator[Listed]:
        for page in self._bucket.pages("list_objects_v2", prefix):
            for each in page.get("Contents", ()):
                yield Listed(each["Key"][len(self._bucket.key("")) :], each["Size"], each["LastModified"])

    def folders(self, prefix: str) -> tuple[str, ...]:
        whole = self._bucket.key(prefix)
        pages = self._bucket.pages("list_objects_v2", prefix, Delimiter="/")
        return tuple(sorted(each["Prefix"][len(whole) :].rstrip("/") for page in pages for each in page.get("CommonPrefixes", ())))

    def read(self, key: str, offset: int, length: int) -> Iterator[bytes]:
        position, end = offset, offset + length
        attempt = self._bucket.attempt()
        while position < end:
            try:
                where = {"Bucket": self._bucket.name, "Key": self._bucket.key(key)}
                body = self._bucket.client.get_object(**where, Range=f"bytes={position}-{end - 1}")["Body"]
                while piece := body.read(min(_CHUNK, end - position)):
                    yield piece
                    position += len(piece)
                    attempt = self._bucket.attempt()  # it goes on
                    if position == end:
                        break
            except FAMILY as error:
                if refusals.code(error) != "InvalidRange":
                    if not attempt.again(error):
                        raise self._bucket.told(error, key) from None
                    continue
            if position < end:
                raise ChecksumError("an object of the store is cut off", [Problem(self._bucket.shown(key), f"ends {end - position} bytes too early")])

    def remove(self, key: str) -> None:
        with self._bucket.telling(key):
            self._bucket.ask("delete_object", Key=self._bucket.key(key))

    def remove_stale(self, prefix: str, before: datetime, *, act: bool) -> int:
        return self._multipart.abandon(prefix, before, act)

    def address(self, key: str, seconds: int) -> str:
        with self._bucket.telling(key):
            where = {"Bucket": self._bucket.name, "Key": self._bucket.key(key)}
            return str(self._bucket.client.generate_presigned_url("get_object", Params=where, ExpiresIn=seconds))

    def estimate(self, spans: Sequence[Span]) -> tuple[int, int]:
        parts = plan(spans)
        copied = sum(part.length - part.grafted for part in parts if part.key)
        return sum(part.length for part in parts) - copied, copied

    def write(self, key: str, source: Source, spans: Sequence[Span], sound: Callable[[], None], moved: Moved) -> bool:
        """In parts, some of them copied from other objects; what an earlier try has left there is taken up."""
        if self._multipart.facts(key):
            return False  # the last request would say so too, when all had been sent
        parts = plan(spans)
        if len(parts) > 1 or any(part.key for part in parts):
            return self._multipart.write(key, source, parts, sound, moved)
        sound()
        data = source.read(0, source.size)
        made = self.create(key, data)
        moved("sent", len(data))
        return made
