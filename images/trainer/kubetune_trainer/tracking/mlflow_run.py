"""One job's run on an MLflow server, call by call; when to call is tracker.py's business.

Every call may be made again: a request that seemed to fail may have arrived.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from kubetune_contract import Owner, Tracking

from .tracked import Data, Point, Version

UID_TAG = "kubetune.uid"
DIGEST_CHARS = 36
"""MLflow's limit for a dataset's digest; the whole one is in a tag of the run."""


class Run:
    """The run of one job: one, however often its pod was started."""

    def __init__(self, tracking: Tracking, owner: Owner) -> None:
        """Finds or creates it. Raises whatever the client raises."""
        self._client = MlflowClient(tracking_uri=tracking.uri)
        self._owner = owner
        self._last: dict[str, int] = {}
        self._is_new = True
        self.id = self._find_or_create(tracking.experiment)

    def log(self, points: Sequence[Point], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Adds to the curves and facts; a point at or before the last one of its curve is left out.

        MLflow only ever appends: the steps that a resumed training repeats would otherwise be there twice.
        """
        new = {(point.key, point.step): point for point in points if point.step > self._last_step(point.key)}
        self._client.log_batch(
            self.id,
            metrics=[Metric(point.key, point.value, point.millis, point.step) for point in new.values()],
            params=[Param(*pair) for pair in params.items()],
            tags=[RunTag(*pair) for pair in tags.items()],
        )
        for key, step in new:
            self._last[key] = max(step, self._last_step(key))

    def add_data(self, data: Data) -> None:
        """The dataset as an input of the run; the same one is there once."""
        counts = {"num_rows": data.train_rows, "validation_rows": data.validation_rows}
        dataset = Dataset(
            name=data.uri.rstrip("/").rpartition("/")[2],
            digest=data.sha256[:DIGEST_CHARS],
            source_type=data.uri.partition(":")[0],
            source=json.dumps({"uri": data.uri, "sha256": data.sha256}),
            profile=json.dumps(counts),
        )
        tags = [InputTag("mlflow.data.context", "training")]
        self._client.log_inputs(self.id, datasets=[DatasetInput(dataset, tags)])

    def register(self, version: Version) -> str:
        """``name/version`` of this job's version of the model, which is created unless it is there."""
        try:
            self._client.create_registered_model(version.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        known = self._client.search_model_versions(f"name = '{version.name}' and run_id = '{self.id}'")
        mine = [found for found in known if found.source == version.source]
        if mine:
            return f"{version.name}/{mine[0].version}"
        made = self._client.create_model_version(
            version.name,
            version.source,
            run_id=self.id,
            tags=dict(version.tags),
            description=f"FineTuneJob {self._owner.namespace}/{self._owner.name}",
            await_creation_for=0,
        )
        return f"{version.name}/{made.version}"

    def end(self, status: str) -> None:
        """``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._client.set_terminated(self.id, status)

    def _last_step(self, key: str) -> int:
        """Where a curve ends on the server; -1 for one that is not there yet."""
        if key not in self._last:
            history = [] if self._is_new else self._client.get_metric_history(self.id, key)
            self._last[key] = max((point.step for point in history), default=-1)
        return self._last[key]

    def _find_or_create(self, experiment: str) -> str:
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        runs = self._client.search_runs(
            [experiment_id], filter_string=f"tags.`{UID_TAG}` = '{self._owner.uid}'", max_results=1
        )
        if runs:
            self._is_new = False
            self._client.update_run(runs[0].info.run_id, status="RUNNING")
            return str(runs[0].info.run_id)
        tags = {
            UID_TAG: self._owner.uid,
            "kubetune.namespace": self._owner.namespace,
            "kubetune.name": self._owner.name,
        }
        created = self._client.create_run(
            experiment_id, run_name=f"{self._owner.namespace}/{self._owner.name}", tags=tags
        )
        return str(created.info.run_id)
