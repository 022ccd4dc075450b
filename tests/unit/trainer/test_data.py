"""Masking, cutting and counting, with a tokenizer of one token per character."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from jinja2 import TemplateError

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import MASKED, Encoder, Tokenised
from kubetune_trainer.reporting.advice import end_of_turn_not_learned

END = 0


class Characters:
    """One id per character; ``merges`` are pairs that become one token."""

    eos_token_id: int | None = END

    def __init__(self, *merges: str, prefix: tuple[int, ...] = (), marked: bool = False) -> None:
        self.merges, self.prefix, self.marked = merges, prefix, marked

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Any:
        ids = list(self.prefix) if add_special_tokens else []
        while text:
            step = next((len(pair) for pair in self.merges if text.startswith(pair)), 1)
            ids.append(sum(map(ord, text[:step])) * (1000 if step > 1 else 1))
            text = text[step:]
        return {"input_ids": ids}

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        ids, mask = [], []
        for message in conversation:
            content = [ord(letter) for letter in message["content"]]
            ids += [ord(message["role"][0].upper()), *content, END]
            mask += [0, *([int(message["role"] == "assistant")] * (len(content) + 1))]
        if kwargs.get("add_generation_prompt"):
            ids, mask = [*ids, ord("A")], [*mask, 0]
        return {"input_ids": ids, "assistant_masks": mask}


def encode(row: Row, tokenizer: Characters, length: int = 100, **options: Any) -> Tokenised:
    return Encoder(tokenizer, length, **options).encode([row], "training")


def labelled(done: Tokenised) -> str:
    """Text with what carries a label in capitals, the end as a dot."""
    shown = []
    for i, label in zip(done.input_ids[0], done.labels[0], strict=True):
        assert label in {MASKED, i}
        letter = chr(i) if i else "."
        shown.append(letter if label == MASKED else letter.upper())
    return "".join(shown)


def test_only_the_completion_is_learned() -> None:
    done = encode(Row(1, prompt="ab", completion="cd"), Characters())
    assert labelled(done) == "abCD."
    assert (done.truncated, done.dropped) == (0, 0)


def test_the_prompt_is_tokenised_as_at_inference() -> None:
    done = encode(Row(1, prompt="ab", completion="cd"), Characters("bc"))
    assert done.input_ids == [[97, 98, 99, 100, END]]
    assert done.labels == [[MASKED, MASKED, 99, 100, END]]


def test_a_beginning_token_is_context() -> None:
    done = encode(Row(1, prompt="", completion="c"), Characters(prefix=(7,)))
    assert (done.input_ids, done.labels) == ([[7, 99, END]], [[MASKED, 99, END]])


def test_text_is_learned_whole_and_ends() -> None:
    assert labelled(encode(Row(1, text="abc"), Characters())) == "ABC."


CHAT = Row(
    1,
    messages=(
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
        {"role": "user", "content": "r"},
        {"role": "assistant", "content": "b"},
    ),
)


@pytest.mark.parametrize("marked", [True, False])
def test_assistant_turns_are_learned(marked: bool) -> None:
    done = encode(CHAT, Characters(), marked=marked)
    learned = [i for i in done.labels[0] if i != MASKED]
    assert learned == [ord("a"), END, ord("b"), END]


WEIGHTED = dataclasses.replace(CHAT, unlearned=(1,))


@pytest.mark.parametrize("marked", [True, False])
def test_a_turn_of_weight_0_is_context(marked: bool) -> None:
    done = encode(WEIGHTED, Characters(), marked=marked)
    assert [i for i in done.labels[0] if i != MASKED] == [ord("b"), END]
    whole = encode(WEIGHTED, Characters(), marked=marked, assistant_only=False)
    hidden = [i for i, label in zip(whole.input_ids[0], whole.labels[0], strict=True) if label == MASKED]
    assert hidden == [ord("a"), END]


class Rewriting(Characters):
    """Its template writes every chat anew, so that no part of it is a prefix of the whole."""

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        rendered = super().apply_chat_template(conversation, **kwargs)
        return {"input_ids": [len(conversation), *rendered["input_ids"]], "assistant_masks": []}


def test_a_weight_that_cannot_be_placed_is_refused() -> None:
    for options in ({}, {"marked": True}):
        with pytest.raises(KubeTuneError, match="dataset line 1: it has messages of weight 0") as caught:
            encode(WEIGHTED, Rewriting(), **options)
        assert caught.value.reason == "WeightNotPossible"


def test_a_chat_that_the_template_refuses_is_named() -> None:
    class Strict(Characters):
        def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
            raise TemplateError("Conversation roles must alternate")

    with pytest.raises(
        KubeTuneError, match="line 1: the model's chat template refuses it: Conversation roles"
    ) as caught:
        encode(CHAT, Strict())
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "ChatTemplateRefused")


def test_everything_is_learned_where_that_is_asked_for() -> None:
    for marked in (True, False):
        done = encode(CHAT, Characters(), marked=marked, assistant_only=False)
        assert done.labels == done.input_ids
    done = encode(Row(1, prompt="ab", completion="cd"), Characters(), completion_only=False)
    assert labelled(done) == "ABCD."


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("tools", [(), ({"type": "function", "function": {"name": "now"}},)])
def test_a_template_that_hides_the_turns_is_refused(marked: bool, tools: tuple[dict[str, Any], ...]) -> None:
    row = dataclasses.replace(CHAT, tools=tools)
    with pytest.raises(KubeTuneError, match="dataset line 1: the base model's chat template does not show") as caught:
        encode(row, WritingTools(Rewriting()), marked=marked)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_DATA, "TurnsNotFound")
    assert "assistantOnlyLoss: false" in caught.value.message
    whole = encode(row, WritingTools(Rewriting()), marked=marked, assistant_only=False)
    assert whole.labels == whole.input_ids


class WritingTools(Characters):
    """Another's ids; its text has everything that a chat says of tools."""

    def __init__(self, other: Characters) -> None:
        super().__init__()
        self.other = other

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        if kwargs.get("tokenize") is False:
            return f"{conversation}{kwargs['tools']}"
        return self.other.apply_chat_template(conversation, **kwargs)


class NeverEmpty(Characters):
    """Takes no chat of nothing, like transformers."""

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        if not conversation:
            raise ValueError("list index out of range")
        return super().apply_chat_template(conversation, **kwargs)


GREETING = Row(1, messages=({"role": "assistant", "content": "x0"}, *(CHAT.messages or ())))


@pytest.mark.parametrize("marked", [True, False])
def test_a_chat_that_the_assistant_begins(marked: bool) -> None:
    done = encode(GREETING, NeverEmpty(), marked=marked)
    learned = [i for i in done.labels[0] if i != MASKED]
    assert learned == [ord("x"), ord("0"), END, ord("a"), END, ord("b"), END]


@pytest.mark.parametrize("error", [ValueError, KeyError, IndexError, AttributeError, ZeroDivisionError])
def test_whatever_a_template_raises_is_told_by_line(error: type[Exception]) -> None:
    class Failing(Characters):
        def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
            raise error("no")

    with pytest.raises(KubeTuneError, match="dataset line 1: the model's chat template refuses it"):
        encode(CHAT, Failing())


class Thinking(Characters):
    """Its template writes the reasoning of the last ``last`` messages."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        start = len(conversation) - self.last
        said = [
            {**message, "content": (message.get("thinking", "") if number >= start else "") + message["content"]}
            for number, message in enumerate(conversation)
        ]
        if kwargs.get("tokenize") is False:
            return "".join(message["content"] for message in said)
        return super().apply_chat_template(said, **kwargs)


def test_reasoning_is_learned_or_told() -> None:
    question, first, again, second = CHAT.messages or ()
    thought = Row(7, messages=(question, {**first, "reasoning_content": "h"}))
    done = encode(thought, Thinking(4))
    assert [i for i in done.labels[0] if i != MASKED] == [ord("h"), ord("a"), END]
    assert done.reasoning_left_out == 0
    with pytest.raises(
        KubeTuneError, match="dataset line 7: the base model's chat template does not write its"
    ) as caught:
        encode(thought, Thinking(0))
    assert caught.value.reason == "ReasoningNotWritten"
    both = ({**first, "reasoning_content": "h"}, again, {**second, "reasoning_content": "i"})
    assert encode(Row(1, messages=(question, *both)), Thinking(1), marked=True).reasoning_left_out == 1


def test_an_end_of_turn_that_is_learned_is_no_matter() -> None:
    for row in (CHAT, Row(1, prompt="a", completion="b"), Row(1, text="a b")):
        assert end_of_turn_not_learned(encode(row, Characters(), marked=True), {END}) is None
    assert end_of_turn_not_learned(Tokenised([[1, 2, END, 10, 3]], [[MASKED, 2, END, 10, MASKED]]), {END}) is None


def test_an_end_of_turn_left_out_is_told() -> None:
    told = end_of_turn_not_learned(Tokenised([[1, 2, END, 1, 2]], [[MASKED, 2, MASKED, MASKED, 2]], truncated=1), {END})
    assert told is not None
    assert told.reason == "EndOfTurnNotLearned"
    assert "none of the 2 learned turns" in told.message
    assert "1 rows were cut" in told.message
    assert end_of_turn_not_learned(Tokenised(), {END}) is None


def test_long_rows_are_cut_and_counted() -> None:
    rows = [Row(1, prompt="ab", completion="cdef"), Row(2, prompt="abcdef", completion="g"), Row(3, text="abc")]
    done = Encoder(Characters(), 4).encode(rows, "training")
    assert (len(done), done.truncated, done.dropped) == (2, 2, 1)
    assert labelled(done) == "abCD"


def test_nothing_left_to_learn() -> None:
    with pytest.raises(KubeTuneError) as caught:
        Encoder(Characters(), 4).encode([Row(n, prompt="abcdef", completion="g") for n in range(3)], "training")
    assert caught.value.reason == "AllLabelsMasked"
    assert "none of the 3 training rows" in caught.value.message
    assert "maxSequenceLength" in caught.value.message


def test_a_lone_first_token_teaches_nothing() -> None:
    with pytest.raises(KubeTuneError, match="none of the 1"):
        encode(Row(1, text="abc"), Characters(), length=1)
