"""The published artifact's URI, and what its manifest tells about the run that made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
from typing import Any

from kubetune_contract import Artifact, ContractError, Method, TrainConfig, TrainSummary, dumps, from_json, to_json
from kubetune_shared.artifacts import read_manifest
from kubetune_shared.manifest import BaseModel
from kubetune_shared.store import Store

from .workspace import Inputs

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "tokenizers")


def config_sha256(config: TrainConfig) -> str:
    """Names everything that decides the run's result."""
    return hashlib.sha256(dumps(config).encode()).hexdigest()


def artifact_kind(config: TrainConfig) -> str:
    """``model`` for full fine-tuning, else ``adapter``; also the folder below ``config.output``."""
    return "model" if config.method is Method.FULL else "adapter"


def artifact_uri(config: TrainConfig) -> str:
    """Where the artifact goes."""
    return f"{config.output.rstrip('/')}/{artifact_kind(config)}"


def checkpoint_folder(config: TrainConfig) -> str:
    """Where checkpoints go."""
    return f"{config.output.rstrip('/')}/checkpoints"


def published(store: Store, config: TrainConfig) -> TrainSummary | None:
    """The summary of an earlier attempt that got as far as publishing, when it ran under this very configuration."""
    uri = artifact_uri(config)
    found = read_manifest(store, uri)
    if not found or found[0].config.get("configSha256") != config_sha256(config):
        return None
    manifest, sha256 = found
    artifact = Artifact(uri, manifest.kind, sha256, manifest.size)
    try:
        return from_json(TrainSummary, {**manifest.config.get("results", {}), "artifact": to_json(artifact)})
    except ContractError:
        # Written by another release: its results cannot be told, so the run is made again.
        return None


def manifest_meta(config: TrainConfig, inputs: Inputs, results: dict[str, Any]) -> dict[str, Any]:
    """Lineage for the artifact's manifest; ``results`` are TrainSummary's members without the artifact."""
    return {
        "baseModel": BaseModel(config.base_model, inputs.base_manifest_sha256),
        "datasetSha256": inputs.dataset_sha256,
        "config": {"configSha256": config_sha256(config), "train": to_json(config), "results": results},
        "libraries": library_versions(),
        "createdBy": config.owner,
    }


def library_versions() -> dict[str, str]:
    """Versions of what decides a run's numbers, as installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
