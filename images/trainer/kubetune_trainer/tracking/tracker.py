"""The MLflow run of a job: found again by the job's uid, fed in batches from a thread, never in the training's way.

With the tracking server down, everything is kept and sent when it answers again; what is still unsent at the end is
tried for FINISH_SECONDS more and then given up with a warning: a lost curve is no reason to lose a model. What the
server refuses for good is left out at once, and told: neither the rest of the run nor the model's version waits for it.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubetune_contract import Owner, Suggestion, Tracking

from .tracked import Data, Point, RefusedError, Version, how_to_see

if TYPE_CHECKING:
    from .mlflow_run import Run

FLUSH_SECONDS = 5.0
FINISH_SECONDS = 60.0
END_TRIES = 5
"""A second apart."""
BATCH = 500
"""Metrics per request; MLflow takes at most 1000."""

log = logging.getLogger(__name__)


@dataclass
class _Outbox:
    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    data: Data | None = None
    version: Version | None = None


class Tracker:
    """The run of one job. Every method but ``finish`` returns at once; without a tracking server nothing is done."""

    def __init__(self, tracking: Tracking | None, owner: Owner, settings_sha256: str = "") -> None:
        self.run_id: str | None = None
        self.model_version: str | None = None
        """``name/version`` in the registry, once it is there."""
        self._tracking, self._owner, self._settings_sha256 = tracking, owner, settings_sha256
        self._refusals: dict[str, str] = {}
        self._incomplete = ""
        self._failed_at_end = 0
        self._reopened = False
        """Whether the run was looked for once more at the end."""
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

    def data(self, data: Data) -> None:
        """What the run learns from."""
        with self._lock:
            self._outbox.data = data

    def register(self, version: Version) -> None:
        """The published result, to become a version of a registered model before the run ends."""
        with self._lock:
            self._outbox.version = version

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
            version = "" if self.model_version else ", and no model version is registered"
            self._incomplete = (
                f"the tracking server {self._tracking.uri} did not take everything within {seconds:.0f} s of the end; "
                f"the run there is incomplete{version}. The published result is whole"
            )
            log.warning("%s", self._incomplete)

    @property
    def troubles(self) -> tuple[Suggestion, ...]:
        """What the server refused or did not take, for the user to know."""
        found = []
        if self._refusals:
            # A copy: the thread that sends may add to it meanwhile.
            told = "; ".join(f"{what} ({said})" for what, said in list(self._refusals.items()))
            found.append(
                Suggestion(
                    "TrackerRefused",
                    f"the tracking server refused {told}"[:700]
                    + ". Everything else was sent; the result is not affected",
                )
            )
        if self._incomplete:
            found.append(Suggestion("TrackerIncomplete", self._incomplete))
        return tuple(found)

    def pause(self, seconds: float) -> None:
        """Sends what is left but lets the run go on: this process is about to be replaced."""
        if self._tracking and not self._ended.is_set():
            self._ended.set()
            self._thread.join(seconds)

    def _work(self) -> None:
        assert self._tracking  # noqa: S101 (the thread is only started with it)
        # One short try per request: waiting for a server that is away is this loop's business.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # An address that only pods can open; see how_to_see.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        run: Run | None = None
        while True:
            last = self._ended.wait(FLUSH_SECONDS if run else 0.1)
            try:
                run = run or self._open()
                self._send(run, at_the_end=last)
                if last and self._final:
                    self._end(run, self._final)
                if last:
                    return
            except RefusedError as error:
                if last and (self._reopened or not error.may_pass):
                    self._refused("this run", error)
                    return
                self._warn(error)
                # Run or experiment may have been deleted: it is looked for again, at the end once, with all that waits.
                run, self._reopened = None, last
                if not last:
                    time.sleep(FLUSH_SECONDS)
            except Exception as error:  # any failure of a tracker is survivable
                self._warn(error)
                time.sleep(1 if last else FLUSH_SECONDS)

    def _open(self) -> Run:
        from .mlflow_run import Run  # noqa: PLC0415 (MLflow's import takes seconds; not in the training's way here)

        assert self._tracking  # noqa: S101 (the thread is only started with it)
        run = Run(self._tracking, self._owner, self._settings_sha256)
        self.run_id = run.id
        return run

    def _send(self, run: Run, *, at_the_end: bool) -> None:
        """Everything that waits. At the end, what fails END_TRIES times does not keep the run from being ended and the
        model's version from being registered."""
        try:
            self._flush(run)
        except RefusedError:
            raise
        except Exception as error:
            self._failed_at_end += at_the_end
            if self._failed_at_end < END_TRIES:
                raise
            self._refused("the rest of the run's data", error)

    def _flush(self, run: Run) -> None:
        while True:
            with self._lock:
                data = self._outbox.data
                points = self._outbox.points[:BATCH]
                params = dict(list(self._outbox.params.items())[:100])
                tags = dict(list(self._outbox.tags.items())[:100])
            if not (data or points or params or tags):
                return
            if data:
                self._part("the dataset", lambda data=data: run.add_data(data))  # type: ignore[misc]
            if params:
                self._part("parameters", lambda params=params: run.log_params(params))  # type: ignore[misc]
            if tags:
                self._part("tags", lambda tags=tags: run.log_tags(tags))  # type: ignore[misc]
            if points:
                self._part("metrics", lambda points=points: run.log_points(points))  # type: ignore[misc]
            with self._lock:
                self._outbox.data = None
                del self._outbox.points[: len(points)]
                for key in params:
                    self._outbox.params.pop(key, None)
                for key, value in tags.items():
                    if self._outbox.tags.get(key) == value:
                        del self._outbox.tags[key]

    def _end(self, run: Run, status: str) -> None:
        self._part("the run's end", lambda: run.end(status))
        with self._lock:
            version = self._outbox.version
        if version and not self.model_version:
            self._part(f"model version {version.name}", lambda: self._register(run, version))
        log.info("%s", how_to_see(run.place))

    def _register(self, run: Run, version: Version) -> None:
        self.model_version = run.register(version)

    def _part(self, what: str, send: Callable[[], None]) -> None:
        """Sends it, or leaves it out where it is refused for good; the others do not wait for it."""
        try:
            send()
        except RefusedError as error:
            if error.may_pass and not (self._ended.is_set() and self._reopened):
                raise
            self._refused(what, error)

    def _refused(self, what: str, error: Exception) -> None:
        if what not in self._refusals:
            self._refusals[what] = str(error).partition("\n")[0][:300]
            log.warning("the tracking server refused %s: %s", what, error)

    def _warn(self, error: Exception) -> None:
        level = logging.DEBUG if self._warned else logging.WARNING
        self._warned = True
        log.log(level, "tracking server does not take the run's data yet, training goes on: %s", error)
