"""peft's adapter for one job, and what peft does not put one on. Imports torch."""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, get_peft_model

from kubetune_contract import ExitCode, KubeTuneError, Method, TrainConfig
from kubetune_shared.classes import towers
from kubetune_trainer.exports.exportable import cannot_export, wanted

from .loading import linear_layers
from .sft import lora_arguments
from .targets import missing_targets, unknown_targets


def adapter_config(config: TrainConfig, model: Any) -> LoraConfig | None:
    """peft's settings for ``model``; None for method full. The towers of a wrapper stay as they are.

    Raises KubeTuneError (BAD_CONFIG, UnknownTargetModules) when a layer to be adapted is not in the model.
    """
    if config.method is Method.FULL:
        return None
    missing = missing_targets(config.lora.target_modules, [name for name, _ in model.named_modules()])
    if missing:
        raise unknown_targets(missing, config.base_model, linear_layers(model))
    return LoraConfig(**lora_arguments(config.lora, towers(model)))


def refused(config: TrainConfig, model: Any, error: ValueError) -> KubeTuneError:
    """What peft's refusal to put the adapter on ``model`` means to whoever wrote the settings."""
    said = str(error).partition("\n")[0]
    if "target module" in said.lower():
        return unknown_targets(config.lora.target_modules, config.base_model, linear_layers(model))
    wishes = {"lora_dropout": "set lora.dropout: 0", "use_dora": "leave lora.useDora out", "DoRA": "leave useDora out"}
    way_out = next((wish for word, wish in wishes.items() if word in said), "change lora")
    return KubeTuneError(
        ExitCode.BAD_CONFIG,
        "InvalidConfig",
        f"lora: {config.base_model} cannot be given this adapter: {said} {way_out}, or name layers outside the "
        "experts in lora.targetModules (q_proj, k_proj, v_proj, o_proj)",
    )


def adapted(config: TrainConfig, model: Any) -> Any:
    """``model`` with the adapter on it, as the training makes it; ``model`` itself for method full.

    Raises KubeTuneError (BAD_CONFIG): UnknownTargetModules, or InvalidConfig for what peft cannot do on this model.
    """
    settings = adapter_config(config, model)
    if settings is None:
        return model
    try:
        return get_peft_model(model, settings)
    except ValueError as error:
        raise refused(config, model, error) from error


def check_mergeable(config: TrainConfig, model: Any) -> None:
    """Raises KubeTuneError (BAD_CONFIG, CannotExport) for an adapter on ``model`` that no merged model can hold.

    An input embedding that is the output layer, too, has an adapter at one end only: merged, it would change both.
    """
    if config.method is Method.FULL or not wanted(config):
        return
    base = model.get_base_model()
    adapts_embedding = any("lora_embedding_" in name for name, _ in model.named_parameters())
    if adapts_embedding and base.config.get_text_config().tie_word_embeddings:
        raise cannot_export(
            f"{config.base_model} cannot be merged with an adapter on its embedding, which is its output layer, too: "
            "leave the embedding out of lora.targetModules, or leave out export"
        )
