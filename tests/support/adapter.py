"""LoRA adapters for a tiny model, made without training: random weights in PEFT's file format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def build(base: Path, folder: Path, base_uri: str, seed: int = 1, rank: int = 4) -> Path:
    """Writes an adapter on every linear layer that changes the base's answers."""
    import torch  # noqa: PLC0415 (only the images' environments have these)
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    torch.manual_seed(seed)
    tensors: dict[str, Any] = {}
    names = set()
    for name, module in AutoModelForCausalLM.from_pretrained(base).named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            names.add(name.rpartition(".")[2])
            prefix = f"base_model.model.{name}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(rank, module.in_features) * 0.3
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(module.out_features, rank) * 0.3
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_uri,
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(names),
        "modules_to_save": None,
        "init_lora_weights": True,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2))
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Changes members of ``adapter_config.json``."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
