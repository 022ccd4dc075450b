"""The evaluator's two commands on a tiny model, against a real object store."""

from __future__ import annotations

import json
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kubetune_contract import (
    Contents,
    Dataset,
    EvalSummary,
    ExitCode,
    Gate,
    Generation,
    MetricName,
    ModelRef,
    ObjectStore,
    from_json,
)
from kubetune_evaluator.report import Report
from kubetune_shared.artifacts import publish, read_manifest
from kubetune_shared.rowkeys import NAME as KEYS
from kubetune_shared.rowkeys import trained
from kubetune_shared.rows import Row
from kubetune_shared.rows.chats import ChatReader
from tests.support import toolchats
from tests.support.points import Record
from tests.support.ports import free_port
from tests.support.s3 import S3Server

from . import reference
from .conftest import BASE, BASE_URI, TUNED, Evaluations, Evaluator

PROMPTS = [f"say {a} {b}" for a in range(10) for b in "+-*/=?!"]
GATE = Gate(MetricName.EXACT_MATCH)
OTHER = ModelRef("other", BASE_URI, "s3://models/other")


@pytest.fixture(scope="module")
def truth(base: Path, tuned: Path, other: Path) -> dict[str, list[str]]:
    """Every model's answers to PROMPTS, made one by one."""
    made = {"candidate": tuned, "base": None, "other": other}
    return {name: reference.answers(base, adapter, list(PROMPTS)) for name, adapter in made.items()}


def rows(expected: list[str]) -> list[dict[str, str]]:
    return [{"prompt": p, "completion": e or " "} for p, e in zip(PROMPTS, expected, strict=True)]


def mostly(first: list[str], second: list[str]) -> list[str]:
    """What the first model says, for each seventh item what the second one does."""
    return [b if i % 7 == 0 else a for i, (a, b) in enumerate(zip(first, second, strict=True))]


def share(answers: list[str], expected: list[str]) -> float:
    return sum(a.strip() == e.strip() for a, e in zip(answers, expected, strict=True)) / len(answers)


def test_a_better_candidate_passes_with_the_numbers_of_a_plain_loop(
    evaluations: Evaluations, truth: dict[str, list[str]]
) -> None:
    expected = mostly(truth["candidate"], truth["base"])
    every = tuple(MetricName)
    job = evaluations.make(rows(expected), gate=GATE, metrics=every, baselines=(BASE, OTHER))
    summary = from_json(EvalSummary, job.both())

    items = job.items(evaluations.store)
    assert [item["prompt"] for item in items] == PROMPTS
    for name, answers in truth.items():
        assert [item["answers"][name]["text"] for item in items] == answers
    assert summary.verdict == "Go", summary.verdict_message
    measured = {(r.metric, r.baseline): r for r in summary.results}
    exact = measured[MetricName.EXACT_MATCH, "base"]
    assert exact.candidate_value == pytest.approx(share(truth["candidate"], expected), abs=1e-4)
    assert exact.baseline_value == pytest.approx(share(truth["base"], expected), abs=1e-4)
    assert exact.low > 0.5
    assert (exact.n, exact.unscored, summary.n) == (70, 0, 70)
    assert {baseline for _, baseline in measured} == {"base", "other"}
    check_report(job, evaluations, summary)
    check_reuse(job, evaluations, summary)


def check_report(job: Evaluator, evaluations: Evaluations, summary: EvalSummary) -> None:
    found = read_manifest(evaluations.store, job.config.output)
    assert found is not None
    manifest, digest = found
    assert digest == summary.report.manifest_sha256
    assert (manifest.kind, manifest.created_by) == ("report", job.config.owner)
    assert {entry.path for entry in manifest.files} == {"report.json", "report.html", "items.jsonl"}
    report = from_json(Report, json.loads(job.read(evaluations.store, "report.json")))
    assert [model.name for model in report.models] == ["candidate", "base", "other"]
    assert str(report.models[0].adapter_content).startswith("manifest:")
    assert summary.candidate == Contents(report.models[0].content, report.models[0].adapter_content)
    assert report.libraries["transformers"].startswith("5.")
    assert all(metric.checks for metric in report.metrics)
    page = job.read(evaluations.store, "report.html")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    assert "<svg" in page
    assert "http://" not in page.replace(job.config.store.endpoint or "-", "")


def check_reuse(job: Evaluator, evaluations: Evaluations, summary: EvalSummary) -> None:
    """A Job's second attempt finds the report and measures nothing."""
    before = job.read(evaluations.store, "report.json")
    assert from_json(EvalSummary, job.both()) == summary
    assert "nothing to prepare" in job.log
    assert job.read(evaluations.store, "report.json") == before


def test_a_worse_candidate_is_no_go(evaluations: Evaluations, truth: dict[str, list[str]]) -> None:
    candidate, baseline = replace(BASE, name="candidate"), replace(TUNED, name="previous")
    job = evaluations.make(rows(truth["candidate"]), gate=GATE, candidate=candidate, baselines=(baseline,), limit=40)
    summary = from_json(EvalSummary, job.both())
    assert summary.verdict == "NoGo"
    assert summary.n == 40
    assert "vs previous" in (summary.verdict_message or "")


def test_items_of_one_document_count_as_one(evaluations: Evaluations, truth: dict[str, list[str]]) -> None:
    """Seventy items on five documents: too few to decide what seventy alone decide at once."""
    expected = mostly(truth["candidate"], truth["base"])
    data = [{**row, "document": index // 14} for index, row in enumerate(rows(expected))]
    summaries = []
    for columns in ({}, {"group": "document"}):
        job = evaluations.make(data, gate=GATE)
        dataset = replace(job.config.dataset, columns=columns)
        job = replace(job, config=replace(job.config, dataset=dataset))
        summaries.append(from_json(EvalSummary, job.both()))
    alone, grouped = summaries
    assert (alone.verdict, alone.n, alone.groups) == ("Go", 70, None)
    assert (grouped.verdict, grouped.n, grouped.groups) == ("Inconclusive", 70, 5)
    assert "n=70 in 5 groups" in (grouped.verdict_message or "")
    assert {result.method for result in grouped.results} == {"cluster-skew-t", "jackknife-cluster-skew-t"}
    assert [item["group"] for item in job.items(evaluations.store)] == [str(index // 14) for index in range(70)]
    assert "70 items in 5 groups" in job.read(evaluations.store, "report.html")


def test_two_equal_models_are_no_no_go(evaluations: Evaluations, truth: dict[str, list[str]]) -> None:
    same = replace(TUNED, name="previous")
    job = evaluations.make(rows(truth["candidate"]), gate=GATE, baselines=(same,), limit=10)
    summary = from_json(EvalSummary, job.both())
    assert summary.verdict == "Inconclusive"
    assert summary.results[0].low < 0.0 < summary.results[0].high


def test_chats_are_asked_through_the_candidates_template(evaluations: Evaluations, base: Path, tuned: Path) -> None:
    asked = [[{"role": "system", "content": "hello"}, {"role": "user", "content": p}] for p in PROMPTS[:12]]
    expected = reference.answers(base, tuned, list(asked))
    bare = reference.answers(base, None, list(asked))
    data = [
        {"messages": [*a, {"role": "assistant", "content": e or "-"}]} for a, e in zip(asked, expected, strict=True)
    ]
    job = evaluations.make(data)
    summary = from_json(EvalSummary, job.both())
    items = job.items(evaluations.store)
    assert [item["answers"]["candidate"]["text"] for item in items] == expected
    assert [item["answers"]["base"]["text"] for item in items] == bare
    assert summary.verdict is None


def test_chats_with_tools_are_asked_with_them(
    evaluations: Evaluations, base: Path, tuned: Path, server: S3Server
) -> None:
    folder = server.root / "models" / f"tools-{evaluations.count}"
    shutil.copytree(tuned, folder)
    (folder / "chat_template.jinja").write_text(toolchats.TEMPLATE)
    candidate = replace(TUNED, adapter_uri=f"s3://models/{folder.name}")
    data = [toolchats.number_chat(n) for n in range(8)]
    asked = [list(ChatReader().read(row["messages"]).messages[:3]) for row in data]
    expected = reference.answers(base, tuned, asked, template=toolchats.TEMPLATE, tools=[toolchats.TOOL])
    for row, answer in zip(data, expected, strict=True):
        row["messages"][3]["content"] = answer or "-"
    job = evaluations.make(data, candidate=candidate)
    job.both()
    items = job.items(evaluations.store)
    assert [item["answers"]["candidate"]["text"] for item in items] == expected
    assert items[0]["tools"] == [toolchats.TOOL]
    assert "fox({&#34;n&#34;: " in job.read(evaluations.store, "report.html")


def test_what_cannot_be_asked_of_tools_is_refused(evaluations: Evaluations) -> None:
    data = [toolchats.number_chat(n) for n in range(4)]
    reason, message = failure(evaluations.make(data), "prepare", ExitCode.BAD_DATA)
    assert reason == "ToolsNotWritten"
    assert message.startswith(
        "dataset line 1: the chat template for s3://models/tiny does not write the definitions of"
    )
    called = [{**row, "messages": row["messages"][:2]} for row in data]
    reason, message = failure(evaluations.make([*data[:1], *called]), "prepare", ExitCode.BAD_DATA)
    assert reason == "NoReference"
    assert "line 2 ends with a tool call as its answer, which the metrics cannot compare" in message


def test_parquet_scores_as_the_same_rows_in_json_lines(
    evaluations: Evaluations, truth: dict[str, list[str]], server: S3Server
) -> None:
    data = rows(mostly(truth["candidate"], truth["base"]))[:30]
    name = f"{evaluations.count}.parquet"
    pq.write_table(pa.Table.from_pylist(data), server.root / "data" / name)
    lines = evaluations.make(data, gate=GATE)
    table = evaluations.make(data, gate=GATE, dataset=Dataset(f"s3://data/{name}"))
    summaries = [from_json(EvalSummary, job.both()) for job in (lines, table)]
    assert summaries[0].results == summaries[1].results
    assert summaries[0].verdict == summaries[1].verdict
    assert lines.items(evaluations.store) == table.items(evaluations.store)
    reports = [json.loads(job.read(evaluations.store, "report.json")) for job in (lines, table)]
    assert reports[0]["data"]["sha256"] == reports[1]["data"]["sha256"]


def test_bad_rows_of_parquet_are_named(evaluations: Evaluations, server: S3Server) -> None:
    name = f"{evaluations.count}.parquet"
    data = [{"prompt": f"say {n}", "completion": " " if n == 3 else "x"} for n in range(1, 6)]
    pq.write_table(pa.Table.from_pylist(data), server.root / "data" / name)
    reason, message = failure(
        evaluations.make(data, dataset=Dataset(f"s3://data/{name}")), "prepare", ExitCode.BAD_DATA
    )
    assert reason == "MalformedRow"
    assert message.startswith(f"dataset {name} row 3: completion is empty; missing: Drop in spec.dataset leaves out")


def test_stop_strings_and_prompts_that_do_not_fit(evaluations: Evaluations, truth: dict[str, list[str]]) -> None:
    first = next(answer for answer in truth["candidate"] if len(answer) > 3)
    stop = first[2]
    long = [{"prompt": "fox " * 400, "completion": "dog"}, {"prompt": "0 " * 124, "completion": "dog"}]
    job = evaluations.make(
        [*rows(truth["candidate"])[:20], *long], generation=Generation(max_new_tokens=8, batch_size=5, stop=(stop,))
    )
    summary = from_json(EvalSummary, job.both())
    items = job.items(evaluations.store)
    expected = [answer.split(stop)[0] for answer in truth["candidate"][:20]]
    assert [item["answers"]["candidate"]["text"] for item in items[:20]] == expected
    assert items[20]["answers"]["candidate"] is None
    assert items[20]["scores"]["exactMatch"] == {"candidate": None, "base": None}
    assert summary.results[0].unscored == 1
    assert summary.results[0].n == 21


def failure(job: Evaluator, command: str, code: ExitCode) -> tuple[str, str]:
    assert job.run(command) == code, job.log
    return job.termination["reason"], job.termination["message"]


def test_bad_input_is_refused_in_seconds_with_the_place_and_the_remedy(
    evaluations: Evaluations, truth: dict[str, list[str]]
) -> None:
    good = rows(truth["candidate"])
    reason, message = failure(evaluations.make([{"text": "only text"}] * 3), "prepare", ExitCode.BAD_DATA)
    assert reason == "NoReference"
    assert "line 1 is plain text" in message
    reason, message = failure(evaluations.make([good[0]] * 5), "prepare", ExitCode.BAD_DATA)
    assert reason == "TooFewItems"
    chat = [{"messages": [{"role": "user", "content": c}, {"role": "assistant", "content": "y"}]} for c in "ab"]
    bare = replace(BASE, name="candidate")
    reason, message = failure(evaluations.make(chat, candidate=bare, baselines=(OTHER,)), "prepare", ExitCode.BAD_DATA)
    assert reason == "NoChatTemplate"
    assert "line 1" in message
    missing = replace(BASE, uri="s3://models/missing")
    reason, message = failure(evaluations.make(good, baselines=(missing,)), "prepare", ExitCode.INPUT_NOT_FOUND)
    assert "s3://models/missing" in message
    reason, _ = failure(evaluations.make(good, baselines=(BASE, BASE)), "prepare", ExitCode.BAD_CONFIG)
    assert reason == "DuplicateName"
    nowhere = ObjectStore(endpoint=f"http://127.0.0.1:{free_port()}")
    reason, _ = failure(evaluations.make(good, store=nowhere), "prepare", ExitCode.UNAVAILABLE)
    assert reason == "StoreUnavailable"
    denied = evaluations.make(good)
    denied.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    reason, _ = failure(denied, "prepare", ExitCode.PERMISSION)
    assert reason == "AccessDenied"
    unprepared = evaluations.make(good)
    reason, _ = failure(unprepared, "evaluate", ExitCode.BAD_CONFIG)
    assert reason == "NotPrepared"


def test_a_stopped_evaluation_says_so_and_tells_its_progress(
    evaluations: Evaluations, truth: dict[str, list[str]]
) -> None:
    many = [{"prompt": f"say {n} hello", "completion": "x"} for n in range(4000)]
    job = evaluations.make(many, generation=Generation(max_new_tokens=64, batch_size=4))
    assert job.run("prepare") == 0, job.log
    process = job.start("evaluate")
    seen = wait_for_progress(job)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == ExitCode.PREEMPTED, job.log
    assert (seen["phase"], seen["total"]) == ("generating", 8000)
    assert 0 < seen["done"] < 8000
    assert job.termination["reason"] == "Preempted"
    assert read_manifest(evaluations.store, job.config.output) is None


ITEMS = 240
"""Of the evaluations that are preempted: enough for the first model's answers to be kept in several parts."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_preempted_evaluation_goes_on_from_the_answers_it_has(
    evaluations: Evaluations, number: signal.Signals, record_property: Record
) -> None:
    many = [{"prompt": f"say {n} hello" + " world" * (n % 5), "completion": "x"} for n in range(ITEMS)]
    settings = Generation(max_new_tokens=24, batch_size=4)
    job, whole = (evaluations.make(many, generation=settings) for _ in range(2))
    job.environment["KUBETUNE_KEEP_SECONDS"] = "0.2"
    assert job.run("prepare") == 0, job.log
    process = job.start("evaluate")
    seen = wait_for_progress(job, beyond=ITEMS + 20)
    process.send_signal(number)
    assert process.wait(60) == (ExitCode.PREEMPTED if number is signal.SIGTERM else -number), job.log
    assert len(evaluations.store.list(f"{job.config.output}/answers")) > 1
    # Another pod, on an empty disk.
    again = replace(job, folder=job.folder.with_name(f"{job.folder.name}-again"), port=free_port())
    summary, expected = from_json(EvalSummary, again.both()), from_json(EvalSummary, whole.both())
    assert f"going on from {ITEMS} of {ITEMS} answers that were stored" in again.log, "the base had answered everything"
    assert summary.results == expected.results
    assert again.items(evaluations.store) == whole.items(evaluations.store)
    assert evaluations.store.list(f"{job.config.output}/answers") == []
    record_property(
        "point",
        f"an evaluation {number.name} after {seen['done']} of {2 * ITEMS} answers: the next pod asks the rest",
    )


def test_answers_of_another_model_are_not_taken(evaluations: Evaluations, truth: dict[str, list[str]]) -> None:
    """The adapter was replaced between two pods: its answers are asked anew, the base's are there."""
    data = rows(truth["candidate"])
    job = evaluations.make(data, candidate=TUNED)
    assert job.run("prepare") == 0, job.log
    process = job.start("evaluate")
    wait_for_progress(job)
    process.kill()
    process.wait(60)
    changed = replace(job.config, candidate=ModelRef("candidate", BASE_URI, OTHER.adapter_uri))
    again = replace(job, config=changed, folder=job.folder.with_name(f"{job.folder.name}-again"), port=free_port())
    again.both()
    assert [item["answers"]["candidate"]["text"] for item in again.items(evaluations.store)] == truth["other"]


def test_rows_that_were_trained_on_are_found(
    evaluations: Evaluations, truth: dict[str, list[str]], tuned: Path, record_property: Record
) -> None:
    """Ten of the seventy items, with other answers and in capitals: a clear gain, and no Go."""
    folder = evaluations.folder / "keyed"
    shutil.copytree(tuned, folder)
    (folder / "manifest.json").unlink(missing_ok=True)
    trained([Row(n, prompt=prompt.upper(), completion="?") for n, prompt in enumerate(PROMPTS[:10])]).write(
        folder / KEYS
    )
    uri = f"s3://models/keyed-{evaluations.count}"
    meta = {"baseModel": {"uri": BASE_URI}, "datasetSha256": "0" * 64}
    publish(evaluations.store, folder, uri, kind="adapter", meta=meta)
    data = rows(mostly(truth["candidate"], truth["base"]))
    job = evaluations.make(data, gate=GATE, candidate=replace(TUNED, adapter_uri=uri))
    summary = from_json(EvalSummary, job.both())
    assert summary.verdict == "Inconclusive"
    assert "candidate was trained on 10 of the 70 items (14.3%), more than 1%" in (summary.verdict_message or "")
    report = from_json(Report, json.loads(job.read(evaluations.store, "report.json")))
    assert [model.seen for model in report.models] == [10, None]
    assert [item.get("seen") for item in job.items(evaluations.store)] == [["candidate"]] * 10 + [None] * 60
    assert "was trained on 10 of the 70 items" in job.read(evaluations.store, "report.html")
    record_property("point", f"rows that were trained on: {summary.verdict}: {summary.verdict_message}")
    unseen = from_json(
        EvalSummary, evaluations.make(data[10:], gate=GATE, candidate=replace(TUNED, adapter_uri=uri)).both()
    )
    assert unseen.verdict == "Go"
    assert "trained on" not in (unseen.verdict_message or "")


def wait_for_progress(job: Evaluator, beyond: int = 0) -> dict[str, Any]:
    """The first progress that counts items, more than ``beyond``."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (seen := job.progress()).get("done", 0) > beyond:
            return seen
        time.sleep(0.05)
    raise AssertionError(job.log)
