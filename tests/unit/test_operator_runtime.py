"""Refusals, Events, health, poller and series: the small parts around the loop."""

from __future__ import annotations

import asyncio
import json
import logging
import tomllib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from kubetune import __version__
from kubetune.common.decision import Event
from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.report.series import LIMIT, ProgressSeries
from kubetune.kube.errors import ApiError
from kubetune.kube.events import build_event
from kubetune.runtime.controller import Key
from kubetune.runtime.inventory import Inventory
from kubetune.runtime.logs import JsonFormatter
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.poll import Poller
from kubetune.runtime.polls import Polls
from kubetune.runtime.queue import WorkQueue
from kubetune.runtime.refusal import refuse_by_server, refuse_unreadable
from kubetune_contract import TrainProgress
from tests.support.objects import finetunejob

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def raw(**status: Any) -> dict[str, Any]:
    obj = finetunejob()
    obj["metadata"] |= {"uid": "u", "generation": 3, "resourceVersion": "7"}
    return obj | {"status": status}


@pytest.mark.law("L1")
def test_a_refusal_keeps_the_rest_of_the_status() -> None:
    error = ApiError(403, "Forbidden", 'jobs "x" is forbidden: exceeded quota: none')
    decision = refuse_by_server(raw(phase="Running", attempts=2), error, NOW)
    assert (decision.status["phase"], decision.status["attempts"]) == ("Running", 2)
    condition, summary = decision.status["conditions"]
    assert (summary["type"], summary["reason"]) == ("Succeeded", "QuotaExceeded"), "what kubectl get shows"
    assert (condition["type"], condition["status"], condition["reason"]) == ("Accepted", "False", "QuotaExceeded")
    assert decision.requeue_after
    again = refuse_by_server(raw(**decision.status), error, NOW)
    assert (again.status, again.events) == (decision.status, ())


@pytest.mark.law("L1")
@pytest.mark.parametrize("ended", ["True", "False"])
def test_a_refusal_leaves_the_end_of_what_has_ended(ended: str) -> None:
    at = NOW.isoformat().replace("+00:00", "Z")
    summary = {"type": "Succeeded", "status": ended, "reason": "Ended", "message": "It.", "lastTransitionTime": at}
    stored = raw(phase="Failed", completionTime=at, conditions=[summary])
    decision = refuse_by_server(stored, ApiError(422, "Invalid", "bad"), NOW)
    kept = [condition for condition in decision.status["conditions"] if condition["type"] == "Succeeded"]
    assert [(one["status"], one["reason"], one["message"]) for one in kept] == [(ended, "Ended", "It.")]


def test_an_invalid_child_is_an_invalid_spec() -> None:
    decision = refuse_by_server(raw(), ApiError(422, "Invalid", "spec.template: bad"), NOW)
    assert decision.status["conditions"][0]["reason"] == "InvalidSpec"
    assert [event.reason for event in decision.events] == ["InvalidSpec"]


def test_an_unreadable_object_names_the_member() -> None:
    obj = raw()
    obj["spec"]["hyperparameters"] = {"learningRate": "fast"}
    with pytest.raises(ValidationError) as caught:
        FineTuneJob.parse(obj)
    decision = refuse_unreadable(obj, caught.value, NOW)
    assert "spec.hyperparameters.learningRate" in decision.status["conditions"][0]["message"]


def test_an_event_fits_the_api_server() -> None:
    obj = build_event(raw(), Event("Failed", "é" * 2000, warning=True), NOW)
    assert len(obj["message"].encode()) <= 1024
    assert obj["type"] == "Warning"
    assert obj["involvedObject"]["uid"] == "u"
    assert obj["metadata"]["name"].startswith("demo.")


def test_logs_are_json_with_the_key() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "hello %s", ("you",), None)
    record.key = "FineTuneJob ns/demo"
    entry = json.loads(JsonFormatter().format(record))
    assert (entry["message"], entry["key"], entry["level"]) == ("hello you", "FineTuneJob ns/demo", "INFO")


async def in_parts(request: web.Request) -> web.StreamResponse:
    """A long answer that arrives bit by bit."""
    response = web.StreamResponse()
    await response.prepare(request)
    for part in (b'{"step": 1, "note": "', b"x" * 3000, b'"}'):
        await response.write(part)
        await asyncio.sleep(0.01)
    await response.write_eof()
    return response


@pytest.fixture
async def pod() -> AsyncIterator[int]:
    """A pod that answers in different ways; the port it listens on."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.host.startswith("127.0.0.2"):
            raise web.HTTPFound("http://127.0.0.1/secret")
        if request.host.startswith("127.0.0.3"):
            return web.Response(status=503)
        if request.host.startswith("127.0.0.4"):
            return await in_parts(request)
        return web.json_response({"step": 1})

    app = web.Application()
    app.router.add_get("/progress", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest.mark.law("F25")
async def test_polling(pod: int) -> None:
    poller = Poller(pod)
    assert json.loads(await poller.progress("127.0.0.1") or "") == {"step": 1}
    assert await poller.progress("127.0.0.2") is None, "redirects are not followed"
    assert await poller.progress("127.0.0.3") is None
    assert len(json.loads(await poller.progress("127.0.0.4") or "")["note"]) == 3000, "read to its end"
    assert await poller.progress("not an address") is None
    await poller.close()


def test_series_come_and_go() -> None:
    registry = CollectorRegistry()
    series = ProgressSeries(registry)
    progress = TrainProgress("training", 3, 9, 0.0, loss=1.5, gpu_utilization=0.97, last_checkpoint_at=1.5e9)
    series.set("ns", "demo", progress)
    text = generate_latest(registry).decode()
    assert 'kubetune_finetunejob_loss{name="demo",namespace="ns"} 1.5' in text
    assert 'kubetune_finetunejob_gpu_utilization{name="demo",namespace="ns"} 0.97' in text
    assert 'kubetune_finetunejob_last_checkpoint_timestamp_seconds{name="demo",namespace="ns"} 1.5e+09' in text
    assert "eval_loss{" not in text
    series.remove("ns", "demo")
    series.remove("ns", "demo")
    assert 'name="demo"' not in generate_latest(registry).decode()


def test_series_are_bounded() -> None:
    registry = CollectorRegistry()
    series = ProgressSeries(registry)
    progress = TrainProgress(phase="training", step=3, total_steps=9, updated_at=0.0)
    for index in range(LIMIT + 5):
        series.set("ns", f"job-{index}", progress)
    assert generate_latest(registry).decode().count("kubetune_finetunejob_step{") == LIMIT


@pytest.mark.walk("S1")
@pytest.mark.law("F31")
def test_what_only_grows_is_a_counter() -> None:
    metrics = Metrics(["FineTuneJob", "Evaluation"])
    queue: WorkQueue[Key] = WorkQueue(lambda: 0.0)
    metrics.watch_queue(queue)
    polls = Polls(queue, Poller(), 2.0)
    polls.asked = 5
    metrics.watch_polls(polls)
    queue.add(Key("FineTuneJob", "ns", "demo"))
    ProgressSeries(metrics.registry).set("ns", "demo", TrainProgress("training", 3, 9, 0.0, tokens=77))
    text = generate_latest(metrics.registry).decode()
    for line in (
        "# TYPE kubetune_workqueue_adds_total counter",
        "kubetune_workqueue_adds_total 1.0",
        "kubetune_polls_total 5.0",
        "kubetune_polled_pods 0.0",
        "kubetune_progress_writes_waiting 0.0",
        "# TYPE kubetune_workqueue_retries_total counter",
        'kubetune_finetunejob_tokens_total{name="demo",namespace="ns"} 77.0',
        f'kubetune_build_info{{version="{__version__}"}} 1.0',
    ):
        assert line in text


@pytest.mark.walk("S1")
def test_verdicts_and_cost_have_series() -> None:
    inventory = Inventory(["FineTuneJob", "Evaluation"])
    registry = CollectorRegistry()
    registry.register(inventory)
    for uid, kind, status in (
        ("a", "Evaluation", {"phase": "Succeeded", "verdict": "Go"}),
        ("b", "Evaluation", {"phase": "Succeeded", "verdict": "Go"}),
        ("c", "Evaluation", {"phase": "Failed"}),
        ("d", "FineTuneJob", {"phase": "Running", "cost": {"amount": 1.25, "currency": "EUR"}}),
        ("e", "FineTuneJob", {"phase": "Succeeded", "cost": {"amount": 2.0, "currency": "EUR"}}),
        ("f", "FineTuneJob", {}),
    ):
        inventory.note(kind, {"metadata": {"uid": uid, "namespace": "ns"}, "status": status})
    text = generate_latest(registry).decode()
    assert 'kubetune_evaluation_verdicts{namespace="ns",verdict="Go"} 2.0' in text
    assert 'kubetune_finetunejob_cost{currency="EUR",namespace="ns"} 3.25' in text
    assert 'kubetune_finetunejobs{phase="Pending"} 1.0' in text


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "charts/kubetune/Chart.yaml").read_text())
    assert __version__ == project == chart["appVersion"]
