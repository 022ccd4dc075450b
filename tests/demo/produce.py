"""Runs in a pod of the trainer image: makes the demo's base model and data and publishes both to the object store.

``python -m tests.demo.produce s3://bucket/prefix KEY [steps]``; KEY names code, recipe and image, and is left in the
manifests, so that the same KEY is made once only. Endpoint: KUBETUNE_STORE_ENDPOINT; credentials: AWS_*.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from kubetune_contract import ObjectStore
from kubetune_shared.artifacts import publish, read_manifest
from kubetune_shared.store import Store

from .basemodel import Recipe, blocks, new_model, pretrain, save, train_tokenizer
from .corpus import Part, SourceFile, library_root, read_library, split_by_file
from .task import Item, chat_row, majority_share, make_items

REPORT_EVERY = 10
"""Optimizer steps between two progress lines."""


def say(text: str) -> None:
    """One line for whoever follows the pod's log."""
    print(text, flush=True)


def is_published(store: Store, uri: str, key: str) -> bool:
    """True when the folder at ``uri`` was made with ``key``."""
    found = read_manifest(store, uri)
    return found is not None and found[0].config.get("key") == key


def write_data(items: dict[Part, list[Item]], folder: Path) -> None:
    """One JSONL file per part; ``facts.json`` beside them says what a reader of the scores needs to know."""
    for part, chosen in items.items():
        lines = [json.dumps(chat_row(item), ensure_ascii=False) for item in chosen]
        (folder / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    facts: dict[str, Any] = {
        "items": {part: len(chosen) for part, chosen in items.items()},
        "files": {part: len({item.path for item in chosen}) for part, chosen in items.items()},
        "packages": sorted({item.answer for item in items[Part.TEST]}),
        "majorityShare": majority_share(items[Part.TEST]),
    }
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


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


def libraries() -> dict[str, str]:
    """Versions that decide the result."""
    return {"python": platform.python_version()} | {
        name: version(name) for name in ("torch", "transformers", "tokenizers")
    }


def main(prefix: str, key: str, steps: int | None = None) -> None:
    """Publishes ``prefix``/data and ``prefix``/base unless they are there under ``key``."""
    store = Store(ObjectStore(os.environ.get("KUBETUNE_STORE_ENDPOINT") or None))
    recipe = Recipe() if steps is None else Recipe(steps=steps)
    parts = split_by_file(read_library(library_root()))
    meta = {"config": {"key": key, "recipe": recipe.as_dict()}, "libraries": libraries()}
    with tempfile.TemporaryDirectory() as scratch:
        if not is_published(store, f"{prefix}/data", key):
            data = Path(scratch, "data")
            data.mkdir()
            write_data(make_items(parts), data)
            publish(store, data, f"{prefix}/data", kind="dataset", meta=meta)
        if not is_published(store, f"{prefix}/base", key):
            base = Path(scratch, "base")
            make_base(parts[Part.TRAIN], recipe, base)
            publish(store, base, f"{prefix}/base", kind="model", meta=meta)
    say("base model and data are in the store")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
