"""The fetch step: adapter first, because it is small and tells whether the model is worth its download."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kubetune_contract import (
    Contents,
    ExitCode,
    FetchSummary,
    KubeTuneError,
    ServeConfig,
    read_config,
    write_termination,
)
from kubetune_contract.paths import SCHEMA, WORK_DIR
from kubetune_shared import artifacts, models
from kubetune_shared.contents import MANIFEST
from kubetune_shared.store import Store

from .adapter_check import check_adapter, check_base, check_on_model, check_sizes, check_tensors
from .cache import Cached, cache_root, obtain
from .lengths import check_length
from .model_check import check_servable, check_weights
from .pinned import cached_at, check_mounted, is_kept, obtain_pinned
from .serve_args import Fetched, checked_extra

log = logging.getLogger(__name__)

MODELS, ADAPTERS = "models", "adapters"
"""Parts of the cache."""
_ADAPTER_WEIGHTS = "adapter_model.safetensors"


def fetched_path() -> Path:
    """Where ``fetch`` tells ``serve`` what it brought."""
    return Path(os.environ.get("KUBETUNE_WORK_DIR", WORK_DIR)) / "fetched.json"


def main() -> ExitCode:
    """Leaves a FetchSummary; raises KubeTuneError with what to change."""
    config = read_config(ServeConfig)
    checked_extra(config.engine.extra_args)
    store = Store(config.store)
    fetched, summary = bring(config, store, cache_root())
    target = fetched_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(asdict(fetched)), encoding="utf-8")
    write_termination(summary)
    return ExitCode.OK


def bring(config: ServeConfig, store: Store, root: Path) -> tuple[Fetched, FetchSummary]:
    """What ``serve`` needs, and what is told about it."""
    adapter, rank = None, None
    if config.model.adapter_uri:
        adapter, rank = _adapter(config, store, root)
    prescribed = pins(config).model
    if not (prescribed and is_kept(cached_at(root / MODELS, prescribed), prescribed)):
        _refuse_early(config, store)
    model = _obtain(config, config.model.uri, store, root / MODELS, prescribed)
    settings = models.check_model(model.path, config.model.uri)
    _check(config, settings)
    names, uri = {path.name for path in model.path.iterdir()}, config.model.uri
    check_weights(names, models.weight_index(model.path, uri), uri)
    if adapter:
        adapter_uri = config.model.adapter_uri or ""
        check_on_model(_adapter_config(adapter.path, adapter_uri), settings, adapter_uri)
        _check_sizes(config, adapter.path, model.path, settings)
    fetched = Fetched(
        model_path=str(model.path),
        model_bytes=model.size,
        adapter_path=str(adapter.path) if adapter else None,
        lora_rank=rank,
    )
    summary = FetchSummary(
        SCHEMA,
        fetched.model_bytes,
        adapter.size if adapter else 0,
        cached=model.cached and (adapter is None or adapter.cached),
        contents=Contents(model.content, adapter.content if adapter else None),
    )
    return fetched, summary


def pins(config: ServeConfig) -> Contents:
    """What the folders must hold, as far as it is prescribed."""
    return config.model.contents or Contents()


def check_again(config: ServeConfig) -> None:
    """Reads folders through again that are used where they are mounted: an engine that starts again after hours must
    not load what was put there meanwhile. Raises KubeTuneError (CHANGED, ContentChanged)."""
    if config.keeps_cache:
        return
    store, prescribed = Store(config.store), pins(config)
    for uri, content in ((config.model.uri, prescribed.model), (config.model.adapter_uri, prescribed.adapter)):
        if uri and content and uri.startswith("pvc://"):
            check_mounted(uri, content, store)


def _obtain(config: ServeConfig, uri: str, store: Store, folder: Path, content: str | None) -> Cached:
    if content is None:
        return obtain(uri, store, folder)
    return obtain_pinned(uri, content, store, folder, keeps=config.keeps_cache)


def _refuse_early(config: ServeConfig, store: Store) -> None:
    """What the model's configuration rules out is told before gigabytes of weights are fetched."""
    uri = config.model.uri
    if not uri.startswith("s3://"):
        return
    try:
        found = json.loads(store.find(f"{uri.rstrip('/')}/config.json") or b"null")
    except ValueError:
        return
    # What is missing or damaged is told once the whole folder is here.
    if isinstance(found, dict):
        _check(config, found)


def _check(config: ServeConfig, model: dict[str, Any]) -> None:
    check_servable(model, config.model.uri, config.gpus)
    check_length(config.engine, model, config.model.uri)


def _adapter(config: ServeConfig, store: Store, root: Path) -> tuple[Cached, int]:
    uri = config.model.adapter_uri or ""
    adapter = _obtain(config, uri, store, root / ADAPTERS, pins(config).adapter)
    settings = _adapter_config(adapter.path, uri)
    rank = check_adapter(settings, uri)
    weights = adapter.path / _ADAPTER_WEIGHTS
    if not weights.is_file():
        raise KubeTuneError(
            ExitCode.INPUT_NOT_FOUND,
            "AdapterIncomplete",
            f"adapter {uri} has no {_ADAPTER_WEIGHTS}; save it again with save_pretrained (safetensors)",
        )
    check_tensors(models.safetensors_header(weights, uri), uri)
    check_base(settings, adapter.manifest, config.model.uri, _model_sha256(config, store), uri)
    return adapter, rank


def _check_sizes(config: ServeConfig, adapter: Path, model: Path, settings: dict[str, Any]) -> None:
    uri, model_uri = config.model.adapter_uri or "", config.model.uri
    base: dict[str, tuple[int, ...]] = {}
    for file in models.weight_files(model, model_uri):
        base |= models.shapes(models.safetensors_header(file, model_uri))
    tensors = models.shapes(models.safetensors_header(adapter / _ADAPTER_WEIGHTS, uri))
    check_sizes(tensors, base, settings, model_uri, uri)


def _model_sha256(config: ServeConfig, store: Store) -> str | None:
    kind, _, digest = (pins(config).model or "").partition(":")
    if kind:
        return digest if kind == MANIFEST else None
    if not config.model.uri.startswith("s3://"):
        return None
    found = artifacts.read_manifest(store, config.model.uri)
    return found[1] if found else None


def _adapter_config(folder: Path, uri: str) -> dict[str, Any]:
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeTuneError(
            ExitCode.INPUT_NOT_FOUND,
            "AdapterIncomplete",
            f"adapter {uri} has no adapter_config.json; it must be a folder saved by PEFT. "
            "Name a full model in the model's uri instead",
        ) from error
    except ValueError as error:
        raise _damaged(uri, str(error)) from error
    if not isinstance(config, dict):
        raise _damaged(uri, "not an object")
    return config


def _damaged(uri: str, problem: str) -> KubeTuneError:
    return KubeTuneError(
        ExitCode.BAD_DATA,
        "AdapterDamaged",
        f"adapter {uri}: adapter_config.json is not JSON ({problem}); save it again",
    )
