"""Out of memory, told so that a user knows what to lower; and the peak that was needed."""

from __future__ import annotations

from typing import Any

from kubetune_contract import ExitCode, KubeTuneError, Method, TrainConfig


def peak_vram(torch: Any) -> int | None:
    """Bytes of GPU memory torch held at the most; None without a GPU in use."""
    if not (torch.cuda.is_available() and torch.cuda.is_initialized()):
        return None
    return int(torch.cuda.max_memory_reserved()) or None


def is_out_of_memory(error: BaseException, torch: Any) -> bool:
    """True for what torch and Python raise when an allocation fails, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def out_of_memory(error: BaseException, config: TrainConfig, peak: int | None) -> KubeTuneError:
    """The failure with the settings that would help, most effective first."""
    first = str(error).strip().partition("\n")[0]
    used = f" Peak GPU memory was {peak / 2**30:.1f} GiB." if peak else ""
    return KubeTuneError(
        ExitCode.OUT_OF_MEMORY, "OutOfMemory", f"{first}.{used} To need less: {'; '.join(remedies(config))}"
    )


def remedies(config: TrainConfig) -> list[str]:
    """What can still be lowered, in the order of what it costs."""
    hyper = config.hyperparameters
    batch, accumulation = hyper.per_device_train_batch_size, hyper.gradient_accumulation_steps
    found = []
    if not hyper.gradient_checkpointing:
        found.append("set gradientCheckpointing: true")
    if batch > 1:
        found.append(
            f"lower perDeviceTrainBatchSize from {batch} to {batch // 2} and raise gradientAccumulationSteps from "
            f"{accumulation} to {accumulation * 2} (same result, less memory)"
        )
    if config.method is Method.FULL:
        found.append("use method lora or qlora")
    elif config.method is Method.LORA:
        found.append("use method qlora")
    found.append(f"lower maxSequenceLength (now {hyper.max_sequence_length})")
    found.append("take a smaller base model")
    return found
