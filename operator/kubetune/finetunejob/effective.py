"""The settings in force: what the user wrote, over the preset, over the defaults."""

from __future__ import annotations

from typing import Any, TypeVar

from kubetune.common.model import ApiModel
from kubetune_contract import Hyperparameters as ContractHyperparameters
from kubetune_contract import Lora as ContractLora
from kubetune_contract import Method, to_json

from .hyperparameters import Hyperparameters, Lora
from .measured import EffectiveSettings
from .presets import PRESETS
from .spec import FineTuneJobSpec

FULL_RATE = 0.1
"""Learning rate of method full over that of an adapter: all weights move, so that each must move less."""

Model = TypeVar("Model", bound=ApiModel)

DEFAULT_LORA = Lora.model_validate(to_json(ContractLora()))
DEFAULT_HYPERPARAMETERS = Hyperparameters.model_validate(to_json(ContractHyperparameters()))
"""With the learning rate for an adapter."""


def effective(spec: FineTuneJobSpec) -> EffectiveSettings:
    """Every member with a default is set; those whose absence means something stay unset."""
    preset = PRESETS[spec.preset] if spec.preset else None
    hyperparameters = merge(DEFAULT_HYPERPARAMETERS, preset.hyperparameters if preset else None)
    if spec.method is Method.FULL:
        hyperparameters = _for_full(hyperparameters)
    lora = merge(DEFAULT_LORA, preset.lora if preset else None, spec.lora)
    return EffectiveSettings(
        lora=None if spec.method is Method.FULL else lora,
        hyperparameters=merge(hyperparameters, spec.hyperparameters),
    )


def merge(base: Model, *layers: Model | None) -> Model:
    """``base`` under the layers; a later layer wins with every member it sets, also to a value like the default."""
    members: dict[str, Any] = {}
    for layer in (base, *layers):
        if layer is not None:
            members |= layer.model_dump(exclude_none=True)
    return type(base)(**members)


def _for_full(adapter: Hyperparameters) -> Hyperparameters:
    # Rounded: 2e-4 * 0.1 is 2.0000000000000002e-05.
    rate = float(f"{(adapter.learning_rate or 0) * FULL_RATE:.6g}")
    return adapter.model_copy(update={"learning_rate": rate})
