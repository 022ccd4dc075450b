"""Checkpoints in a real S3 store: only whole ones of this very job are gone on from."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import (
    Accelerator,
    Dataset,
    Export,
    Hyperparameters,
    KubeTuneError,
    ObjectStore,
    Owner,
    Placement,
    Recovery,
    Tracking,
    TrainConfig,
    to_json,
)
from kubetune_shared.artifacts import publish
from kubetune_shared.store import Store
from kubetune_trainer.checkpoints import uploader as uploader_module
from kubetune_trainer.checkpoints.cadence import Cadence
from kubetune_trainer.checkpoints.runstate import Beginning, Best, Latest, RunState, SupersededError
from kubetune_trainer.checkpoints.shelf import Checkpoint, Folder, Shelf, candidates, clear, complete, restore, stored
from kubetune_trainer.checkpoints.uploader import Saved, Stored, Uploader, worth_keeping
from kubetune_trainer.identity import Identity, identify, settings_sha256
from tests.support.points import Record
from tests.support.ports import free_port
from tests.support.s3 import s3_server

RUN = Identity({"seed": 7}, "ab" * 32, "manifest:cd")
THIS = RUN.settings_sha256
META: dict[str, Any] = {"config": {"run": to_json(RUN)}, "datasetSha256": "ab" * 32}


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    return f"s3://out/{abs(hash(request.node.name))}/checkpoints"


def written(tmp_path: Path, step: int) -> Path:
    path = tmp_path / f"checkpoint-{step}"
    path.mkdir()
    (path / "optimizer.pt").write_text(f"momentum of {step}" * 100)
    (path / "adapter_model.safetensors").write_text(f"weights of {step}" * 100)
    return path


def attempt(store: Store, folder: str, seen: list[Stored] | None = None, keep: int = 2) -> tuple[RunState, Uploader]:
    """One that has just taken charge and found what the ones before have left."""
    state = RunState.claim(store, folder.removesuffix("/checkpoints"), THIS)
    latest = state.latest
    shelf = Shelf(store, keep, stored(Folder(store, folder)), latest.step if latest else -1)
    return state, Uploader(Folder(store, folder), META, state, shelf, (seen if seen is not None else []).append)


def upload(store: Store, folder: str, tmp_path: Path, *steps: int, keep: int = 2) -> RunState:
    state, uploader = attempt(store, folder, keep=keep)
    for step in steps:
        uploader.submit(Saved(step, written(tmp_path, step), step * 10))
        assert uploader.drain()
    uploader.close()
    return state


def test_the_newest_are_kept_and_the_last_is_restored(store: Store, folder: str, tmp_path: Path) -> None:
    seen: list[Stored] = []
    state, uploader = attempt(store, folder, seen)
    for step in (5, 10, 100):
        uploader.submit(Saved(step, written(tmp_path, step), step * 10, seconds=1.0))
        assert uploader.drain()
    uploader.close()
    assert [done.step for done in seen] == [5, 10, 100]
    assert all(1.0 < done.seconds < 10 for done in seen)
    assert [found.step for found in complete(Folder(store, folder))] == [100, 10]
    assert len(store.list(folder)) == 6
    assert not list(tmp_path.glob("checkpoint-*"))
    assert state.latest is not None
    assert (state.latest.step, state.tokens) == (100, 1000)
    found = restore(Folder(store, folder), THIS, tmp_path / "restored", state.latest)
    assert found is not None
    assert (found.step, found.path, found.tokens) == (100, tmp_path / "restored/checkpoint-100", 1000)
    assert found.beginning == Beginning(META["datasetSha256"], RUN.base)
    assert (found.path / "optimizer.pt").read_text().startswith("momentum of 100")
    earlier = restore(Folder(store, folder), THIS, tmp_path / "restored", state.latest, before=100)
    assert earlier is not None
    assert earlier.step == 10
    clear(Folder(store, folder))
    assert store.list(folder) == []
    assert restore(Folder(store, folder), THIS, tmp_path / "restored") is None


def test_only_recorded_checkpoints_are_gone_on_from_where_a_record_is() -> None:
    found = [Checkpoint(step, f"s3://out/{step}") for step in (10, 30, 20)]
    assert [one.step for one in candidates(found, None)] == [30, 20, 10]
    assert [one.step for one in candidates(found, Latest(20, "s3://out/20"))] == [20, 10]
    assert [one.step for one in candidates(found, Latest(20, "s3://out/other"))] == [10]


def test_the_best_is_kept_beside_the_newest(store: Store, folder: str, tmp_path: Path) -> None:
    state, uploader = attempt(store, folder)
    for step, loss in ((1, 0.9), (2, 0.5), (3, 0.7), (4, None), (5, 0.5), (6, 0.6)):
        uploader.submit(Saved(step, written(tmp_path, step), eval_loss=loss))
        assert uploader.drain()
    uploader.close()
    assert [found.step for found in complete(Folder(store, folder))] == [6, 5, 2]
    assert state.best == Best(2, f"{folder}/2-{state.attempt}", 0.5)


def test_what_an_attempt_left_is_cleared_by_the_next(store: Store, folder: str, tmp_path: Path) -> None:
    first = upload(store, folder, tmp_path, 10, 20)
    store.write(b"half of it", f"{folder}/30-{first.attempt}/optimizer.pt")
    store.write(b"unrecorded", f"{folder}/25-{first.attempt}/manifest.json")
    store.write(b"incomplete", f"{folder}/15-{first.attempt}/optimizer.pt")
    upload(store, folder, tmp_path, 40)
    assert [found.step for found in stored(Folder(store, folder))] == [40, 20]


def test_an_older_attempt_removes_nothing_of_a_newer(store: Store, folder: str, tmp_path: Path) -> None:
    old, uploader = attempt(store, folder)
    uploader.submit(Saved(10, written(tmp_path, 10)))
    assert uploader.drain()
    upload(store, folder, tmp_path, 20, 30)
    before = store.list(folder)
    uploader.submit(Saved(90, written(tmp_path, 90)))
    with pytest.raises(SupersededError):
        uploader.drain()
    with pytest.raises(SupersededError):
        uploader.check()
    uploader.close()
    assert store.list(folder) == before
    found = restore(
        Folder(store, folder), THIS, tmp_path / "restored", RunState.claim(store, folder[:-12], THIS).latest
    )
    assert found is not None
    assert found.step == 30
    assert old.latest is not None


def test_the_claim_is_renewed_between_uploads(
    store: Store, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBETUNE_HEARTBEAT_SECONDS", "0.2")
    _, uploader = attempt(store, folder)
    time.sleep(0.5)
    spent = RunState.claim(store, folder[:-12], THIS).active_seconds
    assert spent > 0.15
    deadline = time.monotonic() + 10
    while not uploader.superseded:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    uploader.close()


def test_one_waits_behind_the_one_on_its_way_and_the_best_beside_it() -> None:
    one, two, three = (Saved(step, Path(str(step)), eval_loss=loss) for step, loss in ((1, 0.5), (2, None), (3, 0.7)))
    assert worth_keeping([one, two, three], None) == [one, three]
    assert worth_keeping([one, two, three], 0.4) == [three]
    assert worth_keeping([one, two], 0.5) == [two]
    assert worth_keeping([], 0.5) == []


def test_training_does_not_wait_for_an_upload(
    store: Store, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, slow = store.upload, threading.Event()

    def upload_slowly(path: Path, uri: str) -> None:
        slow.wait(10)
        real(path, uri)

    monkeypatch.setattr(store, "upload", upload_slowly)
    seen: list[Stored] = []
    _, uploader = attempt(store, folder, seen)
    began = time.monotonic()
    for step in (1, 2, 3, 4):
        uploader.submit(Saved(step, written(tmp_path, step)))
        time.sleep(0.1)
    assert time.monotonic() - began < 2
    slow.set()
    assert uploader.drain()
    uploader.close()
    # The first was on its way, the last took the place of those between. Draining hurries: only the newest counts.
    assert [done.step for done in seen][-1] == 4
    assert not {2, 3} & {done.step for done in seen}


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
    state = upload(store, folder, tmp_path, 10, 20)
    newest = complete(Folder(store, folder))[0].uri
    damage(store, newest)
    with caplog.at_level(logging.WARNING):
        found = restore(Folder(store, folder), THIS, tmp_path / "restored", state.latest)
    assert found is not None
    assert found.step == 10
    assert damage is not unfinish or "is not in the store any more" in caplog.text
    assert damage is unfinish or f"{newest} is damaged" in caplog.text


def test_other_settings_start_anew(store: Store, folder: str, tmp_path: Path) -> None:
    upload(store, folder, tmp_path, 10)
    assert restore(Folder(store, folder), "other", tmp_path / "restored") is None


def swap(store: Store, uri: str) -> None:
    changed = store.read(f"{uri}/manifest.json").replace(b'"seed":7', b'"seed":8')
    store.write(changed, f"{uri}/manifest.json")


def test_the_manifest_of_other_settings(
    store: Store, folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = upload(store, folder, tmp_path, 10, 20)
    swap(store, complete(Folder(store, folder))[0].uri)
    found = restore(Folder(store, folder), THIS, tmp_path / "restored", state.latest)
    assert found is not None
    assert found.step == 10
    assert "was made with other settings" in caplog.text


def test_a_store_that_is_away_delays_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    with s3_server(tmp_path / "s3", port) as running:
        running.make_bucket("out")
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        store, folder = Store(running.store), "s3://out/away/checkpoints"
        state, uploader = attempt(store, folder)
    for step in (10, 20):
        uploader.submit(Saved(step, written(tmp_path, step), step))
    assert not uploader.drain(patience=2)
    assert "training goes on and it is sent later" in caplog.text
    with pytest.raises(KubeTuneError) as caught:
        restore(Folder(store, folder), THIS, tmp_path / "restored")
    assert caught.value.reason == "StoreUnavailable"
    clear(Folder(store, folder))
    with s3_server(tmp_path / "s3", port):
        deadline = time.monotonic() + 60
        while state.latest is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert state.latest.step == 20
        assert uploader.drain()
        uploader.close()
        assert [found.step for found in complete(Folder(store, folder))] == [20]
    assert not list(tmp_path.glob("checkpoint-*"))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_what_fails_for_want_of_memory_is_sent_later(
    store: Store, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    state, uploader = attempt(store, folder)
    real = publish

    def short(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(uploader_module, "publish", real)
        raise error

    monkeypatch.setattr(uploader_module, "publish", short)
    uploader.submit(Saved(10, written(tmp_path, 10)))
    assert uploader.drain()
    uploader.close()
    assert state.latest is not None
    assert state.latest.step == 10


def test_a_closed_uploader_writes_no_more(store: Store, folder: str, tmp_path: Path) -> None:
    _, uploader = attempt(store, folder)
    uploader.close()
    uploader.submit(Saved(10, written(tmp_path, 10)))
    time.sleep(0.3)
    assert store.list(folder) == []


def test_by_steps_by_minutes_or_not_at_all() -> None:
    clock = [0.0]
    both = Cadence(10, 1.0, lambda: clock[0])
    assert (both.enabled, both.due(9), both.due(10)) == (True, False, True)
    clock[0] = 60
    assert both.due(11)
    both.begin()
    assert not both.due(11)
    off = Cadence(None, 0, lambda: clock[0])
    clock[0] = 1e9
    assert (off.enabled, off.due(10)) == (False, False)


UPGRADES: dict[str, dict[str, Any]] = {
    "store address": {"store": ObjectStore("https://moved:443", "eu-west-1")},
    "tracker": {"tracking": Tracking("http://elsewhere:5000", "team", "model")},
    "logging": {"hyperparameters": Hyperparameters(logging_steps=1)},
    "checkpoints kept": {"hyperparameters": Hyperparameters(save_total_limit=9, save_minutes=60.0, save_steps=3)},
    "export": {"export": Export(merged=True, gguf="q8_0")},
    "recovery": {"recovery": Recovery(patience=9, rollback=True)},
    "release": {"image": "trainer:next", "preset": "code", "results": "s3://out/results", "dataset_sha256": "ab" * 32},
    "gpu of another kind": {"placement": Placement((Accelerator("NVIDIA-A10", 24 << 30),))},
}


@pytest.mark.law("L9", "L11")
@pytest.mark.parametrize("change", UPGRADES)
def test_no_checkpoint_is_passed_over_or_deleted_because_of(
    store: Store, folder: str, tmp_path: Path, change: str, record_property: Record
) -> None:
    """Suspend, upgrade, resume: the run, its newest and its best checkpoint are known again."""
    output = folder.removesuffix("/checkpoints")
    owner = Owner("team", "demo", "u")
    begun = TrainConfig(1, owner, "s3://m/x", Dataset("s3://d/x"), output, ObjectStore("http://store:7070"))
    meta = {**META, "config": {"run": to_json(identify(begun, "ab" * 32, RUN.base))}}
    state = RunState.claim(store, output, settings_sha256(begun))
    uploader = Uploader(Folder(store, folder), meta, state, Shelf(store, 2), lambda _: None)
    for step, loss in ((5, 0.1), (10, 0.5), (15, 0.4), (20, 0.3)):
        uploader.submit(Saved(step, written(tmp_path, step), step * 10, loss))
        assert uploader.drain()
    uploader.close()
    before = complete(Folder(store, folder))
    assert [one.step for one in before] == [20, 15, 5]
    now = settings_sha256(dataclasses.replace(begun, **UPGRADES[change]))
    again = RunState.claim(store, output, now)
    assert (again.latest, again.best) == (state.latest, state.best)
    found = restore(Folder(store, folder), now, tmp_path / "restored", again.latest)
    assert found is not None
    assert found.step == 20
    Shelf(store, 2, stored(Folder(store, folder)), found.step).tidy(again.best.uri if again.best else None)
    assert complete(Folder(store, folder)) == before
    record_property("point", f"upgrade with another {change}: every checkpoint kept, the newest gone on from")
