"""Prometheus series about running FineTuneJobs, one label set per job, gone when the job has ended."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from kubetune_contract import TrainProgress

LIMIT = 200
"""Jobs with series of their own; beyond it new ones get none, so that a scrape stays small."""
_MEMBERS = {
    "step": "Optimizer steps done.",
    "total_steps": "Optimizer steps planned.",
    "epoch": "Passes over the data.",
    "loss": "Training loss.",
    "eval_loss": "Validation loss.",
    "learning_rate": "Learning rate.",
    "grad_norm": "Norm of the gradient before clipping.",
    "tokens_per_second": "Tokens trained per second.",
    "eta_seconds": "Seconds left at the present speed.",
    "tokens": "Tokens trained, over all attempts.",
    "peak_vram_bytes": "Most GPU memory in use.",
    "reserved_vram_bytes": "GPU memory held by PyTorch, in use or not.",
    "gpu_utilization": "Share of the time in which the GPU computed, from 0 to 1.",
    "last_checkpoint_at": "When the newest checkpoint was published, in seconds since the epoch.",
}
_NAMES = {"last_checkpoint_at": "last_checkpoint_timestamp_seconds"}
"""Where Prometheus has a way of its own to call a thing."""


class ProgressSeries:
    """Gauges ``kubetune_finetunejob_*`` labelled by namespace and name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            member: Gauge(_name(member), text, ["namespace", "name"], registry=registry)
            for member, text in _MEMBERS.items()
        }
        self._shown: set[tuple[str, str]] = set()

    def set(self, namespace: str, name: str, progress: TrainProgress) -> None:
        """Members the trainer does not know yet keep their last value."""
        key = (namespace, name)
        if key not in self._shown and len(self._shown) >= LIMIT:
            return
        self._shown.add(key)
        for member, gauge in self._gauges.items():
            value = getattr(progress, member)
            if value is not None:
                gauge.labels(*key).set(value)

    def remove(self, namespace: str, name: str) -> None:
        key = (namespace, name)
        if key not in self._shown:
            return
        self._shown.discard(key)
        for gauge in self._gauges.values():
            # A member that never had a value has no series to remove.
            if key in gauge._metrics:
                gauge.remove(*key)


def _name(member: str) -> str:
    return f"kubetune_finetunejob_{_NAMES.get(member, member)}"
