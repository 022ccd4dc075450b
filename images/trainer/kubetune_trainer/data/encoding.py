"""From rows to token ids and labels, with an account of what was cut and what was left out. Pure.

Only what the model is to learn carries a label: completions, assistant turns, or all of a text row; prompts and the
other turns too where that is asked for. Everything else is MASKED, which the loss ignores.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Protocol

from jinja2 import TemplateError

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.rows import Row
from kubetune_shared.templates import for_template
from kubetune_shared.toolcheck import reasoning_written, unwritten

MASKED = -100
REFUSALS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What a chat template's own code raises for a chat that it was not made for."""


_TWO_BEGINNINGS = ("0", "x")
_NOT_FOUND = (
    "the base model's chat template does not show where the assistant's turns are in it, so that what others say would "
    "be learned, too; use a base model whose chat template does (or marks them with {% generation %}), or learn whole "
    "chats with assistantOnlyLoss: false"
)
_NOT_FOUND_WITH_TOOLS = (
    "the base model's chat template does not show where the assistant's turns are in it, so that what its tools said "
    "would be learned; make a row of each question (some templates write the tools before the last question), or learn "
    "whole chats with assistantOnlyLoss: false"
)


class Tokenizer(Protocol):
    """What is used of ``transformers.PreTrainedTokenizerBase``."""

    eos_token_id: int | None

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Any:
        """Token ids of a text, under ``input_ids``."""

    def apply_chat_template(self, conversation: list[dict[str, Any]], **kwargs: Any) -> Any:
        """A conversation rendered by the template, tokenised unless ``tokenize`` is False."""


@dataclass
class Tokenised:
    """Examples ready for the collator."""

    input_ids: list[list[int]] = field(default_factory=list)
    labels: list[list[int]] = field(default_factory=list)
    truncated: int = 0
    """Rows longer than the maximum, cut at their end."""
    dropped: int = 0
    """Rows left out because no token of theirs carries a label."""
    reasoning_left_out: int = 0
    """Chats of which the template writes some of the reasoning only: mostly that of the last answer."""

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
    template in use marks assistant turns with ``{% generation %}``; ``tool_template`` is the template of chats with
    tools, where the model has one of its own for them, without marks. ``assistant_only`` and ``completion_only`` False
    have whole chats, and prompts, learned as well; a message of weight 0 is never learned.
    """

    tokenizer: Tokenizer
    max_length: int
    template: str | None = None
    marked: bool = False
    assistant_only: bool = True
    completion_only: bool = True
    tool_template: str | None = None

    def encode(self, rows: Iterable[Row], what: str) -> Tokenised:
        """Raises KubeTuneError (BAD_DATA).

        AllLabelsMasked when no row is left to learn from, ChatTemplateRefused for a chat that the template cannot
        write, ToolsNotWritten for one of which it would leave out a tool's part, ReasoningNotWritten for one of which
        it would leave out all reasoning; TurnsNotFound, and WeightNotPossible for one with weights, where it does not
        show which turn is whose.
        """
        done = Tokenised()
        for row in rows:
            ids, labels = self.row(row, done)
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

    def row(self, row: Row, done: Tokenised) -> tuple[list[int], list[int]]:
        """Ids and labels of one row, uncut; ``done`` counts what the template leaves out."""
        if row.messages is not None:
            if row.tools and self.tool_template is not None:
                return self._for_tools().row(row, done)
            return self._chat(row, done)
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
        return context + answer, ([MASKED] * len(context) if self.completion_only else context) + answer

    def _for_tools(self) -> Encoder:
        return dataclasses.replace(self, template=self.tool_template, marked=False, tool_template=None)

    def _chat(self, row: Row, done: Tokenised) -> tuple[list[int], list[int]]:
        messages = for_template(row.messages or ())
        tools = list(row.tools) or None
        try:
            if row.uses_tools:
                self._check_tools(row, messages)
            self._check_reasoning(row, messages, done)
            if not self.assistant_only and not row.unlearned:
                ids = self._rendered(messages, tools)
                return ids, list(ids)
            ids, turns = self._turns(messages, tools)
        except REFUSALS as error:
            raise _refused(row, "ChatTemplateRefused", f"the model's chat template refuses it: {error}") from error
        if row.unlearned:
            turns = _matching(turns, row, messages)
            skipped = _chosen(row.unlearned, messages)
            if not self.assistant_only:
                return ids, _masked(ids, [turn for number, turn in enumerate(turns) if number in skipped])
            return ids, _labelled(ids, [turn for number, turn in enumerate(turns) if number not in skipped])
        if turns is None:
            raise _refused(row, "TurnsNotFound", _NOT_FOUND_WITH_TOOLS if row.uses_tools else _NOT_FOUND)
        return ids, _labelled(ids, turns)

    def _check_reasoning(self, row: Row, messages: list[dict[str, Any]], done: Tokenised) -> None:
        written, there = reasoning_written(self._text, messages, row.tools)
        if there and not written:
            raise _refused(
                row,
                "ReasoningNotWritten",
                "the base model's chat template does not write its reasoning_content: nothing of it would be learned; "
                "use a base model whose chat template does, write it into the content, or take it out of the rows",
            )
        done.reasoning_left_out += written < there

    def _check_tools(self, row: Row, messages: list[dict[str, Any]]) -> None:
        missing = unwritten(self._text, messages, row.tools)
        if missing:
            raise _refused(
                row,
                "ToolsNotWritten",
                f"the base model's chat template does not write {', '.join(missing)}: nothing of it would be learned; "
                "use a base model whose chat template does, or take it out of the rows",
            )

    def _text(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        return str(self._applied(messages, tools, tokenize=False))

    def _applied(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, **options: Any) -> Any:
        return self.tokenizer.apply_chat_template(messages, tools=tools, chat_template=self.template, **options)

    def _turns(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None
    ) -> tuple[list[int], list[range] | None]:
        """The chat's ids and where its assistant turns are; None when the template does not show that."""
        if self.marked:
            rendered = self._applied(
                messages, tools, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
            )
            return list(rendered["input_ids"]), _runs(rendered["assistant_masks"]) or None
        whole = self._rendered(messages, tools)
        try:
            return whole, self._turns_by_prefix(messages, tools, whole)
        except REFUSALS:
            # A template may take the whole chat and no shorter one.
            return whole, None

    def _turns_by_prefix(
        self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None, ids: list[int]
    ) -> list[range] | None:
        """Found by rendering the chat up to each assistant turn; None when that is no prefix of the whole."""
        turns = []
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._before(messages[:number], tools)
            after = self._rendered(messages[: number + 1], tools)
            if ids[: len(before)] != before or ids[: len(after)] != after:
                return None
            turns.append(range(len(before), len(after)))
        return turns

    def _before(self, messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> list[int]:
        """The ids up to the turn that the assistant takes after ``messages``."""
        if messages:
            return self._rendered(messages, tools, add_generation_prompt=True)
        # Templates cannot write a chat of nothing: what two chats have in common that only the assistant begins.
        one, other = (self._rendered([{"role": "assistant", "content": text}], tools) for text in _TWO_BEGINNINGS)
        return [a for a, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]

    def _rendered(
        self,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        *,
        add_generation_prompt: bool = False,
    ) -> list[int]:
        rendered = self._applied(
            messages, tools, tokenize=True, return_dict=True, add_generation_prompt=add_generation_prompt
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


def _runs(mask: Sequence[int]) -> list[range]:
    """Where the mask is set, run by run."""
    edges = [n for n, (a, b) in enumerate(pairwise([0, *mask, 0])) if bool(a) != bool(b)]
    return [range(start, stop) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _labelled(ids: list[int], turns: Iterable[range]) -> list[int]:
    labels = [MASKED] * len(ids)
    for turn in turns:
        labels[turn.start : turn.stop] = ids[turn.start : turn.stop]
    return labels


def _masked(ids: list[int], turns: Iterable[range]) -> list[int]:
    labels = list(ids)
    for turn in turns:
        labels[turn.start : turn.stop] = [MASKED] * len(turn)
    return labels


def _assistants(messages: Sequence[dict[str, Any]]) -> Iterator[int]:
    return (index for index, message in enumerate(messages) if message["role"] == "assistant")


def _chosen(unlearned: Sequence[int], messages: Sequence[dict[str, Any]]) -> set[int]:
    """Which of the assistant turns, counted from 0, the message indices are."""
    return {number for number, index in enumerate(_assistants(messages)) if index in unlearned}


def _matching(turns: list[range] | None, row: Row, messages: Sequence[dict[str, Any]]) -> list[range]:
    """The turns, when there is one for every assistant message."""
    if turns is not None and len(turns) == len(list(_assistants(messages))):
        return turns
    raise _refused(
        row,
        "WeightNotPossible",
        "it has messages of weight 0, but the model's chat template does not show which turn is whose; end the chat "
        "with the answer to learn, or use a template that marks assistant turns with {% generation %}",
    )


def _refused(row: Row, reason: str, problem: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_DATA, reason, f"dataset line {row.line}: {problem}")
