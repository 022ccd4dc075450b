"""Prometheus series about running FineTuneJobs, one label set per job, gone when the job has ended."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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


_GROWING = {"tokens"}
"""What only grows over the attempts of a job."""


class ProgressSeries(Collector):
    """``kubetune_finetunejob_*`` labelled by namespace and name."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._values: dict[tuple[str, str], dict[str, float]] = {}
        registry.register(self)

    def set(self, namespace: str, name: str, progress: TrainProgress) -> None:
        """Members the trainer does not know yet keep their last value."""
        key = (namespace, name)
        if key not in self._values and len(self._values) >= LIMIT:
            return
        told = {member: getattr(progress, member) for member in _MEMBERS}
        known = {member: float(value) for member, value in told.items() if value is not None}
        self._values[key] = self._values.get(key, {}) | known

    def remove(self, namespace: str, name: str) -> None:
        self._values.pop((namespace, name), None)

    def collect(self) -> Iterator[Metric]:
        for member, text in _MEMBERS.items():
            kind = CounterMetricFamily if member in _GROWING else GaugeMetricFamily
            family = kind(f"kubetune_finetunejob_{_NAMES.get(member, member)}", text, labels=["namespace", "name"])
            for key, values in self._values.items():
                if member in values:
                    family.add_metric(list(key), values[member])
            yield family
