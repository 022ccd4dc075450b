"""Every document is written as its golden file says, and read back as it was."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

import kubetune_contract
from kubetune_contract import from_json

from .examples import EXAMPLES, GOLDEN, text

WHOLE = {name: value for name, value in EXAMPLES.items() if not name.endswith("-least")}


@pytest.mark.parametrize("name", EXAMPLES)
def test_written_as_before(name: str) -> None:
    golden = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert text(name) == golden, "if this change is intended: python -m tests.contract.examples"


@pytest.mark.parametrize("name", EXAMPLES)
def test_read_back_as_it_was(name: str) -> None:
    data = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert from_json(type(EXAMPLES[name]), data) == EXAMPLES[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_members_of_a_newer_release_are_passed_over(name: str) -> None:
    data = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert from_json(type(EXAMPLES[name]), {**data, "fromTheFuture": {"a": [1]}}) == EXAMPLES[name]


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(EXAMPLES)


def test_every_document_has_an_example_with_every_member() -> None:
    documents = {
        kind
        for kind in vars(kubetune_contract).values()
        if isinstance(kind, type)
        and dataclasses.is_dataclass(kind)
        and kind.__name__.endswith(("Config", "Summary", "Progress"))
    }
    assert {type(value) for value in WHOLE.values()} == documents
    for value in WHOLE.values():
        assert not unset(value), f"the example of {type(value).__name__} leaves members out"


def unset(value: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(value) if getattr(value, field.name) is None]
