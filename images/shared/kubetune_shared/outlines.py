"""A model without its weights: small files, and of the weights the sizes and headers only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kubetune_contract import UriError, uris

from .artifacts import fetch, in_parallel
from .models import damaged, model_config, read_header, safetensors_header, weight_files, weight_names
from .sources import HUB_MODEL_FILES, hub_errors, mounted_folder
from .store import Store

_WEIGHTS = (".safetensors",)
_SMALL = (".json", ".model", ".txt", ".jinja")


@dataclass(frozen=True)
class Outline:
    """What is known of a model before it is downloaded."""

    path: Path
    """A folder with its configuration, tokenizer and chat template."""
    config: dict[str, Any]
    """``config.json``."""
    tensors: Mapping[str, tuple[int, ...]]
    """Name -> shape."""
    download_bytes: int
    """Of the files a training fetches; 0 where the model is mounted."""
    weight_bytes: int
    """Of the weight files."""


def outline_model(uri: str, store: Store, dest: Path) -> Outline:
    """The model at ``uri``; its small files are downloaded to ``dest`` or used where they are mounted.

    Checks what ``check_model`` checks, but for the digests of the weights. Raises as ``resolve_model`` does.
    """
    parsed = uris.parse(uri)
    if parsed.scheme == "pvc":
        return _local(mounted_folder(parsed, uri), uri)
    if parsed.scheme == "s3":
        return _stored(uri.rstrip("/"), store, dest)
    if parsed.scheme == "hf":
        return _hub(f"{parsed.authority}/{parsed.path}", parsed.revision, uri, dest)
    raise UriError(uri, "holds no models; use s3://, pvc:// or hf://")


def _local(folder: Path, uri: str) -> Outline:
    config = model_config(folder, uri)
    files = weight_files(folder, uri)
    headers = [safetensors_header(path, uri) for path in files]
    return Outline(folder, config, _shapes(headers), 0, sum(path.stat().st_size for path in files))


def _stored(uri: str, store: Store, dest: Path) -> Outline:
    fetch(store, uri, dest, lambda path: path.endswith(_SMALL))
    sizes = {found.path: found.size for found in store.list(uri)}
    config = model_config(dest, uri)
    present = [name for name in sizes if name.endswith(_WEIGHTS) and "/" not in name]
    names = weight_names(dest, present, uri)
    headers: dict[str, dict[str, Any]] = {}

    def look(name: str) -> None:
        headers[name] = read_header(partial(store.read_range, f"{uri}/{name}"), sizes[name], name, uri)

    in_parallel(look, names)
    return Outline(dest, config, _shapes(headers.values()), sum(sizes.values()), sum(sizes[name] for name in names))


def _hub(repository: str, revision: str | None, uri: str, dest: Path) -> Outline:
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 (only when a URI asks for it)
    from huggingface_hub.errors import SafetensorsParsingError  # noqa: PLC0415
    from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

    hub = HfApi()
    with hub_errors(uri):
        found = hub.list_repo_tree(repository, revision=revision, recursive=True)
        sizes = {entry.path: int(entry.size) for entry in found if isinstance(entry, RepoFile)}
        small = [pattern for pattern in HUB_MODEL_FILES if not pattern.endswith(_WEIGHTS)]
        snapshot_download(repository, revision=revision, local_dir=dest, allow_patterns=small)
    config = model_config(dest, uri)
    names = weight_names(dest, [name for name in sizes if name.endswith(_WEIGHTS) and "/" not in name], uri)
    shapes: dict[str, tuple[int, ...]] = {}
    with hub_errors(uri):
        for name in names:
            try:
                metadata = hub.parse_safetensors_file_metadata(repository, name, revision=revision)
            except SafetensorsParsingError as error:
                raise damaged(uri, name, f"is no safetensors file ({error})") from error
            shapes |= {tensor: tuple(info.shape) for tensor, info in metadata.tensors.items()}
    fetched = sum(size for name, size in sizes.items() if name.endswith((*_WEIGHTS, *_SMALL)))
    return Outline(dest, config, shapes, fetched, sum(sizes[name] for name in names))


def _shapes(headers: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(entry["shape"]) for header in headers for name, entry in header.items()}
