"""The settings in force: what the user wrote, over the preset, over what the number of rows decides, over defaults."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from kubetune.common.model import ApiModel
from kubetune.finetunejob.api import FineTuneJob, FineTuneJobStatus
from kubetune.finetunejob.api.hyperparameters import Hyperparameters, Lora
from kubetune.finetunejob.api.presets import PRESETS
from kubetune.finetunejob.api.spec import FineTuneJobSpec
from kubetune.finetunejob.api.status_types import EffectiveSettings, RowSettings
from kubetune.workload.pod import CONFIG_ANNOTATION
from kubetune_contract import ContractError, Method, from_json, to_json
from kubetune_contract import Hyperparameters as ContractHyperparameters
from kubetune_contract import Lora as ContractLora

FULL_RATE = 0.1
"""Learning rate of method full over that of an adapter: all weights move, so that each must move less."""

Model = TypeVar("Model", bound=ApiModel)
Object = dict[str, Any]

DEFAULT_LORA = Lora.model_validate(to_json(ContractLora()))
DEFAULT_HYPERPARAMETERS = Hyperparameters.model_validate(to_json(ContractHyperparameters()))
"""With the learning rate for an adapter."""


def effective(spec: FineTuneJobSpec, by_rows: RowSettings | None = None) -> EffectiveSettings:
    """Every member with a default is set; those whose absence means something stay unset. ``by_rows`` is what the
    preflight has decided."""
    preset = PRESETS[spec.preset] if spec.preset else None
    rows = Hyperparameters(**by_rows.model_dump(exclude={"reason"})) if by_rows else None
    hyperparameters = merge(DEFAULT_HYPERPARAMETERS, rows, preset.hyperparameters if preset else None)
    if spec.method is Method.FULL:
        hyperparameters = _for_full(hyperparameters)
    lora = merge(DEFAULT_LORA, preset.lora if preset else None, spec.lora)
    return EffectiveSettings(
        lora=None if spec.method is Method.FULL else lora,
        hyperparameters=merge(hyperparameters, spec.hyperparameters),
    )


def in_force(job: FineTuneJob, training: Object | None, by_rows: RowSettings | None) -> EffectiveSettings:
    """What the training's Job was made with, while there is one that says so; then what the run has begun with; and
    before that what it would be made with."""
    return _of_the_job(training or {}) or begun_with(job.status) or effective(job.spec, by_rows)


def begun_with(status: FineTuneJobStatus) -> EffectiveSettings | None:
    """The settings of a run that has had a pod; None before. Its checkpoints are of no use to any others."""
    return status.effective if status.attempts else None


def _of_the_job(training: Object) -> EffectiveSettings | None:
    """From the configuration that its pods read."""
    template = training.get("spec", {}).get("template", {})
    text = template.get("metadata", {}).get("annotations", {}).get(CONFIG_ANNOTATION)
    try:
        config = json.loads(text or "{}")
        hyperparameters = to_json(from_json(ContractHyperparameters, config.get("hyperparameters")))
        lora = None if config.get("method") == Method.FULL else to_json(from_json(ContractLora, config.get("lora")))
        return EffectiveSettings.model_validate({"lora": lora, "hyperparameters": hyperparameters})
    except (ValueError, AttributeError, ContractError):
        return None


def unset_hyperparameters(spec: FineTuneJobSpec) -> tuple[str, ...]:
    """What the number of rows may decide: set neither in the spec nor by its preset."""
    preset = PRESETS[spec.preset].hyperparameters if spec.preset else None
    layers = [layer for layer in (preset, spec.hyperparameters) if layer is not None]
    names = (name for name in RowSettings.model_fields if name != "reason")
    return tuple(name for name in names if all(getattr(layer, name) is None for layer in layers))


def packing_is_the_presets(spec: FineTuneJobSpec) -> bool:
    """Whether packing is wanted by the preset alone, so that a base that does not allow it is trained without."""
    preset = PRESETS[spec.preset].hyperparameters if spec.preset else None
    stated = spec.hyperparameters.packing if spec.hyperparameters else None
    return preset is not None and preset.packing is True and stated is None


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
