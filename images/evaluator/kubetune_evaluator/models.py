"""Models in memory. Imports torch."""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoConfig, GenerationConfig

from kubetune_contract import ExitCode, KubeTuneError
from kubetune_shared.classes import auto_class
from kubetune_shared.intake.base import Use, check_class, check_complete
from kubetune_shared.intake.loading import compared
from kubetune_shared.intake.quantisation import quantisation_of
from kubetune_shared.models import model_config

from .plan import PlannedModel
from .tokenizer import UNREADABLE, damaged

log = logging.getLogger(__name__)


def device(gpus: int) -> tuple[str, torch.dtype]:
    """Where to compute and in which precision: bfloat16 from compute capability 8.0 on, float32 on the CPU.

    Raises KubeTuneError (BAD_CONFIG, NoGPU) when a GPU was asked for and none is visible.
    """
    if not gpus:
        return "cpu", torch.float32
    if not torch.cuda.is_available():
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "NoGPU",
            "a GPU was asked for, but none is visible in the pod; check that the node has the NVIDIA driver and "
            "container toolkit and that runtimeClassName is set where the cluster needs it, or set resources.gpu to 0",
        )
    modern = torch.cuda.get_device_capability(0) >= (8, 0)
    return "cuda", torch.bfloat16 if modern else torch.float16


def device_name(kind: str) -> str:
    """For the report."""
    return torch.cuda.get_device_name(0) if kind == "cuda" else "CPU"


def load_base(model: PlannedModel, tokenizer: Any, gpus: int) -> Any:
    """The base model, set to decode greedily."""
    kind, dtype = device(gpus)
    config = model_config(Path(model.path), model.uri)
    check_class(config, model.uri, Use.EVALUATE)
    # More than one GPU: layers are spread over them; the model may be too large for one.
    placement = {"device_map": "auto" if gpus > 1 else {"": 0}} if kind == "cuda" else {}
    try:
        kind_of_model = auto_class(AutoConfig.from_pretrained(model.path, trust_remote_code=False))
        loaded, found = kind_of_model.from_pretrained(
            model.path,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            # Told below, in the words of the preflight.
            ignore_mismatched_sizes=True,
            **placement,
        )
    except torch.OutOfMemoryError as error:
        raise out_of_memory(f"loading {model.uri}", error) from error
    except UNREADABLE as error:
        raise damaged(model.uri, "model", error) from error
    if quantisation_of(config) is None:
        report = compared(found)
        check_complete(report, report.unexpected, model.uri)
    # In place of its own, which may ask for sampling or repetition penalties: transformers fills whatever a call leaves
    # at its default from the model's settings.
    loaded.generation_config = greedy(loaded, tokenizer)
    return loaded.eval()


@contextmanager
def adapted(base: Any, model: PlannedModel) -> Iterator[Any]:
    """``base`` with the model's adapter on top for the length of the block; ``base`` itself where there is none.

    Adding and removing the layers leaves the base's weights untouched, so that it is loaded once for all.
    """
    if model.adapter_path is None:
        yield base
        return
    _refuse_other_kinds(model)
    try:
        wrapped = PeftModel.from_pretrained(base, model.adapter_path)
    except UNREADABLE as error:
        raise damaged(model.adapter_uri or "", "adapter", error) from error
    try:
        yield wrapped.eval()
    finally:
        wrapped.unload()


def _refuse_other_kinds(model: PlannedModel) -> None:
    config = json.loads((Path(model.adapter_path or "") / "adapter_config.json").read_text(encoding="utf-8"))
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "AdapterNotSupported",
            f"adapter {model.adapter_uri} is of type {kind}; only LORA adapters are evaluated. Merge it into its base",
        )


def greedy(model: Any, tokenizer: Any) -> GenerationConfig:
    """Greedy decoding and nothing else; of the model's own settings only its end tokens are kept."""
    stated = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])} - {None}
    return GenerationConfig(
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(ends) or None,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )


def context_length(model: Any) -> int | None:
    """Tokens of prompt and answer the model was made for; None where its configuration does not say."""
    config = model.config.get_text_config()
    found = getattr(config, "max_position_embeddings", None)
    return int(found) if found else None


def release() -> None:
    """Gives memory back between models."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def out_of_memory(doing: str, error: BaseException) -> KubeTuneError:
    first = str(error).strip().partition("\n")[0]
    return KubeTuneError(
        ExitCode.OUT_OF_MEMORY,
        "OutOfMemory",
        f"{doing}: {first}. Lower generation.batchSize or generation.maxNewTokens, or use a node with a larger GPU",
    )
