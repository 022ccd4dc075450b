"""A model without its weights: small files, and of the weights the sizes and headers only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from kubetune_contract import UriError, uris

from .artifacts import fetch, in_parallel
from .intake.weights import SMALL, of_hub
from .models import (
    check_layout,
    damaged,
    model_config,
    read_header,
    safetensors_header,
    shapes,
    weight_files,
    weight_names,
)
from .sources import brought, hub_errors, hub_small, mounted_folder
from .store import Store


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
    check_layout([path.name for path in folder.iterdir()], uri)
    config = model_config(folder, uri)
    files = weight_files(folder, uri)
    headers = [safetensors_header(path, uri) for path in files]
    return Outline(folder, config, _shapes(headers), 0, sum(path.stat().st_size for path in files))


def _stored(uri: str, store: Store, dest: Path) -> Outline:
    fetch(store, uri, dest, lambda path: path.endswith(SMALL))
    sizes = {found.path: found.size for found in store.list(uri)}
    check_layout(_tops(sizes), uri)
    config = model_config(dest, uri)
    names = weight_names(dest, _tops(sizes), uri)
    headers: dict[str, dict[str, Any]] = {}

    def look(name: str) -> None:
        headers[name] = read_header(partial(store.read_range, f"{uri}/{name}"), sizes[name], name, uri)

    in_parallel(look, names)
    wanted = brought(store, uri)
    downloaded = sum(size for path, size in sizes.items() if wanted(path))
    return Outline(dest, config, _shapes(headers.values()), downloaded, sum(sizes[name] for name in names))


def _hub(repository: str, revision: str | None, uri: str, dest: Path) -> Outline:
    from huggingface_hub import HfApi  # noqa: PLC0415 (only when a URI asks for it)
    from huggingface_hub.errors import SafetensorsParsingError  # noqa: PLC0415
    from huggingface_hub.hf_api import RepoFile  # noqa: PLC0415

    hub = HfApi()
    with hub_errors(uri):
        found = hub.list_repo_tree(repository, revision=revision, recursive=True)
        sizes = {entry.path: int(entry.size) for entry in found if isinstance(entry, RepoFile)}
        index = hub_small(repository, revision, sizes, dest)
    check_layout(_tops(sizes), uri)
    config = model_config(dest, uri)
    names = weight_names(dest, _tops(sizes), uri)
    tensors: dict[str, tuple[int, ...]] = {}
    with hub_errors(uri):
        for name in names:
            try:
                metadata = hub.parse_safetensors_file_metadata(repository, name, revision=revision)
            except SafetensorsParsingError as error:
                raise damaged(uri, name, f"is no safetensors file ({error})") from error
            tensors |= {tensor: tuple(info.shape) for tensor, info in metadata.tensors.items()}
    downloaded = sum(sizes[name] for name in of_hub(sizes, index))
    return Outline(dest, config, tensors, downloaded, sum(sizes[name] for name in names))


def _tops(paths: Iterable[str]) -> list[str]:
    return [path for path in paths if "/" not in path]


def _shapes(headers: Iterable[dict[str, Any]]) -> dict[str, tuple[int, ...]]:
    return {name: shape for header in headers for name, shape in shapes(header).items()}
