"""The training pod's own Prometheus series."""

from __future__ import annotations

from kubetune_contract import TrainConfig
from kubetune_shared.series import Catalog, Series

SERIES = {
    "step": Series("step", "Optimizer steps done."),
    "total_steps": Series("planned_steps", "Optimizer steps of the whole run; 0 while that is not known."),
    "epoch": Series("epoch", "Passes over the data done."),
    "loss": Series("loss", "Training loss: mean cross-entropy per learned token since the log line before, in nats."),
    "eval_loss": Series("eval_loss", "Validation loss of the last evaluation, in nats."),
    "learning_rate": Series("learning_rate", "Learning rate of the last logged step."),
    "grad_norm": Series("grad_norm", "Norm of the gradient before clipping, of the last logged step."),
    "tokens_per_second": Series("tokens_per_second", "Tokens trained per second between the last two log lines."),
    "eta_seconds": Series("eta_seconds", "Seconds left at the present speed."),
    "peak_vram_bytes": Series("peak_vram_bytes", "Most GPU memory that PyTorch has held."),
    "last_checkpoint": Series("last_checkpoint_step", "Step of the newest checkpoint in the object store."),
    "last_checkpoint_at": Series(
        "last_checkpoint_timestamp_seconds", "When that checkpoint was complete, in seconds since the epoch."
    ),
    "best_step": Series("best_step", "Step of the checkpoint with the lowest validation loss."),
    "reserved_vram_bytes": Series("reserved_vram_bytes", "GPU memory that PyTorch holds now, in use or not."),
    "gpu_utilization": Series("gpu_utilization_ratio", "Share of the time in which the GPU computed, from 0 to 1."),
    "tokens": Series("tokens", "Tokens trained, over all attempts, padding left out.", is_counter=True),
    "step_seconds": Series("step_seconds", "Time of an optimizer step, moving average."),
    "checkpoint_seconds": Series(
        "checkpoint_seconds", "Longest time from the start of saving to the manifest in the store."
    ),
    "active_seconds": Series(
        "active_seconds",
        "Time of the training processes of all attempts: libraries, model, steps, evaluations, publishing.",
        is_counter=True,
    ),
    "updated_at": Series("updated_timestamp_seconds", "When these numbers were made, in seconds since the epoch."),
}
"""By the members of TrainProgress."""


def catalog(config: TrainConfig) -> Catalog:
    """Labelled by what the run is for."""
    owner = config.owner
    info = {
        "namespace": owner.namespace,
        "name": owner.name,
        "uid": owner.uid,
        "method": config.method.value,
        "base_model": config.base_model,
    }
    return Catalog("kubetune_train", SERIES, info, "The FineTuneJob that this pod trains for.")
