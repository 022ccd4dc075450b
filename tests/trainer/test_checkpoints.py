"""Damaged checkpoints: found out, and the one before is gone on from, to the very end an undisturbed run comes to."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from kubetune_contract import ExitCode
from kubetune_shared.cpus import computes_bfloat16
from kubetune_trainer.checkpoints.shelf import Folder, complete
from tests.support.points import Record
from tests.support.training import Jobs, Trainer, rows

from .attempts import DROPOUT, another, losses, undisturbed, wait_for_checkpoint, weights


def cut(folder: Path) -> None:
    file = folder / "optimizer.pt"
    file.write_bytes(file.read_bytes()[:-100])


def flip(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))


def lose(folder: Path) -> None:
    (folder / "rng_state.pth").unlink()


def unfinish(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def swap(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["run"]["settings"]["seed"] = 7
    (folder / "manifest.json").write_text(json.dumps(manifest))


NOTICED: dict[Callable[[Path], None], str] = {
    cut: "is damaged",
    flip: "is damaged",
    lose: "is damaged",
    unfinish: "is not in the store any more",
    swap: "was made with other settings",
}


def preempted(jobs: Jobs) -> tuple[Trainer, list[int]]:
    """A pod that has left two checkpoints, and their steps, newest first."""
    hyper = {"max_steps": 100, "save_steps": 15, "save_minutes": 0.0, "logging_steps": 1}
    job = jobs.job(lora=DROPOUT, hyperparameters=hyper)
    assert job.run("prepare") == 0, job.log
    pod = another(job, "first")
    process = pod.start("train")
    wait_for_checkpoint(pod, process, after=15)
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == ExitCode.PREEMPTED, pod.log
    found = complete(Folder(jobs.store, f"{job.config.output}/checkpoints"))
    assert len(found) == 2
    return pod, [checkpoint.step for checkpoint in found]


@pytest.mark.parametrize(
    "kinds", [[flip], pytest.param([cut, lose, unfinish, swap], marks=pytest.mark.training)], ids=["one", "others"]
)
def test_the_one_before_a_damaged_checkpoint(
    jobs: Jobs,
    tmp_path: Path,
    kinds: list[Callable[[Path], None]],
    record_property: Record,
) -> None:
    first, (newest, before) = preempted(jobs)
    output = jobs.server.root / first.config.output.removeprefix("s3://")
    shutil.copytree(output, tmp_path / "kept")
    pods = [first]
    for kind in kinds:
        shutil.copytree(tmp_path / "kept", output, dirs_exist_ok=True)
        kind(next((output / "checkpoints").glob(f"{newest}-*")))
        pod = another(first, kind.__name__)
        pods.append(pod)
        process = pod.start("train")
        pod.wait_for_step(process, newest + 5)
        process.kill()
        process.wait(30)
        assert NOTICED[kind] in pod.log
        assert f"going on from the checkpoint of step {before}\n" in pod.log
    last = another(first, "last")
    pods.append(last)
    assert last.run("train") == 0, last.log
    whole = undisturbed(first)
    assert losses(*pods) == losses(whole)
    assert weights(jobs, last.termination, tmp_path / "a") == weights(jobs, whole.termination, tmp_path / "b")
    record_property(
        "point", f"damaged checkpoints ({', '.join(kind.__name__ for kind in kinds)}): the one before taken"
    )


@pytest.mark.walk("W1")
def test_rows_that_changed_since_the_checkpoint(jobs: Jobs, record_property: Record) -> None:
    """The file under the URI is replaced while the job is suspended: nothing is mixed, and both digests are told."""
    first, _ = preempted(jobs)
    output = jobs.server.root / first.config.output.removeprefix("s3://")
    (jobs.server.root / first.config.dataset.uri.removeprefix("s3://")).write_text(
        "".join(json.dumps(row) + "\n" for row in rows(48))
    )
    last = another(first, "last")
    assert last.run("prepare") == ExitCode.BAD_DATA, last.log
    assert last.termination["reason"] == "DataChanged"
    # Also where the run's state is from a release that did not know the rows: the checkpoint does.
    document = json.loads((output / "run.json").read_text())
    before = document.pop("datasetSha256")
    (output / "run.json").write_text(json.dumps(document))
    assert last.run("prepare") == ExitCode.BAD_DATA, last.log
    failure = last.termination
    assert (failure["reason"], failure["exitCode"]) == ("DataChanged", 65)
    assert "this run began to learn from them" in failure["message"]
    assert before[:16] in failure["message"]
    assert "Traceback" not in last.log
    record_property("point", f"rows replaced under a suspended run: {failure['message']}")


@pytest.mark.parametrize("recorded", ["float32", None])
def test_a_run_begun_in_32_bits_stays_in_them(jobs: Jobs, recorded: str | None) -> None:
    """None: begun by a release that computed in 32 bits on every CPU, and noted nothing."""
    first, _ = preempted(jobs)
    path = jobs.server.root / first.config.output.removeprefix("s3://") / "run.json"
    document = json.loads(path.read_text())
    assert document["precision"] == ("bfloat16" if computes_bfloat16() else "float32")
    path.write_text(json.dumps(document | {"precision": recorded}))
    last = another(first, "last")
    assert last.run("train") == 0, last.log
    assert " on CPU in float32" in last.log
    assert json.loads(path.read_text())["precision"] == "float32"


@pytest.mark.walk("C6")
@pytest.mark.parametrize("minutes", [60.0, 0.0], ids=["saves", "saves nothing"])
def test_what_a_pod_says_while_it_stops(jobs: Jobs, minutes: float) -> None:
    hyper = {"max_steps": 500, "save_minutes": minutes, "logging_steps": 1}
    job = jobs.job(hyperparameters=hyper)
    assert job.run("prepare") == 0, job.log
    process = job.start("train")
    seen: list[str] = []
    while process.poll() is None:
        said = job.progress()
        if said and said["phase"] not in seen:
            seen.append(said["phase"])
            assert said["totalSteps"] == 500
        if said.get("step", 0) >= 3:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == ExitCode.PREEMPTED, job.log
    assert seen[0] == "loading libraries"
    assert {"loading the model", "training"} <= set(seen), seen
    stopping = [said for said in seen if said.startswith("stopping: saving step ")]
    assert stopping == (seen[-1:] if minutes else []), seen
