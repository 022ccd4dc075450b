"""Secrets that pods read: which a pod needs, and what to say of one that is missing. Nobody here sees their content."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kubetune.common.pod_options import PodOptions
from kubetune.common.reasons import Shared
from kubetune.settings import Settings
from kubetune_contract import uris

from .inputs import Problem

Object = dict[str, Any]

STORE_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
HUB_KEYS = ("HF_TOKEN",)
TRACKING_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
TRACKING_TOKEN = "MLFLOW_TRACKING_TOKEN"
"""In place of those two."""
STORE_FIELD = "spec.credentials.objectStoreSecret"
HUB_FIELD = "spec.credentials.huggingFaceSecret"
TRACKING_FIELD = "spec.tracking.secret"


@dataclass(frozen=True)
class SecretUse:
    """A Secret of the pod's namespace and what is read of it."""

    name: str
    keys: tuple[str, ...]
    field: str
    """The field of ours that names it."""
    is_named: bool
    """Whether the user wrote it there; else it is the operator's default."""


def needed_secrets(settings: Settings, options: PodOptions, wanted: Iterable[str]) -> tuple[SecretUse, ...]:
    """The Secrets without which pods that read and write the URIs ``wanted`` do not start."""
    schemes = {uris.parse(uri).scheme for uri in wanted}
    named = options.credentials
    found = []
    if "s3" in schemes:
        own = named.object_store_secret if named else None
        found.append(SecretUse(own or settings.store_secret, STORE_KEYS, STORE_FIELD, own is not None))
    if "hf" in schemes and named and named.hugging_face_secret:
        found.append(SecretUse(named.hugging_face_secret, HUB_KEYS, HUB_FIELD, is_named=True))
    return tuple(found)


def check_secrets(
    missing: frozenset[str], needed: Iterable[SecretUse], namespace: str, settings: Settings, again: float
) -> Problem | None:
    """All Secrets that are known to be missing; they are looked for again after ``again`` seconds."""
    texts = []
    for use in needed:
        if use.name in missing:
            source = settings.store_secret_namespace if use.name == settings.store_secret else ""
            texts.append(explain_missing(use, namespace, source))
    if not texts:
        return None
    texts.append(f"It is looked for every {again:g} seconds, and no pod is held ready for it.")
    return Problem(Shared.SECRET_NOT_FOUND, " ".join(texts))


def explain_missing(use: SecretUse, namespace: str, source: str = "") -> str:
    """What is missing and the command that makes it. ``source`` is the namespace of the chart's release, whose Secret
    of the same name opens the chart's own store."""
    which = use.field if use.is_named else f"the operator's default, as {use.field} is unset"
    text = f"Secret {namespace}/{use.name} does not exist ({which})."
    if source and source != namespace:
        return (
            f"{text} It has a key to the object store. Whoever installed KubeTune gives {namespace} one of its own by "
            f"the chart's value objectStore.credentialNamespaces. Who may read {source}/{use.name} can also copy it, "
            f"and with it the right to the whole store: {copy_command(use.name, source, namespace)} ."
        )
    literals = " ".join(f"--from-literal={key}=..." for key in use.keys)
    return f"{text} Create it: kubectl -n {namespace} create secret generic {use.name} {literals}"


def use_in(pod: Object, name: str) -> SecretUse:
    """What a pod reads of the Secret, as its containers say."""
    keys = tuple(dict.fromkeys(key for key, secret in _read_by(pod) if secret == name)) or STORE_KEYS
    field = HUB_FIELD if keys == HUB_KEYS else TRACKING_FIELD if TRACKING_TOKEN in keys else STORE_FIELD
    return SecretUse(name, keys, field, is_named=True)


def name_secret(text: str, pod: Object) -> str:
    """A container knows what it has read of a Secret, but not which Secret that was: the pod's spec does."""
    for field, keys, hint in _HINTS:
        name = next((secret for key, secret in _read_by(pod) if key in keys), None)
        if name and hint.search(text):
            named = f"Secret {pod['metadata']['namespace']}/{name}, which holds {' and '.join(keys)} ({field})"
            text = hint.sub(named, text, count=1)
    return text


_HINTS = (
    (STORE_FIELD, STORE_KEYS, re.compile("the Secret that holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")),
    (HUB_FIELD, HUB_KEYS, re.compile("the Secret that holds HF_TOKEN")),
)
"""As the containers' messages put it."""


def _read_by(pod: Object) -> list[tuple[str, str]]:
    """Key and Secret of everything that the containers of a pod read of Secrets."""
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"].get("containers", ())]
    sources = (entry.get("valueFrom", {}).get("secretKeyRef") for one in containers for entry in one.get("env", ()))
    return [(source["key"], source["name"]) for source in sources if source]


def copy_command(name: str, source: str, namespace: str) -> str:
    """kubectl alone, and the keys are on no command line, where ``ps`` would show them."""
    template = """{{range $key, $value := .data}}{{$key}}={{base64decode $value}}{{"\\n"}}{{end}}"""
    return (
        f"kubectl -n {source} get secret {name} -o go-template='{template}' | "
        f"kubectl -n {namespace} create secret generic {name} --from-env-file=/dev/stdin"
    )
