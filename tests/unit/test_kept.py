"""Answers that are stored as they come: taken up where everything is the same, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kubetune_contract import ExitCode, KubeTuneError, ObjectStore
from kubetune_evaluator import kept as kept_module
from kubetune_evaluator.kept import FOLDER, Answer, Kept, discard, identity, prompt_key
from kubetune_shared.store import Store
from tests.support.ports import free_port

PROMPTS = [[1, 2], [3], [4, 5, 6], [7]]
ODD = Answer('line\nbreak \u2028 "quoted" \ud800 漢\U0001f600', 7, unfinished=True)


@pytest.fixture
def output(request: pytest.FixtureRequest) -> str:
    return f"s3://out/{abs(hash(request.node.name))}"


def test_what_was_stored_is_taken_up(store: Store, output: str) -> None:
    first = Kept(store, output, "me", PROMPTS)
    assert (first.answers, first.seconds) == ({}, 0.0)
    first.add({0: ODD, 2: Answer("b", 1, unfinished=False)}, 1.5)
    first.add({1: Answer("c", 2, unfinished=False)}, 2.5)
    first.flush()
    first.flush()
    again = Kept(store, output, "me", PROMPTS)
    assert again.answers == {0: ODD, 1: Answer("c", 2, unfinished=False), 2: Answer("b", 1, unfinished=False)}
    assert again.seconds == 4.0
    # The same questions in another order, some of them, and another one.
    other = Kept(store, output, "me", [[7], [3], [1, 2], [8]])
    assert other.answers == {1: Answer("c", 2, unfinished=False), 2: ODD}
    again.add({3: Answer("d", 1, unfinished=False)}, 1.0)
    again.flush()
    assert len(Kept(store, output, "me", PROMPTS).answers) == 4
    assert len(store.list(f"{output}/{FOLDER}")) == 2
    discard(store, output)
    assert store.list(output) == []


def test_another_identity_is_not_used(store: Store, output: str) -> None:
    made = Kept(store, output, identity(model="manifest:a", generation={"maxNewTokens": 8}), PROMPTS)
    made.add({0: ODD}, 1.0)
    made.flush()
    for other in (
        identity(model="manifest:b", generation={"maxNewTokens": 8}),
        identity(model="manifest:a", generation={"maxNewTokens": 9}),
        identity(model="manifest:a", generation={"maxNewTokens": 8}, device="cuda"),
    ):
        assert Kept(store, output, other, PROMPTS).answers == {}
    assert len({prompt_key(ids) for ids in ([1, 23], [12, 3], [1, 2, 3], [], [123])}) == 5


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"seconds": 1}',
        b'{"seconds": "x", "answers": {}}',
        json.dumps(
            {"seconds": 1, "answers": {prompt_key([7]): {"text": 1, "tokens": 2, "unfinished": False}}}
        ).encode(),
        json.dumps({"seconds": 1, "answers": {prompt_key([7]): {"text": "x"}}}).encode(),
        json.dumps({"seconds": 1, "answers": [1]}).encode(),
        b"\xff\xfe",
    ],
)
def test_what_cannot_be_read_is_asked_again(store: Store, output: str, line: bytes) -> None:
    made = Kept(store, output, "me", PROMPTS)
    made.add({0: ODD}, 1.0)
    made.flush()
    store.write(line, f"{output}/{FOLDER}/me/damaged.jsonl")
    assert Kept(store, output, "me", PROMPTS).answers == {0: ODD}


def test_answers_are_stored_after_a_while_and_a_store_that_is_away_stops_nothing(
    store: Store, output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = Kept(store, output, "me", PROMPTS)
    made.add({0: ODD}, 1.0)
    assert store.list(output) == [], "not with every batch"
    monkeypatch.setattr(kept_module, "FLUSH_SECONDS", 0.0)
    with monkeypatch.context() as away:
        away.setattr(made, "_store", Store(ObjectStore(f"http://127.0.0.1:{free_port()}")))
        made.add({1: ODD}, 1.0)
    made.add({2: ODD}, 1.0)
    assert sorted(Kept(store, output, "me", PROMPTS).answers) == [0, 1, 2]
    with pytest.raises(KubeTuneError) as caught:
        Kept(Store(ObjectStore(f"http://127.0.0.1:{free_port()}")), output, "me", PROMPTS)
    assert caught.value.code is ExitCode.UNAVAILABLE
