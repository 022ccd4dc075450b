"""What the rows amount to: lengths, packing, plan, duplicates, leaks; and how it is said."""

from __future__ import annotations

import dataclasses
import itertools
import random
from statistics import mean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import (
    Accelerator,
    Dataset,
    Export,
    Fit,
    Hyperparameters,
    Method,
    ObjectStore,
    Owner,
    Placement,
    PreflightSummary,
    Range,
    Suggestion,
    TrainConfig,
    dumps,
)
from kubetune_contract.paths import TERMINATION_LIMIT
from kubetune_shared.rows import Row
from kubetune_trainer.preflight.advice import Seen, suggestions
from kubetune_trainer.preflight.costs import Cpu, Task, on_cpu, on_gpus, startup, work
from kubetune_trainer.preflight.disk import checkpoint_bytes, disk_bytes
from kubetune_trainer.preflight.estimate import GIB, recipe
from kubetune_trainer.preflight.profile import (
    Lengths,
    duplicates,
    histogram,
    leaks,
    packed,
    padded,
    percentiles,
    plan,
)
from kubetune_trainer.preflight.summary import fitted, table
from tests.support.toolchats import CALLED, CHAT, TOOL

from .published import MODELS

SIZES = st.lists(st.integers(1, 64), min_size=1, max_size=60)


def config(**changes: Any) -> TrainConfig:
    base = {
        "schema": 1,
        "owner": Owner("team", "job", "uid"),
        "base_model": "s3://models/base",
        "dataset": Dataset("s3://data/rows.jsonl"),
        "output": "s3://out/uid",
        "store": ObjectStore(),
        "gpus": 1,
    }
    return TrainConfig(**{**base, **changes})


def seen(**changes: Any) -> Seen:
    lengths = Lengths(100)
    for _ in range(100):
        lengths.add(50, range(25, 50))
    hyper = Hyperparameters(max_sequence_length=100)
    base = {
        "config": config(hyperparameters=hyper),
        "can_pack": True,
        "train": lengths,
        "validation": None,
        "plan": plan(lengths.kept, hyper, 1),
        "duplicate_rows": 0,
        "leaked_rows": 0,
        "conditional_writes": True,
        "tracker_problem": None,
        "disk_bytes": 1,
        "free_bytes": 2,
    }
    return Seen(**{**base, **changes})


def reasons(found: Seen) -> list[str]:
    return [one.reason for one in suggestions(found)]


def test_lengths_as_the_training_cuts_them() -> None:
    found = Lengths(4)
    found.add(3, [1, 2])
    found.add(6, [3, 4, 5])
    found.add(6, [4, 5])
    found.add(2, [0])
    assert (found.full, found.kept) == ([3, 6, 6, 2], [3, 4])
    assert (found.truncated, found.dropped, found.learned, found.tokens) == (2, 2, 3, 7)
    assert found.masked_share == pytest.approx(4 / 7)


def test_percentiles_and_histogram() -> None:
    assert percentiles(range(1, 101)) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    assert percentiles([]) == {}
    assert histogram([1, 32, 33, 200_000]) == {
        **{str(bound): 0 for bound in (128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)},
        "32": 2,
        "64": 1,
        "more": 1,
    }


@given(SIZES)
def test_packing_keeps_every_token_and_the_limit(lengths: list[int]) -> None:
    made = packed(lengths, 64)
    assert sum(made) == sum(lengths)
    assert all(0 < length <= 64 for length in made)
    assert len(made) <= len(lengths)
    # No two sequences could have been one.
    smallest = sorted(made)[:2]
    assert len(made) == 1 or sum(smallest) > 64


@given(st.lists(st.integers(1, 64), min_size=2, max_size=6), st.integers(1, 3))
def test_padding_is_the_mean_over_all_batches(lengths: list[int], batch: int) -> None:
    batch = min(batch, len(lengths))
    drawn = itertools.product(lengths, repeat=batch)
    assert padded(lengths, batch) == pytest.approx(mean(max(rows) for rows in drawn) * batch)


@pytest.mark.parametrize(
    ("rows", "changes", "processes", "steps"),
    [
        (64, {"num_train_epochs": 3}, 1, 12),
        (65, {"num_train_epochs": 1}, 1, 5),
        (64, {"max_steps": 7}, 1, 7),
        (64, {"num_train_epochs": 0.5}, 1, 2),
        (64, {"num_train_epochs": 1}, 2, 2),
        (1, {"num_train_epochs": 1}, 1, 1),
    ],
)
def test_planned_steps(rows: int, changes: dict[str, Any], processes: int, steps: int) -> None:
    assert plan([8] * rows, Hyperparameters(**changes), processes).steps == steps


def test_packed_rows_make_fewer_steps() -> None:
    drawn = random.Random(0)
    lengths = [drawn.randint(8, 64) for _ in range(400)]
    loose = plan(lengths, Hyperparameters(max_sequence_length=512), 1)
    dense = plan(lengths, Hyperparameters(max_sequence_length=512, packing=True), 1)
    assert dense.sequences * 8 < loose.sequences
    assert dense.tokens < loose.tokens


def test_duplicates_and_leaks() -> None:
    train = [Row(1, prompt="a", completion="b"), Row(2, prompt="a", completion="b"), Row(3, text="Hello  World")]
    held = [Row(1, text="hello world"), Row(2, text="other"), Row(3, prompt="A", completion="B ")]
    assert duplicates(train) == 1
    assert leaks(train, held) == 2
    chat = Row(1, messages=({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "yo"}))
    assert leaks([chat], [chat]) == 1
    called = Row(5, messages=CHAT, tools=(TOOL,))
    assert leaks([called, Row(6, messages=CHAT)], [called]) == 1
    assert leaks([Row(6, messages=CHAT)], [called]) == 0
    other = dict(CALLED, tool_calls=[{"type": "function", "function": {"name": "fox", "arguments": {"n": 4}}}])
    assert leaks([called], [Row(7, messages=(CHAT[0], other, *CHAT[2:]), tools=(TOOL,))]) == 0


def test_nothing_to_say_about_good_data() -> None:
    assert reasons(seen()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"leaked_rows": 1}, "LeakedRows"),
        ({"duplicate_rows": 2}, "DuplicateRows"),
        ({"conditional_writes": False}, "NoConditionalWrites"),
        ({"tracker_problem": "connection refused"}, "TrackerUnreachable"),
        ({"disk_bytes": 3}, "DiskShort"),
        ({"plan": plan([50] * 100, Hyperparameters(num_train_epochs=1), 1)}, "FewSteps"),
    ],
)
def test_what_is_said(changes: dict[str, Any], reason: str) -> None:
    assert reasons(seen(**changes)) == [reason]


def test_cut_dropped_and_half_written_rows_are_told() -> None:
    lengths = Lengths(100)
    for number in range(100):
        lengths.add(150 if number < 10 else 50, range(120, 150) if number < 5 else range(25, 50))
    lengths.reasoning_left_out = 3
    assert reasons(seen(train=lengths)) == ["ManyTruncated", "NothingToLearn", "ReasoningLeftOut"]


def test_much_padding_suggests_packing() -> None:
    lengths = Lengths(1000)
    for number in range(100):
        lengths.add(1000 if number % 10 == 0 else 20, range(10, 20))
    hyper = Hyperparameters(max_sequence_length=1000, per_device_train_batch_size=8, gradient_accumulation_steps=1)
    found = seen(train=lengths, config=config(hyperparameters=hyper), plan=plan(lengths.kept, hyper, 1))
    assert reasons(found) == ["UsePacking"]
    assert "% of what would be computed is padding" in suggestions(found)[0].message
    # Where packed rows would see each other, nobody is told to pack them.
    assert reasons(dataclasses.replace(found, can_pack=False)) == []


def test_the_summary_stays_within_the_kubelets_limit() -> None:
    many = tuple(Suggestion(f"Reason{number}", "ä" * 600) for number in range(12))
    summary = PreflightSummary(
        schema=1,
        fit=Fit.DOES_NOT_FIT,
        fit_message="x" * 3000,
        train_rows=1,
        validation_rows=0,
        dataset_sha256="0" * 64,
        steps=1,
        tokens_per_epoch=1,
        suggestions=many,
    )
    short = fitted(summary)
    assert len(dumps(short).encode()) <= TERMINATION_LIMIT
    assert short.suggestions
    assert short.fit_message.endswith("...")
    assert fitted(short) == short
    assert "DoesNotFit" in table(short, "EUR")


def test_disk_and_checkpoints() -> None:
    shape = MODELS["Llama-3.2-1B"].shape
    lora, full = config(), config(method=Method.FULL)
    assert checkpoint_bytes(lora, shape) < 200 << 20
    assert checkpoint_bytes(full, shape) > 12 * shape.parameters
    assert disk_bytes(full, shape, 0) > 3 * checkpoint_bytes(full, shape)
    merged = config(export=Export(gguf="q8_0"))
    assert disk_bytes(merged, shape, 0) - disk_bytes(lora, shape, 0) > 3 * shape.parameters
    assert disk_bytes(lora, shape, 10 * GIB) - disk_bytes(lora, shape, 0) == 10 * GIB


def task(job: TrainConfig) -> Task:
    run = recipe(job)
    planned = plan([500] * 1000, job.hyperparameters, 1)
    todo = work(planned, [500] * 100, job, run)
    assert todo.tokens > planned.tokens
    return Task(MODELS["Qwen2.5-1.5B"].shape, run, todo, startup(3 << 30, 3 << 30))


def test_costs_over_several_cards() -> None:
    small = Accelerator("NVIDIA-GeForce-RTX-3060", 12 * GIB, price_per_hour=0.1)
    large = Accelerator("NVIDIA-GeForce-RTX-4090", 24 * GIB, price_per_hour=0.4)
    job = config()
    one = on_gpus(task(job), job, [small])
    both = on_gpus(task(job), job, [large, small])
    assert one.seconds
    assert both.seconds
    assert one.cost
    assert one.kwh
    assert both.seconds.low < one.seconds.low
    assert both.seconds.estimate == one.seconds.estimate
    assert one.cost.estimate == pytest.approx(one.seconds.estimate / 3600 * 0.1)
    assert one.kwh.estimate == pytest.approx(one.seconds.estimate / 3600 * 0.17)


def test_electricity_where_no_price_is_stated_and_silence_where_nothing_is() -> None:
    card = Accelerator("NVIDIA-GeForce-RTX-3060", 12 * GIB, watts=100)
    job = config(placement=Placement(accelerators=(card,), electricity_per_kwh=0.3))
    found = on_gpus(task(job), job, [card])
    assert found.cost
    assert found.kwh
    assert found.cost.estimate == pytest.approx(found.kwh.estimate * 0.3)
    assert on_gpus(task(job), job, [card, Accelerator("Other", GIB)]).seconds is None


def test_costs_on_the_cpu() -> None:
    job = config(gpus=0, placement=Placement(cpu_watts=60, electricity_per_kwh=0.3))
    found = on_cpu(task(job), job, Cpu(0.05, 2, 8))
    assert found.seconds
    assert found.cost
    assert isinstance(found.kwh, Range)
    assert found.seconds.low < found.seconds.estimate < found.seconds.high


@pytest.mark.walk("W9")
@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        ({"max_steps": 5}, "raise maxSteps (5)", "gradientAccumulationSteps"),
        ({"num_train_epochs": 1.0}, "lower gradientAccumulationSteps (4) or raise numTrainEpochs", "maxSteps"),
        ({"num_train_epochs": 1.0, "gradient_accumulation_steps": 1}, "raise numTrainEpochs (1)", "lower"),
    ],
    ids=["maxSteps", "accumulation", "epochs"],
)
def test_few_steps_are_mended_by_what_decides_them(changes: dict[str, Any], said: str, unsaid: str) -> None:
    hyper = Hyperparameters(max_sequence_length=100, **changes)
    planned = plan([50] * 12, hyper, 1)
    (message,) = [
        one.message
        for one in suggestions(seen(config=config(hyperparameters=hyper), plan=planned))
        if one.reason == "FewSteps"
    ]
    assert said in message
    assert unsaid not in message
