"""The measurement itself, from prepared inputs to the published report. Imports torch."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import torch

from kubetune_contract import (
    Artifact,
    EvalConfig,
    EvalProgress,
    ExitCode,
    MetricName,
    read_config,
    to_json,
    write_termination,
)
from kubetune_shared.artifacts import publish
from kubetune_shared.cpus import cpu_limit
from kubetune_shared.progress import ProgressServer
from kubetune_shared.series import Catalog, Series
from kubetune_shared.store import Store

from . import corpus, models
from .checks import Design
from .compare import Answers, Comparison, compare
from .finished import KIND, finished
from .generate import Generator
from .items import Item, groups_of
from .kept import Answer, Kept, discard, identity
from .metrics import CORPUS_METRICS, Text
from .page import render
from .plan import Plan, PlannedModel, config_sha256, inputs_dir, load
from .prompts import prompt_ids
from .report import (
    SCHEMA,
    DataReport,
    ModelReport,
    Report,
    Settings,
    item_lines,
    judged,
    metric_reports,
)
from .seen import Seen, doubts, marked, message, remarks
from .summary import summarise
from .tokenizer import load_tokenizer, template_for

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "sacrebleu", "rouge-score", "scipy", "numpy")
ANSWERING = ("torch", "transformers", "peft", "tokenizers")
"""Those that answers depend on."""
ALPHA = 0.05
"""Of the intervals when no gate names another."""


@dataclass(frozen=True)
class Measured:
    """A model's answers to all items."""

    model: PlannedModel
    answers: tuple[Answer | None, ...]
    seconds: float


class Reporter:
    """Keeps the EvalProgress that the operator reads."""

    def __init__(self, server: ProgressServer, total: int) -> None:
        self._server = server
        self._progress = EvalProgress("loading", 0, total, time.time())
        server.publish(self._progress)

    def counter(self, before: int) -> Callable[[int], None]:
        """For a generator, which counts its own items from 0."""
        return lambda done: self.tell(done=before + done)

    def tell(self, **changes: Any) -> None:
        """``phase``, ``done`` or ``model``."""
        self._progress = replace(self._progress, updated_at=time.time(), **changes)
        self._server.publish(self._progress)


def catalog(config: EvalConfig) -> Catalog:
    """This pod's own Prometheus series."""
    owner = config.owner
    series = {
        "done": Series("items_done", "Items generated so far, over all models."),
        "total": Series("items_planned", "Items to generate, over all models."),
        "updated_at": Series("updated_timestamp_seconds", "When these numbers were made, in seconds since the epoch."),
    }
    info = {"namespace": owner.namespace, "name": owner.name, "uid": owner.uid}
    return Catalog("kubetune_evaluate", series, info, "The Evaluation that this pod measures for.")


def evaluate() -> ExitCode:
    """Measures, publishes and leaves the summary. Raises KubeTuneError for everything a user can act on."""
    config = read_config(EvalConfig)
    store = Store(config.store)
    with ProgressServer(catalog(config)) as server:
        report, artifact = finished(store, config) or measure(config, store, server)
    summary = summarise(report, artifact)
    log.info("%s: %s", summary.verdict or "no gate", summary.verdict_message or "")
    write_termination(summary)
    return ExitCode.OK


def measure(config: EvalConfig, store: Store, server: ProgressServer) -> tuple[Report, Artifact]:
    """Everything between prepared inputs and the published report."""
    started = time.monotonic()
    plan, items = load(config_sha256(config))
    distinct = {model.identity: model for model in plan.models}
    reporter = Reporter(server, len(items) * len(distinct))
    torch.set_num_threads(cpu_limit())
    measured = answer_all(config, store, plan, items, reporter)
    reporter.tell(phase="scoring", model=None)
    answers = {model.name: measured[model.identity].answers for model in plan.models}
    comparisons = compare_all(config, plan, items, answers)
    report = build_report(config, plan, items, measured, comparisons)
    report = replace(report, duration_seconds=round(time.monotonic() - started, 3))
    reporter.tell(phase="publishing")
    lines = marked(item_lines(items, answers, comparisons), {model.name: model.seen or () for model in plan.models})
    artifact = publish_report(config, store, report, lines)
    discard(store, config.output)
    reporter.tell(phase="done")
    return report, artifact


def answer_all(
    config: EvalConfig, store: Store, plan: Plan, items: Sequence[Item], reporter: Reporter
) -> dict[tuple[str, str | None], Measured]:
    """Answers of every distinct model; each base is loaded once, and answers bare before any adapter is put on."""
    measured: dict[tuple[str, str | None], Measured] = {}
    for uri in dict.fromkeys(model.uri for model in plan.models):
        family = sorted((m for m in plan.models if m.uri == uri), key=lambda m: m.adapter_path is not None)
        reporter.tell(phase="loading", model=family[0].name)
        tokenizer = load_tokenizer(family[0])
        templates = [template_for(plan.models[0], family[0], tools=tools) for tools in (False, True)]
        prompts = [prompt_ids(tokenizer, item, templates[bool(item.tools)]) for item in items]
        base = models.load_base(family[0], tokenizer, config.gpus)
        for model in family:
            if model.identity in measured:
                continue
            before = len(measured) * len(items)
            reporter.tell(phase="generating", model=model.name)
            kept = Kept(store, config.output, answers_identity(config, model), prompts)
            try:
                with models.adapted(base, model) as ready:
                    generator = Generator(ready, tokenizer, config.generation, reporter.counter(before))
                    answers = generator.answers(prompts, kept)
            finally:
                kept.flush()
            measured[model.identity] = Measured(model, tuple(answers), kept.seconds)
            log.info("%s answered %d items in %.1f s", model.name, len(items), measured[model.identity].seconds)
        del base
        models.release()
    return measured


def answers_identity(config: EvalConfig, model: PlannedModel) -> str:
    """Names the way in which the model is asked."""
    kind, precision = models.device(config.gpus)
    return identity(
        model=[model.content or model.uri, model.adapter_content or model.adapter_uri],
        generation=config.generation,
        device=[models.device_name(kind), str(precision), config.gpus],
        libraries={name: importlib.metadata.version(name) for name in ANSWERING},
    )


def compare_all(
    config: EvalConfig, plan: Plan, items: Sequence[Item], answers: Mapping[str, Sequence[Answer | None]]
) -> list[Comparison]:
    """Every metric against every baseline."""
    tokenizer = load_tokenizer(plan.models[0])

    def text(value: str) -> Text:
        return Text(value, len(tokenizer(value, add_special_tokens=False)["input_ids"]))

    references = [text(item.reference) for item in items]
    said: dict[str, list[Text | None]] = {
        name: [None if answer is None else text(answer.text) for answer in given] for name, given in answers.items()
    }
    candidate, *baselines = plan.models
    gate, groups = config.gate, groups_of(items)
    alpha = gate.alpha if gate else ALPHA
    return [
        compare(
            metric,
            baseline.name,
            Answers(references, said[candidate.name], said[baseline.name], groups),
            Design(alpha, config.seed, gate.margin if gate and gate.metric is metric else 0.0),
        )
        for metric in dict.fromkeys(config.metrics)
        for baseline in baselines
    ]


def build_report(
    config: EvalConfig,
    plan: Plan,
    items: Sequence[Item],
    measured: Mapping[tuple[str, str | None], Measured],
    comparisons: Sequence[Comparison],
) -> Report:
    """The report without its duration."""
    reports = tuple(_model_report(model, measured[model.identity]) for model in plan.models)
    known = [Seen(model.name, model.seen, model.trained_on) for model in reports]
    found, told = doubts(known, plan.dataset_sha256, len(items)), remarks(known, len(items))
    decision = judged(config, comparisons, found)
    kind, precision = models.device(config.gpus)
    return Report(
        schema=SCHEMA,
        owner=config.owner,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_seconds=0.0,
        config_sha256=plan.config_sha256,
        models=reports,
        data=DataReport(
            config.dataset.uri,
            plan.dataset_sha256,
            plan.rows,
            plan.duplicates,
            len(items),
            config.seed,
            config.limit,
            groups=len(set(groups_of(items))),
        ),
        settings=Settings(config.generation, "greedy", models.device_name(kind), str(precision).removeprefix("torch.")),
        metrics=metric_reports(comparisons),
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
        signatures={str(metric): corpus.signature(metric) for metric in config.metrics if metric in CORPUS_METRICS},
        gate=config.gate,
        verdict=decision.verdict if decision else None,
        verdict_message=message(decision.message if decision else None, found, told),
        doubts=found,
        remarks=told,
    )


def _model_report(model: PlannedModel, measured: Measured) -> ModelReport:
    given = [answer for answer in measured.answers if answer]
    return ModelReport(
        name=model.name,
        uri=model.uri,
        content=model.content,
        adapter_uri=model.adapter_uri,
        adapter_content=model.adapter_content,
        trained_on=model.trained_on,
        seen=None if model.seen is None else len(model.seen),
        answered=len(given),
        unfinished=sum(answer.unfinished for answer in given),
        tokens=sum(answer.tokens for answer in given),
        seconds=round(measured.seconds, 3),
    )


def publish_report(config: EvalConfig, store: Store, report: Report, lines: Sequence[dict[str, Any]]) -> Artifact:
    """report.json, report.html and items.jsonl, their manifest last."""
    folder = inputs_dir().parent / "report"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(to_json(report), indent=2, ensure_ascii=False), encoding="utf-8")
    (folder / "report.html").write_text(render(report, lines, ranked_by(config)), encoding="utf-8")
    with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    meta = {
        "datasetSha256": report.data.sha256,
        "config": {"configSha256": report.config_sha256, "evaluate": to_json(config)},
        "libraries": report.libraries,
        "createdBy": config.owner,
    }
    return publish(store, folder, config.output.rstrip("/"), kind=KIND, meta=meta)


def ranked_by(config: EvalConfig) -> MetricName:
    """The metric whose gains choose the items to show."""
    return config.gate.metric if config.gate else config.metrics[0]
