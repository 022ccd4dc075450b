"""The engine's command line and environment. Pure: everything about the machine comes in as arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kubetune_contract import Engine, ExitCode, KubeTuneError, ServeConfig
from kubetune_contract.paths import SERVE_PORT

from . import default_model

GIB = 1 << 30
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 (the pod's own network; what may reach it is the Service's affair)

DESKTOP_SHARE = 0.88
"""Of the GPU's memory; vLLM's own 0.92 leaves too little on a card that also draws a screen."""
SMALL_GPU = 17 * GIB
"""Cards up to 16 GB: fewer sequences at a time leave room for longer ones."""
SMALL_GPU_SEQUENCES = 16
CPU_SEQUENCES = 16
FLOAT16_BELOW = (8, 0)
"""bfloat16 needs compute capability 8.0; vLLM does not choose float16 by itself."""
OLDEST = (7, 5)
"""The least compute capability that vLLM's wheels carry code for."""

RESERVED = {
    "--host": "the Service expects the engine on all addresses",
    "--port": f"the Service and the probes expect port {SERVE_PORT}",
    "--uds": "the Service expects a port",
    "--root-path": "the probes expect /health",
    "--api-key": "it would guard some of the engine's paths only; put a gateway that asks for a key in front",
    "--served-model-name": "the name is the ModelDeployment's",
    "--model": "the model is spec.model",
    "--tokenizer": "the tokenizer is the model's, as in training and evaluation",
    "--lora-modules": "the adapter is spec.model's",
    "--enable-lora": "it follows from spec.model",
    "--no-enable-lora": "it follows from spec.model",
    "--max-lora-rank": "it follows from the adapter",
    "--config": "a file could set any of the others",
    "--headless": "the pod would answer nothing",
    "--grpc": "the Service expects HTTP",
    "--shutdown-timeout": "it follows from spec.drainSeconds",
    "--ssl-keyfile": "the probes expect plain HTTP",
    "--ssl-certfile": "the probes expect plain HTTP",
    "--tensor-parallel-size": "it follows from spec.resources.gpu",
    "-tp": "it follows from spec.resources.gpu",
    "--max-model-len": "set spec.engine.maxModelLen",
    "--max-num-seqs": "set spec.engine.maxNumSeqs",
    "--gpu-memory-utilization": "set spec.engine.gpuMemoryUtilization",
    "--dtype": "set spec.engine.dtype",
}
"""Options that extraArgs may not set, with the reason."""


@dataclass(frozen=True)
class Gpu:
    """The first GPU the container sees; all of a pod's are taken to be alike."""

    memory: int
    """Bytes."""
    capability: tuple[int, int]


@dataclass(frozen=True)
class Machine:
    """What the container may use."""

    cpus: int
    memory: int
    """Bytes of main memory."""
    cpu_bfloat16: bool = False
    """Whether the CPU computes in bfloat16 (AVX512_BF16 or AMX)."""
    gpu: Gpu | None = None


@dataclass(frozen=True)
class Fetched:
    """What the fetch step left: paths on this machine. ``lora_rank`` is the --max-lora-rank of the adapter."""

    model_path: str
    model_bytes: int
    adapter_path: str | None = None
    lora_rank: int | None = None
    chat_template: str | None = None
    """Path of the adapter's own template: vLLM itself looks at the base's only."""


def command(config: ServeConfig, fetched: Fetched, machine: Machine, port: int = SERVE_PORT) -> list[str]:
    """The argument vector of ``vllm serve``. Raises KubeTuneError (BAD_CONFIG) for settings that cannot work."""
    name = config.model.name
    return [
        *("vllm", "serve", fetched.model_path),
        *("--served-model-name", base_name(name, fetched)),
        *("--host", ALL_ADDRESSES, "--port", str(port)),
        *("--shutdown-timeout", str(config.drain_seconds)),
        *("--disable-access-log-for-endpoints", "/health,/metrics"),
        *_adapter(name, fetched),
        *_limits(config, fetched, machine),
        *checked_extra(config.engine.extra_args),
    ]


def base_name(name: str, fetched: Fetched) -> str:
    """What the base answers to: the deployment's own name, unless an adapter has it."""
    return f"{name}-base" if fetched.adapter_path else name


def environment(config: ServeConfig, fetched: Fetched, machine: Machine) -> dict[str, str]:
    """Variables for the engine. Caches lie in /tmp: the root file system is read-only."""
    name = config.model.name
    common = {
        **({default_model.TUNED: name, default_model.BASE: base_name(name, fetched)} if fetched.adapter_path else {}),
        "HOME": "/tmp",
        "VLLM_CACHE_ROOT": "/tmp/vllm",
        "VLLM_CONFIG_ROOT": "/tmp/vllm-config",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
    }
    if config.gpus:
        return common
    # Binding would choose among the node's cores; the container has a share of them, not these or those.
    # For the same reason its idle threads must not spin: that takes CPUs from the ones that compute.
    return {
        **common,
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(machine.cpus),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _adapter(name: str, fetched: Fetched) -> list[str]:
    if not fetched.adapter_path:
        return []
    template = ["--chat-template", fetched.chat_template] if fetched.chat_template else []
    return [
        "--enable-lora",
        *("--lora-modules", f"{name}={fetched.adapter_path}"),
        *("--max-loras", "1", "--max-lora-rank", str(fetched.lora_rank)),
        *("--middleware", default_model.MIDDLEWARE),
        *template,
    ]


def _limits(config: ServeConfig, fetched: Fetched, machine: Machine) -> list[str]:
    engine = config.engine
    # "auto": as long as the model and the memory left for the cache allow, instead of a refusal to start.
    length = ["--max-model-len", str(engine.max_model_len or "auto")]
    specific = _gpu(engine, config.gpus, machine) if config.gpus else _cpu(engine, fetched, machine)
    return [*length, *specific]


def _gpu(engine: Engine, count: int, machine: Machine) -> list[str]:
    gpu = machine.gpu
    if gpu is None:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "GPUNotVisible",
            "the pod asks for a GPU but none is visible in the container; check the node's driver and device plugin, "
            "and runtimeClassName (nvidia on k3s)",
        )
    if gpu.capability < OLDEST:
        have = ".".join(map(str, gpu.capability))
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "GPUNotSupported",
            f"vLLM needs compute capability {OLDEST[0]}.{OLDEST[1]} or newer, this GPU has {have}; "
            "choose another node with nodeSelector, or set resources.gpu to 0 to serve on the CPU",
        )
    arguments = ["--tensor-parallel-size", str(count)] if count > 1 else []
    arguments += ["--gpu-memory-utilization", f"{engine.gpu_memory_utilization or DESKTOP_SHARE:g}"]
    if engine.max_num_seqs or gpu.memory < SMALL_GPU:
        arguments += ["--max-num-seqs", str(engine.max_num_seqs or SMALL_GPU_SEQUENCES)]
    old = engine.dtype == "auto" and gpu.capability < FLOAT16_BELOW
    arguments += ["--dtype", "half" if old else engine.dtype]
    return [*arguments, "--enforce-eager"] if engine.enforce_eager else arguments


def _cpu(engine: Engine, fetched: Fetched, machine: Machine) -> list[str]:
    dtype = engine.dtype
    if dtype == "auto":
        dtype = "bfloat16" if machine.cpu_bfloat16 else "float32"
    width = 2 if dtype == "float32" else 1
    memory = int(machine.memory * (engine.gpu_memory_utilization or 1.0))
    cache = cpu_cache_bytes(memory, fetched.model_bytes * width)
    return [
        *("--dtype", dtype),
        *("--max-num-seqs", str(engine.max_num_seqs or CPU_SEQUENCES)),
        *("--kv-cache-memory-bytes", str(cache)),
        # Compiling takes a compiler, minutes and memory; a CPU node is for small models.
        "--enforce-eager",
    ]


def cpu_cache_bytes(memory: int, weights: int) -> int:
    """Half of what the weights and vLLM's own 2 GiB leave, between 256 MiB and 4 GiB."""
    spare = memory - weights - 2 * GIB
    return max(GIB // 4, min(4 * GIB, spare // 2))


def checked_extra(arguments: Sequence[str]) -> list[str]:
    """``arguments`` as they are. Raises KubeTuneError (BAD_CONFIG, ExtraArgRefused) for one that is reserved."""
    for position, argument in enumerate(arguments):
        option = _option(argument)
        if position == 0 and not argument.startswith("-"):
            raise _refused(argument, "the list must begin with an option")
        if option is None:
            continue
        reason = RESERVED.get(option) or _reason_for_abbreviation(option)
        if reason:
            raise _refused(argument, reason)
    return list(arguments)


def _option(argument: str) -> str | None:
    """``--served_model_name=x`` -> ``--served-model-name``; None for a value."""
    if not argument.startswith("-") or argument.lstrip("-")[:1].isdigit():
        return None
    return argument.partition("=")[0].partition(".")[0].replace("_", "-")


def _reason_for_abbreviation(option: str) -> str | None:
    """Python's argparse takes any unambiguous beginning of a long option for the option."""
    if not option.startswith("--"):
        return None
    return next((why for name, why in RESERVED.items() if name.startswith(option)), None)


def _refused(argument: str, reason: str) -> KubeTuneError:
    return KubeTuneError(
        ExitCode.BAD_CONFIG, "ExtraArgRefused", f"engine.extraArgs may not contain {argument!r}: {reason}"
    )
