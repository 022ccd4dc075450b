"""LoRA adapters for a tiny model, made without training: random, or pushed towards one answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def build(base: Path, folder: Path, base_uri: str, seed: int = 1, scale: float = 0.3, **settings: Any) -> Path:
    """Writes an adapter whose random weights change the base's answers; ``settings`` go to ``LoraConfig``."""
    import torch  # noqa: PLC0415 (only the images' environments have these)
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    options: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**options | settings))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn_like(parameter) * scale)
    model.peft_config["default"].base_model_name_or_path = base_uri
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def edit_config(folder: Path, **changes: Any) -> None:
    """Changes members of ``adapter_config.json``."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
