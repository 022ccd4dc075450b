"""One example of every document of the contract, with every member set, and of the configurations at their least.

``python -m tests.contract.examples`` writes the golden files again after an intended change; the diff is then what
older operators and images will meet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kubetune_contract import (
    Artifact,
    Dataset,
    Engine,
    EvalConfig,
    EvalProgress,
    EvalSummary,
    FailureSummary,
    FetchSummary,
    Gate,
    Generation,
    Hyperparameters,
    Lora,
    Method,
    MetricName,
    MetricResult,
    ModelRef,
    ObjectStore,
    Owner,
    RowFormat,
    ServeConfig,
    Tracking,
    TrainConfig,
    TrainProgress,
    TrainSummary,
    Verdict,
    to_json,
)

GOLDEN = Path(__file__).with_name("golden")

OWNER = Owner("team", "demo", "6f1c2a34-0000-4000-8000-000000000001")
STORE = ObjectStore("http://kubetune-store.kubetune.svc:7070", "us-east-1")
ADAPTER = Artifact(f"s3://kubetune/finetunejobs/team/demo/{OWNER.uid}/adapter", "adapter", "ab" * 32, 31902)
REPORT = Artifact(f"s3://kubetune/evaluations/team/demo/{OWNER.uid}", "report", "cd" * 32, 4096)
BASE = ModelRef("base", "s3://models/tiny")
TUNED = ModelRef("demo", "s3://models/tiny", ADAPTER.uri)

EXAMPLES: dict[str, Any] = {
    "train-config-least": TrainConfig(1, OWNER, "s3://models/tiny", Dataset("s3://data/x.jsonl"), "s3://out/x", STORE),
    "train-config": TrainConfig(
        1,
        OWNER,
        "hf://owner/model@main",
        Dataset(
            "s3://data/train.jsonl",
            RowFormat.PROMPT_COMPLETION,
            {"prompt": "question", "completion": "answer"},
            "s3://data/validation.jsonl",
            0.1,
        ),
        "s3://out/x",
        STORE,
        Method.QLORA,
        Lora(8, 16, 0.05, ("q_proj", "v_proj")),
        Hyperparameters(1e-4, 2.0, 500, 2, 8, 2048, 0.1, 0.01, "linear", "adamw_8bit", 0.5, 7, True, True, 5, 50, 100),
        Tracking("http://mlflow:5000", "demo"),
        1,
    ),
    "train-progress": TrainProgress(
        "training", 310, 500, 1760000000.5, 1.24, 0.8125, 0.9, 1e-4, 0.5, 2413.0, 120.5, 8_000_000_000, 300
    ),
    "train-summary": TrainSummary(
        1, ADAPTER, 500, 900, 100, 321.5, 0.75, 0.8, "ef" * 32, "0123456789abcdef", 8_000_000_000, 3, 12
    ),
    "eval-config-least": EvalConfig(
        1, OWNER, TUNED, (BASE,), Dataset("s3://data/t.jsonl"), (MetricName.EXACT_MATCH,), "s3://out/e", STORE
    ),
    "eval-config": EvalConfig(
        1,
        OWNER,
        TUNED,
        (BASE, ModelRef("last", "s3://models/tiny", "s3://out/last/adapter")),
        Dataset("configmap://data/test.jsonl", RowFormat.INSTRUCTION),
        tuple(MetricName),
        "s3://out/e",
        STORE,
        Generation(64, 4, ("\n", "###")),
        Gate(MetricName.TOKEN_F1, 0.02, 0.01),
        200,
        7,
        1,
    ),
    "eval-progress": EvalProgress("generating", 40, 400, 1760000000.5, "demo"),
    "eval-summary": EvalSummary(
        1,
        (
            MetricResult(MetricName.EXACT_MATCH, "base", 0.62, 0.21, 0.41, 0.34, 0.48, 200, 1, "mcnemar", 1e-9),
            MetricResult(MetricName.CHRF, "base", 61.0, 40.0, 21.0, 15.0, 27.0, 200, 0, "bca-bootstrap"),
        ),
        REPORT,
        200,
        88.5,
        Verdict.GO,
        "exactMatch +0.41 [0.34, 0.48]",
        "ef" * 32,
    ),
    "serve-config-least": ServeConfig(1, OWNER, "a1b2c3", BASE, STORE),
    "serve-config": ServeConfig(
        1,
        OWNER,
        "a1b2c3",
        TUNED,
        STORE,
        Engine(4096, 8, 0.85, "half", True, ("--max-num-batched-tokens", "512")),
        1,
        45,
    ),
    "fetch-summary": FetchSummary(1, 4_000_000, 31902, True),
    "failure-summary": FailureSummary(1, "MalformedRow", "dataset train.jsonl line 17: completion is empty", 65),
}


def text(value: Any) -> str:
    """A golden file's content."""
    return json.dumps(to_json(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, example in EXAMPLES.items():
        (GOLDEN / f"{name}.json").write_text(text(example), encoding="utf-8")
