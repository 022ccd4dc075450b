"""The object store (any S3): a thin client whose failures are KubeTuneErrors that say what to do."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from kubetune_contract import ExitCode, KubeTuneError, ObjectStore, Uri, UriError, uris

CHUNK = 1 << 20
"""Bytes read and hashed at once."""
READ_ATTEMPTS = 4
"""How often a download goes on where a broken connection left it."""

# It announces at every start where it found its credentials.
logging.getLogger("botocore").setLevel(logging.WARNING)

_MISSING_BUCKET = frozenset({"NoSuchBucket"})
_MISSING_KEY = frozenset({"NoSuchKey", "404", "NotFound"})
_DENIED = frozenset(
    {
        "AccessDenied",
        "403",
        "Forbidden",
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "ExpiredToken",
        "InvalidToken",
        "XAdminUserNotFound",
    }
)
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}) | _MISSING_KEY
"""What a conditional write answers when the object is not what the caller thought; 404 when it is gone."""
_CREDENTIALS_HINT = "check the Secret that holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class ConflictError(Exception):
    """A conditional write found another object, or none, where the caller expected its own."""


class UnsupportedError(Exception):
    """The store says that it has no conditional writes."""


@dataclass(frozen=True)
class StoredObject:
    """An object found by a listing; ``path`` is relative to the URI that was listed."""

    path: str
    size: int
    etag: str = ""
    """The store's own digest of the content, whatever it is made of; changes when the object is replaced."""


def is_out_of_reach(error: KubeTuneError) -> bool:
    """Whether the store itself could not be read, which tells nothing about what is in it."""
    return error.reason in {"StoreUnavailable", "AccessDenied"}


class Store:
    """A client of one S3 endpoint. Thread-safe. Credentials come from the environment, as for every AWS client."""

    def __init__(self, config: ObjectStore) -> None:
        self.config = config
        # Checksums only where S3 demands them: other implementations refuse the trailers boto3 sends by default.
        settings = Config(
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=32,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        try:
            self._client: Any = boto3.session.Session().client(
                "s3", endpoint_url=config.endpoint, region_name=config.region, config=settings
            )
        except ValueError as error:
            raise KubeTuneError(
                ExitCode.BAD_CONFIG, "InvalidEndpoint", f"object store endpoint {config.endpoint!r}: {error}"
            ) from error
        self._transfer = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=32 << 20)

    def list(self, uri: str) -> list[StoredObject]:
        """The objects below ``uri``, which is read as a folder. Empty when there are none."""
        target = s3_uri(uri)
        prefix = f"{target.path}/"
        found: list[StoredObject] = []
        with self._errors(uri):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=target.authority, Prefix=prefix)
            for page in pages:
                found += [
                    StoredObject(entry["Key"].removeprefix(prefix), entry["Size"], entry.get("ETag", ""))
                    for entry in page.get("Contents", ())
                    if not entry["Key"].endswith("/")
                ]
        return found

    def read(self, uri: str) -> bytes:
        """The whole object. For small ones: manifests, reports."""
        target = s3_uri(uri)
        with self._errors(uri):
            body: bytes = self._client.get_object(Bucket=target.authority, Key=target.path)["Body"].read()
        return body

    def read_range(self, uri: str, start: int, length: int) -> bytes:
        """``length`` bytes from ``start`` on; fewer where the object ends before."""
        target = s3_uri(uri)
        with self._errors(uri):
            wanted = f"bytes={start}-{start + length - 1}"
            answer = self._client.get_object(Bucket=target.authority, Key=target.path, Range=wanted)
            # A server that ignores the range would send all of it.
            body: bytes = answer["Body"].read(length)
        return body

    def find(self, uri: str) -> bytes | None:
        """The object, or None when there is none. A missing bucket is an error all the same."""
        try:
            return self.read(uri)
        except KubeTuneError as error:
            if error.reason == "ObjectNotFound":
                return None
            raise

    def find_tagged(self, uri: str) -> tuple[bytes, str] | None:
        """The object and its ETag, for ``put_if``; None when there is none."""
        target = s3_uri(uri)
        try:
            with self._errors(uri):
                answer = self._client.get_object(Bucket=target.authority, Key=target.path)
                return answer["Body"].read(), str(answer["ETag"])
        except KubeTuneError as error:
            if error.reason == "ObjectNotFound":
                return None
            raise

    def put_if(self, data: bytes, uri: str, etag: str | None) -> str:
        """Replaces the object if it still has ``etag``, or writes it if there is none (``etag`` None).

        Returns the new ETag. Raises ConflictError when the condition does not hold, which can also follow an answer
        that was lost on its way, so compare contents; UnsupportedError when the store refuses conditions. A store may
        also ignore them without a word.
        """
        target = s3_uri(uri)
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag}
        try:
            with self._errors(uri):
                answer = self._client.put_object(Bucket=target.authority, Key=target.path, Body=data, **condition)
        except KubeTuneError as error:
            cause = error.__cause__
            if not isinstance(cause, ClientError):
                raise
            code = str(cause.response.get("Error", {}).get("Code", ""))
            if code in _CHANGED:
                raise ConflictError(uri) from error
            if code in {"NotImplemented", "501"}:
                raise UnsupportedError(uri) from error
            raise
        return str(answer["ETag"])

    def write(self, data: bytes, uri: str) -> None:
        """Replaces the object."""
        target = s3_uri(uri)
        with self._errors(uri):
            self._client.put_object(Bucket=target.authority, Key=target.path, Body=data)

    def upload(self, path: Path, uri: str) -> None:
        """Replaces the object by the file's content, in parts when it is large."""
        target = s3_uri(uri)
        with self._errors(uri), path.open("rb") as file:
            self._client.upload_fileobj(file, target.authority, target.path, Config=self._transfer)

    def download(self, uri: str, path: Path) -> str:
        """Writes the object to ``path`` and returns its SHA-256. A broken connection is resumed where it broke.

        The file is written in place: callers choose a temporary name and rename it once they trust the digest.
        """
        target = s3_uri(uri)
        digest, done = hashlib.sha256(), 0
        with path.open("wb") as file:
            for attempt in range(READ_ATTEMPTS):
                ranged = {"Range": f"bytes={done}-"} if done else {}
                try:
                    with self._errors(uri):
                        answer = self._client.get_object(Bucket=target.authority, Key=target.path, **ranged)
                        size = done + answer["ContentLength"]
                        for chunk in answer["Body"].iter_chunks(CHUNK):
                            file.write(chunk)
                            digest.update(chunk)
                            done += len(chunk)
                    if done == size:
                        return digest.hexdigest()
                except KubeTuneError as error:
                    if error.code is not ExitCode.UNAVAILABLE or attempt == READ_ATTEMPTS - 1:
                        raise
        raise KubeTuneError(
            ExitCode.UNAVAILABLE, "StoreUnavailable", f"{uri}: the connection broke off {READ_ATTEMPTS} times"
        )

    def delete(self, uri: str) -> None:
        """Removes one object; a missing one is fine."""
        target = s3_uri(uri)
        with self._errors(uri):
            self._client.delete_object(Bucket=target.authority, Key=target.path)

    def delete_folder(self, uri: str) -> None:
        """Removes everything below ``uri``."""
        for found in self.list(uri):
            self.delete(f"{uri.rstrip('/')}/{found.path}")

    def check_writable(self, uri: str) -> None:
        """Raises KubeTuneError unless objects can be written below ``uri``; leaves nothing behind."""
        probe = f"{uri.rstrip('/')}/.probe-{secrets.token_hex(8)}"
        try:
            self.write(b"", probe)
            self.delete(probe)
        except KubeTuneError as error:
            # The probe is ours; what cannot be written to is the user's folder.
            raise KubeTuneError(error.code, error.reason, error.message.replace(probe, uri)) from error

    @contextmanager
    def _errors(self, uri: str) -> Iterator[None]:
        where = self.config.endpoint or "AWS S3"
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise KubeTuneError(
                ExitCode.PERMISSION, "AccessDenied", f"{uri}: no credentials for {where}; {_CREDENTIALS_HINT}"
            ) from error
        except ClientError as error:
            raise _translated(error, uri, where) from error
        except BotoCoreError as error:
            raise KubeTuneError(
                ExitCode.UNAVAILABLE, "StoreUnavailable", f"{uri}: {where} does not answer: {error}"
            ) from error
        except OSError as error:
            raise KubeTuneError(ExitCode.UNAVAILABLE, "LocalStorage", f"{uri}: {error}") from error


def s3_uri(uri: str) -> Uri:
    """Raises UriError unless ``uri`` is an s3:// URI."""
    parsed = uris.parse(uri)
    if parsed.scheme != "s3":
        raise UriError(uri, "must be an s3:// URI here")
    return parsed


def credentials_present() -> bool:
    """True when the environment names credentials for the store."""
    return bool(os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"))


def _translated(error: ClientError, uri: str, where: str) -> KubeTuneError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    said = str(error.response.get("Error", {}).get("Message", "")) or code
    if code in _MISSING_BUCKET:
        bucket = uris.parse(uri).authority
        return KubeTuneError(
            ExitCode.INPUT_NOT_FOUND,
            "BucketNotFound",
            f"{uri}: there is no bucket {bucket!r} at {where}; create it or correct the URI",
        )
    if code in _MISSING_KEY:
        return KubeTuneError(ExitCode.INPUT_NOT_FOUND, "ObjectNotFound", f"{uri}: there is no such object at {where}")
    if code in _DENIED or status in {401, 403}:
        return KubeTuneError(
            ExitCode.PERMISSION, "AccessDenied", f"{uri}: {where} refused the request ({said}); {_CREDENTIALS_HINT}"
        )
    if status >= 500 or code in {"SlowDown", "RequestTimeout", "Throttling"}:
        return KubeTuneError(ExitCode.UNAVAILABLE, "StoreUnavailable", f"{uri}: {where} answered {status}: {said}")
    return KubeTuneError(ExitCode.BAD_CONFIG, "StoreRefused", f"{uri}: {where} answered {status} {code}: {said}")
