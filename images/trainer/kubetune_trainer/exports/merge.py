"""Base and adapter as one model, checked before anybody gets it. Imports torch.

Where every adapted layer is a linear one that the base's files store under its own name, each is merged alone by peft's
own code, in float32, and memory for one shard of the result is all it takes, whatever the model's size. All else
(GPT-2's transposed layers, experts stored apart, wrappers whose files have other names) peft merges in the whole model.
"""

from __future__ import annotations

import gc
import json
import logging
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from peft import LoraConfig, PeftModel, inject_adapter_in_model
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, GenerationConfig

from kubetune_shared.classes import auto_class
from kubetune_shared.cpus import memory_limit
from kubetune_shared.intake.loading import on_meta
from kubetune_shared.models import safetensors_header, weight_files

from .exportable import cannot_export

SHARD_BYTES = 1 << 30
"""Size of the result's files, unless one tensor is larger."""
PROBE_TOKENS = 32
SPARE_BYTES = 2 << 30
"""Main memory for the libraries of this process and of the training's."""
MOST_OF_THE_MOVE = 0.5
"""Of what the adapter moves the logits by, how much the merged model may miss; a merge that did nothing misses all."""
NOISE = 0.02
"""Of the logits' own spread, what rounding may do."""
_PREFIX = "base_model.model."
_MATRICES = {"lora_A", "lora_B", "lora_magnitude_vector"}

Adapter = dict[str, dict[str, Any]]
"""Weight's name in the base -> peft's name of a matrix -> its values."""

log = logging.getLogger(__name__)


def write_merged(base: Path, adapter: Path, dest: Path, uri: str) -> None:
    """Writes a folder in the Hugging Face layout, in the base's own precision, with the adapter's tokenizer.

    ``uri`` names the base in messages. Raises KubeTuneError (BAD_CONFIG, CannotExport) when the merged model does not
    answer as base and adapter do.
    """
    config = LoraConfig.from_pretrained(adapter)
    changes = _matrices(adapter / "adapter_model.safetensors")
    with ExitStack() as stack:
        files = _open(stack, base, uri)
        alone = changes is not None and _linear_under_their_own_names(base, changes, files)
        if changes is not None and alone:
            _write_shards(files, changes, config, dest)
        else:
            log.info("merging in the whole model: not every adapted layer is a linear one stored under its own name")
            _write_whole(base, adapter, dest)
    for name in ("config.json", "generation_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, dest / name)
    copy_tokenizer(adapter, dest)
    check_merged(base, adapter, dest, uri)


def copy_tokenizer(source: Path, dest: Path) -> None:
    """Tokenizer and chat template, as the adapter was trained with them."""
    for path in source.iterdir():
        if path.suffix in {".json", ".jinja", ".txt", ".model"} and not path.name.startswith(("adapter_", "manifest")):
            shutil.copyfile(path, dest / path.name)


def check_merged(base: Path, adapter: Path, merged: Path, uri: str) -> None:
    """Base and adapter against the merged model, by their logits for a few tokens; one of them in memory at a time.

    Raises KubeTuneError (BAD_CONFIG, CannotExport) when they differ by more than rounding. A model that does not fit
    into main memory is not asked, which is logged; its layers were merged one by one.
    """
    size = sum(path.stat().st_size for path in weight_files(merged, uri))
    if 1.3 * size + SPARE_BYTES > memory_limit():
        log.warning("the merged model is not compared with the adapter: %.1f GiB do not fit in memory", size / 2**30)
        return
    model = load(base)
    ids = probe(model)
    plain = logits(model, ids)
    model = PeftModel.from_pretrained(model, adapter)
    expected = logits(model, ids)
    del model
    gc.collect()
    got = logits(load(merged), ids)
    missed, moved = _mean(got - expected), _mean(expected - plain)
    log.info("the merged model's logits differ by %.2g from the adapter's, which moved them by %.2g", missed, moved)
    # Not the other way round: whatever is compared with NaN is False.
    if not missed <= max(MOST_OF_THE_MOVE * moved, NOISE * float(expected.std())):
        raise cannot_export(
            f"{uri} cannot be merged: the merged model's logits differ by {missed:.2g} from the adapter's, which moves "
            f"them by {moved:.2g} only; serve the adapter on its base, or leave out export"
        )


def load(folder: Path) -> Any:
    """The model in the precision of its files."""
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    kind = auto_class(config)
    model = kind.from_pretrained(folder, dtype="auto", trust_remote_code=False, use_safetensors=True)
    return model.eval()


def probe(model: Any) -> Any:
    """Token ids from all over the vocabulary: one row of PROBE_TOKENS."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    return (torch.arange(1, PROBE_TOKENS + 1) * vocabulary // (PROBE_TOKENS + 1))[None]


def logits(model: Any, ids: Any) -> Any:
    """For every token of ``ids`` (1 x tokens x vocabulary), in 32 bits."""
    with torch.no_grad():
        return model.eval()(input_ids=ids, use_cache=False).logits.float()


def _mean(values: Any) -> float:
    return float(values.abs().mean())


def _matrices(path: Path) -> Adapter | None:
    """None where the adapter is not one of plain linear layers."""
    found: Adapter = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            layer, _, name = key.removeprefix(_PREFIX).removesuffix(".weight").rpartition(".")
            if name not in _MATRICES:
                return None
            found.setdefault(f"{layer}.weight", {})[name] = file.get_tensor(key)
    return found


def _linear_under_their_own_names(base: Path, changes: Adapter, files: dict[str, tuple[Any, int]]) -> bool:
    modules = dict(on_meta(base).named_modules())
    return all(name in files and type(modules.get(name.removesuffix(".weight"))) is torch.nn.Linear for name in changes)


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


def _write_whole(base: Path, adapter: Path, dest: Path) -> None:
    model = PeftModel.from_pretrained(load(base), adapter).merge_and_unload()
    # The base's own settings are copied; transformers refuses to write some that it reads.
    model.generation_config = GenerationConfig()
    model.save_pretrained(dest, max_shard_size=SHARD_BYTES)


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
