"""Downloads that break off, refusals that pass, and uploads that never ended."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, IncompleteReadError
from hypothesis import given, settings
from hypothesis import strategies as st

from kubetune_contract import ExitCode, KubeTuneError, ObjectStore
from kubetune_shared.store import READ_ATTEMPTS, Store
from kubetune_shared.store_errors import store_errors
from tests.support.points import Record

Answer = dict[str, Any]
OLD, NEW = b"old" * 100, b"new!" * 100


def refused(code: str, status: int) -> ClientError:
    said = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(said, "GetObject")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("TooManyRequests", 429),
        ("SlowDown", 503),
        ("RequestTimeout", 400),
        ("OperationAborted", 409),
        ("409", 409),
        ("408", 408),
        ("NoSuchUpload", 404),
    ],
)
def test_refusals_that_pass_are_tried_again(code: str, status: int) -> None:
    with pytest.raises(KubeTuneError) as caught, store_errors("s3://data/x", "the store", "write to"):
        raise refused(code, status)
    assert (caught.value.code, caught.value.reason) == (ExitCode.UNAVAILABLE, "StoreUnavailable")
    assert str(status) in caught.value.message


def test_other_refusals_are_final() -> None:
    with pytest.raises(KubeTuneError) as caught, store_errors("s3://data/x", "the store", "write to"):
        raise refused("InvalidArgument", 400)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "StoreRefused")


class Body:
    """Breaks off after so many bytes."""

    def __init__(self, data: bytes, broken_at: int | None) -> None:
        self._data, self._broken_at = data, broken_at

    def iter_chunks(self, size: int) -> Any:
        shown = io.BytesIO(self._data if self._broken_at is None else self._data[: self._broken_at])
        while chunk := shown.read(min(size, 64)):
            yield chunk
        if self._broken_at is not None:
            raise IncompleteReadError(actual_bytes=self._broken_at, expected_bytes=len(self._data))


class Client:
    """A store's client over one object, whose content changes between the calls as ``contents`` has it."""

    def __init__(self, contents: list[bytes], breaks: list[int | None], *, ranges: bool = True, checks: bool = True):
        self.contents, self.breaks, self.ranges, self.checks = contents, breaks, ranges, checks
        self.calls: list[Answer] = []

    def get_object(self, **wanted: Any) -> Answer:
        number = len(self.calls)
        self.calls.append(wanted)
        data = self.contents[min(number, len(self.contents) - 1)]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        if self.checks and wanted.get("IfMatch", etag) != etag:
            raise refused("PreconditionFailed", 412)
        broken_at = self.breaks[number] if number < len(self.breaks) else None
        answer: Answer = {"ETag": etag, "ResponseMetadata": {"HTTPStatusCode": 200}}
        if self.ranges and "Range" in wanted:
            start = int(wanted["Range"].removeprefix("bytes=").removesuffix("-"))
            answer["ContentRange"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            answer["ResponseMetadata"] = {"HTTPStatusCode": 206}
            data = data[start:]
        return answer | {"ContentLength": len(data), "Body": Body(data, broken_at)}


def downloaded(client: Client, tmp_path: Path) -> tuple[bytes, str]:
    store = Store(ObjectStore("http://127.0.0.1:1"))
    store._client = client
    sha256 = store.download("s3://data/x", tmp_path / "got")
    return (tmp_path / "got").read_bytes(), sha256


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Client([OLD], [150]), OLD),
        (lambda: Client([OLD], [150, 30, 10]), OLD),
        (lambda: Client([OLD], [150], ranges=False), OLD),
        (lambda: Client([OLD, NEW], [150]), NEW),
        (lambda: Client([OLD, NEW], [150], checks=False), NEW),
        (lambda: Client([OLD, NEW], [150], ranges=False, checks=False), NEW),
        (lambda: Client([OLD, NEW[:100]], [150]), NEW[:100]),
    ],
    ids=["goes on", "often", "no ranges", "replaced", "replaced, unchecked", "replaced, neither", "shorter now"],
)
def test_a_broken_download_never_mixes_two_objects(
    make: Callable[[], Client], expected: bytes, tmp_path: Path, record_property: Record
) -> None:
    client = make()
    got, sha256 = downloaded(client, tmp_path)
    assert got == expected
    assert sha256 == hashlib.sha256(expected).hexdigest()
    assert all("IfMatch" in call for call in client.calls if "Range" in call)
    record_property("point", "a broken download goes on with If-Match and 206 only, else begins anew")


@given(
    st.lists(st.sampled_from([OLD, NEW]), min_size=1, max_size=5),
    st.lists(st.one_of(st.none(), st.integers(0, 290)), max_size=5),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_the_file_is_one_object(
    tmp_path_factory: pytest.TempPathFactory,
    contents: list[bytes],
    breaks: list[int | None],
    ranges: bool,
    checks: bool,
) -> None:
    folder = tmp_path_factory.mktemp("download")
    with contextlib.suppress(KubeTuneError):
        got, sha256 = downloaded(Client(contents, breaks, ranges=ranges, checks=checks), folder)
        check(got, sha256)


def check(got: bytes, sha256: str) -> None:
    assert got in (OLD, NEW)
    assert sha256 == hashlib.sha256(got).hexdigest()


def test_a_download_that_breaks_too_often_is_told(tmp_path: Path) -> None:
    client = Client([OLD], [10] * READ_ATTEMPTS)
    with pytest.raises(KubeTuneError) as caught:
        downloaded(client, tmp_path)
    assert caught.value.code is ExitCode.UNAVAILABLE
    assert len(client.calls) == READ_ATTEMPTS


class Failing:
    """A file whose disk is full once, in the middle of a chunk."""

    def __init__(self, file: Any) -> None:
        self._file, self._writes = file, 0

    def write(self, chunk: bytes) -> None:
        self._writes += 1
        if self._writes == 2:
            self._file.write(chunk[:7])
            raise OSError(28, "No space left on device")
        self._file.write(chunk)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_what_a_failed_write_left_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def open_failing(path: Path, mode: str = "r", **options: Any) -> Any:
        return FailingFile(real(path, mode, **options)) if mode == "wb" else real(path, mode, **options)

    class FailingFile(Failing):
        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

    monkeypatch.setattr(Path, "open", open_failing)
    got, sha256 = downloaded(Client([OLD], []), tmp_path)
    assert got == OLD
    assert sha256 == hashlib.sha256(OLD).hexdigest()


def test_the_parts_of_uploads_that_never_ended_are_removed(store: Store) -> None:
    """As a killed pod leaves them."""
    client = store._client

    def begin(key: str) -> str:
        upload: str = client.create_multipart_upload(Bucket="out", Key=key)["UploadId"]
        client.upload_part(Bucket="out", Key=key, UploadId=upload, PartNumber=1, Body=b"part" * 100)
        return upload

    begin("mine/checkpoints/5-a/optimizer.pt")
    begin("mine/adapter/model.safetensors")
    begin("mine-not/adapter/model.safetensors")
    store.write(b"whole", "s3://out/mine/run.json")
    assert store.abort_uploads("s3://out/mine") == 2
    assert store.abort_uploads("s3://out/mine/") == 0
    assert [found["Key"] for found in client.list_multipart_uploads(Bucket="out")["Uploads"]] == [
        "mine-not/adapter/model.safetensors"
    ]
    assert store.read("s3://out/mine/run.json") == b"whole"
