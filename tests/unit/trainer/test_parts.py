"""The pure parts of the trainer: progress, guard, precision, memory advice, arguments, validation."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import (
    Dataset,
    ExitCode,
    Export,
    Hyperparameters,
    KubeTuneError,
    Lora,
    Method,
    ObjectStore,
    Owner,
    TrainConfig,
    TrainProgress,
)
from kubetune_trainer.advice import dora_not_servable
from kubetune_trainer.device import Device, cpu_quota, detect, visible_devices
from kubetune_trainer.guard import DivergenceGuard
from kubetune_trainer.memory import is_out_of_memory, out_of_memory
from kubetune_trainer.report import Reporter
from kubetune_trainer.results import artifact_uri, config_sha256
from kubetune_trainer.sft import base_dtype, lora_arguments, loraplus_arguments, quantization_arguments, sft_arguments
from kubetune_trainer.stop import StopRequest, preempted
from kubetune_trainer.validate import validate

CONFIG = TrainConfig(
    1, Owner("team", "demo", "uid"), "s3://models/tiny", Dataset("s3://data/x"), "s3://out/uid/", ObjectStore()
)
NAN = float("nan")


class Clock:
    """Seconds, moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seen() -> list[TrainProgress]:
    return []


@pytest.fixture
def reporter(clock: Clock, seen: list[TrainProgress]) -> Reporter:
    return Reporter(seen.append, clock)


def test_steps_give_the_time_left(reporter: Reporter, clock: Clock, seen: list[TrainProgress]) -> None:
    reporter.begin(0, 100)
    for step in range(1, 11):
        clock.now += 2
        reporter.stepped(step)
    assert (seen[-1].phase, seen[-1].step, seen[-1].total_steps) == ("training", 10, 100)
    assert seen[-1].eta_seconds == pytest.approx(180)
    clock.now += 500
    reporter.paused()
    clock.now += 2
    reporter.stepped(11)
    assert seen[-1].eta_seconds == pytest.approx(178)
    assert seen[-1].updated_at == clock.now
    reporter.phase("publishing")
    assert seen[-1].eta_seconds is None


def test_logged_numbers(reporter: Reporter, clock: Clock, seen: list[TrainProgress]) -> None:
    reporter.logged({"loss": 2.5, "grad_norm": NAN, "learning_rate": 1e-4, "epoch": 0.5, "num_tokens": 100.0})
    clock.now += 10
    reporter.logged({"num_tokens": 600.0, "eval_loss": 3.0})
    last = seen[-1]
    assert (last.loss, last.grad_norm, last.learning_rate, last.epoch, last.eval_loss) == (2.5, None, 1e-4, 0.5, 3.0)
    assert last.tokens_per_second == pytest.approx(50)


def test_what_survives_a_pod_is_told(reporter: Reporter, clock: Clock, seen: list[TrainProgress]) -> None:
    reporter.counting(lambda: clock.now - 900)
    reporter.resumed(20, 990.0, 700, 10)
    last = seen[-1]
    assert (last.step, last.last_checkpoint, last.last_checkpoint_at, last.best_step) == (20, 20, 990.0, 10)
    assert (last.tokens, last.active_seconds) == (700, 100.0)
    reporter.begin(20, 100)
    clock.now += 3
    reporter.stepped(21)
    reporter.checkpointed(21, clock.now, 5.0, 21)
    reporter.checkpointed(22, clock.now, 2.0, 21)
    last = seen[-1]
    assert (last.step_seconds, last.checkpoint_seconds, last.last_checkpoint, last.best_step) == (3.0, 5.0, 22, 21)
    assert last.active_seconds == 103.0


@pytest.mark.parametrize(
    ("precision", "logs", "stopped_at"),
    [
        ("float32", [{"loss": 1.0, "grad_norm": 1.0}, {"loss": NAN, "grad_norm": 1.0}], 1),
        ("bfloat16", [{"loss": 1.0, "grad_norm": float("inf")}], 0),
        ("float16", [{"loss": 1.0, "grad_norm": NAN}, {"loss": 1.0, "grad_norm": 1.0}] * 4, None),
        ("float16", [{"loss": 1.0, "grad_norm": NAN}] * 4, 2),
        ("float16", [{"loss": float("inf"), "grad_norm": 1.0}], 0),
        ("float32", [{"eval_loss": 1.0}, {"loss": 1e9, "grad_norm": 1e9}], None),
    ],
)
def test_guard(precision: str, logs: list[dict[str, float]], stopped_at: int | None) -> None:
    guard = DivergenceGuard(precision)
    stops = [step for step, values in enumerate(logs) if guard.watch(step, values)]
    assert (stops[0] if stops else None) == stopped_at
    if stopped_at is None:
        guard.check(1e-3)
        return
    with pytest.raises(KubeTuneError, match=f"at step {stopped_at}") as caught:
        guard.check(1e-3)
    assert caught.value.code is ExitCode.DIVERGED
    assert "Lower learningRate (now 0.001)" in caught.value.message


@pytest.mark.parametrize(
    ("gpus", "current", "expected"),
    [(0, None, ""), (0, "0,1", ""), (1, None, "0"), (1, "", "0"), (1, "3,1", "3"), (1, "MIG-1", "MIG-1")],
)
def test_a_job_sees_as_many_gpus_as_it_asked_for(gpus: int, current: str | None, expected: str) -> None:
    assert visible_devices(gpus, current) == expected


class FakeTorch:
    """A machine's torch as ``detect`` and ``is_out_of_memory`` see it."""

    class OutOfMemoryError(RuntimeError):
        """As torch's."""

    class cuda:  # noqa: N801
        """No GPU here."""

        @staticmethod
        def is_available() -> bool:
            return False


def test_a_gpu_that_is_not_there_is_no_cpu() -> None:
    assert detect(0, FakeTorch) == Device("cpu", "float32")
    with pytest.raises(KubeTuneError, match="none is visible") as caught:
        detect(1, FakeTorch)
    assert caught.value.code is ExitCode.BAD_CONFIG


@pytest.mark.parametrize(
    ("quota", "expected"), [("150000 100000", 1), ("50000 100000", 1), ("junk", None), ("max 100000", None)]
)
def test_cpu_quota(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cpu_quota(tmp_path) == (expected or cpu_quota(tmp_path / "none"))


def test_out_of_memory_says_what_to_lower() -> None:
    assert is_out_of_memory(FakeTorch.OutOfMemoryError("CUDA out of memory"), FakeTorch)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"), FakeTorch)
    assert not is_out_of_memory(RuntimeError("shape mismatch"), FakeTorch)
    error = out_of_memory(RuntimeError("CUDA out of memory. Tried 2 GiB\nmore"), CONFIG, 11 * 2**30)
    assert error.code is ExitCode.OUT_OF_MEMORY
    for words in (
        "Peak GPU memory was 11.0 GiB",
        "gradientCheckpointing: true",
        "from 4 to 2",
        "from 4 to 8",
        "method qlora",
        "1024",
    ):
        assert words in error.message


def arguments(precision: Any = "float32", kind: Any = "cpu", **hyper: Any) -> dict[str, Any]:
    config = dataclasses.replace(CONFIG, hyperparameters=Hyperparameters(**hyper))
    return sft_arguments(config, Device(kind, precision), "/tmp/out", has_validation=True)


def test_traps_of_the_defaults_are_avoided() -> None:
    cpu = arguments()
    assert (cpu["bf16"], cpu["fp16"], cpu["use_cpu"], cpu["gradient_checkpointing"]) == (False, False, True, False)
    assert cpu["logging_nan_inf_filter"] is False
    assert (cpu["max_steps"], cpu["save_strategy"], cpu["eval_strategy"], cpu["report_to"]) == (-1, "no", "no", [])
    old, new = arguments("float16", "cuda"), arguments("bfloat16", "cuda", eval_steps=5, save_steps=7)
    assert (old["bf16"], old["fp16"]) == (False, True)
    assert (new["bf16"], new["fp16"], new["use_cpu"]) == (True, False, False)
    assert (new["eval_strategy"], new["eval_steps"], new["save_strategy"]) == ("steps", 5, "no")


def test_adapter_and_quantisation_arguments() -> None:
    assert lora_arguments(Lora())["target_modules"] == "all-linear"
    plain = lora_arguments(Lora())
    assert (plain["use_rslora"], plain["use_dora"]) == (False, False)
    special = lora_arguments(Lora(use_rslora=True, use_dora=True))
    assert (special["use_rslora"], special["use_dora"]) == (True, True)
    assert lora_arguments(Lora(target_modules=("q_proj", "v_proj")))["target_modules"] == ["q_proj", "v_proj"]
    assert quantization_arguments(Device("cuda", "float16"))["bnb_4bit_compute_dtype"] == "float16"
    assert "llm_int8_skip_modules" not in quantization_arguments(Device("cpu", "float32"))
    assert quantization_arguments(Device("cpu", "float32"), ["lm_head"])["llm_int8_skip_modules"] == ["lm_head"]
    assert base_dtype(Method.FULL, Device("cuda", "bfloat16")) == "float32"
    assert base_dtype(Method.LORA, Device("cuda", "bfloat16")) == "bfloat16"


def test_loraplus_arguments() -> None:
    assert loraplus_arguments(CONFIG) is None
    config = dataclasses.replace(
        CONFIG, lora=Lora(loraplus_lr_ratio=16.0), hyperparameters=Hyperparameters(learning_rate=1e-4, weight_decay=0.1)
    )
    assert loraplus_arguments(config) == {"lr": 1e-4, "loraplus_lr_ratio": 16.0, "loraplus_weight_decay": 0.1}
    assert loraplus_arguments(dataclasses.replace(config, method=Method.FULL)) is None


def test_noise_on_the_embeddings() -> None:
    assert arguments()["neftune_noise_alpha"] is None
    assert arguments(neftune_noise_alpha=5.0)["neftune_noise_alpha"] == 5.0


def test_dora_is_told_to_need_merging() -> None:
    dora = dataclasses.replace(CONFIG, lora=Lora(use_dora=True))
    told = dora_not_servable(dora)
    assert told is not None
    assert told.reason == "DoraNotServable"
    assert "export.merged: true" in told.message
    assert dora_not_servable(dataclasses.replace(dora, export=Export(merged=True))) is None
    assert dora_not_servable(CONFIG) is None


def test_every_problem_is_named_at_once() -> None:
    validate(CONFIG)
    hyper = Hyperparameters(learning_rate=NAN, save_steps=0, weight_decay=-1.0)
    bad = dataclasses.replace(CONFIG, hyperparameters=hyper, lora=Lora(dropout=1.0, target_modules=()))
    with pytest.raises(KubeTuneError) as caught:
        validate(bad)
    for name in ("learning_rate", "save_steps", "weight_decay", "lora.dropout", "lora.target_modules"):
        assert name in caught.value.message
    validate(dataclasses.replace(bad, hyperparameters=Hyperparameters(), method=Method.FULL))


def test_names_of_the_result() -> None:
    assert artifact_uri(CONFIG) == "s3://out/uid/adapter"
    assert artifact_uri(dataclasses.replace(CONFIG, method=Method.FULL)) == "s3://out/uid/model"
    assert config_sha256(CONFIG) != config_sha256(dataclasses.replace(CONFIG, lora=Lora(rank=8)))


def test_a_request_to_stop() -> None:
    stop = StopRequest()
    stop.check()
    stop.set()
    with pytest.raises(KubeTuneError) as caught:
        stop.check()
    assert caught.value.code is ExitCode.PREEMPTED
    assert "saveSteps" in caught.value.message
    assert "checkpoint of step 40" in preempted("after step 45 of 90", 40).message
