"""Masking, cutting and counting, with a tokenizer of one token per character."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune_contract import KubeTuneError
from kubetune_shared.rows import Row
from kubetune_trainer.data import MASKED, Encoder, Tokenised

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
    assert done.unmasked == 0


def test_a_template_that_hides_the_turns_is_counted() -> None:
    class Rewriting(Characters):
        def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
            rendered = super().apply_chat_template(conversation, **kwargs)
            return {"input_ids": [len(conversation), *rendered["input_ids"]]}

    done = encode(CHAT, Rewriting())
    assert done.unmasked == 1
    assert done.labels == done.input_ids


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
