"""One job's run on an MLflow server, call by call; when to call is tracker.py's business.

Every call may be made again: a request that seemed to fail may have arrived.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, LifecycleStage, Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from kubetune_contract import Owner, Tracking

from .tracked import Data, Place, Point, RefusedError, Version

UID_TAG = "kubetune.uid"
SETTINGS_TAG = "kubetune.settings.sha256"
TRY_AGAIN = {408, 429}
"""HTTP statuses below 500 that say: later."""
MAY_PASS = {401, 403, 404}
DELETED = re.compile(r"must be in (?:the )?'?active'?")
"""What it says of a run or an experiment that somebody has deleted, with status 400."""
CHANGED_PARAM = "Changing param values is not allowed"
DIGEST_CHARS = 36
"""MLflow's limit for a dataset's digest; the whole one is in a tag of the run."""

log = logging.getLogger(__name__)


class Run:
    """The run of one job with one choice of settings: one, however often its pod was started.

    Every method raises RefusedError for what the server will not have, and whatever else the client raises.
    """

    def __init__(self, tracking: Tracking, owner: Owner, settings_sha256: str) -> None:
        """Finds or creates it."""
        self._client = MlflowClient(tracking_uri=tracking.uri)
        self._owner, self._settings_sha256 = owner, settings_sha256
        self._last: dict[str, int] = {}
        self._is_new = True
        with refusals():
            found = self._find_or_create(tracking.experiment)
        self.id = str(found.run_id)
        self.place = Place(tracking.uri, tracking.experiment, str(found.experiment_id), self.id, str(found.run_name))

    def log_points(self, points: Sequence[Point]) -> None:
        """Adds to the curves; a point at or before the last one of its curve is left out.

        MLflow only ever appends: the steps that a resumed training repeats would otherwise be there twice.
        """
        with refusals():
            new = {(point.key, point.step): point for point in points if point.step > self._last_step(point.key)}
            metrics = [Metric(point.key, point.value, point.millis, point.step) for point in new.values()]
            self._client.log_batch(self.id, metrics=metrics)
        for key, step in new:
            self._last[key] = max(step, self._last_step(key))

    def log_params(self, params: Mapping[str, str]) -> None:
        """All that can be: MLflow never changes a parameter, and refuses the others along with one that it has."""
        try:
            with refusals():
                self._client.log_batch(self.id, params=[Param(*pair) for pair in params.items()])
                return
        except RefusedError as error:
            if error.may_pass or len(params) == 1:
                raise
        refused = {}
        for pair in params.items():
            try:
                with refusals():
                    self._client.log_param(self.id, *pair)
            except RefusedError as error:
                refused[pair[0]] = str(error)
        if refused:
            raise RefusedError(f"{', '.join(refused)}: {next(iter(refused.values()))}")

    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Facts about the run; a later value replaces an earlier one."""
        with refusals():
            self._client.log_batch(self.id, tags=[RunTag(*pair) for pair in tags.items()])

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
        with refusals():
            self._client.log_inputs(self.id, datasets=[DatasetInput(dataset, tags)])

    def register(self, version: Version) -> str:
        """``name/version`` of this job's version of the model, which is created unless it is there."""
        with refusals():
            return self._register(version)

    def _register(self, version: Version) -> str:
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
        with refusals():
            self._client.set_terminated(self.id, status)

    def _last_step(self, key: str) -> int:
        """Where a curve ends on the server; -1 for one that is not there yet."""
        if key not in self._last:
            history = [] if self._is_new else self._client.get_metric_history(self.id, key)
            self._last[key] = max((point.step for point in history), default=-1)
        return self._last[key]

    def _find_or_create(self, experiment: str) -> Any:
        """The run's info. One of this job with other settings is another run: its curve is not this one's."""
        found = self._client.get_experiment_by_name(experiment)
        experiment_id = found.experiment_id if found else self._client.create_experiment(experiment)
        if found and found.lifecycle_stage != LifecycleStage.ACTIVE:
            # A deleted experiment keeps its name, so that no other one can be made in its place.
            log.warning("the experiment %s had been deleted; it is restored, as this run belongs into it", experiment)
            self._client.restore_experiment(experiment_id)
        runs = self._client.search_runs([experiment_id], filter_string=f"tags.`{UID_TAG}` = '{self._owner.uid}'")
        mine = [run for run in runs if run.data.tags.get(SETTINGS_TAG, self._settings_sha256) == self._settings_sha256]
        for other in runs:
            if other not in mine and other.info.status == "RUNNING":
                self._client.set_terminated(other.info.run_id, "KILLED")
        if mine:
            self._is_new = False
            self._client.update_run(mine[0].info.run_id, status="RUNNING")
            return mine[0].info
        tags = {
            UID_TAG: self._owner.uid,
            SETTINGS_TAG: self._settings_sha256,
            "kubetune.namespace": self._owner.namespace,
            "kubetune.name": self._owner.name,
        }
        created = self._client.create_run(
            experiment_id, run_name=f"{self._owner.namespace}/{self._owner.name}", tags=tags
        )
        return created.info


@contextmanager
def refusals() -> Iterator[None]:
    """Tells what is refused for good from what may be taken later."""
    try:
        yield
    except MlflowException as error:
        status = int(error.get_http_status_code())
        # Some stores wrap it as an internal error.
        for_good = CHANGED_PARAM in str(error.message) or (400 <= status < 500 and status not in TRY_AGAIN)
        if not for_good:
            raise
        said = str(error.message).strip().partition("\n")[0][:300]
        raise RefusedError(said, may_pass=status in MAY_PASS or bool(DELETED.search(said))) from error
