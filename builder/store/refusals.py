"""What S3 and the network say no with, in the words of this program: what it is, where, and what to do. Imported by ``s3`` alone."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from botocore import exceptions as aws

from ..errors import (
    AbsentError,
    ChecksumError,
    ClockError,
    CredentialsError,
    DeniedError,
    NoStoreError,
    Problem,
    StoreError,
    UnreachableError,
)

_SKEW = timedelta(minutes=15)  # that S3 allows
_LOGIN = re.compile(r"(?<=//)[^/@\s]+@")  # of an endpoint or a proxy
_CREDENTIALS = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile that AWS_PROFILE names."
_CODES: dict[str, tuple[type[StoreError], str, str, str]] = {  # code -> class, message, what, remedy
    "NoSuchBucket": (
        NoStoreError,
        "there is no such bucket",
        "does not exist at this endpoint",
        "Create it, or correct its name, AWS_ENDPOINT_URL or region.",
    ),
    "AccessDenied": (DeniedError, "the store does not allow that", "these credentials have no right to it", "docs/store.md has the least policies."),
    "SignatureDoesNotMatch": (CredentialsError, "the store does not take these credentials", "the secret key is not the access key's", _CREDENTIALS),
    "InvalidAccessKeyId": (CredentialsError, "the store does not take these credentials", "the access key is unknown", _CREDENTIALS),
    "ExpiredToken": (CredentialsError, "the store does not take these credentials", "the session has ended", "Log in again."),
    "InvalidToken": (CredentialsError, "the store does not take these credentials", "the session token is no good", "Log in again."),
    "RequestTimeTooSkewed": (
        ClockError,
        "the clock here and the store's differ too much",
        "more than the 15 minutes that are allowed",
        "Set this machine's clock (timedatectl).",
    ),
    "RequestExpired": (
        ClockError,
        "the clock here and the store's differ too much",
        "the request seems too old",
        "Set this machine's clock (timedatectl).",
    ),
    "BadDigest": (
        ChecksumError,
        "what arrived is not what was sent",
        "differs from its SHA-256",
        "Try again; if it stays so, look at the network or at this machine's memory.",
    ),
    "XAmzContentSHA256Mismatch": (
        ChecksumError,
        "what arrived is not what was sent",
        "differs from its SHA-256",
        "Try again; if it stays so, look at the network or at this machine's memory.",
    ),
    "NoSuchKey": (AbsentError, "the store does not hold that any more", "is not there", "build-release list shows what is."),
    "PermanentRedirect": (NoStoreError, "the bucket is in another region", "is served elsewhere", "Say which in AWS_DEFAULT_REGION."),
    "AuthorizationHeaderMalformed": (NoStoreError, "the bucket is in another region", "is served elsewhere", "Say which in AWS_DEFAULT_REGION."),
    "QuotaExceeded": (StoreError, "the store has no room", "is full", "Make room there: build-release prune."),
}
_AGAIN = {
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "Throttling",
    "503 SlowDown",
}
_BY_STATUS = {403: "AccessDenied", 404: "NoSuchKey", 301: "PermanentRedirect"}
_LOST = (
    *(aws.EndpointConnectionError, aws.ConnectTimeoutError, aws.ReadTimeoutError, aws.ConnectionClosedError, aws.ResponseStreamingError),
    *(aws.IncompleteReadError, aws.HTTPClientError),
)


def code(error: BaseException) -> str:
    """What S3 calls it: like ``NoSuchKey``, or a status where there is no body; "" for what is not S3's."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, aws.ClientError) else ""


def status(error: BaseException) -> int:
    """The HTTP status; 0 for what is not S3's."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(error, aws.ClientError) else 0


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later: nothing answered, or the server is busy or ill."""
    if isinstance(error, aws.ClientError):
        return code(error) in _AGAIN or status(error) >= 500 or status(error) == 429
    return isinstance(error, _LOST) and not isinstance(error, aws.SSLError | aws.ProxyConnectionError)


def told(error: BaseException, where: str, endpoint: str, waited: float) -> StoreError:
    """``error`` as a ``StoreError`` with its next step. ``waited`` seconds it was tried again."""
    endpoint = _without_login(endpoint)
    if isinstance(error, aws.ClientError):
        name, ahead = code(error), _ahead(error)
        if name.isdecimal() or name not in _CODES:
            name = _BY_STATUS.get(status(error), name)
        if name == "AccessDenied" and abs(ahead) > _SKEW:
            name = "RequestTimeTooSkewed"  # what has no body has no better word: HEAD
        said = _without_login(str(error.response.get("Error", {}).get("Message") or ""))
        if name not in _CODES:
            return StoreError("the store says no", [Problem(where, f"{name or status(error)}: {said or _sentence(error)}")])
        kind, message, what, remedy = _CODES[name]
        if kind is ClockError and abs(ahead) > _SKEW:
            which = "ahead of" if ahead > timedelta() else "behind"
            what = f"this machine's clock is {round(abs(ahead) / timedelta(minutes=1))} minutes {which} the store's, 15 are allowed"
        if kind is DeniedError and len(said.split()) > 2:  # more than "Access Denied.": whose key it is, which right, which rule
            what = f"{what}: {said.rstrip('.')}"
        return kind(message, [Problem(where, what, remedy)])
    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError | aws.ProfileNotFound | aws.CredentialRetrievalError):
        return CredentialsError("there are no credentials for the store", [Problem("credentials", _sentence(error), _CREDENTIALS)])
    if isinstance(error, aws.NoRegionError):
        return StoreError("the store's region is not known", [Problem("region", "is not set", "Set AWS_DEFAULT_REGION, or the profile's region.")])
    if isinstance(error, aws.SSLError):
        remedy = "Name its authority's certificate in AWS_CA_BUNDLE or with ?ca=FILE."
        return UnreachableError("the store's certificate is not trusted", [Problem(endpoint, _sentence(error), remedy)])
    if isinstance(error, _LOST):
        remedy = "Is it up, and is the endpoint right (AWS_ENDPOINT_URL)? The same command goes on where this one stopped."
        return UnreachableError("the store does not answer", [Problem(endpoint, f"{_sentence(error)} (tried for {waited:.0f} s)", remedy)])
    return StoreError("the store can't be used", [Problem(where, _sentence(error))])


def _ahead(error: aws.ClientError) -> timedelta:
    """How far this machine's clock is ahead of the store's, by the date of its answer; nothing where that has none."""
    try:
        theirs = parsedate_to_datetime(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))
    except ValueError:
        return timedelta()
    return datetime.now(UTC) - (theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))


def _without_login(text: str) -> str:
    return _LOGIN.sub("***@", text)


def _sentence(error: BaseException) -> str:
    return _without_login(str(error).strip().rstrip("."))
