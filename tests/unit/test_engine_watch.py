"""The process around the engine: its log passes, signals reach it, its code is kept and its last words are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from kubetune_server.watch import Engine

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


class Gone:
    """A log that nobody reads any more."""

    def write(self, _: bytes) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_an_engine_whose_log_nobody_reads_is_not_blocked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBETUNE_TERMINATION_LOG", str(tmp_path / "termination"))
    # More than a pipe holds.
    code = "print('x' * 100 + chr(10), end='', flush=True); print(('y' * 99 + chr(10)) * 10_000, end='')"
    assert Engine().run([sys.executable, "-c", code], cast("BinaryIO", Gone())) == 0


def test_what_the_engine_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    process = watch(tmp_path, LEAVES)
    assert process.wait(60) == 3
    assert json.loads((tmp_path / "termination").read_text())["exitCode"] == 3
    assert process.stdout is not None
    process.stdout.close()
