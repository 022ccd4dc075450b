"""Claims and ConfigMaps a workload reads: named by its URIs, looked up before a pod waits for them for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kubetune.common.reasons import Shared
from kubetune_contract import uris


@dataclass(frozen=True)
class Problem:
    """A precondition that does not hold: reason and message of the condition Accepted."""

    reason: str
    message: str


@dataclass(frozen=True)
class Inputs:
    """What was found of the claims and ConfigMaps asked for; None marks a missing one."""

    claims: dict[str, str | None] = field(default_factory=dict)
    """Name -> phase (Pending, Bound, Lost)."""
    config_maps: dict[str, frozenset[str] | None] = field(default_factory=dict)
    """Name -> keys."""
    missing_secrets: frozenset[str] = frozenset()
    """Secrets that were looked for and are not there."""


def needed_claims(used: Iterable[str]) -> tuple[str, ...]:
    return _authorities(used, "pvc")


def needed_config_maps(used: Iterable[str]) -> tuple[str, ...]:
    return _authorities(used, "configmap")


def _authorities(used: Iterable[str], scheme: str) -> tuple[str, ...]:
    parsed = [uris.parse(uri) for uri in used]
    return tuple(dict.fromkeys(uri.authority for uri in parsed if uri.scheme == scheme))


def check_spelling(wanted: Iterable[str]) -> Problem | None:
    """The API server refuses wrong URIs already; an object stored under an older CRD may still carry one."""
    for uri in wanted:
        try:
            uris.parse(uri)
        except uris.UriError as error:
            return Problem(Shared.INVALID_SPEC, error.message)
    return None


def check_inputs(
    inputs: Inputs, used: Iterable[str], namespace: str, fields: Mapping[str, str] | None = None
) -> Problem | None:
    """The first thing that is missing. A claim that is not bound yet is fine: its first pod may be what binds it.
    ``fields`` tells which field of the spec names a URI."""
    for text in used:
        uri, field = uris.parse(text), (fields or {}).get(text)
        of = f"of {uri} ({field})" if field else f"of {uri}"
        if uri.scheme == "pvc":
            problem = _check_claim(inputs, uri, namespace, of)
        elif uri.scheme == "configmap":
            problem = _check_config_map(inputs, uri, namespace, of)
        else:
            continue
        if problem:
            return problem
    return None


def _check_claim(inputs: Inputs, uri: uris.Uri, namespace: str, of: str) -> Problem | None:
    phase = inputs.claims.get(uri.authority)
    what = f"PersistentVolumeClaim {namespace}/{uri.authority} {of}"
    if phase is None:
        return Problem(Shared.CLAIM_NOT_FOUND, f"{what} does not exist. Create it in namespace {namespace}.")
    if phase == "Lost":
        return Problem(Shared.CLAIM_NOT_FOUND, f"{what} has lost its volume.")
    return None


def _check_config_map(inputs: Inputs, uri: uris.Uri, namespace: str, of: str) -> Problem | None:
    keys = inputs.config_maps.get(uri.authority)
    what = f"ConfigMap {namespace}/{uri.authority} {of}"
    if keys is None:
        return Problem(Shared.CONFIG_MAP_NOT_FOUND, f"{what} does not exist. Create it in namespace {namespace}.")
    if uri.path not in keys:
        found = ", ".join(sorted(keys)) or "none"
        return Problem(Shared.CONFIG_MAP_NOT_FOUND, f"{what} has no key {uri.path}; it has: {found}.")
    return None
