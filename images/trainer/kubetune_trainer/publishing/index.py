"""Finding a result that is there already, so that nothing is trained twice.

``<config.results>/<identity>.json`` is one small document for every result of a namespace and name. It is the last
thing a training writes, and names the published folder by its manifest's digest. The object in the cluster may be gone
since, and another one of the same name have its place.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from kubetune_contract import (
    Artifact,
    ContractError,
    FoundResult,
    KubeTuneError,
    Owner,
    RowSettings,
    Suggestion,
    TrainConfig,
    TrainSummary,
    dumps,
    from_json,
)
from kubetune_shared.artifacts import read_manifest
from kubetune_shared.manifest import Manifest
from kubetune_shared.store import Store, is_out_of_reach
from kubetune_trainer.identity import Identity, recorded_identity

SCHEMA = 1
LOOKED_AT = 20
"""Entries read at most to say what an earlier result was made of."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """Content of one document of the index."""

    schema: int
    owner: Owner
    run: Identity
    at: float
    """When the result was published, in seconds since the epoch (UTC)."""
    summary: TrainSummary


@dataclass(frozen=True)
class Finding:
    """What the index says about a run that is about to begin."""

    summary: TrainSummary | None = None
    """Its result, where there is one."""
    told: tuple[Suggestion, ...] = ()
    """Why an earlier result is not taken."""


def find_result(
    store: Store, config: TrainConfig, identity: Callable[[], Identity], settings: RowSettings | None = None
) -> Finding:
    """The result of this very run, were it trained before; ``settings`` are those that the number of rows decides.

    ``identity`` is asked only where there is any result at all: to name a base on a claim, all of it is read. Raises
    KubeTuneError when the store cannot be read: that is no reason to train.
    """
    listed = store.list(config.results) if config.results else []
    names = [found.path for found in listed if "/" not in found.path and found.path.endswith(".json")]
    if not names:
        return Finding()
    run = identity()
    if f"{run.sha256}.json" not in names:
        return Finding(told=_told_apart(store, config, run, names))
    entry = _read(store, config, f"{run.sha256}.json")
    problem = _problem(store, entry, config.owner) if entry else "its entry in the index cannot be read"
    if entry is None or problem:
        return Finding(
            told=(
                Suggestion("EarlierResultDamaged", f"a result of this run is there, but {problem}; it is trained anew"),
            )
        )
    whole = tuple(one for one in entry.summary.exports if not _damage(store, one, entry.owner))
    found = FoundResult(entry.at, entry.owner.uid, settings)
    log.info("the result of %s is there: %s", said(entry.at), entry.summary.artifact.uri)
    return Finding(dataclasses.replace(entry.summary, exports=whole, found=found))


def note_result(store: Store, config: TrainConfig, summary: TrainSummary, at: float) -> None:
    """Writes the index entry of a published result. Raises KubeTuneError as every write does."""
    found = read_manifest(store, summary.artifact.uri)
    run = recorded_identity(found[0].config) if found else None
    if not config.results or run is None:
        return
    entry = Entry(SCHEMA, config.owner, run, at, dataclasses.replace(summary, found=None))
    store.write(dumps(entry).encode(), f"{config.results}/{run.sha256}.json")


def said(at: float) -> str:
    """A moment as people read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read(store: Store, config: TrainConfig, name: str) -> Entry | None:
    """None for an entry that is damaged, of another release, or about another namespace's or name's object."""
    data = store.find(f"{config.results}/{name}")
    try:
        entry = from_json(Entry, json.loads(data or b""))
    except (ValueError, ContractError):
        return None
    is_own = (entry.owner.namespace, entry.owner.name) == (config.owner.namespace, config.owner.name)
    return entry if is_own and entry.schema == SCHEMA and f"{entry.run.sha256}.json" == name else None


def _problem(store: Store, entry: Entry, owner: Owner) -> str:
    """What is wrong with the result of ``entry``; empty when it may be taken."""
    artifact = entry.summary.artifact
    problem = _damage(store, artifact, owner)
    return f"{artifact.uri} {problem}" if problem else ""


def _damage(store: Store, artifact: Artifact, owner: Owner) -> str:
    """What is wrong with a published folder, but for the files' content, which whoever loads them checks."""
    try:
        found = read_manifest(store, artifact.uri)
    except KubeTuneError as error:
        if is_out_of_reach(error):
            raise
        return f"is damaged ({error.message})"
    if found is None:
        return "has no manifest any more"
    manifest, sha256 = found
    if sha256 != artifact.manifest_sha256:
        return "holds something else now"
    if not _is_by(manifest, owner):
        return "was published for another object"
    sizes = {one.path: one.size for one in store.list(artifact.uri)}
    lost = [entry.path for entry in manifest.files if sizes.get(entry.path) != entry.size]
    return f"lacks {lost[0]}, or has another one" if lost else ""


def _is_by(manifest: Manifest, owner: Owner) -> bool:
    by = manifest.created_by
    return by is not None and (by.namespace, by.name) == (owner.namespace, owner.name)


def _told_apart(store: Store, config: TrainConfig, run: Identity, names: list[str]) -> tuple[Suggestion, ...]:
    """Says what the earlier result that comes nearest was made of; whoever thinks it is the same run wants to know."""
    entries = [entry for name in names[:LOOKED_AT] if (entry := _read(store, config, name))]
    if not entries:
        return ()
    nearest = min(entries, key=lambda entry: (len(run.differences(entry.run)), -entry.at))
    differs = run.differences(nearest.run)
    other = f"{', '.join(differs[:-1])} and {differs[-1]}" if len(differs) > 1 else differs[0]
    text = (
        f"a job of this name has published {nearest.summary.artifact.uri} ({said(nearest.at)}), with other {other}: "
        "this is another run, and is trained anew"
    )
    return (Suggestion("TrainedBefore", text),)
