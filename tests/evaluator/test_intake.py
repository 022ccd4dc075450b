"""Bases and adapters that cannot be evaluated are refused in one sentence, with what to do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from kubetune_contract import ExitCode
from tests.support.points import Record

from .conftest import BASE, TUNED, Evaluations

pytestmark = pytest.mark.intake
NOT_SUPPORTED = (ExitCode.BAD_CONFIG, "ModelNotSupported")
INCOMPLETE = (ExitCode.INPUT_NOT_FOUND, "ModelIncomplete")
ROWS = [{"prompt": f"say {n} =", "completion": " hello"} for n in range(12)]


def config(**members: Any) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | members))

    return change


def without_a_weight(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    del found["model.layers.1.mlp.up_proj.weight"]
    save_file(found, folder / "model.safetensors", metadata={"format": "pt"})


def with_an_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def broken_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pre_tokenizer": {"type": "Novel"}}))


@pytest.mark.parametrize(
    ("what", "change", "outcome", "said"),
    [
        (
            "AWQ weights",
            config(quantization_config={"quant_method": "awq"}),
            NOT_SUPPORTED,
            "evaluate the unquantised model",
        ),
        (
            "bitsandbytes weights",
            config(quantization_config={"load_in_4bit": True}),
            NOT_SUPPORTED,
            "evaluate the unquantised model",
        ),
        (
            "an adapter in the base's folder",
            with_an_adapter,
            NOT_SUPPORTED,
            "lies beside it",
        ),
        (
            "a masked language model",
            config(architectures=["BertForMaskedLM"], model_type="bert"),
            NOT_SUPPORTED,
            "masked language model",
        ),
        (
            "a base that lacks one weight",
            without_a_weight,
            INCOMPLETE,
            "lacks model.l",
        ),
        (
            "weights of another size",
            config(intermediate_size=96),
            INCOMPLETE,
            "config.json says",
        ),
        ("a tokenizer.json of a newer library", broken_tokenizer, (ExitCode.BAD_DATA, "ModelDamaged"), "newer release"),
    ],
)
def test_bases_that_cannot_be_evaluated(
    evaluations: Evaluations,
    base: Path,
    record_property: Record,
    what: str,
    change: Callable[[Path], object],
    outcome: tuple[ExitCode, str],
    said: str,
) -> None:
    name = f"intake-{evaluations.count}"
    folder = shutil.copytree(base, evaluations.server.root / "models" / name)
    change(folder)
    odd = replace(BASE, name="candidate", uri=f"s3://models/{name}")
    job = evaluations.make(ROWS, candidate=odd, baselines=(BASE,))
    code = job.run("prepare") or job.run("evaluate")
    failure = job.termination
    assert (code, failure["reason"]) == outcome, job.log
    assert said in failure["message"]
    record_property("point", f"{what}, to be evaluated: refused, {outcome[1]}: {failure['message']}")


def test_an_adapter_with_whole_weights(evaluations: Evaluations, tuned: Path, record_property: Record) -> None:
    """They would stay in the base that the candidate is compared with."""
    folder = shutil.copytree(tuned, evaluations.server.root / "models" / f"whole-{evaluations.count}")
    (folder / "manifest.json").unlink(missing_ok=True)
    found = load_file(folder / "adapter_model.safetensors")
    embedding = load_file(evaluations.server.root / "models/tiny/model.safetensors")["model.embed_tokens.weight"]
    found["base_model.model.model.embed_tokens.weight"] = embedding + 1
    save_file(found, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    job = evaluations.make(ROWS, candidate=replace(TUNED, adapter_uri=f"s3://models/{folder.name}"))
    assert job.run("prepare") == ExitCode.BAD_CONFIG, job.log
    failure = job.termination
    assert failure["reason"] == "AdapterNotSupported"
    assert "embed_tokens" in failure["message"]
    record_property("point", f"an adapter with whole embeddings, to be evaluated: refused: {failure['message']}")
