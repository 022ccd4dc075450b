"""What a container leaves behind: its exit code and the termination message."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from kubetune_contract import (
    PERMANENT,
    ExitCode,
    FailureSummary,
    KubeTuneError,
    UriError,
    dumps,
    run,
    uris,
    write_termination,
)
from kubetune_contract.paths import TERMINATION_LIMIT
from kubetune_contract.runtime import fit

from .examples import EXAMPLES


@pytest.fixture
def termination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination"
    monkeypatch.setenv("KUBETUNE_TERMINATION_LOG", str(path))
    return path


def outcome(main: Any) -> int:
    with pytest.raises(SystemExit) as caught:
        run(main)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_success_leaves_what_was_written(termination: Path) -> None:
    summary = EXAMPLES["train-summary"]
    assert outcome(lambda: write_termination(summary)) == 0
    assert termination.read_text() == dumps(summary)
    assert outcome(lambda: ExitCode.PREEMPTED) == 75


def test_a_known_failure(termination: Path) -> None:
    def fail() -> NoReturn:
        raise KubeTuneError(ExitCode.BAD_DATA, "EmptyDataset", "no rows")

    assert outcome(fail) == 65
    assert json.loads(termination.read_text()) == {
        "schema": 1,
        "reason": "EmptyDataset",
        "message": "no rows",
        "exitCode": 65,
    }


def test_an_unknown_failure_shows_the_end_of_its_trace(termination: Path) -> None:
    def fail(depth: int = 0) -> None:
        if depth > 50:
            raise ZeroDivisionError("ouch " * 2000)
        fail(depth + 1)

    assert outcome(fail) == 70
    message = json.loads(termination.read_text())
    assert message["reason"] == "InternalError"
    assert message["message"].rstrip().endswith("ouch")
    assert termination.stat().st_size <= TERMINATION_LIMIT


@pytest.mark.parametrize("text", ["x" * 10_000, '"' * 10_000, "ü" * 10_000, "\n" * 10_000])
def test_long_messages_fit(text: str) -> None:
    data = fit(FailureSummary(1, "Long", text, 70))
    assert len(data) <= TERMINATION_LIMIT
    assert json.loads(data)["message"].startswith("... ")


def test_every_example_summary_fits() -> None:
    for name, value in EXAMPLES.items():
        if name.endswith("summary"):
            assert len(fit(value)) <= TERMINATION_LIMIT


def test_a_missing_log_is_no_second_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBETUNE_TERMINATION_LOG", os.fspath(tmp_path / "none" / "log"))
    assert outcome(lambda: write_termination(EXAMPLES["fetch-summary"])) == 0


def test_codes_worth_another_try() -> None:
    assert {ExitCode.UNAVAILABLE, ExitCode.PREEMPTED, ExitCode.SUPERSEDED, ExitCode.BUG}.isdisjoint(PERMANENT)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("s3://models/a/b/", ("s3", "models", "a/b", None)),
        ("pvc://claim/", ("pvc", "claim", "", None)),
        ("pvc://claim/a/b", ("pvc", "claim", "a/b", None)),
        ("configmap://data/train.jsonl", ("configmap", "data", "train.jsonl", None)),
        ("hf://owner/model", ("hf", "owner", "model", None)),
        ("hf://owner/model@v1.0", ("hf", "owner", "model", "v1.0")),
    ],
)
def test_uris(text: str, parts: tuple[str, ...]) -> None:
    parsed = uris.parse(text)
    assert (parsed.scheme, parsed.authority, parsed.path, parsed.revision) == parts
    assert uris.parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "models/tiny",
        "http://host/x",
        "s3://",
        "s3://models",
        "s3://models/",
        "s3://Models/x",
        "s3://models/a b",
        "s3://models/../x",
        "pvc:///x",
        "pvc://claim/../../etc",
        "configmap://data/",
        "configmap://data/a/b",
        "hf://owner",
        "hf://owner/model/file",
        "hf://owner/model@",
        "hf://owner/model@..",
        "hf://owner/model@a/../b",
        "s3://models/a\x00b",
        "s3://models/a\x1b[31mb",
    ],
)
def test_what_is_no_uri(text: str) -> None:
    with pytest.raises(UriError):
        uris.parse(text)
