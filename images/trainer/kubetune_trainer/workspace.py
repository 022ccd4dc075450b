"""Where prepare leaves the inputs and train finds them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import ExitCode, KubeTuneError, Suggestion, TrainConfig, TrainSummary, dumps, from_json
from kubetune_contract.paths import WORK_DIR


@dataclass(frozen=True)
class RowKeyCount:
    """Prompts by their keys (see ``kubetune_shared.rowkeys``)."""

    own: int
    """Trained on in this run."""
    inherited: int
    """Only in runs whose result was its base, or theirs."""
    complete: bool
    """False where one of those results has no keys."""


@dataclass(frozen=True)
class Inputs:
    """What prepare checked and brought to this machine."""

    config_sha256: str
    """Of the configuration's text: both commands of a pod read the same one."""
    model_path: str
    dataset_sha256: str
    train_rows: int
    validation_rows: int
    base: str
    """The base model's content, as ``kubetune_shared.base_identity`` names it."""
    base_files: str | None = None
    """Digests of its files; None for a base from a hub, whose commit says it all."""
    base_manifest_sha256: str | None = None
    base_revision: str | None = None
    """Commit of a base from the hub."""
    base_license: str | None = None
    """As the base's own model card says it."""
    row_keys: RowKeyCount | None = None
    suggestions: tuple[Suggestion, ...] = ()
    """What was seen while preparing."""
    found: TrainSummary | None = None
    """The result, where it was in the store; all that is missing may be an export."""


def work_dir() -> Path:
    """The scratch volume."""
    return Path(os.environ.get("KUBETUNE_WORK_DIR", WORK_DIR))


def inputs_dir() -> Path:
    """Prepared model, rows and ``inputs.json``."""
    return work_dir() / "inputs"


def exports_dir() -> Path:
    """Where merged model and GGUF are made."""
    return work_dir() / "exports"


def train_file() -> Path:
    """Normalised training rows."""
    return inputs_dir() / "train.jsonl"


def validation_file() -> Path:
    """Normalised validation rows; absent when there are none."""
    return inputs_dir() / "validation.jsonl"


def found_file() -> Path:
    """The summary of a result with nothing left to do; absent when there is something."""
    return inputs_dir() / "found.json"


def config_sha256(config: TrainConfig) -> str:
    """Names the configuration's text, for ``load_inputs``; it identifies no run."""
    return hashlib.sha256(dumps(config).encode()).hexdigest()


def save_inputs(inputs: Inputs) -> None:
    """Written last: its presence says that everything else is complete."""
    (inputs_dir() / "inputs.json").write_text(dumps(inputs), encoding="utf-8")


def save_found(summary: TrainSummary) -> None:
    """Tells ``train`` that there is nothing to do but to hand on ``summary``."""
    found_file().write_text(dumps(summary), encoding="utf-8")


def load_found() -> TrainSummary | None:
    """What ``save_found`` has left."""
    try:
        return from_json(TrainSummary, json.loads(found_file().read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def load_inputs(config_sha256: str) -> Inputs:
    """Raises KubeTuneError (BAD_CONFIG) when prepare did not run, or ran for another configuration."""
    path = inputs_dir() / "inputs.json"
    try:
        inputs = from_json(Inputs, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG, "NotPrepared", f"{path} cannot be read; run `python -m kubetune_trainer prepare` first"
        ) from error
    if inputs.config_sha256 != config_sha256:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG, "NotPrepared", f"{path} belongs to another configuration; run prepare again"
        )
    return inputs
