"""The train command: from prepared inputs to a published artifact and its summary.

Torch is imported in learn.py only, once everything that can fail without it is known to be well.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import time

from kubetune_contract import (
    Artifact,
    ExitCode,
    KubeTuneError,
    Phase,
    TrainConfig,
    TrainSummary,
    read_config,
    to_json,
    write_termination,
)
from kubetune_shared.progress import ProgressServer
from kubetune_shared.store import Store
from kubetune_trainer.checkpoints import shelf
from kubetune_trainer.checkpoints.runstate import Beginning, RunState
from kubetune_trainer.data.rowkeys import add_keys
from kubetune_trainer.data.unchanged import check_same_base, check_unchanged
from kubetune_trainer.exports.export import export
from kubetune_trainer.identity import identify, settings_sha256
from kubetune_trainer.model.device import visible_devices
from kubetune_trainer.processes.launch import launch
from kubetune_trainer.processes.place import Place, Relaunch, processes
from kubetune_trainer.processes.stop import StopRequest
from kubetune_trainer.publishing.card import card
from kubetune_trainer.publishing.fitting import fitting
from kubetune_trainer.publishing.index import note_result, said
from kubetune_trainer.publishing.publish import publish_when_possible
from kubetune_trainer.publishing.results import (
    artifact_kind,
    artifact_uri,
    checkpoint_folder,
    manifest_meta,
    origin,
    published,
)
from kubetune_trainer.recovery.restart import FLUSH_SECONDS, Restart, restart
from kubetune_trainer.recovery.shortfall import step_down
from kubetune_trainer.reporting.report import Reporter
from kubetune_trainer.reporting.series import catalog
from kubetune_trainer.tracking.records import track_results, track_settings
from kubetune_trainer.tracking.tracker import Tracker

from .job import Job, Learned
from .patience import patiently
from .workspace import Inputs, config_sha256, load_found, load_inputs, work_dir

log = logging.getLogger(__name__)


def train(stop: StopRequest) -> ExitCode:
    """Trains, publishes and leaves the summary. Raises KubeTuneError for everything a user can act on."""
    config, place = read_config(TrainConfig), Place.here()
    found = load_found()
    if found:
        return hand_on(found)
    if processes(config) > 1 and not place.several:
        return launch(config, stop)
    if not place.first:
        return follow(config, stop)
    tracker = Tracker(config.tracking, config.owner, settings_sha256(config))
    with ProgressServer(catalog(config)) as server:
        reporter = Reporter(server.publish, time.time)
        reporter.planned(config.hyperparameters.max_steps)
        try:
            job = start(config, reporter, tracker, stop)
            summary = export(job, published(job.store, config) or load_inputs(config_sha256(config)).found or run(job))
        except Relaunch:
            tracker.pause(FLUSH_SECONDS)
            raise
        except BaseException as error:
            code = error.code if isinstance(error, KubeTuneError) else None
            if code is not ExitCode.PREEMPTED:
                reporter.phase(Phase.FAILED)
            if code is not ExitCode.SUPERSEDED:
                # Else the tracker's run belongs to the newer attempt.
                tracker.finish("KILLED" if code is ExitCode.PREEMPTED else "FAILED", seconds=10)
            raise
        summary = fitting(track_results(job, summary))
        note(job, summary)
        sweep(job)
        write_termination(summary)
        job.reporter.phase(Phase.DONE)
    return ExitCode.OK


def hand_on(found: TrainSummary) -> ExitCode:
    """Ends the run with the result that was in the store: no model is loaded."""
    if found.found:
        log.info("nothing is trained: the result of %s is in the store", said(found.found.at))
    write_termination(fitting(found))
    return ExitCode.OK


def note(job: Job, summary: TrainSummary) -> None:
    """Puts the result into the index; without it the same run may be trained again one day, which is no reason to fail.

    Raises KubeTuneError when a newer attempt is in charge, or when asked to stop.
    """
    job.state.confirm()
    at = summary.found.at if summary.found else time.time()
    try:
        patiently(lambda: note_result(job.store, job.config, summary, at), "noting the result", job.stop, job.reporter)
    except KubeTuneError as error:
        if error.code is ExitCode.PREEMPTED:
            raise
        log.warning("the result could not be noted in the index: %s", error.message)


def start(config: TrainConfig, reporter: Reporter, tracker: Tracker, stop: StopRequest) -> Job:
    """Takes charge of the run. Raises KubeTuneError when the store stays away."""
    store = Store(config.store)
    sha = settings_sha256(config)
    state = patiently(lambda: RunState.claim(store, config.output, sha), "taking charge of the run", stop, reporter)
    reporter.counting(lambda: state.active_seconds)
    reporter.recovered(state.recovery)
    job = Job(config, store, reporter, tracker, stop, state)
    sweep(job)
    return job


def sweep(job: Job) -> None:
    """Removes the parts of uploads that broke off, this pod's and those of pods before it, which take up the store."""
    try:
        count = job.store.abort_uploads(job.config.output)
    except KubeTuneError as error:
        log.warning("whether uploads were left unfinished below %s is not known: %s", job.config.output, error.message)
        return
    if count:
        log.info("%d unfinished upload(s) below %s were removed", count, job.config.output)


def run(job: Job) -> TrainSummary:
    """Everything between prepared inputs and the published artifact."""
    started = time.monotonic()
    inputs = load_inputs(config_sha256(job.config))
    begin_with(job, inputs)
    for told in inputs.suggestions:
        job.reporter.suggest(told)
    track_settings(job, inputs)
    step_down(job)
    show_devices(job.config)
    from .learn import learn  # noqa: PLC0415 (torch: seconds, and not needed for what is above)

    try:
        return finish(job, inputs, learn(job, inputs), started)
    except Restart as wanted:
        restart(job, wanted.steps)
    finally:
        remember(job)


def begin_with(job: Job, inputs: Inputs) -> None:
    """Notes rows and base. Raises KubeTuneError (BAD_DATA, DataChanged or BaseChanged) when the run has begun with
    others."""
    state, known = job.state, job.state.beginning
    now = Beginning(inputs.dataset_sha256, inputs.base, inputs.base_files)
    check_unchanged(
        job.config.dataset, inputs.dataset_sha256, known.dataset_sha256, "this run began to learn from them"
    )
    check_same_base(job.config.base_model, inputs.base, known.base, "this run began with")
    patiently(lambda: state.learns_from(now), "noting rows and base", job.stop, job.reporter)


def follow(config: TrainConfig, stop: StopRequest) -> ExitCode:
    """Trains beside the first of several processes, which does everything else."""
    store, sha = Store(config.store), settings_sha256(config)
    inputs = load_inputs(config_sha256(config))
    show_devices(config)
    from kubetune_trainer.processes.ranks import Left  # noqa: PLC0415

    from .learn import learn  # noqa: PLC0415 (torch: seconds, and not needed for what is above)

    silent = Reporter(lambda _: None, time.time)
    job = Job(config, store, silent, Tracker(None, config.owner), stop, RunState.unclaimed(store, config.output, sha))
    with contextlib.suppress(Left):
        learn(job, inputs)
    return ExitCode.OK


def show_devices(config: TrainConfig) -> None:
    """Lets this process see the GPUs it was given, and no others."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = visible_devices(config.gpus, shown)


def finish(job: Job, inputs: Inputs, learned: Learned, started: float) -> TrainSummary:
    """Publishes what was learned; ``started`` is the monotonic time at which this attempt began."""
    job.reporter.phase(Phase.PUBLISHING)
    results = dataclasses.replace(
        learned.results,
        run_sha256=identify(job.config, inputs.dataset_sha256, inputs.base, inputs.validation_rows).sha256,
        duration_seconds=round(time.monotonic() - started, 3),
        mlflow_run_id=job.tracker.run_id,
        active_seconds=round(job.state.active_seconds, 3),
        recovery=job.state.recovery,
    )
    artifact = publish(job, inputs, learned, results)
    shelf.clear(shelf.Folder(job.store, checkpoint_folder(job.config)))
    return dataclasses.replace(results, artifact=artifact)


def remember(job: Job) -> None:
    """Leaves the time spent in the run's state; a store that is away is no reason to fail."""
    try:
        job.state.flush()
    except KubeTuneError as error:
        log.warning("the time spent could not be stored: %s", error.message)


def publish(job: Job, inputs: Inputs, learned: Learned, results: TrainSummary) -> Artifact:
    """Puts the trained files into the store, with ``results`` in their manifest for a later attempt to find."""
    folder = work_dir() / "artifact"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    learned.save(folder)
    described = card(
        artifact_kind(job.config), job.config, results, origin(job.config, inputs, per_token=job.state.per_token)
    )
    (folder / "README.md").write_text(described, encoding="utf-8")
    known = {name: value for name, value in to_json(results).items() if name != "artifact"}
    meta = manifest_meta(job.config, inputs, known)
    if inputs.row_keys:
        meta = add_keys(folder, meta, inputs.row_keys)
    return publish_when_possible(job, folder, artifact_uri(job.config), kind=artifact_kind(job.config), meta=meta)
