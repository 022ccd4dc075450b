"""The object store (any S3): a thin client whose failures are KubeTuneErrors that say what to do."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from kubetune_contract import ExitCode, KubeTuneError, ObjectStore, Uri, UriError, uris

from .store_errors import MISSING_KEY, output_errors, store_errors

CHUNK = 1 << 20
"""Bytes read and hashed at once."""
READ_ATTEMPTS = 4
"""How often a download goes on where a broken connection left it."""
PARTIAL_CONTENT = 206

# It announces at every start where it found its credentials.
logging.getLogger("botocore").setLevel(logging.WARNING)

_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}) | MISSING_KEY
"""What a conditional write answers when the object is not what the caller thought; 404 when it is gone."""


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
        with self._errors(uri, "list"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=target.authority, Prefix=prefix)
            for page in pages:
                found += [
                    StoredObject(entry["Key"].removeprefix(prefix), entry["Size"], entry.get("ETag", ""))
                    for entry in page.get("Contents", ())
                    if not entry["Key"].endswith("/")
                ]
        return found

    def children(self, bucket: str, folder: str = "") -> tuple[str, ...]:
        """The first names in a folder of the bucket, folders with a ``/`` at their end; at most 1,000."""
        prefix = f"{folder}/" if folder else ""
        with self._errors(f"s3://{bucket}/{folder}", "list"):
            page = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, Delimiter="/")
        names = [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
        names += [entry["Key"] for entry in page.get("Contents", ())]
        return tuple(sorted(name.removeprefix(prefix) for name in names if name != prefix))

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
            with self._errors(uri, "write to"):
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
        with self._errors(uri, "write to"):
            self._client.put_object(Bucket=target.authority, Key=target.path, Body=data)

    def upload(self, path: Path, uri: str) -> None:
        """Replaces the object by the file's content, in parts when it is large."""
        target = s3_uri(uri)
        with self._errors(uri, "write to"), path.open("rb") as file:
            self._client.upload_fileobj(file, target.authority, target.path, Config=self._transfer)

    def download(self, uri: str, path: Path) -> str:
        """Writes the object to ``path`` and returns its SHA-256. A broken connection is resumed where it broke.

        One that was replaced meanwhile, or a server that cannot go on in the middle, is begun anew: the file never
        holds parts of two. It is written in place: callers choose a temporary name and rename it once they trust the
        digest.
        """
        target = s3_uri(uri)
        with path.open("wb") as file:
            partial = _Partial(file)
            for attempt in range(READ_ATTEMPTS):
                try:
                    with self._errors(uri):
                        answer = self._client.get_object(
                            Bucket=target.authority, Key=target.path, **partial.condition()
                        )
                        if partial.take(answer):
                            return partial.digest.hexdigest()
                except KubeTuneError as error:
                    if _replaced(error):
                        partial.begin()
                    elif error.code is not ExitCode.UNAVAILABLE or attempt == READ_ATTEMPTS - 1:
                        raise
        raise KubeTuneError(
            ExitCode.UNAVAILABLE,
            "StoreUnavailable",
            f"{uri}: the connection broke off, or the object was replaced, {READ_ATTEMPTS} times",
        )

    def delete(self, uri: str) -> None:
        """Removes one object; a missing one is fine."""
        target = s3_uri(uri)
        with self._errors(uri, "delete from"):
            self._client.delete_object(Bucket=target.authority, Key=target.path)

    def delete_folder(self, uri: str) -> None:
        """Removes everything below ``uri``."""
        for found in self.list(uri):
            self.delete(f"{uri.rstrip('/')}/{found.path}")

    def abort_uploads(self, uri: str) -> int:
        """Removes the parts of uploads below ``uri`` that were begun and never ended, which no listing of objects
        shows; returns how many uploads those were."""
        target = s3_uri(uri)
        bucket, prefix, count = target.authority, f"{target.path.rstrip('/')}/", 0
        with self._errors(uri, "clean up"):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Uploads", ()):
                    self._client.abort_multipart_upload(Bucket=bucket, Key=found["Key"], UploadId=found["UploadId"])
                    count += 1
        return count

    def check_writable(self, uri: str) -> None:
        """Raises KubeTuneError unless objects can be written below ``uri``; leaves nothing behind."""
        probe = f"{uri.rstrip('/')}/.probe-{secrets.token_hex(8)}"
        with output_errors():
            self.write(b"", probe)
            self.delete(probe)

    def _errors(self, uri: str, action: str = "read") -> AbstractContextManager[None]:
        return store_errors(uri, self.config.endpoint or "AWS S3", action)


class _Partial:
    """What of an object is in a file so far."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._etag = file, ""
        self.begin()

    def begin(self) -> None:
        """From the first byte."""
        self.digest, self._done = hashlib.sha256(), 0

    def condition(self) -> dict[str, str]:
        """Asks for what is missing, if it is still the same object."""
        if not self._etag:
            self.begin()
        return {"Range": f"bytes={self._done}-", "IfMatch": self._etag} if self._done else {}

    def take(self, answer: Mapping[str, Any]) -> bool:
        """Adds the answer's bytes where they belong; False when they are not the object's last ones."""
        if not self._goes_on(answer):
            self.begin()
            if answer["ResponseMetadata"]["HTTPStatusCode"] == PARTIAL_CONTENT:
                return False
        self._etag = str(answer.get("ETag", ""))
        # What a failed write has left behind the last whole chunk goes.
        self._file.seek(self._done)
        self._file.truncate()
        size = self._done + answer["ContentLength"]
        for chunk in answer["Body"].iter_chunks(CHUNK):
            self._file.write(chunk)
            self.digest.update(chunk)
            self._done += len(chunk)
        return bool(self._done == size)

    def _goes_on(self, answer: Mapping[str, Any]) -> bool:
        """Whether these are the bytes asked for, of the object that was begun: a server may ignore either wish."""
        starts = str(answer.get("ContentRange", "")).startswith(f"bytes {self._done}-")
        partial = answer["ResponseMetadata"]["HTTPStatusCode"] == PARTIAL_CONTENT
        return partial and starts and answer.get("ETag") == self._etag


def _replaced(error: KubeTuneError) -> bool:
    """Whether the store has another object now than the one that was begun to be read."""
    cause = error.__cause__
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(cause, ClientError) else 0
    return status in {412, 416}


def s3_uri(uri: str) -> Uri:
    """Raises UriError unless ``uri`` is an s3:// URI."""
    parsed = uris.parse(uri)
    if parsed.scheme != "s3":
        raise UriError(uri, "must be an s3:// URI here")
    return parsed


def credentials_present() -> bool:
    """True when the environment names credentials for the store."""
    return bool(os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"))
