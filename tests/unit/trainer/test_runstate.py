"""Who is in charge of a run, and what it remembers, in a real S3 store with and without conditional writes."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import pytest

from kubetune_contract import Dataset, ExitCode, KubeTuneError, ObjectStore, Owner, RecoveryStep, TrainConfig, to_json
from kubetune_shared.store import ConflictError, Store, UnsupportedError
from kubetune_trainer.checkpoints.runstate import Beginning, Best, Latest, RunState, SupersededError, known_beginning
from kubetune_trainer.job import Job
from kubetune_trainer.processes.stop import StopRequest
from kubetune_trainer.reporting.report import Reporter
from kubetune_trainer.tracking.tracker import Tracker
from kubetune_trainer.train import begin_with
from kubetune_trainer.workspace import Inputs
from tests.support.ports import free_port
from tests.support.s3 import S3Server

STEP = RecoveryStep("OutOfMemory", "halveBatch", "too much", 1.0, 7, 2, 8, False, "adamw_torch", 1e-4)


@pytest.fixture(params=["conditional", "refuses", "ignores"])
def store(request: pytest.FixtureRequest, known_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(known_server.store)
    if request.param != "conditional":

        def put(data: bytes, uri: str, etag: str | None) -> str:
            if request.param == "refuses":
                raise UnsupportedError(uri)
            made.write(data, uri)
            return "new"

        monkeypatch.setattr(made, "put_if", put)
    return made


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    return f"s3://out/{abs(hash(request.node.name))}"


class Clock:
    """Seconds as the test wants them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_a_run_is_remembered_by_its_next_attempt(store: Store, folder: str) -> None:
    clock = Clock()
    first = RunState.claim(store, folder, "sha", now=clock)
    assert (first.generation, first.latest, first.best, first.recovery, first.tokens) == (1, None, None, (), 0)
    clock.seconds = 10
    first.record(latest=Latest(5, "s3://out/5"), best=Best(5, "s3://out/5", 0.5), tokens=100)
    first.add_recovery(STEP)
    clock.seconds = 25
    first.flush()
    second = RunState.claim(store, folder, "sha", now=clock)
    assert second.generation == 2
    assert (second.latest, second.tokens, second.recovery) == (Latest(5, "s3://out/5"), 100, (STEP,))
    assert second.best == Best(5, "s3://out/5", 0.5)
    clock.seconds = 30
    assert second.active_seconds == 30


def test_the_older_attempt_is_fenced_for_good(store: Store, folder: str) -> None:
    old = RunState.claim(store, folder, "sha")
    new = RunState.claim(store, folder, "sha")
    new.record(latest=Latest(9, "new"))
    for write in (old.flush, lambda: old.record(latest=Latest(10, "old")), lambda: old.add_recovery(STEP), old.flush):
        with pytest.raises(SupersededError) as caught:
            write()
        assert caught.value.code is ExitCode.SUPERSEDED
        assert new.attempt in caught.value.message
    new.flush()
    after = RunState.claim(store, folder, "sha")
    assert (after.latest, after.recovery, after.generation) == (Latest(9, "new"), (), 3)


def test_other_settings_forget_all_but_the_time(store: Store, folder: str) -> None:
    clock = Clock()
    first = RunState.claim(store, folder, "sha", now=clock)
    clock.seconds = 10
    first.add_recovery(STEP)
    second = RunState.claim(store, folder, "other", now=clock)
    assert (second.recovery, second.active_seconds, second.generation) == ((), 10, 2)


def test_a_run_that_an_older_release_began_goes_on(store: Store, folder: str) -> None:
    """Its document names the run by a digest of the whole configuration, which this release does not make."""
    older = {"schema": 1, "generation": 3, "attempt": "abcd", "configSha256": "ef" * 32, "datasetSha256": "ab" * 32}
    latest = Latest(40, f"{folder}/checkpoints/40-abcd")
    store.write(json.dumps({**older, "latest": to_json(latest), "activeSeconds": 7.5}).encode(), f"{folder}/run.json")
    assert known_beginning(store, folder, "sha") == Beginning("ab" * 32)
    state = RunState.claim(store, folder, "sha")
    assert (state.generation, state.latest, state.beginning) == (4, latest, Beginning("ab" * 32))
    assert RunState.claim(store, folder, "other").latest is None


def test_going_back_forgets_what_came_after(store: Store, folder: str) -> None:
    state = RunState.claim(store, folder, "sha")
    state.record(latest=Latest(20, "b"), best=Best(15, "a", 0.1), tokens=200)
    state.rewind(Latest(10, "c"), tokens=100)
    assert (state.latest, state.best, state.tokens) == (Latest(10, "c"), None, 100)
    again = RunState.claim(store, folder, "sha")
    assert (again.latest, again.best, again.tokens) == (Latest(10, "c"), None, 100)


def test_a_damaged_or_lost_document_is_written_anew(
    store: Store, folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.write(b"{", f"{folder}/run.json")
    state = RunState.claim(store, folder, "sha")
    assert "cannot be read" in caplog.text
    store.delete(f"{folder}/run.json")
    state.record(latest=Latest(1, "a"))
    assert RunState.claim(store, folder, "sha").latest == Latest(1, "a")


@pytest.mark.parametrize("store", ["conditional"], indirect=True)
def test_of_many_that_claim_at_once_one_is_in_charge(store: Store, folder: str) -> None:
    claimed: list[RunState] = []
    barrier = threading.Barrier(4)

    def claim() -> None:
        barrier.wait()
        claimed.append(RunState.claim(store, folder, "sha"))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(state.generation for state in claimed) == [1, 2, 3, 4]
    alive = []
    for state in claimed:
        try:
            state.flush()
            alive.append(state.generation)
        except SupersededError:
            continue
    assert alive == [4]


@pytest.mark.parametrize("store", ["conditional"], indirect=True)
def test_old_content_under_a_new_etag_is_read_again(store: Store, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = RunState.claim(store, folder, "sha")
    real, old = store.find_tagged, store.find_tagged(f"{folder}/run.json")
    first.record(latest=Latest(7, "a"))
    new = store.find_tagged(f"{folder}/run.json")
    assert old is not None
    assert new is not None

    def torn(uri: str) -> tuple[bytes, str] | None:
        monkeypatch.setattr(store, "find_tagged", real)
        return old[0], new[1]

    monkeypatch.setattr(store, "find_tagged", torn)
    assert RunState.claim(store, folder, "sha").latest == Latest(7, "a")


@pytest.mark.parametrize("store", ["conditional"], indirect=True)
def test_a_lost_answer_is_no_defeat(store: Store, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = RunState.claim(store, folder, "sha")
    real = store.put_if

    def lossy(data: bytes, uri: str, etag: str | None) -> str:
        monkeypatch.setattr(store, "put_if", real)
        real(data, uri, etag)
        raise ConflictError(uri)

    monkeypatch.setattr(store, "put_if", lossy)
    state.record(latest=Latest(3, "a"))
    state.record(latest=Latest(4, "b"))
    assert RunState.claim(store, folder, "sha").latest == Latest(4, "b")


@pytest.mark.parametrize("store", ["refuses", "ignores"], indirect=True)
def test_a_store_without_conditions_is_named(store: Store, folder: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        RunState.claim(store, folder, "sha").flush()
    assert caplog.text.count("has no conditional writes") == 1


def test_what_could_not_be_written_goes_with_the_next_write(
    known_server: S3Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(known_server.store)
    state = RunState.claim(store, folder, "sha")
    away = Store(ObjectStore(f"http://127.0.0.1:{free_port()}"))
    monkeypatch.setattr(state, "_store", away)
    with pytest.raises(KubeTuneError) as caught:
        state.record(latest=Latest(5, "a"))
    assert caught.value.code is ExitCode.UNAVAILABLE
    monkeypatch.setattr(state, "_store", store)
    state.flush()
    assert RunState.claim(store, folder, "sha").latest == Latest(5, "a")


def test_rows_that_could_not_be_noted_are_noted_by_the_next_try(
    known_server: S3Server, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(known_server.store)
    state = RunState.claim(store, folder, "sha")
    monkeypatch.setattr(state, "_store", Store(ObjectStore(f"http://127.0.0.1:{free_port()}")))
    with pytest.raises(KubeTuneError):
        state.learns_from(Beginning("ab" * 32))
    monkeypatch.setattr(state, "_store", store)
    state.learns_from(Beginning("ab" * 32))
    assert known_beginning(store, folder, "sha") == Beginning("ab" * 32)


def test_conditional_writes_of_the_real_store(known_server: S3Server, tmp_path: Path) -> None:
    store, uri = Store(known_server.store), f"s3://out/{tmp_path.name}/object"
    first = store.put_if(b"1", uri, None)
    with pytest.raises(ConflictError):
        store.put_if(b"2", uri, None)
    second = store.put_if(b"3", uri, first)
    with pytest.raises(ConflictError):
        store.put_if(b"4", uri, first)
    assert store.find_tagged(uri) == (b"3", second)
    store.delete(uri)
    with pytest.raises(ConflictError):
        store.put_if(b"5", uri, second)
    assert store.find_tagged(uri) is None


@pytest.mark.walk("W1")
def test_what_a_run_began_with_is_remembered_and_others_refused(store: Store, folder: str) -> None:
    first = RunState.claim(store, folder, "sha")
    assert first.beginning == known_beginning(store, folder, "sha") == Beginning()
    began = Beginning("ab" * 32, "etags:" + "cd" * 32, "files:" + "ef" * 32)
    first.learns_from(Beginning("ab" * 32))
    first.learns_from(began)
    first.learns_from(Beginning("12" * 32, "commit:34", "files:56"))
    assert known_beginning(store, folder, "sha") == began
    config = TrainConfig(1, Owner("team", "demo", "u"), "s3://m/x", Dataset("s3://d/x"), folder, ObjectStore())
    again = RunState.claim(store, folder, "sha")
    again.rewind(None)
    reporter = Reporter(lambda _: None, lambda: 0.0)
    job = Job(config, store, reporter, Tracker(None, config.owner), StopRequest(), again)
    begin_with(job, Inputs("sha", "/model", "ab" * 32, 1, 0, str(began.base)))
    with pytest.raises(KubeTuneError, match="abababababababab and is cdcdcdcdcdcdcdcd") as refused:
        begin_with(job, Inputs("sha", "/model", "cd" * 32, 1, 0, str(began.base)))
    assert refused.value.reason == "DataChanged"
    with pytest.raises(KubeTuneError, match="that was etags:cdcdcdcdcdcdcdcd, there is etags:12 now") as other:
        begin_with(job, Inputs("sha", "/model", "ab" * 32, 1, 0, "etags:12"))
    assert (other.value.reason, other.value.code) == ("BaseChanged", ExitCode.BAD_DATA)
    # Under other settings it is another run, which begins anew with what is there.
    assert known_beginning(store, folder, "other") == Beginning()
    assert RunState.claim(store, folder, "other").beginning == Beginning()


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, True),
        ({"latest": {"step": 4, "uri": "x"}}, False),
        ({"latest": {"step": 4, "uri": "x"}, "perToken": True}, True),
    ],
    ids=["nothing learned yet", "begun before", "begun since"],
)
def test_a_run_keeps_to_the_validation_loss_it_began_with(
    store: Store, folder: str, members: dict[str, object], expected: bool
) -> None:
    """Early stopping and the best checkpoint compare values: those of a run are all of one kind."""
    document = {"schema": 1, "generation": 1, "attempt": "abcd", "settingsSha256": "sha", **members}
    store.write(json.dumps(document).encode(), f"{folder}/run.json")
    assert RunState.claim(store, folder, "sha").per_token is expected
    assert RunState.claim(store, folder, "other").per_token
