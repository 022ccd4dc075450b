"""Chats through real templates: who is learned, what the template cannot show, what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trl

from kubetune_contract import ExitCode, Hyperparameters, KubeTuneError
from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import MASKED, Tokenised
from kubetune_trainer.data.tokenizer import encoder_for, end_tokens, load_tokenizer
from kubetune_trainer.reporting.advice import end_of_turn_not_learned
from tests.support.points import Record

from . import tiny

PUBLISHED = Path(trl.__file__).parent / "chat_templates"
"""Templates as models' publishers wrote them, which TRL knows."""

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


SYSTEM_IN_THE_LAST_QUESTION = (
    "{% for m in messages if m['role'] != 'system' %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'user' and loop.index0 + 2 >= loop.length and messages[0]['role'] == 'system' %}"
    "{{ messages[0]['content'] }} {% endif %}{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Unknown to TRL, and no part of a chat is a prefix of the whole."""
GREETED = ({"role": "assistant", "content": "hello"}, *TALK[:2])
ALTERNATING = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}{% endfor %}"
) + tiny.UNMARKED_TEMPLATE
THINKING = tiny.CHAT_TEMPLATE.replace("{% generation %}", "{% generation %}{{ m.reasoning_content }}")


@pytest.mark.intake
@pytest.mark.parametrize("tools", [(), ({"type": "function", "function": {"name": "fox"}},)], ids=["plain", "tools"])
def test_turns_that_the_template_does_not_show_are_refused(
    base: Path, tools: tuple[dict[str, Any], ...], record_property: Record
) -> None:
    template = SYSTEM_IN_THE_LAST_QUESTION + ("{% for t in tools or () %}{{ t }}{% endfor %}" if tools else "")
    tokenizer = tokenizer_with(base, template)
    row = Row(17, ({"role": "system", "content": "quick"}, *TALK), tools=tools)
    with pytest.raises(KubeTuneError, match="dataset line 17: the base model's chat template does not show") as caught:
        encoded(tokenizer, row)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "TurnsNotFound")
    assert "assistantOnlyLoss: false" in caught.value.message
    whole = encoded(tokenizer, row, assistant_only_loss=False)
    assert whole.labels == whole.input_ids
    what = "with tools" if tools else "without tools"
    record_property("point", f"rows, turns that a template hides, chat {what}: refused: {caught.value.message}")


@pytest.mark.intake
@pytest.mark.parametrize("template", [tiny.CHAT_TEMPLATE, tiny.UNMARKED_TEMPLATE], ids=["marked", "unmarked"])
def test_a_chat_that_the_assistant_begins_is_learned(base: Path, template: str, record_property: Record) -> None:
    tokenizer = tokenizer_with(base, template)
    assert learned(tokenizer, encoded(tokenizer, Row(1, GREETED))) == "hello<|end|>fox<|end|>"
    alone = Row(1, ({"role": "system", "content": "s"}, *GREETED), unlearned=(1,))
    assert learned(tokenizer, encoded(tokenizer, alone)) == "fox<|end|>"
    record_property("point", "rows, assistant first: read, both of its turns are learned")


@pytest.mark.intake
def test_a_chat_that_the_assistant_begins_is_refused_by_line(base: Path, record_property: Record) -> None:
    with pytest.raises(KubeTuneError, match="line 17: the model's chat template refuses it: Conversation") as caught:
        encoded(tokenizer_with(base, ALTERNATING), Row(17, GREETED))
    assert caught.value.reason == "ChatTemplateRefused"
    record_property("point", f"rows, assistant first, a template that alternates: refused: {caught.value.message}")


@pytest.mark.intake
def test_reasoning_is_learned_where_the_template_writes_it(base: Path, record_property: Record) -> None:
    row = Row(17, (TALK[0], {**TALK[1], "reasoning_content": "quick"}))
    tokenizer = tokenizer_with(base, THINKING)
    assert learned(tokenizer, encoded(tokenizer, row)) == "quickfox<|end|>"
    with pytest.raises(KubeTuneError, match="line 17: the base model's chat template does not write its") as caught:
        encoded(tokenizer_with(base, tiny.CHAT_TEMPLATE), row)
    assert caught.value.reason == "ReasoningNotWritten"
    record_property("point", f"rows, reasoning: learned, or refused: {caught.value.message}")


@pytest.mark.parametrize("name", ["qwen3.jinja", "gptoss.jinja"])
def test_reasoning_through_published_templates(base: Path, name: str) -> None:
    tokenizer = tokenizer_with(base, (PUBLISHED / name).read_text())
    first = {**TALK[1], "reasoning_content": "quick"}
    done = encoded(tokenizer, Row(1, (TALK[0], first)))
    assert "quick" in learned(tokenizer, done)
    assert done.reasoning_left_out == 0
