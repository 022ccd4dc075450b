"""What an object store's refusals mean, where, and what to do about them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from kubetune_contract import ExitCode, KubeTuneError, uris

_MISSING_BUCKET = frozenset({"NoSuchBucket"})
MISSING_KEY = frozenset({"NoSuchKey", "404", "NotFound"})
_UNKNOWN_KEY = frozenset({"InvalidAccessKeyId", "XAdminUserNotFound"})
_EXPIRED = frozenset({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"})
_DENIED = frozenset({"AccessDenied", "403", "Forbidden", "SignatureDoesNotMatch"}) | _UNKNOWN_KEY | _EXPIRED
_LATER = frozenset({"SlowDown", "RequestTimeout", "Throttling", "TooManyRequests", "OperationAborted", "NoSuchUpload"})
"""NoSuchUpload: somebody has cleared a multipart upload away that had not ended; it begins anew."""
_LATER_STATUSES = frozenset({408, 409, 429})
_SECRET = "the Secret that holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


@contextmanager
def store_errors(uri: str, where: str, action: str) -> Iterator[None]:
    """Turns the client's failures into KubeTuneErrors. ``action`` is what was tried with the bucket: ``read``."""
    uri = _told(uri)
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise KubeTuneError(
            ExitCode.PERMISSION, "AccessDenied", f"{uri}: no credentials for {where}; check {_SECRET}"
        ) from error
    except ClientError as error:
        raise _translated(error, uri, where, action) from error
    except BotoCoreError as error:
        raise KubeTuneError(
            ExitCode.UNAVAILABLE, "StoreUnavailable", f"{uri}: {where} does not answer: {error}"
        ) from error
    except OSError as error:
        raise KubeTuneError(ExitCode.UNAVAILABLE, "LocalStorage", f"{uri}: {error}") from error


@contextmanager
def output_errors() -> Iterator[None]:
    """Around a try to write results: says so, and which field decides where they go."""
    try:
        yield
    except KubeTuneError as error:
        raise KubeTuneError(
            error.code,
            error.reason,
            "the results cannot be stored where spec.output.uri or the chart's objectStore.bucket says: "
            f"{error.message}",
        ) from error


def _told(uri: str) -> str:
    """Without the name of a probe, an object of our own that nobody knows."""
    folder, _, name = uri.rpartition("/")
    return folder if name.startswith(".probe-") else uri


def _translated(error: ClientError, uri: str, where: str, action: str) -> KubeTuneError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = (str(error.response.get("Error", {}).get("Message", "")) or code).rstrip(".")
    bucket = uris.bucket(uri)
    if code in _MISSING_BUCKET:
        return KubeTuneError(
            ExitCode.INPUT_NOT_FOUND,
            "BucketNotFound",
            f"{uri}: there is no bucket {bucket!r} at {where}; create it or correct the URI",
        )
    if code in MISSING_KEY:
        return KubeTuneError(ExitCode.INPUT_NOT_FOUND, "ObjectNotFound", f"{uri}: there is no such object at {where}")
    if code in _DENIED or status in {401, 403}:
        refused = f"{uri}: {where} refused to {action} bucket {bucket!r} ({said})"
        return KubeTuneError(ExitCode.PERMISSION, "AccessDenied", f"{refused}; {_remedy(code, action)}")
    if status >= 500 or status in _LATER_STATUSES or code in _LATER:
        return KubeTuneError(ExitCode.UNAVAILABLE, "StoreUnavailable", f"{uri}: {where} answered {status}: {said}")
    return KubeTuneError(ExitCode.BAD_CONFIG, "StoreRefused", f"{uri}: {where} answered {status} {code}: {said}")


def _remedy(code: str, action: str) -> str:
    if code in _UNKNOWN_KEY:
        return f"it does not know the access key: check {_SECRET}"
    if code == "SignatureDoesNotMatch":
        return f"the secret key does not belong to the access key: check {_SECRET}"
    if code in _EXPIRED:
        return f"the keys have expired: renew {_SECRET}"
    return f"check {_SECRET}, and that these keys may {action} the bucket"
