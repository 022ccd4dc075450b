"""The published artifact's URI, and what its manifest tells about the run that made it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from datetime import UTC, datetime
from typing import Any

from kubetune_contract import (
    Artifact,
    ContractError,
    Method,
    TrainConfig,
    TrainSummary,
    from_json,
    to_json,
)
from kubetune_shared.artifacts import read_manifest
from kubetune_shared.manifest import BaseModel
from kubetune_shared.store import Store
from kubetune_trainer.exports.exportable import wanted
from kubetune_trainer.identity import identify, recorded_settings, settings_sha256
from kubetune_trainer.reporting.hardware import describe
from kubetune_trainer.workspace import Inputs

from .card import Origin

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "tokenizers")


def artifact_kind(config: TrainConfig) -> str:
    """``model`` for full fine-tuning, else ``adapter``; also the folder below ``config.output``."""
    return "model" if config.method is Method.FULL else "adapter"


def artifact_uri(config: TrainConfig) -> str:
    """Where the artifact goes."""
    return f"{config.output.rstrip('/')}/{artifact_kind(config)}"


def export_uri(config: TrainConfig, kind: str) -> str:
    """Where an export of this kind goes."""
    return f"{config.output.rstrip('/')}/{kind}"


def checkpoint_folder(config: TrainConfig) -> str:
    """Where checkpoints go."""
    return f"{config.output.rstrip('/')}/checkpoints"


def published(store: Store, config: TrainConfig) -> TrainSummary | None:
    """The summary of an earlier attempt that got as far as publishing, when it ran with these settings."""
    uri = artifact_uri(config)
    found = read_manifest(store, uri)
    if not found or recorded_settings(found[0].config) != settings_sha256(config):
        return None
    manifest, sha256 = found
    artifact = Artifact(uri, manifest.kind, sha256, manifest.size)
    try:
        summary = from_json(TrainSummary, {**manifest.config.get("results", {}), "artifact": to_json(artifact)})
    except ContractError:
        # Written by another release: its results cannot be told, so the run is made again.
        return None
    return dataclasses.replace(summary, exports=_published_exports(store, config, artifact))


def _published_exports(store: Store, config: TrainConfig, source: Artifact) -> tuple[Artifact, ...]:
    """What was exported from this very ``source``."""
    done = []
    for kind in wanted(config):
        uri = export_uri(config, kind)
        found = read_manifest(store, uri)
        if found and found[0].config.get("derivedFrom", {}).get("manifestSha256") == source.manifest_sha256:
            done.append(Artifact(uri, kind, found[1], found[0].size))
    return tuple(done)


def manifest_meta(
    config: TrainConfig, inputs: Inputs, results: dict[str, Any], derived_from: Artifact | None = None
) -> dict[str, Any]:
    """Lineage for the artifact's manifest; ``results`` are TrainSummary's members without the artifact.

    ``derived_from`` is the published result that an export was made of.
    """
    run = identify(config, inputs.dataset_sha256, inputs.base, inputs.validation_rows)
    settings = {"run": to_json(run), "train": to_json(config), "results": results}
    if derived_from:
        settings["derivedFrom"] = to_json(derived_from)
    return {
        "baseModel": BaseModel(config.base_model, inputs.base_manifest_sha256, inputs.base_revision),
        "datasetSha256": inputs.dataset_sha256,
        "config": settings,
        "libraries": library_versions(),
        "createdBy": config.owner,
    }


def origin(config: TrainConfig, inputs: Inputs, *, per_token: bool) -> Origin:
    """What a model card tells of this machine and these inputs; ``per_token`` as in RunDocument."""
    return Origin(
        dataset_sha256=inputs.dataset_sha256,
        hardware=describe(config.gpus),
        finished=datetime.now(UTC).date().isoformat(),
        libraries=library_versions(),
        base_revision=inputs.base_revision,
        base_manifest_sha256=inputs.base_manifest_sha256,
        base_license=inputs.base_license,
        per_token=per_token,
    )


def library_versions() -> dict[str, str]:
    """Versions of what decides a run's numbers, as installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
