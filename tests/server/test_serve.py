"""Real vLLM (CPU build) on a tiny model: base and adapter answer under their names, and a stop drains."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import Engine

from .conftest import Server, Servers

PROMPTS = ["say hello", "0 1 2 3", "the quick brown"]


@pytest.fixture(scope="module")
def expected(base: Path, tuned: Path) -> dict[str, list[str]]:
    """Greedy answers of base and adapted model, computed without vLLM."""
    return {"demo-base": plain_answers(base, None), "demo": plain_answers(base, tuned)}


def plain_answers(base: Path, adapter: Path | None) -> list[str]:
    import torch  # noqa: PLC0415 (only the server's environment has these)
    from safetensors.torch import load_file  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    torch.set_num_threads(1)
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    weights = load_file(adapter / "adapter_model.safetensors") if adapter else {}
    for name, module in model.named_modules():
        prefix = f"base_model.model.{name}.lora_"
        if f"{prefix}A.weight" in weights:
            # alpha is twice the rank.
            module.weight.data += 2.0 * weights[f"{prefix}B.weight"] @ weights[f"{prefix}A.weight"]
    answers = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        made = model.generate(ids, do_sample=False, max_new_tokens=8, pad_token_id=0)[0, ids.shape[1] :]
        answers.append(tokenizer.decode(made, skip_special_tokens=True))
    return answers


@pytest.fixture
def pod(servers: Servers) -> Iterator[tuple[Server, subprocess.Popen[bytes]]]:
    """A fetched and serving pod, in the precision of ``plain_answers``."""
    server = servers.make(drain_seconds=60, engine=Engine(dtype="float32"))
    assert server.run("fetch") == 0, server.log
    process = server.start("serve")
    try:
        server.wait_until_ready(process)
        yield server, process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_base_and_adapter_answer_and_a_stop_drains(
    pod: tuple[Server, subprocess.Popen[bytes]], expected: dict[str, list[str]]
) -> None:
    server, process = pod
    served = {model["id"] for model in server.ask("/v1/models")["data"]}
    assert served == {"demo", "demo-base"}
    for name, answers in expected.items():
        assert [whole(server.complete(name, prompt)) for prompt in PROMPTS] == list(map(whole, answers))
    assert expected["demo"] != expected["demo-base"]
    # The base has no chat template: only the adapter's own makes this work.
    body = {"model": "demo", "messages": [{"role": "user", "content": "say hello"}], "max_tokens": 4, "temperature": 0}
    assert server.ask("/v1/chat/completions", body)["usage"]["completion_tokens"] > 0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.complete("unknown", "x")
    check_drain(server, process)


def whole(text: str) -> str:
    """Without the bytes of a character that the limit of tokens cut in two: vLLM holds them back."""
    return text.rstrip("\ufffd")


def check_drain(server: Server, process: subprocess.Popen[bytes]) -> None:
    """A request under way when SIGTERM comes is answered in full, and the engine ends by itself with 0."""
    results: list[dict[str, Any]] = []
    body = {"model": "demo", "prompt": "say", "max_tokens": 100, "temperature": 0, "ignore_eos": True}
    asking = threading.Thread(target=lambda: results.append(server.ask("/v1/completions", body)))
    asking.start()
    time.sleep(0.3)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    asking.join(60)
    assert process.wait(60) in {0, -signal.SIGTERM, 128 + signal.SIGTERM}, server.log
    assert time.monotonic() - started < 60
    assert results, server.log
    assert results[0]["usage"]["completion_tokens"] == 100
