"""Several processes make one end: who is believed, what is passed on, and that nobody is waited for in vain."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kubetune_contract import (
    Dataset,
    ExitCode,
    Hyperparameters,
    KubeTuneError,
    Method,
    ObjectStore,
    Owner,
    Recovery,
    RecoveryStep,
    TrainConfig,
)
from kubetune_trainer.job import Job
from kubetune_trainer.model.device import Device, detect, visible_devices
from kubetune_trainer.processes import launch
from kubetune_trainer.processes.launch import End, decisive, environment
from kubetune_trainer.processes.place import RELAUNCH, Place, processes
from kubetune_trainer.processes.stop import StopRequest
from kubetune_trainer.recovery.shortfall import Shortfall, note, noted, step_down

LOWEST = Hyperparameters(per_device_train_batch_size=1, gradient_checkpointing=True, fsdp=True)
FAIL = """
import json, os, sys
def fail(code, reason="Why", message="what was wrong"):
    said = {"schema": 1, "reason": reason, "message": message, "exitCode": code}
    open(os.environ["KUBETUNE_TERMINATION_LOG"], "w").write(json.dumps(said))
    sys.exit(code)
rank = int(os.environ["RANK"])
"""
SUCCEED = """
said = {"schema": 1, "artifact": {"uri": "s3://a/b", "kind": "adapter", "manifestSha256": "0", "bytes": 1},
        "steps": 3, "trainRows": 1, "validationRows": 0, "durationSeconds": 1.0}
if rank == 0:
    open(os.environ["KUBETUNE_TERMINATION_LOG"], "w").write(json.dumps(said))
"""


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(
        **{
            "schema": 1,
            "owner": Owner("team", "demo", "uid"),
            "base_model": "s3://models/tiny",
            "dataset": Dataset("s3://data/x"),
            "output": "s3://out/uid",
            "store": ObjectStore(),
            "processes": 2,
            **changes,
        }
    )


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The termination message's path; the others' grace is short."""
    monkeypatch.setenv("KUBETUNE_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("KUBETUNE_TERMINATION_LOG", str(tmp_path / "termination"))
    for name in ("GRACE_SECONDS", "FOLLOWERS_GRACE_SECONDS"):
        monkeypatch.setattr(launch, name, 0.5)
    return tmp_path / "termination"


def run(script: str, monkeypatch: pytest.MonkeyPatch, stop: StopRequest | None = None) -> ExitCode:
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", FAIL + script])
    return launch.launch(config(), stop or StopRequest())


def test_one_process_per_gpu_and_one_on_the_cpu() -> None:
    assert [processes(config(processes=n, gpus=g)) for n, g in ((None, 0), (None, 3), (2, 0))] == [1, 3, 2]
    assert Place.here({}) == Place(0, 1)
    assert not Place.here({}).several
    assert Place.here({"RANK": "1", "WORLD_SIZE": "2"}) == Place(1, 2)


def test_each_process_sees_the_job_s_gpus_and_takes_its_own() -> None:
    assert [visible_devices(2, current) for current in (None, "", "3,5,7")] == ["0,1", "0,1", "3,5"]
    torch: Any = SimpleNamespace(
        cuda=SimpleNamespace(
            is_available=lambda: True,
            device_count=lambda: 2,
            get_device_name=lambda index: f"card {index}",
            get_device_capability=lambda index: (8, 6),
            get_arch_list=lambda: ["sm_80", "sm_86"],
        )
    )
    assert detect(2, torch, 1) == Device("cuda", "bfloat16", "card 1", (8, 6), 1)
    with pytest.raises(KubeTuneError, match="3 GPUs were asked for, but 2 are visible"):
        detect(3, torch)


def test_the_next_start_goes_one_rung_lower(pod: Path) -> None:
    taken: list[RecoveryStep] = []
    state: Any = SimpleNamespace(recovery=(), add_recovery=taken.append)
    reporter: Any = SimpleNamespace(recovered=lambda _: None)
    job = Job(config(), Any, reporter, Any, StopRequest(), state)  # type: ignore[arg-type]
    step_down(job)
    assert taken == []
    note(Shortfall("DefaultCPUAllocator: can't allocate memory", 7, "cpu"))
    step_down(job)
    assert [(step.action, step.step, step.per_device_train_batch_size) for step in taken] == [("halveBatch", 7, 2)]
    assert noted() is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"recovery": Recovery(adapt_to_memory=False)}, "To need less"),
        ({"method": Method.FULL, "hyperparameters": LOWEST}, "with everything lowered that can be"),
    ],
)
def test_where_there_is_no_rung_the_shortage_is_the_end(pod: Path, changes: dict[str, Any], said: str) -> None:
    job = Job(config(**changes), Any, Any, Any, StopRequest(), SimpleNamespace(recovery=()))  # type: ignore[arg-type]
    note(Shortfall("DefaultCPUAllocator: can't allocate memory", 7, "cpu"))
    with pytest.raises(KubeTuneError, match=said) as caught:
        step_down(job)
    assert caught.value.code is ExitCode.OUT_OF_MEMORY


def test_threads_are_divided_and_one_process_does_the_talking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("KUBETUNE_LOG_LEVEL", raising=False)
    monkeypatch.setattr(launch, "threads", lambda: 6)
    first, second = environment(0, 4, 1234, (7,)), environment(1, 4, 1234)
    assert first["OMP_NUM_THREADS"] == second["OMP_NUM_THREADS"] == "1"
    assert "KUBETUNE_LOG_LEVEL" not in first
    assert second["KUBETUNE_LOG_LEVEL"] == "ERROR"
    assert (first["KUBETUNE_RENDEZVOUS_FD"], second.get("KUBETUNE_RENDEZVOUS_FD")) == ("7", None)
    assert second["MASTER_ADDR"] == "127.0.0.1"
    assert second["GLOO_SOCKET_IFNAME"] == "lo"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert environment(1, 4, 1234)["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([(0, 0), (1, 0)], 0),
        ([(1, 0), (0, 75)], 0),
        ([(1, 65), (0, 65)], 1),
        ([(1, -9), (0, 70)], 1),
        ([(0, 70), (1, -9)], 1),
        ([(0, 70), (1, 78)], 1),
        ([(1, RELAUNCH), (0, 70)], 1),
        ([(1, 70), (0, 79)], 0),
        ([(1, RELAUNCH), (0, 80)], 0),
        ([(1, 70), (0, 0)], 0),
    ],
)
def test_a_cause_is_believed_rather_than_what_followed(codes: list[tuple[int, int]], expected: int) -> None:
    ends = [End(rank, code, float(number)) for number, (rank, code) in enumerate(codes)]
    assert decisive(ends).rank == expected


def test_whom_the_launcher_killed_is_no_cause() -> None:
    assert decisive([End(1, 70, 0.0), End(0, -9, 1.0, by_us=True)]).rank == 1


def test_success_is_the_first_process_s(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(SUCCEED, monkeypatch) is ExitCode.OK
    assert json.loads(pod.read_text())["steps"] == 3


@pytest.mark.parametrize("code", [65, 75, 78, 79, 80])
def test_a_failure_of_any_process_becomes_the_pod_s(pod: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    began = time.monotonic()
    with pytest.raises(KubeTuneError) as caught:
        run(f"import time\nif rank == 1: fail({code})\ntime.sleep(60)", monkeypatch)
    assert (caught.value.code, caught.value.reason, caught.value.message) == (code, "Why", "what was wrong")
    assert time.monotonic() - began < 10


def test_a_process_that_is_killed_ends_all(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as caught:
        run("import time\nif rank == 1: os.kill(os.getpid(), 9)\ntime.sleep(60)", monkeypatch)
    assert caught.value.code == 128 + signal.SIGKILL
    assert "process 1 of 2 was killed by SIGKILL" in json.loads(pod.read_text())["message"]


def test_a_process_that_leaves_no_message_is_a_bug(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KubeTuneError) as caught:
        run("os._exit(3)", monkeypatch)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BUG, "ProcessDied")


def test_all_start_anew_when_one_asks_for_it(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = pod.with_name("seen")
    script = f"""
import time
if not os.path.exists({str(marker)!r}):
    if rank == 1:
        open({str(marker)!r}, "w").close()
        os._exit({RELAUNCH})
    time.sleep(60)
"""
    assert run(script + SUCCEED, monkeypatch) is ExitCode.OK


def test_sigterm_reaches_all(pod: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
import pathlib, signal, time
def end(*_):
    pathlib.Path(os.environ["KUBETUNE_WORK_DIR"], f"told-{rank}").touch()
    if rank: sys.exit(0)
    time.sleep(1)
    fail(75, "Preempted", "asked to stop")
signal.signal(signal.SIGTERM, end)
pathlib.Path(os.environ["KUBETUNE_WORK_DIR"], f"ready-{rank}").touch()
time.sleep(60)
"""
    stop = StopRequest()

    def ask() -> None:
        while not all(pod.with_name(f"ready-{rank}").exists() for rank in (0, 1)):
            time.sleep(0.02)
        stop.set()

    threading.Thread(target=ask, daemon=True).start()
    with pytest.raises(KubeTuneError) as caught:
        run(script, monkeypatch, stop)
    assert caught.value.code is ExitCode.PREEMPTED
    assert all(pod.with_name(f"told-{rank}").exists() for rank in (0, 1))


def test_training_processes_do_not_outlive_their_launcher(tmp_path: Path) -> None:
    child = "from kubetune_trainer.processes.launch import die_with_launcher as d; d(); print(1, flush=True); input()"
    parent = (
        "import subprocess, sys, os\n"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        f"p.stdout.readline(); open({str(tmp_path / 'pid')!r}, 'w').write(str(p.pid)); os.kill(os.getpid(), 9)\n"
    )
    assert os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", parent]) == -signal.SIGKILL
    path = Path("/proc") / (tmp_path / "pid").read_text() / "stat"
    for _ in range(100):
        if not path.exists() or path.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("the training process lives on")
