"""A report that an earlier attempt of the same Evaluation has published."""

from __future__ import annotations

import json

from kubetune_contract import Artifact, ContractError, EvalConfig, from_json
from kubetune_shared.artifacts import read_manifest
from kubetune_shared.store import Store

from .plan import config_sha256
from .report import Report

KIND = "report"


def finished(store: Store, config: EvalConfig) -> tuple[Report, Artifact] | None:
    """None unless the report at ``config.output`` was made under this very configuration."""
    found = read_manifest(store, config.output)
    if not found or found[0].config.get("configSha256") != config_sha256(config):
        return None
    manifest, sha256 = found
    try:
        report = from_json(Report, json.loads(store.read(f"{config.output.rstrip('/')}/report.json")))
    except (ContractError, ValueError):
        # Written by another release: measured again rather than half understood.
        return None
    return report, Artifact(config.output.rstrip("/"), KIND, sha256, manifest.size)
