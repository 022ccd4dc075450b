"""Early stopping: the end comes when the validation loss no longer falls, and again at the same step after a kill."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from tests.support.points import Record
from tests.support.training import Jobs, rows

from .attempts import another, losses, undisturbed, wait_for_checkpoint

HYPER: dict[str, Any] = {
    "max_steps": 400,
    "logging_steps": 1,
    "eval_steps": 5,
    "save_minutes": 0.0,
    "early_stopping_patience": 2,
    "early_stopping_threshold": 0.001,
    # Learns within some steps and then has nothing more to learn.
    "learning_rate": 2e-2,
}


@pytest.mark.parametrize("best", [False, True], ids=["last weights", "best weights"])
def test_a_run_that_no_longer_improves_ends(jobs: Jobs, best: bool, record_property: Record) -> None:
    job = jobs.job(
        rows(48), dataset={"validation_share": 0.25}, hyperparameters=HYPER | {"load_best_model_at_end": best}
    )
    summary = job.both()
    assert summary["stoppedEarly"] is True
    assert 10 < summary["steps"] < 400
    assert summary["steps"] % 5 == 0
    seen = [
        float(value) for (name, _), value in sorted(losses(job).items(), key=lambda i: i[0][1]) if name == "eval_loss"
    ]
    assert min(seen[:-2]) - min(seen[-2:]) <= 0.001
    if best:
        assert summary["evalLoss"] == pytest.approx(min(seen), rel=1e-6)
    assert "stopping early" in job.log
    assert job.termination["artifact"]["manifestSha256"]
    record_property("point", f"stopped early at step {summary['steps']} of 400, published")


@pytest.mark.training
def test_a_resumed_run_stops_at_the_same_step(jobs: Jobs, record_property: Record) -> None:
    job = jobs.job(rows(48), dataset={"validation_share": 0.25}, hyperparameters=HYPER | {"save_steps": 4})
    assert job.run("prepare") == 0, job.log
    first = another(job, "first")
    process = first.start("train")
    wait_for_checkpoint(first, process)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    second = another(job, "second")
    assert second.run("train") == 0, second.log
    whole = undisturbed(job)
    assert second.termination["stoppedEarly"] is whole.termination["stoppedEarly"] is True
    assert second.termination["steps"] == whole.termination["steps"]
    assert losses(first, second) == losses(whole)
    record_property("point", f"killed and resumed: stopped early at step {whole.termination['steps']} both times")


def test_a_run_that_improves_is_left_alone(jobs: Jobs) -> None:
    hyper = HYPER | {"max_steps": 20, "early_stopping_threshold": 0.0, "learning_rate": 1e-3}
    job = jobs.job(rows(48), dataset={"validation_share": 0.25}, hyperparameters=hyper)
    summary = job.both()
    assert (summary["steps"], summary["stoppedEarly"]) == (20, False)
