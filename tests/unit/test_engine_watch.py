"""The process around the engine: its log passes, signals reach it, its code is kept and its last words are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DIES = """
import sys
print("loading", flush=True)
sys.stderr.write("x" * 10_000 + "\\n")
raise ValueError("Free memory is less than desired GPU memory utilization (0.9). Set VLLM_X=1 to ignore.")
"""
DRAINS = """
import signal, sys, time
def stop(*_):
    print("drained", flush=True)
    sys.exit(int(sys.argv[1]))
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
time.sleep(60)
"""
LEAVES = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(8)"])
sys.exit(3)
"""


def watch(tmp_path: Path, code: str, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "KUBETUNE_TERMINATION_LOG": str(tmp_path / "termination")}
    return subprocess.Popen(
        [sys.executable, "-m", "kubetune_server.watch", sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        env=environment,
    )


@pytest.mark.walk("W11")
def test_what_it_died_of_is_left_in_a_sentence(tmp_path: Path) -> None:
    process = watch(tmp_path, DIES)
    log, _ = process.communicate()
    assert process.returncode == 1
    assert log.startswith(b"loading\n")
    assert b"x" * 10_000 in log
    assert b"Traceback" in log
    assert json.loads((tmp_path / "termination").read_text()) == {
        "schema": 1,
        "reason": "EngineFailed",
        "message": "The engine (vLLM) ended with code 1: Free memory is less than desired "
        "spec.engine.gpuMemoryUtilization (0.9).",
        "exitCode": 1,
    }


@pytest.mark.parametrize("code", ["0", "1"])
def test_a_stop_reaches_the_engine_and_is_no_failure(tmp_path: Path, code: str) -> None:
    process = watch(tmp_path, DRAINS, code)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGTERM)
    log, _ = process.communicate()
    assert (process.returncode, log) == (int(code), b"drained\n")
    assert not (tmp_path / "termination").exists()


def test_a_killed_engine_has_a_shells_code(tmp_path: Path) -> None:
    process = watch(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    process.communicate()
    assert process.returncode == 137
    told = json.loads((tmp_path / "termination").read_text())
    assert told["message"] == "The engine (vLLM) ended with code 137 without a word."


def test_what_the_engine_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    process = watch(tmp_path, LEAVES)
    assert process.wait(60) == 3
    assert json.loads((tmp_path / "termination").read_text())["exitCode"] == 3
    assert process.stdout is not None
    process.stdout.close()
