"""The MLflow run of a job: found again by the job's uid, fed in batches from a thread, never in the training's way.

With the tracking server down, everything is kept and sent when it answers again; what is still unsent at the end is
tried for FINISH_SECONDS more and then given up with a warning: a lost curve is no reason to lose a model.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kubetune_contract import Owner, Tracking

FLUSH_SECONDS = 5.0
FINISH_SECONDS = 60.0
BATCH = 500
"""Metrics per request; MLflow takes at most 1000."""
UID_TAG = "kubetune.uid"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int
    millis: int


@dataclass
class _Outbox:
    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Tracker:
    """The run of one job. Every method but ``finish`` returns at once; without a tracking server nothing is done."""

    def __init__(self, tracking: Tracking | None, owner: Owner) -> None:
        self.run_id: str | None = None
        self._tracking, self._owner = tracking, owner
        self._outbox, self._lock = _Outbox(), threading.Lock()
        self._ended = threading.Event()
        self._final: str | None = None
        self._warned = False
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        if tracking:
            self._thread.start()

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings of the run; MLflow keeps the first value of each."""
        with self._lock:
            self._outbox.params |= {key: str(value)[:6000] for key, value in values.items()}

    def tags(self, values: Mapping[str, str]) -> None:
        """Facts about the run."""
        with self._lock:
            self._outbox.tags |= values

    def metrics(self, values: Mapping[str, Any], step: int) -> None:
        """Numbers at a step; those that are no finite numbers are left out."""
        now = int(time.time() * 1000)
        points = [
            Point(key, float(value), step, now)
            for key, value in values.items()
            if isinstance(value, (int, float)) and math.isfinite(value)
        ]
        if self._tracking:
            with self._lock:
                self._outbox.points += points

    def finish(self, status: str, seconds: float | None = None) -> None:
        """Sends what is left and ends the run as ``FINISHED``, ``FAILED`` or ``KILLED``.

        Waits for it ``seconds`` (default: KUBETUNE_TRACKING_PATIENCE, else FINISH_SECONDS).
        """
        if seconds is None:
            seconds = float(os.environ.get("KUBETUNE_TRACKING_PATIENCE", FINISH_SECONDS))
        if not self._tracking or self._ended.is_set():
            return
        self._final = status
        self._ended.set()
        self._thread.join(seconds)
        if self._thread.is_alive():
            log.warning("tracking server %s did not take everything; the run there is incomplete", self._tracking.uri)

    def _work(self) -> None:
        assert self._tracking  # noqa: S101 (the thread is only started with it)
        # One short try per request: waiting for a server that is away is this loop's business.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        client: Any = None
        while True:
            last = self._ended.wait(FLUSH_SECONDS if client else 0.1)
            try:
                client = client or _client(self._tracking.uri)
                self.run_id = self.run_id or _find_or_create(client, self._tracking.experiment, self._owner)
                self._flush(client, self.run_id)
                if last:
                    client.set_terminated(self.run_id, self._final)
                    return
            except Exception as error:  # any failure of a tracker is survivable
                self._warn(error)
                time.sleep(1 if last else FLUSH_SECONDS)

    def _flush(self, client: Any, run_id: str) -> None:
        from mlflow.entities import Metric, Param, RunTag  # noqa: PLC0415 (its import takes seconds; not in the way here)

        while True:
            with self._lock:
                points = self._outbox.points[:BATCH]
                params = [Param(*pair) for pair in list(self._outbox.params.items())[:100]]
                tags = [RunTag(*pair) for pair in list(self._outbox.tags.items())[:100]]
            if not (points or params or tags):
                return
            metrics = [Metric(point.key, point.value, point.millis, point.step) for point in points]
            client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
            with self._lock:
                del self._outbox.points[: len(points)]
                for param in params:
                    self._outbox.params.pop(param.key, None)
                for tag in tags:
                    self._outbox.tags.pop(tag.key, None)

    def _warn(self, error: Exception) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        log.log(level, "tracking server does not take the run's data yet, training goes on: %s", error)


def _client(uri: str) -> Any:
    from mlflow import MlflowClient  # noqa: PLC0415 (its import takes seconds; not in the way here)

    return MlflowClient(tracking_uri=uri)


def _find_or_create(client: Any, experiment: str, owner: Owner) -> str:
    """One job is one run, however often its pod was started."""
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    runs = client.search_runs([experiment_id], filter_string=f"tags.`{UID_TAG}` = '{owner.uid}'", max_results=1)
    if runs:
        run_id: str = runs[0].info.run_id
        client.update_run(run_id, status="RUNNING")
        return run_id
    tags = {UID_TAG: owner.uid, "kubetune.namespace": owner.namespace, "kubetune.name": owner.name}
    created = client.create_run(experiment_id, run_name=f"{owner.namespace}/{owner.name}", tags=tags)
    return str(created.info.run_id)
