"""From rows to token ids and labels, with an account of what was cut and what was left out. Pure.

Only what the model is to learn carries a label: completions, assistant turns, or all of a text row. Everything else
is MASKED, which the loss ignores.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.rows import Row

MASKED = -100


class Tokenizer(Protocol):
    """What is used of ``transformers.PreTrainedTokenizerBase``."""

    eos_token_id: int | None

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Any:
        """Token ids of a text, under ``input_ids``."""

    def apply_chat_template(self, conversation: list[dict[str, str]], **kwargs: Any) -> Any:
        """A conversation rendered by the template, tokenised."""


@dataclass
class Tokenised:
    """Examples ready for the collator."""

    input_ids: list[list[int]] = field(default_factory=list)
    labels: list[list[int]] = field(default_factory=list)
    truncated: int = 0
    """Rows longer than the maximum, cut at their end."""
    dropped: int = 0
    """Rows left out because no token of theirs carries a label."""
    unmasked: int = 0
    """Chats learned as a whole because the template does not show where assistant turns are."""

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def columns(self) -> dict[str, list[list[int]]]:
        """The columns of a ``datasets.Dataset``."""
        return {"input_ids": self.input_ids, "labels": self.labels}


@dataclass(frozen=True)
class Encoder:
    """Turns rows into ids and labels for one tokenizer.

    ``template`` is the chat template to train with, when it is not the tokenizer's own; ``marked`` says that the
    template in use marks assistant turns with ``{% generation %}``.
    """

    tokenizer: Tokenizer
    max_length: int
    template: str | None = None
    marked: bool = False

    def encode(self, rows: Iterable[Row], what: str) -> Tokenised:
        """Raises KubeTuneError (BAD_DATA, AllLabelsMasked) when no row is left to learn from."""
        done = Tokenised()
        for row in rows:
            ids, labels = self._row(row, done)
            if len(ids) > self.max_length:
                done.truncated += 1
                ids, labels = ids[: self.max_length], labels[: self.max_length]
            # The first token is never predicted, so a label there teaches nothing.
            if all(label == MASKED for label in labels[1:]):
                done.dropped += 1
                continue
            done.input_ids.append(ids)
            done.labels.append(labels)
        if not done.input_ids:
            raise KubeTuneError(
                ExitCode.BAD_DATA,
                "AllLabelsMasked",
                f"none of the {done.dropped} {what} rows leaves anything to learn: within maxSequenceLength="
                f"{self.max_length} tokens no completion or assistant text is left ({done.truncated} rows were cut); "
                "raise maxSequenceLength or shorten the prompts",
            )
        return done

    def _row(self, row: Row, done: Tokenised) -> tuple[list[int], list[int]]:
        if row.messages is not None:
            return self._chat([dict(message) for message in row.messages], done)
        if row.text is not None:
            ids = self._ended(self._ids(row.text))
            return ids, list(ids)
        return self._completion(row.prompt or "", row.completion or "")

    def _completion(self, prompt: str, completion: str) -> tuple[list[int], list[int]]:
        context = self._without_end(self._ids(prompt))
        whole = self._ids(prompt + completion)
        if whole[: len(context)] == context:
            answer = whole[len(context) :]
        else:
            # A token spans the border. At inference the prompt is tokenised alone, so it is here too.
            answer = list(self.tokenizer(completion, add_special_tokens=False)["input_ids"])
        answer = self._ended(answer)
        return context + answer, [MASKED] * len(context) + answer

    def _chat(self, messages: list[dict[str, str]], done: Tokenised) -> tuple[list[int], list[int]]:
        if self.marked:
            rendered = self.tokenizer.apply_chat_template(
                messages,
                tokenize=True,
                return_dict=True,
                return_assistant_tokens_mask=True,
                chat_template=self.template,
            )
            ids = list(rendered["input_ids"])
            return ids, [i if kept else MASKED for i, kept in zip(ids, rendered["assistant_masks"], strict=True)]
        ids = self._rendered(messages)
        labels = self._labels_by_prefix(messages, ids)
        if labels is None:
            done.unmasked += 1
            labels = list(ids)
        return ids, labels

    def _labels_by_prefix(self, messages: list[dict[str, str]], ids: list[int]) -> list[int] | None:
        """Labels found by rendering the chat up to each assistant turn; None when that is no prefix of the whole."""
        labels = [MASKED] * len(ids)
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._rendered(messages[:number], add_generation_prompt=True)
            after = self._rendered(messages[: number + 1])
            if ids[: len(before)] != before or ids[: len(after)] != after:
                return None
            labels[len(before) : len(after)] = ids[len(before) : len(after)]
        return labels

    def _rendered(self, messages: list[dict[str, str]], *, add_generation_prompt: bool = False) -> list[int]:
        rendered = self.tokenizer.apply_chat_template(
            messages,
            tokenize=True,
            return_dict=True,
            add_generation_prompt=add_generation_prompt,
            chat_template=self.template,
        )
        return list(rendered["input_ids"])

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def _without_end(self, ids: list[int]) -> list[int]:
        return ids[:-1] if ids and ids[-1] == self.tokenizer.eos_token_id else ids

    def _ended(self, ids: list[int]) -> list[int]:
        """With the end token, so that the model learns to stop."""
        end = self.tokenizer.eos_token_id
        return ids if end is None or (ids and ids[-1] == end) else [*ids, end]
