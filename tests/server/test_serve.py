"""Real vLLM (CPU build) on a tiny model: base and adapter answer under their names, and a stop drains."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import Engine

from .conftest import READY_SECONDS, Server, Servers

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


@pytest.mark.walk("W4")
@pytest.mark.walk("W5")
def test_base_and_adapter_answer_and_a_stop_drains(
    pod: tuple[Server, subprocess.Popen[bytes]], expected: dict[str, list[str]]
) -> None:
    server, process = pod
    check_default(server, expected)
    for name, answers in expected.items():
        assert [whole(server.complete(name, prompt)) for prompt in PROMPTS] == list(map(whole, answers))
    assert expected["demo"] != expected["demo-base"]
    # The base has no chat template: only the adapter's own makes this work.
    body = {"model": "demo", "messages": [{"role": "user", "content": "say hello"}], "max_tokens": 4, "temperature": 0}
    assert server.ask("/v1/chat/completions", body)["usage"]["completion_tokens"] > 0
    check_drain(server, process)


def check_default(server: Server, expected: dict[str, list[str]]) -> None:
    """Who names no model, or takes the first of the list, gets the tuned one; who misspells it is told its name."""
    models = server.ask("/v1/models")["data"]
    assert [model["id"] for model in models] == ["demo", "demo-base"]
    assert models[0]["max_model_len"] == models[1]["max_model_len"] > 0
    for named in ({}, {"model": ""}, {"model": None}):
        body = {**named, "prompt": PROMPTS[0], "max_tokens": 8, "temperature": 0, "seed": 1}
        answer = server.ask("/v1/completions", body)
        assert (answer["model"], whole(answer["choices"][0]["text"])) == ("demo", whole(expected["demo"][0]))
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        server.complete("suport", "x")
    error = json.load(caught.value)["error"]
    assert error["message"] == (
        "The model `suport` does not exist. Ask for demo (the tuned model) or demo-base (its base)."
    )
    check_stream(server)


def check_stream(server: Server) -> None:
    """Tokens come one by one, not all at the end."""
    body = {"prompt": "say", "max_tokens": 40, "temperature": 0, "ignore_eos": True, "stream": True}
    request = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/v1/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        chunks = [json.loads(line[6:]) for line in answer if line.startswith(b"data: {")]
    assert len(chunks) > 10
    assert {chunk["model"] for chunk in chunks} == {"demo"}


@pytest.mark.walk("W11")
def test_an_engine_that_cannot_start_says_why_in_a_sentence(servers: Servers) -> None:
    # What fetch lets through, because the engine is given another configuration than the one that was fetched.
    arguments = ("--hf-overrides", '{"max_position_embeddings": 64}')
    server = servers.make(engine=Engine(dtype="float32", max_model_len=4096, extra_args=arguments))
    assert server.run("fetch") == 0, server.log
    code = server.start("serve").wait(READY_SECONDS)
    assert code not in {0, 137}, server.log
    told = server.termination
    assert told["reason"] == "EngineFailed", server.log
    assert "spec.engine.maxModelLen (4096)" in told["message"], told
    assert "Traceback" not in told["message"]
    assert "VLLM_" not in told["message"]
    assert len(told["message"]) < 700


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
