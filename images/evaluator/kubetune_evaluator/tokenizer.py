"""A base's tokenizer, the chat template that items are put to a model with, and what it must be able to write.

Works without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.intake.template import frozen
from kubetune_shared.intake.tokenizer import unreadable
from kubetune_shared.templates import chat_template
from kubetune_shared.toolcheck import BESIDE, unwritten

from .items import Item
from .plan import PlannedModel
from .prompts import applied, template_refused

UNREADABLE = (OSError, ValueError, KeyError, ImportError, RuntimeError)
"""What libraries raise for files they cannot make sense of."""


def load_tokenizer(model: PlannedModel) -> Any:
    """The base's tokenizer, padding on the left, so that every answer begins where its prompt ends.

    An adapter's own copy is not used: servers ignore it as well.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 (seconds, which prepare has for chats with tools only)

    try:
        tokenizer = AutoTokenizer.from_pretrained(model.path, padding_side="left")
    except Exception as error:
        # Files of another release make tokenizers raise a bare Exception.
        raise KubeTuneError(
            ExitCode.BAD_DATA, "ModelDamaged", f"model {model.uri} {unreadable(Path(model.path), error)}"
        ) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise damaged(model.uri, "tokenizer", "it names neither an eos_token nor a pad_token")
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def template_for(candidate: PlannedModel, model: PlannedModel, *, tools: bool) -> str | None:
    """The chat template that items, with or without tools, are put to a model with.

    Models on the candidate's base get the candidate's template, so that all see the same prompts; models on other
    bases get their own, which they were made with, and the candidate's where they have none. Today's date in a
    template is the day that rows are learned with: items asked tomorrow are the same.
    """
    adapter = chat_template(Path(candidate.adapter_path), tools=tools) if candidate.adapter_path else None
    ours = adapter or chat_template(Path(candidate.path), tools=tools)
    found = ours if model.uri == candidate.uri else chat_template(Path(model.path), tools=tools) or ours
    return found and frozen(found)


def check_tools(models: Sequence[PlannedModel], items: Iterable[Item]) -> None:
    """Raises KubeTuneError (BAD_DATA) when a model would not see all that an item says of tools.

    ToolsNotWritten names the item's line and what its model's chat template leaves out.
    """
    talks = [item for item in items if item.uses_tools]
    for model in {model.uri: model for model in models}.values() if talks else ():
        tokenizer = load_tokenizer(model)
        for item in talks:
            _check(tokenizer, item, template_for(models[0], model, tools=bool(item.tools)), model.uri)


def _check(tokenizer: Any, item: Item, template: str | None, uri: str) -> None:
    def text(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> str:
        return str(applied(tokenizer, messages, tools, template, tokenize=False))

    try:
        missing = unwritten(text, item.messages or (), item.tools)
    except (TemplateError, TypeError) as error:
        raise template_refused(item, error) from error
    # Text beside a call of an earlier turn is context; a served model sees as much of it as its template shows.
    missing = [part for part in missing if part != BESIDE]
    if missing:
        raise KubeTuneError(
            ExitCode.BAD_DATA,
            "ToolsNotWritten",
            f"dataset line {item.line}: the chat template for {uri} does not write {', '.join(missing)}, so the model "
            "would be asked without it; evaluate models whose chat template does, or leave the row out",
        )


def damaged(uri: str, what: str, error: object) -> KubeTuneError:
    """The failure for a part of a model that its library cannot read."""
    first = str(error).strip().partition("\n")[0]
    return KubeTuneError(ExitCode.BAD_DATA, "ModelDamaged", f"the {what} of {uri} cannot be loaded: {first}")
