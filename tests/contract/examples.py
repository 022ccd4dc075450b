"""One example of every document of the contract, with every member set, and of the configurations at their least.

``python -m tests.contract.examples`` writes the golden files again after an intended change; the diff is then what
older operators and images will meet.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from kubetune_contract import (
    Accelerator,
    Artifact,
    Contents,
    Dataset,
    Engine,
    EvalConfig,
    EvalProgress,
    EvalSummary,
    Export,
    FailureSummary,
    FetchSummary,
    Fit,
    FoundResult,
    Gate,
    GateRule,
    Generation,
    Hyperparameters,
    Lora,
    MemoryEstimate,
    Method,
    MetricName,
    MetricResult,
    ModelRef,
    ObjectStore,
    Owner,
    Placement,
    PreflightSummary,
    Range,
    Recovery,
    RecoveryStep,
    RowFormat,
    RowSettings,
    ServeConfig,
    Suggestion,
    Tracking,
    TrainConfig,
    TrainProgress,
    TrainSummary,
    Verdict,
    to_json,
)
from kubetune_contract.codec import camel
from tests.support.fields import every_member

GOLDEN = Path(__file__).with_name("golden")

OWNER = Owner("team", "demo", "6f1c2a34-0000-4000-8000-000000000001")
STORE = ObjectStore("http://kubetune-store.kubetune.svc:7070", "us-east-1")
ADAPTER = Artifact(f"s3://kubetune/finetunejobs/team/demo/{OWNER.uid}/adapter", "adapter", "ab" * 32, 31902)
REPORT = Artifact(f"s3://kubetune/evaluations/team/demo/{OWNER.uid}", "report", "cd" * 32, 4096)
BASE = ModelRef("base", "s3://models/tiny")
TUNED = ModelRef("demo", "s3://models/tiny", ADAPTER.uri)
CONTENTS = Contents(f"commit:{'ef' * 20}", f"manifest:{ADAPTER.manifest_sha256}")
HYPERPARAMETERS = every_member(Hyperparameters(learning_rate=1e-4, lr_scheduler_type="linear", optimizer="adamw_8bit"))
RECOVERY_STEP = RecoveryStep(
    "OutOfMemory", "halveBatch", "no room for the longest batch", 1760000000.0, 12, 1, 16, True, "adamw_8bit", 1e-4
)
ROW_SETTINGS = RowSettings("900 rows, 8 per step", 3.0, 2, 0.1, 5)
SUGGESTION = Suggestion("Overfitting", "the validation loss has risen since step 250")

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
            "Answer in one sentence.",
        ),
        "s3://out/x",
        STORE,
        Method.QLORA,
        Lora(8, 16, 0.05, ("q_proj", "v_proj"), True, True, 16.0),
        HYPERPARAMETERS,
        Tracking("http://mlflow:5000", "demo", "team.demo"),
        2,
        2,
        Recovery(False, 6.0, 5, True),
        Export(True, "q8_0"),
        Placement((Accelerator("RTX-3060", 12 << 30, "8.6", 0.1, 170.0, 51.0),), "EUR", 0.3, 65.0),
        "code",
        "kubetune/trainer@sha256:" + "ab" * 32,
        ("num_train_epochs", "warmup_ratio"),
        "ef" * 32,
        "s3://out/results/team/demo",
        "once more",
        True,
    ),
    "train-progress": TrainProgress(
        phase="training",
        step=310,
        total_steps=500,
        updated_at=1760000000.5,
        epoch=1.24,
        loss=0.8125,
        eval_loss=0.9,
        learning_rate=1e-4,
        grad_norm=0.5,
        tokens_per_second=2413.0,
        eta_seconds=120.5,
        peak_vram_bytes=8_000_000_000,
        last_checkpoint=300,
        last_checkpoint_at=1760000000.0,
        best_step=250,
        reserved_vram_bytes=9_000_000_000,
        gpu_utilization=0.97,
        tokens=1_234_567,
        step_seconds=1.5,
        checkpoint_seconds=12.5,
        active_seconds=3600.0,
        recovery=(RECOVERY_STEP,),
        suggestions=(SUGGESTION,),
    ),
    "train-summary": TrainSummary(
        schema=1,
        artifact=ADAPTER,
        steps=500,
        train_rows=900,
        validation_rows=100,
        duration_seconds=321.5,
        train_loss=0.75,
        eval_loss=0.8,
        dataset_sha256="ef" * 32,
        mlflow_run_id="0123456789abcdef",
        peak_vram_bytes=8_000_000_000,
        dropped_rows=3,
        truncated_rows=12,
        exports=(Artifact(ADAPTER.uri.replace("adapter", "gguf"), "gguf", "12" * 32, 4_000_000),),
        best_step=450,
        stopped_early=True,
        tokens=2_000_000,
        active_seconds=3700.0,
        recovery=(RECOVERY_STEP,),
        suggestions=(SUGGESTION,),
        model_version="team.demo/3",
        first_loss=2.5,
        last_loss=0.7,
        run_sha256="34" * 32,
        found=FoundResult(1750000000.0, "6f1c2a34-0000-4000-8000-000000000000", ROW_SETTINGS),
    ),
    "preflight-summary": PreflightSummary(
        schema=1,
        fit=Fit.TIGHT,
        fit_message="needs 10.9 of 12.0 GiB",
        train_rows=900,
        validation_rows=100,
        dataset_sha256="ef" * 32,
        steps=500,
        tokens_per_epoch=500_000,
        token_lengths={"p50": 200, "p90": 700, "p99": 1500, "max": 4000},
        histogram={"256": 500, "512": 300, "4096": 100},
        truncated_rows=12,
        dropped_rows=3,
        masked_share=0.4,
        duplicate_rows=2,
        leaked_rows=1,
        missing_rows=4,
        unused_members={"topic": 500, "messages[].name": 12},
        columns={"prompt": "Question", "completion": "Answer"},
        columns_confidence=0.9,
        memory=MemoryEstimate(5 << 30, 80 << 20, 80 << 20, 160 << 20, 3 << 30, 1 << 30, 10 << 30, 12 << 30, "RTX-3060"),
        disk_bytes=20 << 30,
        seconds=Range(3000.0, 4000.0, 6000.0),
        cost=Range(0.1, 0.2, 0.3),
        kwh=Range(0.1, 0.15, 0.3),
        checkpoint_bytes=250 << 20,
        upload_bytes_per_second=50e6,
        suggestions=(SUGGESTION,),
        settings=ROW_SETTINGS,
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
        Gate(MetricName.TOKEN_F1, 0.02, 0.01, GateRule.SUPERIOR),
        200,
        7,
        1,
    ),
    "eval-progress": EvalProgress("generating", 40, 400, 1760000000.5, "demo"),
    "eval-summary": EvalSummary(
        1,
        (
            MetricResult(MetricName.EXACT_MATCH, "base", 0.62, 0.21, 0.41, 0.34, 0.48, 200, 1, "exact-pair", 1e-9),
            MetricResult(MetricName.CHRF, "base", 61.0, 40.0, 21.0, 15.0, 27.0, 200, 0, "jackknife-skew-t"),
        ),
        REPORT,
        200,
        88.5,
        Verdict.GO,
        "exactMatch +0.41 [0.34, 0.48]",
        "ef" * 32,
        CONTENTS,
        40,
    ),
    "serve-config-least": ServeConfig(1, OWNER, "a1b2c3", BASE, STORE),
    "serve-config": ServeConfig(
        1,
        OWNER,
        "a1b2c3",
        dataclasses.replace(TUNED, contents=CONTENTS),
        STORE,
        Engine(4096, 8, 0.85, "half", True, ("--max-num-batched-tokens", "512")),
        1,
        45,
        True,
    ),
    "fetch-summary": FetchSummary(1, 4_000_000, 31902, True, CONTENTS),
    "failure-summary": FailureSummary(1, "MalformedRow", "dataset train.jsonl line 17: completion is empty", 65),
}


def text(name: str) -> str:
    """A golden file's content. The least of a configuration leaves out what it may: absent means default."""
    value = EXAMPLES[name]
    data = to_json(value)
    if name.endswith("-least"):
        required = {camel(field.name) for field in dataclasses.fields(value) if is_required(field)}
        data = {member: data[member] for member in data if member in required}
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


if __name__ == "__main__":
    for name in EXAMPLES:
        (GOLDEN / f"{name}.json").write_text(text(name), encoding="utf-8")
