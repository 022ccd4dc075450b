"""The pure parts of the trainer: progress, precision, memory advice, arguments, validation."""

from __future__ import annotations

import dataclasses
import logging
import signal
import sys
from typing import Any

import pytest

from kubetune_contract import (
    Artifact,
    Dataset,
    ExitCode,
    Export,
    Hyperparameters,
    KubeTuneError,
    Lora,
    Method,
    ObjectStore,
    Owner,
    Phase,
    TrainConfig,
    TrainProgress,
    TrainSummary,
)
from kubetune_contract.paths import TERMINATION_LIMIT
from kubetune_contract.runtime import fit
from kubetune_trainer.loop.early import should_stop, validation_losses
from kubetune_trainer.model.device import Device, detect, visible_devices
from kubetune_trainer.model.sft import (
    base_dtype,
    lora_arguments,
    loraplus_arguments,
    quantization_arguments,
    sft_arguments,
)
from kubetune_trainer.processes.stop import StopRequest, preempted
from kubetune_trainer.publishing.fitting import fitting
from kubetune_trainer.publishing.results import artifact_uri
from kubetune_trainer.recovery.exhaustion import (
    Shortage,
    exhausted,
    is_out_of_memory,
    out_of_memory,
    state_bytes,
    told,
)
from kubetune_trainer.recovery.ladder import rungs_below, settings_of
from kubetune_trainer.recovery.restart import lowered
from kubetune_trainer.reporting.advice import dora_not_servable
from kubetune_trainer.reporting.report import Reporter
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
    clock.now += 50
    reporter.paused()
    clock.now += 2
    reporter.stepped(11)
    assert seen[-1].step_seconds == pytest.approx(2)
    # Ten steps and the pause between them took 70 s; as many of both are still to come.
    assert seen[-1].eta_seconds == pytest.approx(89 * 7)
    assert seen[-1].updated_at == clock.now
    reporter.phase("publishing")
    assert seen[-1].eta_seconds is None


@pytest.mark.walk("C5")
def test_there_is_a_phase_from_the_first_second(reporter: Reporter, seen: list[TrainProgress]) -> None:
    assert (seen[-1].phase, seen[-1].step, seen[-1].total_steps) == ("loading libraries", 0, 0)
    reporter.planned(10)
    reporter.phase(Phase.MODEL)
    assert (seen[-1].phase, seen[-1].total_steps, reporter.begun) == ("loading the model", 10, False)
    reporter.planned(None)
    reporter.begin(0, 10)
    assert (seen[-1].phase, seen[-1].total_steps, reporter.begun) == ("training", 10, True)
    with reporter.during(Phase.STORE):
        assert seen[-1].phase == "waiting for the store"
    assert seen[-1].phase == "training"


@pytest.mark.walk("C6")
def test_who_was_asked_to_stop_says_what_is_saved(reporter: Reporter, seen: list[TrainProgress]) -> None:
    reporter.begin(4, 10)
    reporter.stopping(5)
    reporter.phase(Phase.SAVING)
    reporter.phase(Phase.TRAINING)
    assert seen[-1].phase == "stopping: saving step 5"
    with reporter.during(Phase.STORE):
        assert seen[-1].phase == "waiting for the store"
    assert seen[-1].phase == "stopping: saving step 5"
    for following in (Phase.PUBLISHING, Phase.FAILED):
        reporter.phase(following)
        assert seen[-1].phase == following


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


@pytest.mark.parametrize(("bfloat16", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_a_cpu_computes_in_bfloat16_where_it_can(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, precision: str
) -> None:
    monkeypatch.setattr("kubetune_trainer.model.device.computes_bfloat16", lambda: bfloat16)
    assert detect(0, FakeTorch) == Device("cpu", precision)  # type: ignore[arg-type]


def test_a_gpu_that_is_not_there_is_no_cpu() -> None:
    with pytest.raises(KubeTuneError, match="none is visible") as caught:
        detect(1, FakeTorch)
    assert caught.value.code is ExitCode.BAD_CONFIG


def test_out_of_memory_says_what_to_lower() -> None:
    assert is_out_of_memory(FakeTorch.OutOfMemoryError("CUDA out of memory"), FakeTorch)
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"), FakeTorch)
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), FakeTorch)
    assert not is_out_of_memory(RuntimeError("shape mismatch"), FakeTorch)
    error = out_of_memory("CUDA out of memory. Tried 2 GiB\nmore", CONFIG, 11 * 2**30)
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


CPU_SAYS = (
    "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate {} bytes."
)


def test_an_allocators_words_in_a_few() -> None:
    assert told("CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has ...") == "1.50 GiB could not be allocated"
    assert told("CUDA out of memory. Tried to allocate 512.00 MiB.") == "0.50 GiB could not be allocated"
    assert told(CPU_SAYS.format(3 << 30) + " Error code 12") == "3.00 GiB could not be allocated"
    assert told("std::bad_alloc\nfrom here") == "std::bad_alloc"


def test_the_end_of_the_ladder_names_what_is_missing() -> None:
    last = Hyperparameters(
        per_device_train_batch_size=1, gradient_checkpointing=True, optimizer="adamw_8bit", max_sequence_length=4096
    )
    config = dataclasses.replace(CONFIG, hyperparameters=last)
    message = exhausted(CPU_SAYS.format(1 << 30), config, Shortage(4000, 1500, 1.25 * 2**30)).message
    for words in (
        "perDeviceTrainBatchSize 1, gradientCheckpointing: true, optimizer adamw_8bit",
        "of 4000 tokens, need about 1.25 GiB more; rows of up to 1500 tokens fit",
        "set maxSequenceLength: 1500; use method qlora; take a smaller base model",
    ):
        assert words in message
    message = exhausted(CPU_SAYS.format(1 << 30), config, Shortage(4000, None, None)).message
    assert "need at least 1.00 GiB more; not even short rows fit" in message
    assert "lower maxSequenceLength (now 4096)" in message


@pytest.mark.parametrize(
    ("optimizer", "device", "expected"),
    [
        ("adamw_torch", "cpu", 2 * 4 * 5010),
        ("adamw_torch_fused", "cuda", 2 * 4 * 5010),
        ("paged_adamw_32bit", "cuda", 0),
        ("adamw_8bit", "cuda", 2 * 5000 + 8 * 10),
        ("paged_adamw_8bit", "cuda", 0),
        ("sgd", "cpu", 0),
    ],
)
def test_memory_of_an_optimizer(optimizer: str, device: str, expected: int) -> None:
    assert state_bytes(optimizer, [(5000, 4), (10, 4)], device) == expected


def test_a_summary_with_a_long_recovery_fits_a_termination_message() -> None:
    hyper = settings_of(Hyperparameters(per_device_train_batch_size=4096))
    steps = lowered(((rung, "x" * 400) for rung in rungs_below(hyper, "cpu")), 1.0, 3).steps
    summary = TrainSummary(1, Artifact("s3://out/uid/adapter", "adapter", "0" * 64, 1), 8, 9, 0, 1.0, recovery=steps)
    short = fitting(summary)
    assert len(fit(short)) <= TERMINATION_LIMIT
    assert short.recovery[-1].action == "optimizer8bit"
    assert 5 < len(short.recovery) <= len(steps) == 14
    assert fitting(dataclasses.replace(summary, recovery=steps[:3])).recovery == steps[:3]


@pytest.mark.parametrize(
    ("losses", "patience", "threshold", "stops"),
    [
        ([3.0, 2.0, 1.0], 1, 0.0, False),
        ([3.0, 2.0, 2.0], 1, 0.0, True),
        ([3.0, 2.0, 2.5], 2, 0.0, False),
        ([3.0, 2.0, 2.5, 2.1], 2, 0.0, True),
        ([3.0, 2.0, 2.5, 1.9], 2, 0.0, False),
        ([3.0, 2.99, 2.98], 2, 0.1, True),
        ([3.0, NAN, NAN], 2, 0.0, True),
        ([3.0, 4.0, 5.0], None, 0.0, False),
        ([], 1, 0.0, False),
    ],
)
def test_early_stopping(losses: list[float], patience: int | None, threshold: float, stops: bool) -> None:
    log = [{"loss": 1.0, "step": 1}, *({"eval_loss": loss, "step": 2} for loss in losses)]
    assert validation_losses(log) == pytest.approx(losses, nan_ok=True)
    assert should_stop(losses, patience, threshold) is stops


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


class Busy:
    """A log's stream that SIGTERM interrupts in the middle of a line; like Python's, it cannot be entered again."""

    def __init__(self) -> None:
        self.inside = self.interrupted = False

    def write(self, _: str) -> None:
        if self.inside:
            raise RuntimeError("reentrant call")
        self.inside = True
        if not self.interrupted:
            self.interrupted = True
            signal.raise_signal(signal.SIGTERM)
        self.inside = False

    def flush(self) -> None:
        """Nothing is kept back."""


def test_a_request_in_the_middle_of_a_log_line(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    stream: Any = Busy()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(stream)])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    try:
        stop = StopRequest.installed()
        logging.getLogger("kubetune_trainer.loop").info("step 6 of 5000")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert stream.interrupted
    assert stop.requested
    assert stop.wait(60)


def test_a_wait_ends_in_time_without_a_request() -> None:
    assert not StopRequest().wait(0.01)


def test_a_request_to_stop() -> None:
    stop = StopRequest()
    stop.check()
    stop.set()
    with pytest.raises(KubeTuneError) as caught:
        stop.check()
    assert caught.value.code is ExitCode.PREEMPTED
    assert "saveSteps" in caught.value.message
    assert "checkpoint of step 40" in preempted("after step 45 of 90", 40).message
