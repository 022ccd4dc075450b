"""The API server's refusals of what was made from a custom resource, in the fields of that resource."""

from __future__ import annotations

import re

from .reasons import Shared

_TEMPLATE = r"spec\.(?:template\.spec\.)?"
_CONTAINER = _TEMPLATE + r"(?:initContainers|containers)\[\d+\]\."
_FIELDS = (
    (_CONTAINER + r"resources\.(?:requests|limits)\[(?:memory|cpu|ephemeral-storage)\]", None),
    (_CONTAINER + r"resources\.(?:requests|limits)\[[^\]]*\]", "spec.resources.gpuResourceName"),
    (_CONTAINER + r"resources\.(?:requests|limits)\.(?:memory|cpu|ephemeral-storage)", None),
    (_CONTAINER + r"resources\.(?:requests|limits)(?:\.[^\s:]+)?", "spec.resources"),
    (_CONTAINER + r"env\[\d+\]\.valueFrom\.secretKeyRef(?:\.name)?", "spec.credentials"),
    (_TEMPLATE + r"volumes\[\d+\]\.persistentVolumeClaim\.claimName", "the claim of a pvc:// URI or of spec.cache"),
    (_TEMPLATE + r"volumes\[\d+\]\.configMap\.name", "the ConfigMap of a configmap:// URI"),
    (_TEMPLATE + r"affinity[^\s:]*", "spec.resources.gpuMemory or spec.resources.computeCapability"),
    (r"metadata\.labels", "spec.queueName"),
)
"""Pattern of a child's field -> ours; None names the resource's own member of spec.resources."""
_SAME = re.compile(_TEMPLATE + r"(nodeSelector|tolerations|runtimeClassName)")
_WHAT = re.compile(r'^(?:[A-Za-z]+(?:\.[a-z.]+)?) "[^"]+" is invalid: ')


def in_our_words(message: str) -> str:
    """``message`` with the fields that the user wrote, in place of a Job's or a Deployment's."""
    text = _WHAT.sub("", message)
    for pattern, ours in _FIELDS:
        text = re.sub(pattern, ours or _resource, text)
    return _SAME.sub(r"spec.\1", text)


def _resource(match: re.Match[str]) -> str:
    members = {"memory": "memory", "ephemeral-storage": "scratch"}
    return f"spec.resources.{next((ours for theirs, ours in members.items() if theirs in match[0]), 'cpu')}"


def refusal_reason(text: str) -> str:
    """The reason for the API server's refusal to create something, from its text."""
    if "exceeded quota" in text:
        return Shared.QUOTA_EXCEEDED
    if "RuntimeClass" in text and "not found" in text:
        return Shared.RUNTIME_CLASS_NOT_FOUND
    return Shared.CREATION_REFUSED


_DEMANDED = (("limits.cpu", "cpuLimit"), ("ephemeral-storage", "scratch"))
"""What a ResourceQuota makes every container name, and what pods of ours name only where their user does."""


def _what_to_specify(text: str) -> str:
    demanded = text.partition("must specify ")[2]
    fields = [f"spec.resources.{ours}" for theirs, ours in _DEMANDED if theirs in demanded]
    if not fields:
        return ""
    return f" Set {' and '.join(fields)}, or give the namespace a LimitRange with a default."


def explain_refusal(text: str) -> str:
    """The API server's sentence without the random name it gave the pod, so that it stays the same from try to try."""
    text = re.sub(r"^Error creating: ", "", text)
    text = in_our_words(re.sub(r'pods "[^"]+"', "the pod", text))
    advice: dict[str, str] = {
        Shared.QUOTA_EXCEEDED: " Free some of it, raise the ResourceQuota or ask for less in spec.resources.",
        Shared.RUNTIME_CLASS_NOT_FOUND: " Create the RuntimeClass or change spec.runtimeClassName.",
        Shared.CREATION_REFUSED: _what_to_specify(text),
    }
    return text + "." * (not text.endswith(".")) + advice[refusal_reason(text)]
