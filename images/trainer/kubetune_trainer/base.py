"""The base model of a run: brought here, and the same as when the run began."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kubetune_contract import ExitCode, KubeTuneError, uris
from kubetune_shared.base_identity import at_commit, files_of, name_content, named_by
from kubetune_shared.contents import content_of
from kubetune_shared.sources import LocalModel, resolve_model
from kubetune_shared.store import Store

from .checkpoints.runstate import Beginning
from .data.unchanged import base_changed, check_same_base

SINCE = "this run began with"


@dataclass(frozen=True)
class Base:
    """A base on this machine."""

    model: LocalModel
    content: str
    """As the run began to name it."""
    files: str | None
    """See ``Beginning``."""


def name_base(uri: str, store: Store, known: Beginning) -> str:
    """The name of what ``uri`` holds, of a hub's branch that has moved what the run began with.

    Raises KubeTuneError as ``name_content`` does; (BAD_DATA, BaseChanged) where the hub has that commit no more.
    """
    pinned = at_commit(uri, known.base)
    try:
        return name_content(pinned, store)
    except KubeTuneError as error:
        if pinned == uri or error.reason != "ObjectNotFound":
            raise
        raise base_changed(uri, f"has no commit {str(known.base)[7:23]} any more, which this run began with") from error


def fetch_base(uri: str, store: Store, dest: Path, named: str, known: Beginning) -> Base:
    """Brings the base here; ``named`` is its name as of just before.

    Raises KubeTuneError as ``resolve_model`` does, and (BAD_DATA, BaseChanged) when it is another than the run began
    with. A copy of the same files under another name is the same.
    """
    if known.base and named != known.base and not known.base_files:
        check_same_base(uri, named, known.base, SINCE)
    model = resolve_model(at_commit(uri, known.base), store, dest)
    if model.manifest and uris.parse(uri).scheme == "pvc":
        # What was downloaded has been compared with its manifest on the way; this has not.
        content_of(uri, model)
    content = named_by(model) or _unmoved(uri, store, named)
    files = None if model.revision else files_of(model)
    if files and known.base_files:
        # A store may name its files by next to nothing; these are the files themselves.
        check_same_base(uri, files, known.base_files, SINCE)
    else:
        check_same_base(uri, content, known.base, SINCE)
    return Base(model, known.base or content, files)


def _unmoved(uri: str, store: Store, named: str) -> str:
    """``named`` again, if it still is: files that were replaced while they were fetched may be some of each."""
    if not named.startswith("etags:") or name_content(uri, store) == named:
        return named
    raise KubeTuneError(
        ExitCode.UNAVAILABLE, "ContentMoving", f"{uri} was changed while it was fetched; it is fetched again"
    )
