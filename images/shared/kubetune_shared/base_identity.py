"""Names the content of a base model's folder, wherever it lies, without fetching its weights.

The name is a word for how the content is known, and a digest: ``manifest:`` of the folder's own manifest, ``commit:``
of a hub's repository, ``etags:`` over the store's own digests of the files in a bucket, ``files:`` over the SHA-256 of
the files on a claim, which are read for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from kubetune_contract import UriError, uris

from . import manifest as manifests
from .artifacts import in_parallel
from .sources import LocalModel, hub_errors, mounted_folder
from .store import Store

_SUFFIXES = (".safetensors", ".json", ".model", ".txt", ".jinja")
"""Of the files that make a model; others, a card or a licence, may change."""


def name_content(uri: str, store: Store) -> str:
    """The name of what the model's folder at ``uri`` holds now. Raises KubeTuneError as ``resolve_model`` does."""
    parsed = uris.parse(uri)
    if parsed.scheme == "s3":
        return _stored(uri.rstrip("/"), store)
    if parsed.scheme == "pvc":
        return _mounted(mounted_folder(parsed, uri))
    if parsed.scheme == "hf":
        from huggingface_hub import HfApi  # noqa: PLC0415 (only when a URI asks for it)

        with hub_errors(uri):
            found = HfApi().model_info(f"{parsed.authority}/{parsed.path}", revision=parsed.revision)
        return f"commit:{found.sha}"
    raise UriError(uri, "holds no models; use s3://, pvc:// or hf://")


def named_by(model: LocalModel) -> str | None:
    """The name of what was fetched, where it says so itself: a branch may have moved since it was asked."""
    if model.manifest_sha256:
        return f"manifest:{model.manifest_sha256}"
    return f"commit:{model.revision}" if model.revision else None


def files_of(model: LocalModel) -> str:
    """``files:`` over the SHA-256 of a model's files, equal wherever they lie; a manifest's digests are believed."""
    if model.manifest:
        listed = {entry.path: entry.sha256 for entry in model.manifest.files if _counts(entry.path)}
        return f"files:{_over(listed)}"
    return _read_through(model.path)


def at_commit(uri: str, content: str | None) -> str:
    """``uri`` at the hub's commit that ``content`` names; unchanged for whatever else."""
    parsed = uris.parse(uri)
    if parsed.scheme != "hf" or not content or not content.startswith("commit:"):
        return uri
    return f"hf://{parsed.authority}/{parsed.path}@{content.removeprefix('commit:')}"


def _stored(uri: str, store: Store) -> str:
    manifest = store.find(f"{uri}/{manifests.NAME}")
    if manifest is not None:
        return f"manifest:{manifests.bytes_sha256(manifest)}"
    listed = {found.path: f"{found.size} {found.etag}" for found in store.list(uri) if _counts(found.path)}
    return f"etags:{_over(listed)}"


def _mounted(folder: Path) -> str:
    manifest = folder / manifests.NAME
    if manifest.is_file():
        return f"manifest:{manifests.file_sha256(manifest)}"
    return _read_through(folder)


def _read_through(folder: Path) -> str:
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files.pop(manifests.NAME, None)
    digests: dict[str, str] = {}

    def read(name: str) -> None:
        digests[name] = manifests.file_sha256(files[name])

    in_parallel(read, filter(_counts, files))
    return f"files:{_over(digests)}"


def _counts(path: str) -> bool:
    return path.endswith(_SUFFIXES) and not any(part.startswith(".") for part in PurePosixPath(path).parts)


def _over(digests: Mapping[str, str]) -> str:
    lines: Iterable[str] = (f"{name}\0{digests[name]}\n" for name in sorted(digests))
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
