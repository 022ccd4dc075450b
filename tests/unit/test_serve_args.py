"""The engine's command line, by machine and settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kubetune_contract import Engine, ExitCode, KubeTuneError, ModelRef, ObjectStore, Owner, ServeConfig
from kubetune_server import default_model
from kubetune_server.serve_args import (
    GIB,
    RESERVED,
    Fetched,
    Gpu,
    Machine,
    checked_extra,
    command,
    cpu_cache_bytes,
    environment,
)

CONFIG = ServeConfig(
    1, Owner("ns", "demo", "uid"), "v1", ModelRef("demo", "s3://m/tiny", "s3://m/adapter"), ObjectStore()
)
BASE = Fetched("/cache/models/abc", 10 * GIB)
ADAPTED = replace(BASE, adapter_path="/cache/adapters/def", lora_rank=16)
CPU = Machine(cpus=2, memory=26 * GIB)
LARGE = Machine(cpus=8, memory=64 * GIB, gpu=Gpu(24 * GIB, (8, 6)))
SMALL = Machine(cpus=8, memory=64 * GIB, gpu=Gpu(12 * GIB, (8, 6)))
ON_GPU = replace(CONFIG, gpus=1)


def option(arguments: list[str], name: str) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def test_with_an_adapter_the_deployments_name_is_the_adapter() -> None:
    arguments = command(CONFIG, ADAPTED, CPU)
    assert arguments[:3] == ["vllm", "serve", "/cache/models/abc"]
    assert option(arguments, "--served-model-name") == "demo-base"
    assert option(arguments, "--lora-modules") == "demo=/cache/adapters/def"
    assert option(arguments, "--max-lora-rank") == "16"
    assert option(arguments, "--max-loras") == "1"
    assert "--chat-template" not in arguments


@pytest.mark.walk("W5")
def test_with_an_adapter_the_engine_is_told_which_of_the_two_models_is_meant() -> None:
    assert option(command(CONFIG, ADAPTED, CPU), "--middleware") == "kubetune_server.default_model.DefaultModel"
    variables = environment(CONFIG, ADAPTED, CPU)
    assert (variables[default_model.TUNED], variables[default_model.BASE]) == ("demo", "demo-base")
    assert "--middleware" not in command(CONFIG, BASE, CPU)
    assert default_model.TUNED not in environment(CONFIG, BASE, CPU)


def test_without_an_adapter_the_name_is_the_model() -> None:
    arguments = command(CONFIG, BASE, CPU)
    assert option(arguments, "--served-model-name") == "demo"
    assert "--enable-lora" not in arguments


def test_the_adapters_chat_template_is_passed() -> None:
    arguments = command(CONFIG, replace(ADAPTED, chat_template="/tmp/t.jinja"), CPU)
    assert option(arguments, "--chat-template") == "/tmp/t.jinja"


def test_address_and_drain() -> None:
    arguments = command(replace(CONFIG, drain_seconds=12), BASE, CPU)
    assert (option(arguments, "--host"), option(arguments, "--port")) == ("0.0.0.0", "8000")
    assert option(arguments, "--shutdown-timeout") == "12"


def test_cpu_settings() -> None:
    arguments = command(CONFIG, BASE, CPU)
    assert option(arguments, "--dtype") == "float32"
    assert "--enforce-eager" in arguments
    assert option(arguments, "--max-model-len") == "auto"
    assert option(arguments, "--gpu-memory-utilization") is None
    # 26 GiB less 20 GiB of weights in float32 and 2 GiB for vLLM; half of the rest.
    assert option(arguments, "--kv-cache-memory-bytes") == str(2 * GIB)
    assert option(command(CONFIG, BASE, replace(CPU, cpu_bfloat16=True)), "--dtype") == "bfloat16"


@pytest.mark.parametrize(("memory", "weights", "expected"), [(4, 3, 0.25), (4, 0, 1), (64, 0, 4), (1, 8, 0.25)])
def test_cpu_cache_is_bounded(memory: int, weights: int, expected: float) -> None:
    assert cpu_cache_bytes(memory * GIB, weights * GIB) == expected * GIB


def test_gpu_settings_for_a_desktop_card() -> None:
    arguments = command(ON_GPU, BASE, LARGE)
    assert option(arguments, "--gpu-memory-utilization") == "0.88"
    assert option(arguments, "--dtype") == "auto"
    assert option(arguments, "--max-num-seqs") is None
    assert "--enforce-eager" not in arguments
    assert option(command(ON_GPU, BASE, SMALL), "--max-num-seqs") == "16"


def test_the_users_settings_win() -> None:
    engine = Engine(max_model_len=4096, max_num_seqs=3, gpu_memory_utilization=0.5, dtype="half", enforce_eager=True)
    arguments = command(replace(ON_GPU, engine=engine), BASE, SMALL)
    expected = {
        "--max-model-len": "4096",
        "--max-num-seqs": "3",
        "--gpu-memory-utilization": "0.5",
        "--dtype": "half",
    }
    assert {name: option(arguments, name) for name in expected} == expected
    assert "--enforce-eager" in arguments


def test_a_turing_card_computes_in_half_precision() -> None:
    turing = replace(LARGE, gpu=Gpu(11 * GIB, (7, 5)))
    assert option(command(ON_GPU, BASE, turing), "--dtype") == "half"


def test_several_gpus_share_the_model() -> None:
    assert option(command(replace(CONFIG, gpus=2), BASE, LARGE), "--tensor-parallel-size") == "2"


@pytest.mark.parametrize(
    ("machine", "reason"),
    [(CPU, "GPUNotVisible"), (replace(LARGE, gpu=Gpu(4 * GIB, (5, 2))), "GPUNotSupported")],
)
def test_a_gpu_that_cannot_serve_is_explained(machine: Machine, reason: str) -> None:
    with pytest.raises(KubeTuneError) as caught:
        command(ON_GPU, BASE, machine)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, reason)


def test_extra_arguments_come_last() -> None:
    extra = ("--enable-prefix-caching", "--seed", "7", "--max-logprobs=-1")
    assert command(replace(CONFIG, engine=Engine(extra_args=extra)), BASE, CPU)[-4:] == list(extra)


@pytest.mark.parametrize(
    "argument",
    [*RESERVED, "--port=1", "--served_model_name=x", "--served-model", "--hos", "--api_key", "--config.x=1", "model"],
)
def test_arguments_that_would_break_the_deployment_are_refused(argument: str) -> None:
    with pytest.raises(KubeTuneError) as caught:
        checked_extra([argument])
    assert caught.value.reason == "ExtraArgRefused"
    assert argument in caught.value.message


@pytest.mark.parametrize("argument", ["--max-lora-cls-labels", "--tokenizer-mode", "--ssl-cert-reqs", "-O3", "--seed"])
def test_options_that_only_look_reserved_pass(argument: str) -> None:
    assert checked_extra([argument]) == [argument]


def test_environment_needs_no_writable_root_and_tells_nobody() -> None:
    cpu, gpu = environment(CONFIG, ADAPTED, CPU), environment(ON_GPU, BASE, LARGE)
    assert cpu["OMP_NUM_THREADS"] == "2"
    assert cpu["VLLM_CPU_OMP_THREADS_BIND"] == "nobind"
    assert cpu["OMP_WAIT_POLICY"] == "PASSIVE"
    assert "OMP_NUM_THREADS" not in gpu
    for variables in (cpu, gpu):
        assert all(variables[name].startswith("/tmp") for name in ("HOME", "VLLM_CACHE_ROOT", "VLLM_CONFIG_ROOT"))
        assert variables["VLLM_NO_USAGE_STATS"] == "1"
