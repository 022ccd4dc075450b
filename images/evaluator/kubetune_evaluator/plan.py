"""What ``prepare`` leaves for ``evaluate``: where the models lie, and the items."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from kubetune_contract import EvalConfig, ExitCode, KubeTuneError, dumps, from_json
from kubetune_contract.paths import WORK_DIR

from .items import Item


@dataclass(frozen=True)
class PlannedModel:
    """One model to measure, on this machine."""

    name: str
    uri: str
    path: str
    content: str | None = None
    """What was in the folder: see kubetune_contract.Contents."""
    adapter_uri: str | None = None
    adapter_path: str | None = None
    adapter_content: str | None = None
    trained_on: str | None = None
    """Digest of the training rows, where the manifest tells."""
    seen: tuple[int, ...] | None = None
    """Positions of the items that it was trained on; None where it brings no row keys."""

    @property
    def identity(self) -> tuple[str, str | None]:
        """Equal for models that need not be run twice."""
        return self.uri, self.adapter_uri


@dataclass(frozen=True)
class Plan:
    """The candidate comes first among the models."""

    config_sha256: str
    models: tuple[PlannedModel, ...]
    dataset_sha256: str
    rows: int
    duplicates: int


def config_sha256(config: EvalConfig) -> str:
    """Names everything that decides the result."""
    return hashlib.sha256(dumps(config).encode()).hexdigest()


def inputs_dir() -> Path:
    return Path(os.environ.get("KUBETUNE_WORK_DIR", WORK_DIR)) / "inputs"


def save(plan: Plan, items: tuple[Item, ...]) -> None:
    """The plan is written last: its presence says that everything else is complete."""
    with (inputs_dir() / "items.jsonl").open("w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(asdict(item)) + "\n")
    (inputs_dir() / "plan.json").write_text(dumps(plan), encoding="utf-8")


def load(digest: str) -> tuple[Plan, tuple[Item, ...]]:
    """Raises KubeTuneError (BAD_CONFIG, NotPrepared) when prepare did not run, or ran for another configuration."""
    path = inputs_dir() / "plan.json"
    try:
        plan = from_json(Plan, json.loads(path.read_text(encoding="utf-8")))
        with (inputs_dir() / "items.jsonl").open(encoding="utf-8") as file:
            items = tuple(_item(line) for line in file)
    except (OSError, ValueError) as error:
        raise _unprepared(f"{path} cannot be read; run `python -m kubetune_evaluator prepare` first") from error
    if plan.config_sha256 != digest:
        raise _unprepared(f"{path} belongs to another configuration; run prepare again")
    return plan, items


def _item(line: str) -> Item:
    data = json.loads(line)
    messages = data.pop("messages")
    tools = tuple(data.pop("tools"))
    return Item(**data, messages=tuple(messages) if messages is not None else None, tools=tools)


def _unprepared(message: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_CONFIG, "NotPrepared", message)
