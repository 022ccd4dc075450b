"""What a ModelDeployment runs and ran: kept as an annotation of the live Deployment and Service.

It is read from there, never from memory or from the status: it survives the operator, and it cannot disagree with what
really runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from kubetune.common.meta import GROUP
from kubetune.lineage import Model
from kubetune.workload.fingerprint import SPEC_HASH
from kubetune_contract import Contents, ContractError, dumps, from_json

from .api import Reason

Object = dict[str, Any]

LEDGER_ANNOTATION = f"{GROUP}/ledger"
VERSION_LENGTH = 10
"""Hexadecimal digits of a version's name: 40 bits tell the versions of one deployment apart."""


@dataclass(frozen=True)
class Pods:
    """The pods that serve a release, exactly as they were asked for.

    They are kept, not made anew at every look: image, log level and whatever else the operator adds change with the
    operator, and must not stop what serves.
    """

    asked: str
    """Digest of what the spec asks of pods; another one has them made anew."""
    template: Object = field(default_factory=dict)
    """The stamped pod template."""

    @property
    def digest(self) -> str:
        """Tells pods of one template from those of another."""
        return str(self.template.get("metadata", {}).get("annotations", {}).get(SPEC_HASH, ""))

    @property
    def image(self) -> str | None:
        containers = self.template.get("spec", {}).get("containers", [])
        return next((one.get("image") for one in containers), None)


@dataclass(frozen=True)
class Release:
    """A model admitted for this deployment; ``job`` and ``evaluation`` name what it came from and what admitted it."""

    model: Model
    job: str | None = None
    evaluation: str | None = None
    loaded: bool = False
    """Whether a pod of these has answered with it at least once."""
    contents: Contents | None = None
    """What the gate has judged; None where no gate was asked for, or where it was not told."""
    pods: Pods | None = None
    """None of a release that nothing was made for yet, and in ledgers of operators that did not keep them."""

    @property
    def version(self) -> str:
        """Short hash of everything that makes the answers: base, adapter and what their folders hold."""
        identity = {"contents": self.contents, "model": self.model} if self.contents else self.model
        return hashlib.sha256(dumps(identity).encode()).hexdigest()[:VERSION_LENGTH]

    @property
    def pinned(self) -> Contents:
        """What the folders must hold to be served: what was judged, and what the FineTuneJob has published."""
        model, judged = self.model, self.contents or Contents()
        published = f"manifest:{model.manifest_sha256}" if model.manifest_sha256 else None
        if model.adapter_uri:
            return Contents(judged.model, judged.adapter or published)
        return Contents(judged.model or published)


@dataclass(frozen=True)
class GivenUp:
    """A version that never loaded with the settings of ``asked``; any change of either earns it another try, and
    nothing that the operator adds does."""

    version: str
    template: str
    """Digest of the pods that were tried."""
    message: str
    asked: str | None = None
    """None in ledgers of operators that did not keep it."""
    reason: str = Reason.ENGINE_FAILED.value


@dataclass(frozen=True)
class Ledger:
    """What the Deployment runs, the last release and pods before that had loaded, and what was given up."""

    active: Release
    previous: Release | None = None
    given_up: GivenUp | None = None


Maker = Callable[[Release], Release]
"""The release with the pods that the present spec and the operator's present settings make for it."""


def read_ledger(*objects: Object | None) -> Ledger | None:
    """The first readable ledger; None when nothing was ever admitted (or somebody removed it everywhere)."""
    for obj in objects:
        text = (obj or {}).get("metadata", {}).get("annotations", {}).get(LEDGER_ANNOTATION)
        if text:
            try:
                return from_json(Ledger, json.loads(text))
            except (ContractError, ValueError):
                continue
    return None


def with_pods(ledger: Ledger, live: Object | None, version_label: str, make: Maker, *, is_applied: bool) -> Ledger:
    """A ledger that has pods: of one that has none, kept by an older operator, those of the ``live`` Deployment.

    ``is_applied`` tells whether that operator had carried out the present spec: then these are the pods it asks for,
    and go on. Else they are made anew.
    """
    if ledger.active.pods is not None:
        return ledger
    fresh = make(ledger.active)
    assert fresh.pods is not None  # noqa: S101 (that is what a Maker is)
    asked = fresh.pods.asked if is_applied else ""
    lost = ledger.given_up and replace(ledger.given_up, asked=asked)
    template = _template(live)
    if template.get("metadata", {}).get("labels", {}).get(version_label) != ledger.active.version:
        # Nothing of it runs.
        return replace(ledger, active=replace(ledger.active, pods=fresh.pods), given_up=lost)
    return replace(ledger, active=replace(ledger.active, pods=Pods(asked, template)), given_up=lost)


def _template(live: Object | None) -> Object:
    """The pod template of a live Deployment, without what the API server shows but nobody writes."""
    template: Object = (live or {}).get("spec", {}).get("template", {})
    metadata = {key: value for key, value in template.get("metadata", {}).items() if key != "creationTimestamp"}
    return {**template, "metadata": metadata}
