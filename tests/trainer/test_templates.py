"""Chats through real templates: who is learned, what the template cannot show, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import ExitCode, Hyperparameters, KubeTuneError
from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import MASKED, Tokenised
from kubetune_trainer.data.tokenizer import encoder_for, end_tokens, load_tokenizer
from kubetune_trainer.reporting.advice import end_of_turn_not_learned

from . import tiny

END_BY_THE_NEXT = (
    "{% for m in messages %}{% if not loop.first %}<|end|>{% endif %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|end|><|assistant|>{% endif %}"
)
"""The end of a turn belongs to the message after it, as in some published templates."""
STRICT = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + (
    tiny.CHAT_TEMPLATE
)
TALK = (
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "fox"},
    {"role": "user", "content": "dog"},
    {"role": "assistant", "content": "lazy"},
)


def tokenizer_with(base: Path, template: str) -> Any:
    tokenizer = load_tokenizer(base, "s3://models/tiny")
    tokenizer.chat_template = template
    return tokenizer


def encoded(tokenizer: Any, row: Row, **hyper: Any) -> Tokenised:
    return encoder_for(tokenizer, Hyperparameters(**hyper)).encode([row], "training")


def learned(tokenizer: Any, done: Tokenised) -> str:
    text: str = tokenizer.decode([label for label in done.labels[0] if label != MASKED])
    return text


@pytest.mark.parametrize("template", [tiny.CHAT_TEMPLATE, tiny.UNMARKED_TEMPLATE])
def test_who_is_learned(base: Path, template: str) -> None:
    tokenizer = tokenizer_with(base, template)
    assert learned(tokenizer, encoded(tokenizer, Row(1, TALK))) == "fox<|end|>lazy<|end|>"
    assert learned(tokenizer, encoded(tokenizer, Row(1, TALK, unlearned=(1,)))) == "lazy<|end|>"
    assert learned(tokenizer, encoded(tokenizer, Row(1, TALK, unlearned=(3,)))) == "fox<|end|>"
    everything = encoded(tokenizer, Row(1, TALK), assistant_only_loss=False)
    assert everything.labels == everything.input_ids
    partly = encoded(tokenizer, Row(1, TALK, unlearned=(1,)), assistant_only_loss=False)
    assert learned(tokenizer, partly) == "<|user|>hello<|end|><|assistant|><|user|>dog<|end|><|assistant|>lazy<|end|>"


def test_an_end_of_turn_that_belongs_to_the_next_message_is_told(base: Path) -> None:
    tokenizer = tokenizer_with(base, END_BY_THE_NEXT)
    done = encoded(tokenizer, Row(1, TALK))
    assert learned(tokenizer, done) == "foxlazy"
    told = end_of_turn_not_learned(done, end_tokens(tokenizer))
    assert told is not None
    assert told.reason == "EndOfTurnNotLearned"


@pytest.mark.parametrize("template", [tiny.CHAT_TEMPLATE, tiny.UNMARKED_TEMPLATE])
def test_an_end_of_turn_that_is_learned_is_no_matter(base: Path, template: str) -> None:
    tokenizer = tokenizer_with(base, template)
    ends = end_tokens(tokenizer)
    for row in (Row(1, TALK), Row(1, prompt="say", completion=" fox"), Row(1, text="the lazy dog")):
        assert end_of_turn_not_learned(encoded(tokenizer, row), ends) is None


def test_a_row_that_the_template_refuses_is_named(base: Path) -> None:
    row = Row(17, ({"role": "system", "content": "s"}, *TALK))
    with pytest.raises(KubeTuneError, match="line 17: the model's chat template refuses it: System role not") as caught:
        encoded(tokenizer_with(base, STRICT), row)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "ChatTemplateRefused")
