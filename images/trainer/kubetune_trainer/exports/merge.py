"""Base and adapter as one model, written layer by layer. Imports torch.

Each layer is merged by peft's own code, in float32, from the base's unquantised files; memory for one shard of the
result is all it needs, whatever the model's size.
"""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from peft import LoraConfig, inject_adapter_in_model
from safetensors import safe_open
from safetensors.torch import save_file

from kubetune_shared.models import safetensors_header, weight_files

from .exportable import cannot_export

SHARD_BYTES = 1 << 30
"""Size of the result's files, unless one tensor is larger."""
_PREFIX = "base_model.model."
_MATRICES = {"lora_A", "lora_B", "lora_magnitude_vector"}

Adapter = dict[str, dict[str, Any]]
"""Weight's name in the base -> peft's name of a matrix -> its values."""


def write_merged(base: Path, adapter: Path, dest: Path, uri: str) -> None:
    """Writes a folder in the Hugging Face layout, in the base's own precision, with the adapter's tokenizer.

    ``uri`` names the base in messages. Raises KubeTuneError (BAD_CONFIG, CannotExport) when the base's files store
    an adapted layer under another name than the loaded model has.
    """
    config = LoraConfig.from_pretrained(adapter)
    changes = _matrices(adapter / "adapter_model.safetensors")
    with ExitStack() as stack:
        files = _open(stack, base, uri)
        missing = sorted(set(changes) - set(files))
        if missing:
            raise cannot_export(
                f"{uri} cannot be merged: its files have no weight {missing[0]}, which the adapter changes; "
                "leave out export, or name layers in lora.targetModules that are stored as they are",
            )
        _write_shards(files, changes, config, dest)
    for name in ("config.json", "generation_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, dest / name)
    copy_tokenizer(adapter, dest)


def copy_tokenizer(source: Path, dest: Path) -> None:
    """Tokenizer and chat template, as the adapter was trained with them."""
    for path in source.iterdir():
        if path.suffix in {".json", ".jinja", ".txt", ".model"} and not path.name.startswith(("adapter_", "manifest")):
            shutil.copyfile(path, dest / path.name)


def _matrices(path: Path) -> Adapter:
    found: Adapter = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            layer, _, name = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
            if name not in _MATRICES:
                raise cannot_export(f"the adapter's {key} cannot be merged")
            found.setdefault(f"{layer}.weight", {})[name] = file.get_tensor(key)
    return found


def _open(stack: ExitStack, folder: Path, uri: str) -> dict[str, tuple[Any, int]]:
    """Tensor name -> the opened file that holds it, and its size in bytes."""
    found: dict[str, tuple[Any, int]] = {}
    for path in weight_files(folder, uri):
        file = stack.enter_context(safe_open(path, framework="pt"))
        for name, entry in safetensors_header(path, uri).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = (file, end - begin)
    return found


def _write_shards(files: dict[str, tuple[Any, int]], changes: Adapter, config: LoraConfig, dest: Path) -> None:
    plan = split_state_dict_into_shards_factory(
        {name: size for name, (_, size) in files.items()},
        get_storage_size=lambda size: size,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=SHARD_BYTES,
    )
    for filename, names in plan.filename_to_tensors.items():
        shard = {name: _merged(files[name][0].get_tensor(name), changes.get(name), config) for name in names}
        save_file(shard, dest / filename, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (dest / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


class _Layer(torch.nn.Module):  # type: ignore[misc]
    """A model of one linear layer, for peft to put an adapter on."""

    def __init__(self, weight: Any) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
        self.linear.weight = torch.nn.Parameter(weight.float(), requires_grad=False)


def _merged(weight: Any, matrices: dict[str, Any] | None, config: LoraConfig) -> Any:
    if matrices is None:
        return weight
    one = LoraConfig(
        r=config.r,
        lora_alpha=config.lora_alpha,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        target_modules=["linear"],
    )
    layer = inject_adapter_in_model(one, _Layer(weight)).linear
    with torch.no_grad():
        for name, values in matrices.items():
            getattr(layer, name)["default"].weight.copy_(values.float())
        layer.merge()
        return layer.get_base_layer().weight.detach().to(weight.dtype).contiguous()
