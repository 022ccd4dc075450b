"""Models and data by URI, brought to (or found on) the local file system."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError, Uri, UriError, uris
from kubetune_contract.paths import CONFIGMAP_ROOT, PVC_ROOT

from . import manifest as manifests
from .artifacts import fetch
from .intake.weights import INDEX, of_hub, spare
from .manifest import Manifest
from .neighbours import mounted_nearby, stored_nearby
from .store import Store
from .training_file import training_file


@dataclass(frozen=True)
class LocalModel:
    """A model's or an adapter's folder on this machine. The manifest is None for a folder that has none."""

    path: Path
    manifest: Manifest | None
    manifest_sha256: str | None
    revision: str | None = None
    """Commit on the hub."""


def resolve_model(uri: str, store: Store, dest: Path) -> LocalModel:
    """The folder at ``uri``: s3:// and hf:// are downloaded to ``dest``, pvc:// is used where it is mounted.

    Raises KubeTuneError: INPUT_NOT_FOUND, BAD_DATA (a file differs from the manifest), PERMISSION, UNAVAILABLE, or
    BAD_CONFIG for a scheme that holds no models.
    """
    parsed = uris.parse(uri)
    if parsed.scheme == "s3":
        manifest = fetch(store, uri, dest, brought(store, uri))
        return _local(dest, manifest)
    if parsed.scheme == "pvc":
        folder = mounted_folder(parsed, uri)
        data = folder / manifests.NAME
        return _local(folder, manifests.parse(data.read_bytes(), uri) if data.is_file() else None)
    if parsed.scheme == "hf":
        dest.mkdir(parents=True, exist_ok=True)
        return LocalModel(dest, None, None, _hub_snapshot(parsed, uri, dest))
    raise UriError(uri, "holds no models; use s3://, pvc:// or hf://")


def resolve_file(uri: str, store: Store, dest: Path) -> Path:
    """The data file at ``uri``; s3:// and hf:// are downloaded into the folder ``dest``, under their own name.

    An hf:// URI names a dataset repository, of which the one training file is taken.
    Raises KubeTuneError as ``resolve_model`` does.
    """
    parsed = uris.parse(uri)
    if parsed.scheme in {"pvc", "configmap"}:
        path = _mounted(parsed, uri)
        if not path.is_file():
            raise _not_found(uri, "is not a file", _mounted_nearby(parsed))
        return path
    dest.mkdir(parents=True, exist_ok=True)
    if parsed.scheme == "hf":
        return _hub_data_file(parsed, uri, dest)
    target = dest / parsed.path.rpartition("/")[2]
    partial = target.with_name(f".{target.name}.partial")
    try:
        store.download(uri, partial)
    except KubeTuneError as error:
        if error.reason != "ObjectNotFound":
            raise
        raise _not_found(uri, "is no file in the store", stored_nearby(store, uri)) from error
    return partial.replace(target)


def mounted_folder(parsed: Uri, uri: str) -> Path:
    """Where the claim's folder is mounted. Raises KubeTuneError (INPUT_NOT_FOUND) when it is not there."""
    folder = _mounted(parsed, uri)
    if not folder.is_dir():
        raise _not_found(uri, "is not a folder on the claim", _mounted_nearby(parsed))
    return folder


def _local(folder: Path, manifest: Manifest | None) -> LocalModel:
    sha256 = manifests.file_sha256(folder / manifests.NAME) if manifest else None
    return LocalModel(folder, manifest, sha256)


def _mounted(parsed: Uri, uri: str) -> Path:
    path = _mount(parsed) / parsed.path
    if not path.exists():
        raise _not_found(uri, "does not exist", _mounted_nearby(parsed))
    return path


def _mount(parsed: Uri) -> Path:
    """Where the URI's claim or ConfigMap is mounted."""
    name = {"pvc": "KUBETUNE_PVC_ROOT", "configmap": "KUBETUNE_CONFIGMAP_ROOT"}[parsed.scheme]
    return Path(os.environ.get(name, {"pvc": PVC_ROOT, "configmap": CONFIGMAP_ROOT}[parsed.scheme])) / parsed.authority


def _mounted_nearby(parsed: Uri) -> str:
    return mounted_nearby(_mount(parsed), f"{parsed.scheme}://{parsed.authority}", parsed.path)


def _not_found(uri: str, problem: str, nearby: str = "") -> KubeTuneError:
    there = f"; {nearby}. Correct the URI" if nearby else "; correct the URI"
    return KubeTuneError(ExitCode.INPUT_NOT_FOUND, "ObjectNotFound", f"{uri} {problem}{there} or put it there")


def brought(store: Store, uri: str) -> Callable[[str], bool]:
    """Which paths of a model's folder in the store are fetched: of one without a manifest no second copy of the
    weights. What a manifest lists was published to be fetched.
    """
    uri = uri.rstrip("/")
    if store.find(f"{uri}/{manifests.NAME}") is not None:
        return lambda path: True
    paths = [found.path for found in store.list(uri)]
    index = store.find(f"{uri}/{INDEX}") if INDEX in paths else None
    unread = spare(paths, _parsed(index))
    return lambda path: path not in unread


def hub_small(repository: str, revision: str | None, paths: Collection[str], dest: Path) -> Mapping[str, Any] | None:
    """Downloads what is not weights of a hub's repository with these ``paths``; returns its index of weights, if any.

    No Python is among it: a repository's code is never run.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (only when a URI asks for it)

    names = [name for name in of_hub(paths, None) if not name.endswith(".safetensors")]
    snapshot_download(repository, revision=revision, local_dir=dest, allow_patterns=names)
    index = dest / INDEX
    return _parsed(index.read_bytes()) if index.is_file() else None


def _parsed(index: bytes | None) -> Mapping[str, Any] | None:
    """None for one that is damaged, too: whoever reads the folder says so."""
    try:
        data = json.loads(index or b"null")
    except ValueError:
        return None
    return data if isinstance(data, dict) else None


def _hub_snapshot(parsed: Uri, uri: str, dest: Path) -> str:
    """Downloads the model and returns its commit, which is the same for all files even if a branch moves meanwhile."""
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 (only when a URI asks for it)

    with hub_errors(uri):
        repository = f"{parsed.authority}/{parsed.path}"
        commit = str(HfApi().model_info(repository, revision=parsed.revision).sha)
        paths = HfApi().list_repo_files(repository, revision=commit)
        index = hub_small(repository, commit, paths, dest)
        wanted = of_hub(paths, index)
        snapshot_download(repository, revision=commit, local_dir=dest, allow_patterns=sorted(wanted))
        if INDEX not in wanted:
            (dest / INDEX).unlink(missing_ok=True)
        return commit


def _hub_data_file(parsed: Uri, uri: str, dest: Path) -> Path:
    from huggingface_hub import HfApi, hf_hub_download  # noqa: PLC0415 (only when a URI asks for it)

    repository = f"{parsed.authority}/{parsed.path}"
    with hub_errors(uri):
        names = HfApi().list_repo_files(repository, revision=parsed.revision, repo_type="dataset")
        name = training_file(names, uri)
        return Path(hf_hub_download(repository, name, revision=parsed.revision, repo_type="dataset", local_dir=dest))


@contextmanager
def hub_errors(uri: str) -> Iterator[None]:
    """Turns the hub client's failures into KubeTuneErrors about ``uri``."""
    from huggingface_hub import errors as hub  # noqa: PLC0415 (only when a URI asks for it)

    try:
        yield
    except hub.GatedRepoError as error:
        raise KubeTuneError(
            ExitCode.PERMISSION,
            "AccessDenied",
            f"{uri} is gated; accept its licence on the hub and name a Secret with HF_TOKEN in credentials",
        ) from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError, hub.RemoteEntryNotFoundError) as error:
        raise KubeTuneError(
            ExitCode.INPUT_NOT_FOUND,
            "ObjectNotFound",
            f"{uri} does not exist on the hub, or is private: correct the URI, or name a Secret with HF_TOKEN in "
            "credentials",
        ) from error
    # HTTPError is that of whichever HTTP client this version of the library stands on.
    except (hub.LocalEntryNotFoundError, hub.OfflineModeIsEnabled, hub.HTTPError, OSError) as error:
        raise hub_unavailable(uri, error) from error


def hub_unavailable(uri: str, error: Exception) -> KubeTuneError:
    """Worth another try; and what to do in a cluster that no hub is reached from."""
    first = str(error).strip().partition("\n")[0]
    return KubeTuneError(
        ExitCode.UNAVAILABLE,
        "HubUnavailable",
        f"{uri}: the hub does not answer ({first}). Pods of this namespace must reach https://huggingface.co. "
        "Where they cannot, download it once elsewhere (hf download), put it into a bucket or onto a claim, and "
        "name that: s3://bucket/path or pvc://claim/path",
    )
