"""Bases as people have them: each a tiny random model with one thing about it that is not as it should be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests.support.sentencepiece import sentencepiece_model

from . import tiny

Change = Callable[[Path], object]
WEIGHTS = "model.safetensors"
TINY = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "vocab_size": 512,
}
VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
PICTURES = VISION | {"image_size": 28, "patch_size": 14}


def tensors(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    """The weights as ``change`` makes them of those there are."""

    def apply(folder: Path) -> None:
        made = {name: tensor.contiguous().clone() for name, tensor in change(load_file(folder / WEIGHTS)).items()}
        save_file(made, folder / WEIGHTS, metadata={"format": "pt"})

    return apply


def prefixed(prefix: str) -> Change:
    """Every tensor's name behind a wrapper's."""
    return tensors(lambda found: {prefix + name: tensor for name, tensor in found.items()})


def without(name: str) -> Change:
    return tensors(lambda found: {key: tensor for key, tensor in found.items() if key != name})


def broken(value: float, name: str = "model.layers.1.mlp.up_proj.weight") -> Change:
    """One number of one weight."""

    def change(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        found[name][3, 5] = value
        return found

    return tensors(change)


def in_json(name: str, **members: Any) -> Change:
    """Members of a JSON file set, or taken out where they are None."""

    def change(folder: Path) -> None:
        data = json.loads((folder / name).read_text()) | members
        kept = {key: value for key, value in data.items() if value is not None}
        (folder / name).write_text(json.dumps(kept))

    return change


def config(**members: Any) -> Change:
    return in_json("config.json", **members)


def file(name: str, content: str | bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def gone(*names: str) -> Change:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def renamed(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / to).parent.mkdir(exist_ok=True)
        (folder / name).rename(folder / to)

    return change


def copied(name: str, to: str) -> Change:
    def change(folder: Path) -> None:
        (folder / to).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / name, folder / to)

    return change


def tokenizer_model(**members: Any) -> Change:
    """Members of tokenizer.json's ``model``."""

    def change(folder: Path) -> None:
        data = json.loads((folder / "tokenizer.json").read_text())
        data["model"] |= members
        (folder / "tokenizer.json").write_text(json.dumps(data))

    return change


def sharded(folder: Path) -> None:
    """The same weights in two parts, with an index."""
    found = sorted(load_file(folder / WEIGHTS).items())
    (folder / WEIGHTS).unlink()
    mapped: dict[str, str] = {}
    for number, part in enumerate((found[:5], found[5:]), 1):
        name = f"model-{number:05}-of-00002.safetensors"
        save_file(dict(part), folder / name, metadata={"format": "pt"})
        mapped |= {tensor: name for tensor, _ in part}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": mapped}))


def with_adapter(folder: Path) -> None:
    """An adapter of the same base, beside it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    get_peft_model(model, LoraConfig(target_modules=["q_proj"])).save_pretrained(folder)


def sentencepiece(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(["h", "e", "l", "o", "he", "ll"]))
    in_json("tokenizer_config.json", tokenizer_class="LlamaTokenizer")(folder)


def model(name: str, **settings: Any) -> Change:
    """Another class in place of the Llama, with the same tokenizer; ``name`` is the class's."""

    def change(folder: Path) -> None:
        torch.manual_seed(0)
        kind = getattr(transformers, name)
        (folder / "config.json").unlink()
        kind(kind.config_class(**settings)).save_pretrained(folder)

    return change


def template(text: str | None = None, **named: str) -> Change:
    """The chat template, or several with names."""

    def change(folder: Path) -> None:
        (folder / "chat_template.jinja").unlink(missing_ok=True)
        if named:
            listed = [{"name": name, "template": found} for name, found in named.items()]
            in_json("tokenizer_config.json", chat_template=listed)(folder)
        elif text:
            (folder / "chat_template.jinja").write_text(text)

    return change


def make(folder: Path, *changes: Change) -> Path:
    """A whole tiny Llama with ``changes``."""
    tiny.build(folder)
    for change in changes:
        change(folder)
    return folder


def resized(folder: Path) -> None:
    """Tokens added to the tokenizer, the embedding left as it was."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "<extra>"})
    tokenizer.save_pretrained(folder)


def in_four_bits(folder: Path) -> None:
    """The weights as bitsandbytes stores them, quantised by the library itself."""
    settings = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, quantization_config=settings)
    model.save_pretrained(folder)


def in_mxfp4(folder: Path) -> None:
    """A gpt-oss whose experts are stored as the published ones are: blocks of 32 four-bit numbers with a scale."""
    found = load_file(folder / WEIGHTS)
    for name in [name for name in found if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, inputs, outputs = found.pop(name).shape
        blocks = (experts, outputs, inputs // 32, 16)
        found[f"{name}_blocks"] = torch.randint(0, 256, blocks, dtype=torch.uint8)
        found[f"{name}_scales"] = torch.full(blocks[:3], 122, dtype=torch.uint8)
    save_file(found, folder / WEIGHTS, metadata={"format": "pt"})
    config(quantization_config={"quant_method": "mxfp4"})(folder)
