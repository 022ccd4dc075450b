"""The evaluator asks exactly what the trainer conditioned its completions on."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest

from kubetune_contract import KubeTuneError
from kubetune_evaluator.items import Item, to_item
from kubetune_evaluator.prompts import cut, prompt_ids
from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import MASKED, Encoder
from tests.support import toolchats

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

    def apply_chat_template(self, conversation: list[dict[str, Any]], **kwargs: Any) -> Any:
        template = jinja2.Environment(autoescape=True).from_string(kwargs["chat_template"])
        text = template.render(
            messages=conversation,
            tools=kwargs["tools"],
            end=END,
            add_generation_prompt=kwargs.get("add_generation_prompt", False),
        )
        return self(text, add_special_tokens=False) if kwargs["tokenize"] else text


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize(
    ("row", "template"),
    [
        (Row(1, prompt="1 + 2 =", completion=" 3"), TEMPLATE),
        (Row(1, prompt="say hel", completion="lo"), TEMPLATE),
        (Row(1, messages=CHAT), TEMPLATE),
        (Row(1, messages=CHAT[:3]), TEMPLATE),
        (Row(1, messages=toolchats.CHAT), toolchats.UNMARKED),
        (Row(1, messages=toolchats.CHAT, tools=(toolchats.TOOL,)), toolchats.UNMARKED),
    ],
)
def test_prompts_are_those_of_the_training(row: Row, template: str, wraps: bool) -> None:
    tokenizer = Characters(wraps)
    learned = Encoder(tokenizer, 512, template=template).encode([row], "test")
    ids, labels = learned.input_ids[0], learned.labels[0]
    # The last run of labels is the reference answer; what stands before it was given.
    start = max(at for at in range(1, len(labels)) if labels[at] != MASKED and labels[at - 1] == MASKED)
    item = to_item(row)
    assert isinstance(item, Item)
    assert prompt_ids(tokenizer, item, template) == ids[:start]


def test_a_chat_that_the_template_refuses_is_named() -> None:
    item = to_item(Row(5, messages=CHAT))
    assert isinstance(item, Item)
    with pytest.raises(
        KubeTuneError, match="dataset line 5: the chat template refuses it: 'odd' is undefined"
    ) as caught:
        prompt_ids(Characters(False), item, "{{ odd.one }}")
    assert caught.value.reason == "ChatTemplateRefused"


def test_text_ends_at_the_first_stop_string() -> None:
    assert cut("one\ntwo;three", (";", "\n")) == "one"
    assert cut("one", (";",)) == "one"
    assert cut("one", ("",)) == "one"
