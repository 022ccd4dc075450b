"""Runs in a pod of the trainer image: makes the small base model and its data and publishes both.

``python -m tests.smallmodel.produce s3://bucket/prefix KEY [steps]``; KEY names code, recipe and image, and is left in
the manifests, so that the same KEY is made once only.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

import torch

from tests.demo.library import Part, SourceFile, library_root, read_library
from tests.demo.publishing import Publisher, open_store, say, write_data

from .basemodel import Recipe, blocks, new_model, pretrain, save, train_tokenizer
from .split import split_by_file
from .task import Item, chat_row, majority_share, make_items

REPORT_EVERY = 10
"""Optimizer steps between two progress lines."""
MAKERS = ("torch", "transformers", "tokenizers")


def facts(items: dict[Part, list[Item]]) -> dict[str, Any]:
    """How many questions there are, from how many files, and what guessing would score."""
    return {
        "items": {part: len(chosen) for part, chosen in items.items()},
        "files": {part: len({item.path for item in chosen}) for part, chosen in items.items()},
        "packages": sorted({item.answer for item in items[Part.TEST]}),
        "majorityShare": majority_share(items[Part.TEST]),
    }


def make_data(parts: dict[Part, list[SourceFile]], folder: Path) -> None:
    """The questions of all parts."""
    items = make_items(parts)
    write_data({part: [chat_row(item) for item in chosen] for part, chosen in items.items()}, facts(items), folder)


def make_base(files: list[SourceFile], recipe: Recipe, folder: Path) -> None:
    """Trains tokenizer and model on ``files`` and saves both."""
    torch.manual_seed(recipe.seed)
    texts = [file.text for file in files]
    say(f"tokenizer: {recipe.vocabulary} entries from {len(texts)} files of Python {platform.python_version()}")
    tokenizer = train_tokenizer(texts, recipe)
    model = new_model(tokenizer, recipe)
    data = blocks(texts, tokenizer, recipe.block)
    say(f"base model: {sum(p.numel() for p in model.parameters()):,} parameters, {data.numel():,} tokens of text")
    for step in pretrain(model, data, recipe):
        if step.step % REPORT_EVERY == 0 or step.step == step.total:
            say(
                f"pretraining: step {step.step}/{step.total}, loss {step.loss:.2f}, "
                f"{step.tokens_per_second:,.0f} tokens/s, {step.seconds_left:.0f} s left"
            )
    save(model, tokenizer, folder)


def main(prefix: str, key: str, steps: int | None = None) -> None:
    """Publishes ``prefix``/data and ``prefix``/base unless they are there under ``key``."""
    recipe = Recipe() if steps is None else Recipe(steps=steps)
    parts = split_by_file(read_library(library_root()))
    publisher = Publisher(open_store(), prefix, key, MAKERS, {"recipe": recipe.as_dict()})
    publisher.publish("data", "dataset", lambda folder: make_data(parts, folder))
    publisher.publish("base", "model", lambda folder: make_base(parts[Part.TRAIN], recipe, folder))
    say("base model and data are in the store")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
