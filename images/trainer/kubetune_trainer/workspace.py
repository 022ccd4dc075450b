"""Where prepare leaves the inputs and train finds them."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import ExitCode, KubeTuneError, dumps, from_json
from kubetune_contract.paths import WORK_DIR


@dataclass(frozen=True)
class Inputs:
    """What prepare checked and brought to this machine."""

    config_sha256: str
    model_path: str
    dataset_sha256: str
    train_rows: int
    validation_rows: int
    base_manifest_sha256: str | None = None
    base_revision: str | None = None
    """Commit of a base from the hub."""
    base_license: str | None = None
    """As the base's own model card says it."""


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


def save_inputs(inputs: Inputs) -> None:
    """Written last: its presence says that everything else is complete."""
    (inputs_dir() / "inputs.json").write_text(dumps(inputs), encoding="utf-8")


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
