"""Labels on everything the operator creates."""

from __future__ import annotations

import enum

from .meta import GROUP, KindInfo
from .names import label_value

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "kubetune"
COMPONENT = "app.kubernetes.io/component"
SELECTOR = f"{MANAGED_BY}={MANAGER}"
"""Narrows the operator's watches to its own children."""


KINDS = {"finetunejob": "FineTuneJob", "evaluation": "Evaluation", "modeldeployment": "ModelDeployment"}
"""Last part of the label that names the custom resource an object belongs to -> its kind."""


class Component(enum.StrEnum):
    """What a workload does."""

    PREFLIGHT = "preflight"
    TRAINER = "trainer"
    EVALUATOR = "evaluator"
    SERVER = "server"


def kind_label(info: KindInfo) -> str:
    """Key of the label that names the custom resource an object belongs to."""
    return f"{GROUP}/{info.singular}"


def match_labels(info: KindInfo, name: str) -> dict[str, str]:
    """The labels that select the pods of one custom resource and of nothing else in its namespace."""
    return {MANAGED_BY: MANAGER, kind_label(info): label_value(name)}


def selector(info: KindInfo, name: str) -> str:
    """The same in one line, as a label selector is written."""
    return ",".join(f"{key}={value}" for key, value in match_labels(info, name).items())


def labels(info: KindInfo, name: str, component: Component) -> dict[str, str]:
    """All labels of a child."""
    return {
        "app.kubernetes.io/name": "kubetune",
        "app.kubernetes.io/part-of": "kubetune",
        COMPONENT: component.value,
        **match_labels(info, name),
    }
