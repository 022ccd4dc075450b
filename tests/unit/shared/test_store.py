"""The store's client and published folders against a real S3 server."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubetune_contract import Artifact, ExitCode, KubeTuneError, ObjectStore
from kubetune_shared import manifest as manifests
from kubetune_shared.artifacts import fetch, publish, read_manifest
from kubetune_shared.sources import resolve_file, resolve_model
from kubetune_shared.store import Store
from tests.support.ports import free_port
from tests.support.s3 import S3Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    (made / "deep").mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "deep/weights.bin").write_bytes(bytes(range(256)) * 5000)
    (made / "empty").write_bytes(b"")
    return made


def failure(code: ExitCode, reason: str) -> pytest.RaisesExc[KubeTuneError]:
    return pytest.RaisesExc(KubeTuneError, check=lambda error: (error.code, error.reason) == (code, reason))


def test_what_is_published_can_be_fetched(store: Store, folder: Path, tmp_path: Path) -> None:
    artifact = publish(store, folder, "s3://data/round/", kind="model", meta={"config": {"a": 1}})
    assert artifact == Artifact("s3://data/round", "model", artifact.manifest_sha256, 2 + 256 * 5000)
    manifest = fetch(store, "s3://data/round", tmp_path / "got")
    assert manifest is not None
    assert manifest.config == {"a": 1}
    assert manifests.describe(tmp_path / "got") == manifests.describe(folder)
    assert manifests.file_sha256(tmp_path / "got/manifest.json") == artifact.manifest_sha256
    assert read_manifest(store, "s3://data/round") == (manifest, artifact.manifest_sha256)
    assert resolve_model("s3://data/round", store, tmp_path / "got").manifest_sha256 == artifact.manifest_sha256


def test_publishing_twice_uploads_once(store: Store, folder: Path, server: S3Server) -> None:
    first = publish(store, folder, "s3://data/twice", kind="model", meta={})
    weights = server.root / "data/twice/deep/weights.bin"
    before = weights.stat().st_mtime_ns
    assert publish(store, folder, "s3://data/twice", kind="model", meta={}) == first
    assert weights.stat().st_mtime_ns == before
    (folder / "config.json").write_text('{"new": 1}')
    assert publish(store, folder, "s3://data/twice", kind="model", meta={}) != first


def test_no_manifest_while_the_upload_is_incomplete(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, folder, "s3://data/half", kind="model", meta={})
    (folder / "config.json").write_text('{"new": 1}')

    def broken(path: Path, uri: str) -> None:
        raise KubeTuneError(ExitCode.UNAVAILABLE, "StoreUnavailable", uri)

    monkeypatch.setattr(store, "upload", broken)
    with failure(ExitCode.UNAVAILABLE, "StoreUnavailable"):
        publish(store, folder, "s3://data/half", kind="model", meta={})
    assert read_manifest(store, "s3://data/half") is None


class CutOffError(Exception):
    """Somebody else is in charge."""


@pytest.mark.parametrize("asked", [0, 1, 4])
def test_a_guard_is_asked_before_every_change(store: Store, folder: Path, server: S3Server, asked: int) -> None:
    publish(store, folder, "s3://data/guarded", kind="model", meta={})
    before = {found.path: store.read(f"s3://data/guarded/{found.path}") for found in store.list("s3://data/guarded")}
    (folder / "config.json").write_text('{"new": 1}')
    left = [asked]

    def guard() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise CutOffError

    with pytest.raises(CutOffError):
        publish(store, folder, "s3://data/guarded", kind="model", meta={}, guard=guard)
    now = {found.path: store.read(f"s3://data/guarded/{found.path}") for found in store.list("s3://data/guarded")}
    if asked == 0:
        assert now == before
    assert read_manifest(store, "s3://data/guarded") is None or now == before


def test_a_manifest_that_came_meanwhile_is_not_replaced_unasked(store: Store, folder: Path) -> None:
    calls: list[int] = []

    def guard() -> None:
        calls.append(1)
        if len(calls) == 4:
            # The last question before the manifest is answered; now a successor publishes.
            store.write(b"theirs", "s3://data/late/manifest.json")
        if len(calls) > 4:
            raise CutOffError

    with pytest.raises(CutOffError):
        publish(store, folder, "s3://data/late", kind="model", meta={}, guard=guard)
    assert store.read("s3://data/late/manifest.json") == b"theirs"


def test_fetch_goes_on_where_it_stopped(store: Store, folder: Path, tmp_path: Path) -> None:
    publish(store, folder, "s3://data/resume", kind="model", meta={})
    got = tmp_path / "got"
    fetch(store, "s3://data/resume", got)
    kept = (got / "deep/weights.bin").stat().st_ino
    (got / "config.json").write_text("[]")
    fetch(store, "s3://data/resume", got)
    assert (got / "deep/weights.bin").stat().st_ino == kept
    assert (got / "config.json").read_text() == "{}"


def test_a_changed_object_is_refused(store: Store, folder: Path, tmp_path: Path) -> None:
    publish(store, folder, "s3://data/changed", kind="model", meta={})
    store.write(b"[]", "s3://data/changed/config.json")
    with failure(ExitCode.BAD_DATA, "ChecksumMismatch"):
        fetch(store, "s3://data/changed", tmp_path / "got")
    assert not (tmp_path / "got/config.json").exists()
    assert not (tmp_path / "got/manifest.json").exists()
    store.delete("s3://data/changed/config.json")
    with failure(ExitCode.INPUT_NOT_FOUND, "ObjectNotFound"):
        fetch(store, "s3://data/changed", tmp_path / "got")


def test_a_folder_without_manifest_is_taken_as_listed(store: Store, tmp_path: Path) -> None:
    store.write(b"{}", "s3://data/plain/config.json")
    store.write(b"x", "s3://data/plain/sub/a.txt")
    assert fetch(store, "s3://data/plain", tmp_path / "got") is None
    assert (tmp_path / "got/sub/a.txt").read_bytes() == b"x"
    with failure(ExitCode.INPUT_NOT_FOUND, "ObjectNotFound"):
        fetch(store, "s3://data/nothing", tmp_path / "none")


def test_large_objects_go_in_parts(store: Store, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(bytes(1000) * 80_000)
    store.upload(big, "s3://data/big/file")
    assert store.download("s3://data/big/file", tmp_path / "back") == manifests.file_sha256(big)


def test_a_data_file(store: Store, tmp_path: Path) -> None:
    store.write(b"{}", "s3://data/rows/train.jsonl")
    assert resolve_file("s3://data/rows/train.jsonl", store, tmp_path / "in") == tmp_path / "in/train.jsonl"


def test_what_is_missing_is_named(store: Store, tmp_path: Path) -> None:
    with failure(ExitCode.INPUT_NOT_FOUND, "BucketNotFound"):
        fetch(store, "s3://no-such-bucket/x", tmp_path / "x")
    with failure(ExitCode.INPUT_NOT_FOUND, "ObjectNotFound"):
        resolve_file("s3://data/none.jsonl", store, tmp_path)
    with failure(ExitCode.INPUT_NOT_FOUND, "BucketNotFound"):
        store.check_writable("s3://no-such-bucket/x")
    store.check_writable("s3://data/fresh")
    assert store.list("s3://data/fresh") == []


@pytest.mark.walk("C12")
@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://data/near/tain.jsonl", "s3://data/near/ has: train.jsonl, test.jsonl, deep/"),
        ("s3://data/near", "s3://data/near/ is a folder; it has: deep/, test.jsonl, train.jsonl"),
        ("s3://data/near/deep", "s3://data/near/deep/ is a folder; it has: a.jsonl"),
        ("s3://data/nea/train.jsonl", "s3://data/ has: near/"),
        ("s3://models/x.jsonl", "s3://models/ is empty"),
        ("s3://data/many/7", "s3://data/many/ has: 7a.jsonl, "),
    ],
)
def test_a_wrong_key_is_told_what_is_there(store: Store, tmp_path: Path, uri: str, words: str) -> None:
    for name in ("near/train.jsonl", "near/test.jsonl", "near/deep/a.jsonl", *(f"many/{n}a.jsonl" for n in range(9))):
        store.write(b"{}", f"s3://data/{name}")
    with pytest.raises(KubeTuneError) as caught:
        resolve_file(uri, store, tmp_path)
    assert (caught.value.code, caught.value.reason) == (ExitCode.INPUT_NOT_FOUND, "ObjectNotFound")
    assert caught.value.message.startswith(f"{uri} is no file in the store; {words}")
    assert caught.value.message.endswith("Correct the URI or put it there")
    assert ("and 4 more" in caught.value.message) == ("many" in uri)


@pytest.mark.walk("C12")
def test_a_wrong_folder_is_told_what_is_there(store: Store, tmp_path: Path) -> None:
    store.write(b"{}", "s3://out/base-135m/config.json")
    for uri, words in (
        ("s3://out/base-13m", "s3://out/ has: base-135m/"),
        ("s3://out/base-135m/config.json", "s3://out/base-135m/config.json is a file, not a folder"),
    ):
        with pytest.raises(KubeTuneError) as caught:
            fetch(store, uri, tmp_path / "got")
        assert caught.value.message == (
            f"{uri}: no folder is stored there; {words}. Correct the URI or upload the folder"
        )


@pytest.mark.walk("C11")
def test_a_refusal_names_what_was_tried_and_no_object_of_our_own(
    server: S3Server, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value, cause in (
        ("AWS_ACCESS_KEY_ID", "nobody", "it does not know the access key"),
        ("AWS_SECRET_ACCESS_KEY", "wrong", "the secret key does not belong to the access key"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            refused = Store(server.store)
        with pytest.raises(KubeTuneError) as caught:
            refused.check_writable("s3://data/fresh/")
        told = caught.value.message
        assert caught.value.reason == "AccessDenied"
        assert "spec.output.uri" in told
        assert f"s3://data/fresh: {server.endpoint} refused to write to bucket 'data' (" in told
        assert cause in told
        assert ".probe" not in told


@pytest.mark.walk("C11")
def test_a_missing_bucket_for_results_is_told_with_the_field(store: Store) -> None:
    with pytest.raises(KubeTuneError) as caught:
        store.check_writable("s3://no-such-bucket/x")
    assert caught.value.message == (
        "the results cannot be stored where spec.output.uri or the chart's objectStore.bucket says: s3://no-such-bucket/x:"
        f" there is no bucket 'no-such-bucket' at {store.config.endpoint}; create it or correct the URI"
    )


def test_credentials(server: S3Server, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with failure(ExitCode.PERMISSION, "AccessDenied"):
        Store(server.store).read("s3://data/x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with failure(ExitCode.PERMISSION, "AccessDenied"):
        Store(server.store).read("s3://data/x")


def test_a_store_that_does_not_answer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with failure(ExitCode.UNAVAILABLE, "StoreUnavailable"):
        Store(ObjectStore(f"http://127.0.0.1:{free_port()}")).read("s3://data/x")
    with failure(ExitCode.BAD_CONFIG, "InvalidEndpoint"):
        Store(ObjectStore("nonsense"))
