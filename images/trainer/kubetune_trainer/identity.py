"""What a run is: everything that decides its result, and nothing else. Pure.

Two runs of one identity give the same result, so that one can stand for the other. Names, folders, URIs and where it
runs identify nothing: rows and base are known by their content. Every field of the contract is either in DECIDING or
in NOT_DECIDING; a test fails for one that is in neither.

DECIDING maps a field to the value that is left out of the identity. That value never changes again, also where the
contract's default does: a release that adds a field, with the value that means "as before" here, changes no identity.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubetune_contract import (
    ContractError,
    Dataset,
    Hyperparameters,
    Lora,
    Method,
    TrainConfig,
    dumps,
    from_json,
    to_json,
)
from kubetune_contract.codec import camel

from .processes.place import processes

DECIDING: dict[type, dict[str, Any]] = {
    TrainConfig: {"method": Method.LORA, "processes": 1, "rerun": None},
    Dataset: {"validation_share": None},
    Lora: {
        "rank": 16,
        "alpha": 32,
        "dropout": 0.0,
        "target_modules": ("all-linear",),
        "use_rslora": False,
        "use_dora": False,
        "loraplus_lr_ratio": None,
    },
    Hyperparameters: {
        "learning_rate": 2e-4,
        "num_train_epochs": 3.0,
        "max_steps": None,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
        "max_sequence_length": 1024,
        "warmup_ratio": 0.03,
        "weight_decay": 0.0,
        "lr_scheduler_type": "cosine",
        "optimizer": "adamw_torch",
        "max_grad_norm": 1.0,
        "seed": 42,
        "packing": False,
        "eval_steps": None,
        "load_best_model_at_end": False,
        "early_stopping_patience": None,
        "early_stopping_threshold": 0.0,
        "neftune_noise_alpha": None,
        "assistant_only_loss": True,
        "completion_only_loss": True,
        "fsdp": False,
    },
}
"""``processes`` stands for gpus as well: the effective batch is made of their number."""

NOT_DECIDING: dict[type, frozenset[str]] = {
    TrainConfig: frozenset(
        {
            "schema",
            "owner",
            "base_model",
            "dataset",
            "output",
            "store",
            "lora",
            "hyperparameters",
            "tracking",
            "gpus",
            "recovery",
            "export",
            "placement",
            "preset",
            "packing_optional",
            "image",
            "unset_hyperparameters",
            "dataset_sha256",
            "results",
        }
    ),
    Dataset: frozenset({"uri", "format", "columns", "validation_uri", "system_prompt", "missing"}),
    Lora: frozenset(),
    Hyperparameters: frozenset(
        {"gradient_checkpointing", "logging_steps", "save_steps", "save_minutes", "save_total_limit"}
    ),
}
"""Base and rows are known by their content, which columns, format, system prompt and missing have gone into; lora,
dataset and hyperparameters have lists of their own. What a recovery really did is told with the result."""


@dataclass(frozen=True)
class Identity:
    """One run's."""

    settings: dict[str, Any]
    """The deciding settings under the contract's JSON names; those left out have the value of DECIDING."""
    dataset_sha256: str
    """Digest of the rows, in their order."""
    base: str
    """The base model's content, as ``kubetune_shared.base_identity`` names it."""
    validation_rows: int | None = None
    """How many of the rows, the last ones, come from a file of their own and are not trained on; None without one."""

    @property
    def sha256(self) -> str:
        """The one value that names the run."""
        return _sha256(self)

    @property
    def settings_sha256(self) -> str:
        """Names the settings alone: what must be equal for a checkpoint to be gone on from. A change of rows is told,
        and refused, by itself."""
        return _sha256(self.settings)

    def differences(self, other: Identity) -> tuple[str, ...]:
        """In words what ``other`` has otherwise; empty when it is the same run."""
        found = sorted(set(self.settings) | set(other.settings))
        changed = [name for name in found if self.settings.get(name) != other.settings.get(name)]
        are_other = (self.dataset_sha256, self.validation_rows) != (other.dataset_sha256, other.validation_rows)
        rows = ["rows"] * are_other
        return (*rows, *(["base model"] * (self.base != other.base)), *changed)


def identify(config: TrainConfig, dataset_sha256: str, base: str, validation_rows: int = 0) -> Identity:
    """The identity of a run with ``config`` on these rows and this base. A share that is held out is one of the
    settings already."""
    return Identity(deciding(config), dataset_sha256, base, validation_rows if config.dataset.validation_uri else None)


def settings_sha256(config: TrainConfig) -> str:
    """``Identity.settings_sha256`` before rows and base are known."""
    return _sha256(deciding(config))


def deciding(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide, but for those that are as DECIDING has them."""
    return dict(_deciding(config))


def _deciding(config: TrainConfig) -> Iterator[tuple[str, Any]]:
    yield from _changed(dataclasses.replace(config, processes=processes(config)))
    yield from _changed(config.dataset)
    if config.method is not Method.FULL:
        # Sorted, because the order of layers' names says nothing.
        lora = dataclasses.replace(config.lora, target_modules=tuple(sorted(config.lora.target_modules)))
        yield from _changed(lora)
    yield from _changed(config.hyperparameters)


def _changed(part: Any) -> Iterator[tuple[str, Any]]:
    for name, usual in DECIDING[type(part)].items():
        value = getattr(part, name)
        if value != usual:
            yield camel(name), to_json(value)


def recorded_identity(config: Mapping[str, Any]) -> Identity | None:
    """The identity in a manifest's ``config``; None where a release before identities wrote it."""
    try:
        return from_json(Identity, config["run"]) if "run" in config else None
    except ContractError:
        return None


def recorded_settings(config: Mapping[str, Any]) -> str | None:
    """Names the settings that a published folder or a checkpoint was made with, whichever release wrote its manifest;
    None when that cannot be told."""
    identity = recorded_identity(config)
    if identity:
        return identity.settings_sha256
    try:
        return settings_sha256(from_json(TrainConfig, config.get("train")))
    except ContractError:
        return None


def _sha256(value: Any) -> str:
    return hashlib.sha256(dumps(value).encode()).hexdigest()
