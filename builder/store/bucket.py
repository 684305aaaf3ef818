"""One bucket, or what is below a prefix in it: who asks it, how long it is asked again, and what its refusals mean."""

from __future__ import annotations

import base64
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from ..errors import Problem, StoreError, UsageError
from . import refusals

WORKERS = 8  # requests at once
PATIENCE = 60.0  # seconds that a request is tried again for, when nothing answers or the server is ill
FAMILY = (BotoCoreError, ClientError)  # all that boto3 raises on purpose
_CHECKSUM_TRIES = 3  # of bytes that arrived as others
_OPTIONS = ("addressing", "ca", "verify", "patience")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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
        path, _, query = url.removeprefix("s3://").partition("?")  # urlsplit would take # for a fragment, and drop line feeds
        bucket, _, prefix = path.partition("/")
        prefix = prefix.strip("/")
        options = dict(parse_qsl(query, keep_blank_values=True))
        problems = [Problem(f"?{key}", "is unknown", f"There are {', '.join(_OPTIONS)}.") for key in sorted(set(options) - set(_OPTIONS))]
        where = "s3://***" if "@" in path else f"s3://{path}"  # who writes a secret there has written it before an @
        if not _BUCKET.fullmatch(bucket):
            remedy = "Like s3://releases/shop. Credentials are found as the aws command finds them; the endpoint is AWS_ENDPOINT_URL."
            problems.append(Problem(where, "names no bucket", remedy))
        elif prefix and (not prefix.isprintable() or any(part in ("", ".", "..") for part in prefix.split("/"))):
            what = "has a prefix with a part that is empty, . or .., or with a control character"
            problems.append(Problem(where, what, "What asks for it on the way would change it."))
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
        return cls(bucket, prefix, addressing, verify, float(patience))


class Bucket:
    """``client`` is boto3's. Keys are the ledger's: what is before them is put there by ``key``."""

    def __init__(self, url: str, environ: Mapping[str, str]) -> None:
        self._settings = _Settings.read(url, environ)
        self.name = self._settings.bucket
        self.stopping = threading.Event()  # nobody waits for what is being tried again
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
            self.client: Any = boto3.session.Session().client("s3", config=config, verify=self._settings.verify)
        except (BotoCoreError, ValueError, OSError) as error:
            raise refusals.told(error, url, url, 0) from None

    def attempt(self) -> Attempt:
        """Begin to be patient."""
        return Attempt(self._settings.patience, self.stopping)

    def ask(self, operation: str, **words: Any) -> Any:
        """One request, by boto3's name for it, of this bucket; like ``insist``."""
        return self.insist(partial(getattr(self.client, operation), Bucket=self.name, **words))

    def insist(self, request: Callable[[], Any]) -> Any:
        """What ``request`` gives, again for as long as that may help. Raises one of ``FAMILY``."""
        attempt = self.attempt()
        while True:
            try:
                return request()
            except FAMILY as error:
                if not attempt.again(error):
                    raise

    def pages(self, operation: str, prefix: str, **more: str) -> Iterator[Mapping[str, Any]]:
        """Each page is tried again by itself: boto3's own iterator, once it has failed, ends as if there were no more."""
        token: dict[str, str] = {}
        while True:
            with self.telling(prefix):
                page: Mapping[str, Any] = self.ask(operation, Prefix=self.key(prefix), **more, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {name: page[f"Next{name}"] for name in ("ContinuationToken", "KeyMarker", "UploadIdMarker") if page.get(f"Next{name}")}

    @contextmanager
    def telling(self, key: str) -> Iterator[None]:
        try:
            yield
        except FAMILY as error:
            raise self.told(error, key) from None

    def told(self, error: BaseException, key: str) -> StoreError:
        where = f"s3://{self.name}" if refusals.code(error) == "NoSuchBucket" else self.shown(key)
        return refusals.told(error, where, self.client.meta.endpoint_url, self._settings.patience)

    def key(self, key: str) -> str:
        return f"{self._settings.prefix}/{key}" if self._settings.prefix else key

    def shown(self, key: str) -> str:
        return f"s3://{self.name}/{self.key(key)}"


class Attempt:
    """Whether, and when, a request is made again."""

    def __init__(self, patience: float, stopping: threading.Event) -> None:
        self._until = time.monotonic() + patience
        self._stopping = stopping
        self._made = 0

    def again(self, error: BaseException) -> bool:
        """Waits, and says whether to go on."""
        self._made += 1
        if refusals.code(error) == "BadDigest":
            return self._made < _CHECKSUM_TRIES
        if not refusals.may_pass(error) or time.monotonic() >= self._until:
            return False
        return not self._stopping.wait(min(0.1 * 2**self._made, 5.0) * random.uniform(0.5, 1.0))


def base64_of(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
