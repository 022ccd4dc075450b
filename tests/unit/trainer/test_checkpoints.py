"""Checkpoints in a real S3 store: only whole ones of this very job are gone on from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubetune_contract import KubeTuneError, ObjectStore
from kubetune_shared.store import Store
from kubetune_trainer.checkpoints import Uploader, clear, complete, restore
from tests.support.s3 import S3Server, free_port, s3_server

META = {"config": {"configSha256": "this"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        running.make_bucket("out")
        yield running


@pytest.fixture
def store(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return Store(server.store)


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    return f"s3://out/{abs(hash(request.node.name))}/checkpoints"


def written(tmp_path: Path, step: int) -> Path:
    path = tmp_path / f"checkpoint-{step}"
    path.mkdir()
    (path / "optimizer.pt").write_text(f"momentum of {step}" * 100)
    (path / "adapter_model.safetensors").write_text(f"weights of {step}" * 100)
    return path


def upload(store: Store, folder: str, tmp_path: Path, *steps: int) -> Uploader:
    uploader = Uploader(store, folder, META, lambda step: None)
    for step in steps:
        uploader.submit(step, written(tmp_path, step))
    uploader.drain()
    return uploader


def test_the_last_two_are_kept_and_the_newest_is_restored(store: Store, folder: str, tmp_path: Path) -> None:
    seen: list[int] = []
    uploader = Uploader(store, folder, META, seen.append)
    for step in (5, 10, 100):
        uploader.submit(step, written(tmp_path, step))
    uploader.drain()
    assert (seen, uploader.last) == ([5, 10, 100], 100)
    assert [found.step for found in complete(store, folder)] == [100, 10]
    assert len(store.list(folder)) == 6
    assert not list(tmp_path.glob("checkpoint-*"))
    found = restore(store, folder, "this", tmp_path / "restored")
    assert found == (100, tmp_path / "restored/checkpoint-100")
    assert (found[1] / "optimizer.pt").read_text().startswith("momentum of 100")
    clear(store, folder)
    assert store.list(folder) == []
    assert restore(store, folder, "this", tmp_path / "restored") is None


def cut(store: Store, uri: str) -> None:
    store.write(b"momentum", f"{uri}/optimizer.pt")


def flip(store: Store, uri: str) -> None:
    store.write(store.read(f"{uri}/optimizer.pt")[:-1] + b"?", f"{uri}/optimizer.pt")


def lose(store: Store, uri: str) -> None:
    store.delete(f"{uri}/optimizer.pt")


def garble(store: Store, uri: str) -> None:
    store.write(b'{"schema": 1', f"{uri}/manifest.json")


def unfinish(store: Store, uri: str) -> None:
    store.delete(f"{uri}/manifest.json")


@pytest.mark.parametrize("damage", [cut, flip, lose, garble, unfinish])
def test_the_one_before_is_taken_when_the_newest_is_damaged(
    store: Store, folder: str, tmp_path: Path, damage: Callable[[Store, str], None], caplog: pytest.LogCaptureFixture
) -> None:
    upload(store, folder, tmp_path, 10, 20)
    newest = complete(store, folder)[0].uri
    damage(store, newest)
    with caplog.at_level(logging.WARNING):
        found = restore(store, folder, "this", tmp_path / "restored")
    assert found is not None
    assert found[0] == 10
    assert damage is unfinish or f"{newest} is damaged" in caplog.text


def test_another_configuration_starts_anew(store: Store, folder: str, tmp_path: Path) -> None:
    upload(store, folder, tmp_path, 10)
    assert restore(store, folder, "other", tmp_path / "restored") is None


def test_a_store_that_is_away_costs_checkpoints_but_not_the_run(
    store: Store, folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = Store(ObjectStore(f"http://127.0.0.1:{free_port()}"))
    uploader = upload(away, folder, tmp_path, 10)
    assert uploader.last is None
    assert "checkpoint of step 10 could not be stored" in caplog.text
    clear(away, folder)
    with pytest.raises(KubeTuneError) as caught:
        restore(away, folder, "this", tmp_path / "restored")
    assert caught.value.reason == "StoreUnavailable"
