"""The README.md of a published folder: measured facts only, under the metadata that the hub reads. Pure."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubetune_contract import Method, TrainConfig, TrainSummary
from kubetune_contract.uris import parse

_LIBRARY = {"adapter": "peft", "model": "transformers", "merged": "transformers", "gguf": "gguf"}
_RELATION = {"adapter": "adapter", "model": "finetune", "merged": "finetune", "gguf": "quantized"}
_TITLES = {
    "adapter": "adapter on",
    "model": "fine-tuned from",
    "merged": "fine-tuned from",
    "gguf": "GGUF, fine-tuned from",
}
_PER_TOKEN = "Losses are means of the cross-entropy per learned token."
_PER_BATCH = (
    "Losses are means of the cross-entropy per learned token; the validation loss is one of its batches' means, as the "
    "release measured it that began this run."
)
_BODY = "## What it was made of"


@dataclass(frozen=True)
class Origin:
    """Where the numbers come from, beside configuration and results."""

    dataset_sha256: str
    hardware: str
    finished: str
    """Day, ISO 8601, UTC."""
    libraries: Mapping[str, str]
    base_revision: str | None = None
    """Commit on the hub."""
    base_manifest_sha256: str | None = None
    base_license: str | None = None
    """As the base's own files say it."""
    per_token: bool = True
    """How the validation loss was measured: see ``RunDocument``."""


def card(kind: str, config: TrainConfig, results: TrainSummary, origin: Origin) -> str:
    """The whole file. What is not known is left out rather than guessed."""
    sections = [
        _BODY,
        _table(_made_of(config, origin)),
        "## Training",
        _table(_training(config, results, origin)),
        "## Results",
        _table(_results(results)),
        f"{_PER_TOKEN if origin.per_token else _PER_BATCH} Nothing else was measured here: how good the answers are is "
        "for an evaluation to tell.",
    ]
    return _head(kind, config, origin.base_license) + "\n\n".join(sections) + "\n"


def export_card(result: str, kind: str, config: TrainConfig) -> str:
    """The card of an export, from the card of the result it was made of: the same facts under another head."""
    return _head(kind, config, license_of(result)) + _BODY + result.partition(_BODY)[2]


def base_license(folder: Path) -> str | None:
    """What the model's own card names as its licence; None without one."""
    try:
        return license_of((folder / "README.md").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def license_of(text: str) -> str | None:
    """``license:`` in a card's metadata."""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:[ \t]*[\"']?([\w.+-]+)", head[1], re.MULTILINE) if head else None
    return found[1] if found else None


def _base_name(config: TrainConfig) -> str:
    uri = parse(config.base_model)
    return f"{uri.authority}/{uri.path}" if uri.scheme == "hf" else config.base_model


def _head(kind: str, config: TrainConfig, license_name: str | None) -> str:
    title = f"# {config.owner.name}: {_TITLES[kind]} {_base_name(config)}"
    parts = [f"---\n{_metadata(kind, config, license_name)}---", title, _use(kind, config)]
    return "".join(f"{part}\n\n" for part in parts if part)


def _metadata(kind: str, config: TrainConfig, license_name: str | None) -> str:
    tags = ["kubetune", "sft", config.method.value, *(["gguf"] if kind == "gguf" else [])]
    members: dict[str, Any] = {"library_name": _LIBRARY[kind], "pipeline_tag": "text-generation", "tags": tags}
    if parse(config.base_model).scheme == "hf":  # the hub accepts names of its own models only
        members |= {"base_model": _base_name(config), "base_model_relation": _RELATION[kind]}
    if license_name:
        members["license"] = license_name
    # JSON is YAML.
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in members.items())


def _use(kind: str, config: TrainConfig) -> str:
    if kind == "gguf":
        return (
            f"One file of {config.export.gguf} for llama.cpp (`llama-server -m model.gguf --jinja`) and Ollama "
            f"(`ollama create {config.owner.name} -f Modelfile`)."
        )
    if kind == "adapter" and config.lora.use_dora:
        return "A DoRA adapter: vLLM cannot load it on top of its base; serve the merged model."
    return ""


def _made_of(config: TrainConfig, origin: Origin) -> dict[str, Any]:
    return {
        "Base model": f"`{config.base_model}`",
        "Base revision": origin.base_revision,
        "Base manifest SHA-256": origin.base_manifest_sha256,
        "Base licence, as its card says": origin.base_license,
        "Dataset": f"`{config.dataset.uri}`",
        "Dataset SHA-256 (rows, normalised)": origin.dataset_sha256,
        "Job": f"{config.owner.namespace}/{config.owner.name}, uid {config.owner.uid}",
        "Finished": origin.finished,
    }


def _training(config: TrainConfig, results: TrainSummary, origin: Origin) -> dict[str, Any]:
    settings = {name: value for name, value in dataclasses.asdict(config.hyperparameters).items() if value is not None}
    if config.method is not Method.FULL:
        settings |= {f"lora.{name}": value for name, value in dataclasses.asdict(config.lora).items()}
    shown = ", ".join(f"`{name}={_plain(value)}`" for name, value in settings.items() if value is not None)
    steps = "; ".join(f"step {step.step}: {step.action}" for step in results.recovery)
    return {
        "Method": config.method.value,
        "Preset": config.preset,
        "Rows": f"{results.train_rows} to train on, {results.validation_rows} held out",
        "Left out, cut": f"{results.dropped_rows}, {results.truncated_rows} rows",
        "Steps": results.steps,
        "Tokens": results.tokens,
        "Hardware": origin.hardware,
        "Duration of the last attempt": f"{results.duration_seconds:.0f} s",
        "Peak GPU memory": f"{results.peak_vram_bytes / 2**30:.2f} GiB" if results.peak_vram_bytes else None,
        "Settings changed on the way": steps or None,
        "Settings": shown,
        "Libraries": ", ".join(f"{name} {version}" for name, version in origin.libraries.items()),
        "Image": f"`{config.image}`" if config.image else None,
    }


def _results(results: TrainSummary) -> dict[str, Any]:
    return {
        "Training loss": _loss(results.train_loss),
        "Validation loss": _loss(results.eval_loss),
        "Weights of step": results.best_step or results.steps,
        "Stopped early": "yes" if results.stopped_early else None,
    }


def _loss(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _plain(value: Any) -> str:
    return ",".join(value) if isinstance(value, (list, tuple)) else str(value)


def _table(rows: Mapping[str, Any]) -> str:
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value is not None]
    return "\n".join(["| | |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
