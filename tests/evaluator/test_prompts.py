"""The evaluator asks exactly what the trainer conditioned its completions on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from kubetune_evaluator.items import Item, to_item
from kubetune_evaluator.prompts import cut, prompt_ids
from kubetune_shared.rows import Row
from kubetune_trainer.data import MASKED, Encoder
from tests.trainer import tiny

CHAT = (
    {"role": "system", "content": "say hello"},
    {"role": "user", "content": "1 + 1 = ?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "1 + 2 = ?"},
    {"role": "assistant", "content": "3 !"},
)


@pytest.mark.parametrize(
    "row",
    [
        Row(1, prompt="1 + 2 =", completion=" 3"),
        Row(1, prompt="say hel", completion="lo"),
        Row(1, messages=CHAT),
        Row(1, messages=CHAT[:3]),
    ],
)
@pytest.mark.parametrize("template", [tiny.CHAT_TEMPLATE, tiny.UNMARKED_TEMPLATE])
def test_prompts_are_those_of_the_training(base: Path, row: Row, template: str) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    marked = "generation" in template.replace("add_generation_prompt", "")
    encoder = Encoder(tokenizer, 512, template=template, marked=marked)
    learned = encoder.encode([row], "test")
    ids, labels = learned.input_ids[0], learned.labels[0]
    last = max(at for at, label in enumerate(labels) if label != MASKED)
    start = next(at for at in range(last, -1, -1) if labels[at - 1] == MASKED) if MASKED in labels else 0
    item = to_item(row)
    assert isinstance(item, Item)
    assert prompt_ids(tokenizer, item, template) == ids[:start]


def test_text_ends_at_the_first_stop_string() -> None:
    assert cut("one\ntwo;three", (";", "\n")) == "one"
    assert cut("one", (";",)) == "one"
    assert cut("one", ("",)) == "one"
