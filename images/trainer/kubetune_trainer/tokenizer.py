"""The tokenizer from a local folder, and the template to train chats with. Works without torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from trl.chat_template_utils import get_training_chat_template, is_chat_template_stop_token_trained

from kubetune_contract import ExitCode, KubeTuneError

from .data import Encoder

log = logging.getLogger(__name__)


def load_tokenizer(path: Path, uri: str) -> Any:
    """Raises KubeTuneError (BAD_DATA, ModelDamaged) when transformers cannot read it."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise unreadable(uri, "tokenizer", error) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise KubeTuneError(
                ExitCode.BAD_DATA,
                "ModelDamaged",
                f"the tokenizer of {uri} has neither an eos_token nor a pad_token; name one in tokenizer_config.json",
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def encoder_for(tokenizer: Any, max_length: int) -> Encoder:
    """Chooses the chat template to train with: the tokenizer's own where it marks assistant turns, else TRL's."""
    own = tokenizer.chat_template
    if own is None:
        return Encoder(tokenizer, max_length)
    try:
        template = get_training_chat_template(tokenizer)
    except ValueError:
        # A template TRL does not know: assistant turns are found by rendering prefixes.
        return Encoder(tokenizer, max_length)
    if not is_chat_template_stop_token_trained(tokenizer, chat_template=template):
        log.warning("the chat template leaves the end of a turn out of the loss: the model may not learn to stop")
    return Encoder(tokenizer, max_length, template=template, marked=True)


def unreadable(uri: str, what: str, error: Exception) -> KubeTuneError:
    """The failure for a part of a model that its library cannot read."""
    return KubeTuneError(ExitCode.BAD_DATA, "ModelDamaged", f"the {what} of {uri} cannot be loaded: {error}")
