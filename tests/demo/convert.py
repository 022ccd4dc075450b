"""Runs in a pod of the trainer image: unpacks the demo's base model, makes its data and publishes both.

``python -m tests.demo.convert s3://bucket/prefix KEY FILE``; KEY names code and libraries, and is left in the
manifests, so that the same KEY is made once only. FILE is a GGUF file in ``prefix``/input.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from kubetune_shared.store import Store
from tests.demo.docstrings import Item, chat_row, make_items
from tests.demo.library import Part, library_root, read_library
from tests.demo.publishing import Publisher, open_store, say, write_data

MAKERS = ("torch", "transformers", "tokenizers", "gguf")


def facts(items: dict[Part, list[Item]]) -> dict[str, Any]:
    """How many questions there are, from how many files."""
    return {
        "items": {part: len(chosen) for part, chosen in items.items()},
        "files": {part: len({item.path for item in chosen}) for part, chosen in items.items()},
    }


def make_data(folder: Path) -> None:
    """The questions of all parts."""
    items = make_items(read_library(library_root()))
    say(f"data: {', '.join(f'{len(chosen):,} rows for {part}' for part, chosen in items.items())}")
    write_data({part: [chat_row(item) for item in chosen] for part, chosen in items.items()}, facts(items), folder)


def make_base(gguf: Path, folder: Path) -> None:
    """Unpacks the weights to bfloat16 and saves them with tokenizer and chat template.

    Without ``dequantize`` the model stays packed, which nothing can train or save.
    """
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.model_max_length = model.config.max_position_embeddings
    say(f"base model: {sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer):,} tokens")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def fetch_and_make(store: Store, uri: str, folder: Path) -> None:
    """The base model from the GGUF file at ``uri``."""
    with tempfile.TemporaryDirectory() as scratch:
        gguf = Path(scratch, uri.rpartition("/")[2])
        store.download(uri, gguf)
        make_base(gguf, folder)


def main(prefix: str, key: str, file: str) -> None:
    """Publishes ``prefix``/data and ``prefix``/base."""
    store = open_store()
    publisher = Publisher(store, prefix, key, MAKERS, {"file": file})
    publisher.publish("data", "dataset", make_data)
    publisher.publish("base", "model", lambda folder: fetch_and_make(store, f"{prefix}/input/{file}", folder))
    say("base model and data are in the store")


if __name__ == "__main__":
    main(*sys.argv[1:])
