"""The evaluator asks exactly what the trainer conditioned its completions on."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from kubetune_evaluator.items import Item, to_item
from kubetune_evaluator.prompts import cut, prompt_ids
from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import MASKED, Encoder

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{{ end }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CHAT = (
    {"role": "system", "content": "say hello"},
    {"role": "user", "content": "1 + 1 = ?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "1 + 2 = ?"},
    {"role": "assistant", "content": "3 !"},
)
BEGIN, END = "\x02", "\x03"


class Characters:
    """A tokenizer of one token per character; ``wraps`` adds a begin and an end token to plain text, as some do."""

    eos_token_id: int | None = ord(END)

    def __init__(self, wraps: bool) -> None:
        self.wraps = wraps

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        wrapped = f"{BEGIN}{text}{END}" if self.wraps and add_special_tokens else text
        return {"input_ids": [ord(character) for character in wrapped]}

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> dict[str, list[int]]:
        template = jinja2.Environment(autoescape=True).from_string(kwargs["chat_template"])
        text = template.render(
            messages=conversation, end=END, add_generation_prompt=kwargs.get("add_generation_prompt", False)
        )
        return self(text, add_special_tokens=False)


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize(
    "row",
    [
        Row(1, prompt="1 + 2 =", completion=" 3"),
        Row(1, prompt="say hel", completion="lo"),
        Row(1, messages=CHAT),
        Row(1, messages=CHAT[:3]),
    ],
)
def test_prompts_are_those_of_the_training(row: Row, wraps: bool) -> None:
    tokenizer = Characters(wraps)
    learned = Encoder(tokenizer, 512, template=TEMPLATE).encode([row], "test")
    ids, labels = learned.input_ids[0], learned.labels[0]
    # The last run of labels is the reference answer; what stands before it was given.
    start = max(at for at in range(1, len(labels)) if labels[at] != MASKED and labels[at - 1] == MASKED)
    item = to_item(row)
    assert isinstance(item, Item)
    assert prompt_ids(tokenizer, item, TEMPLATE) == ids[:start]


def test_text_ends_at_the_first_stop_string() -> None:
    assert cut("one\ntwo;three", (";", "\n")) == "one"
    assert cut("one", (";",)) == "one"
    assert cut("one", ("",)) == "one"
