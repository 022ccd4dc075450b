"""``python -m kubetune_trainer.exports.exporter merged gguf``: makes exports from files, in a process of its own.

A separate process gives its memory back, and what it dies of cannot take the training's result along. Reads the same
configuration and work folder as ``train``; publishing is the parent's business (export.py).
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from kubetune_contract import Method, TrainConfig, read_config, run
from kubetune_trainer.workspace import Inputs, config_sha256, exports_dir, load_inputs

FILE = "model.gguf"


def make(kinds: list[str]) -> None:
    """Writes the folders ``exports/<kind>`` from the trained files in ``exports/source``; a folder is there when whole.

    Of an adapter, ``gguf`` is made from ``merged``, which must come before it.
    """
    config = read_config(TrainConfig)
    inputs = load_inputs(config_sha256(config))
    for kind in kinds:
        partial = exports_dir() / f"{kind}.partial"
        partial.mkdir(parents=True)
        _make(kind, config, inputs, partial)
        partial.rename(exports_dir() / kind)


def _make(kind: str, config: TrainConfig, inputs: Inputs, dest: Path) -> None:
    source = exports_dir() / "source"
    if kind == "merged":
        from .merge import write_merged  # noqa: PLC0415 (torch and peft, only here)

        write_merged(Path(inputs.model_path), source, dest, config.base_model)
    else:
        _gguf(config, source if config.method is Method.FULL else exports_dir() / "merged", dest)


def _gguf(config: TrainConfig, model: Path, dest: Path) -> None:
    from .gguf_export import write_gguf  # noqa: PLC0415 (numpy and torch, only here)

    write_gguf(model, dest / FILE, config.export.gguf or "f16", config.owner.name, config.base_model)
    if (model / "chat_template.jinja").is_file():
        shutil.copyfile(model / "chat_template.jinja", dest / "chat_template.jinja")
    (dest / "Modelfile").write_text(_modelfile(model), encoding="utf-8")


def _modelfile(model: Path) -> str:
    from transformers import AutoTokenizer  # noqa: PLC0415 (seconds)

    from .modelfile import modelfile, turns_of  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(model)

    def render(chat: list[dict[str, str]], go_on: bool) -> str:
        text: str = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=go_on)
        return text

    chats = bool(tokenizer.chat_template)
    turns = turns_of(render, tokenizer.bos_token or "") if chats else None
    ends = [_special(tokenizer, turns.assistant[1])] if turns else []
    return modelfile(FILE, turns, [*ends, tokenizer.eos_token or ""], chats=chats)


def _special(tokenizer: Any, text: str) -> str:
    """The first special token in ``text``, which is what ends a turn; empty when there is none."""
    for number in tokenizer(text, add_special_tokens=False)["input_ids"]:
        token: str = tokenizer.convert_ids_to_tokens(number)
        if token in tokenizer.all_special_tokens or number in tokenizer.added_tokens_decoder:
            return token
    return ""


if __name__ == "__main__":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # It announces at its import what is for its developers.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    run(lambda: make(sys.argv[1:]))
