"""What is worth telling of a base that can be trained all the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kubetune_contract import ExitCode, KubeTuneError, Suggestion, TrainConfig
from kubetune_shared.intake.positions import positions_of
from kubetune_shared.intake.quantisation import quantisation_of
from kubetune_shared.intake.template import DATE, is_dated, refusals, refused_in
from kubetune_shared.outlines import Outline
from kubetune_shared.rows import Row

if TYPE_CHECKING:
    from kubetune_trainer.data.encoding import Encoder


def check_takes(encoder: Encoder, rows: Iterable[Row]) -> None:
    """Raises KubeTuneError (BAD_DATA, ChatTemplateRefused) with what to do about the first chat that the template
    refuses for what it is; what it refuses for other reasons is told in its own words."""
    chats = [row for row in rows if row.messages is not None and not row.uses_tools]
    if not chats:
        return

    def write(chat: list[dict[str, str]]) -> object:
        return encoder.tokenizer.apply_chat_template(chat, tokenize=False, chat_template=encoder.template)

    refused = refusals(write)
    for row in chats if refused else ():
        problem = refused_in(refused, [str(message["role"]) for message in row.messages or ()])
        if problem:
            raise KubeTuneError(ExitCode.BAD_DATA, "ChatTemplateRefused", f"dataset line {row.line}: {problem}")


def beyond_positions(outline: Outline, longest: int) -> Suggestion | None:
    """BeyondPositions where rows are longer than anything the model was trained on."""
    found = positions_of(outline.config, outline.tensors)
    if found is None or longest <= found.limit:
        return None
    return Suggestion(
        "BeyondPositions",
        f"the longest row has {longest} tokens, the model was made for {found.limit} (max_position_embeddings): it "
        f"computes further ones, but poorly; set maxSequenceLength to {found.limit} or less, or shorten the rows",
    )


def dated_template(encoder: Encoder, chats: bool) -> Suggestion | None:
    """DatedTemplate where the template writes today's date: a run must not learn other tokens after midnight."""
    own = getattr(encoder.tokenizer, "chat_template", None)
    if not chats or not is_dated(own.get("default") if isinstance(own, dict) else own):
        return None
    return Suggestion(
        "DatedTemplate",
        f"the chat template writes today's date; rows are learned with {DATE:%d %b %Y} in its place, so that a run "
        "that goes on tomorrow learns the same, and the published template writes that, too",
    )


def no_end_token(tokenizer: Any) -> Suggestion | None:
    """NoEndToken where the tokenizer names none: what is learned has no end."""
    if tokenizer.eos_token is not None:
        return None
    return Suggestion(
        "NoEndToken",
        "the tokenizer names no eos_token, so that completions are learned without an end and the model may not stop; "
        "name one in tokenizer_config.json",
    )


def quantised_base(config: TrainConfig, outline: Outline) -> Suggestion | None:
    """QuantisedBase where the result can be trained, but neither evaluated nor served on this base."""
    found = quantisation_of(outline.config)
    if found is None or not (found.evaluated or found.served):
        return None
    return Suggestion(
        "QuantisedBase",
        f"{config.base_model} is quantised with {found.name}: an adapter is trained on it, but can be neither "
        "evaluated nor served there; name the unquantised model (method qlora quantises it by itself)",
    )
