"""The tokenizer from a local folder, and the template to train chats with. Works without torch."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from trl.chat_template_utils import get_training_chat_template, is_chat_template_stop_token_trained

from kubetune_contract import ExitCode, Hyperparameters, KubeTuneError
from kubetune_shared.intake import template as templates
from kubetune_shared.intake import tokenizer as intake
from kubetune_shared.templates import TOOL_USE

from .encoding import Encoder

log = logging.getLogger(__name__)


def load_tokenizer(path: Path, uri: str) -> Any:
    """Raises KubeTuneError (BAD_DATA, ModelDamaged) when transformers cannot read it."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except Exception as error:
        # Files of another release make tokenizers raise a bare Exception.
        raise KubeTuneError(
            ExitCode.BAD_DATA, "ModelDamaged", f"model {uri} {intake.unreadable(path, error)}"
        ) from error
    if isinstance(tokenizer.chat_template, dict):
        only = templates.chosen(tokenizer.chat_template)
        tokenizer.chat_template = None if only is None else tokenizer.chat_template | {"default": only}
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise KubeTuneError(
                ExitCode.BAD_DATA,
                "ModelDamaged",
                f"the tokenizer of {uri} has neither an eos_token nor a pad_token; name one in tokenizer_config.json",
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encoder_for(tokenizer: Any, hyper: Hyperparameters) -> Encoder:
    """Chooses the chat template to train with: the tokenizer's own where it marks assistant turns, else TRL's."""
    plain = Encoder(
        tokenizer,
        hyper.max_sequence_length,
        assistant_only=hyper.assistant_only_loss,
        completion_only=hyper.completion_only_loss,
        tool_template=_tool_template(tokenizer),
    )
    if tokenizer.chat_template is None:
        return plain
    try:
        template = get_training_chat_template(tokenizer)
    except ValueError:
        # A template TRL does not know: assistant turns are found by rendering prefixes.
        return dataclasses.replace(plain, template=_undated(_plain_template(tokenizer), None))
    if not is_chat_template_stop_token_trained(tokenizer, chat_template=template):
        log.warning("the chat template leaves the end of a turn out of the loss: the model may not learn to stop")
    # TRL returns None for a template that needs no change.
    return dataclasses.replace(plain, template=_undated(template or _plain_template(tokenizer), template), marked=True)


def _undated(used: str | None, otherwise: str | None) -> str | None:
    """The template in use without today's date in it; ``otherwise`` where it has none."""
    return templates.frozen(used) if used and templates.is_dated(used) else otherwise


def use_template(tokenizer: Any, template: str) -> None:
    """Makes ``template`` the one of plain chats; one that the model has for tools stays."""
    found = tokenizer.chat_template
    tokenizer.chat_template = found | {"default": template} if isinstance(found, dict) else template


def _plain_template(tokenizer: Any) -> str | None:
    found = tokenizer.chat_template
    return found.get("default") if isinstance(found, dict) else found


def _tool_template(tokenizer: Any) -> str | None:
    found = tokenizer.chat_template
    template = found.get(TOOL_USE) if isinstance(found, dict) else None
    return templates.frozen(template) if template else None


def end_tokens(tokenizer: Any) -> frozenset[int]:
    """Ids of tokens that may end a turn: those added to the vocabulary, which no merge of characters gives."""
    ends = {tokenizer.eos_token_id, *tokenizer.get_added_vocab().values()}
    return frozenset(end for end in ends if end is not None)


def unreadable(uri: str, what: str, error: Exception) -> KubeTuneError:
    """The failure for a part of a model that its library cannot read."""
    first = str(error).strip().partition("\n")[0]
    return KubeTuneError(ExitCode.BAD_DATA, "ModelDamaged", f"the {what} of {uri} cannot be loaded: {first}")
