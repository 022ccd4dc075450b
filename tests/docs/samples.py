"""The messages that the docs show, made by the code that says them.

``python -m tests.docs.samples`` writes them into the pages; test_samples.py compares. What a reader's cluster decides
(addresses) stands as ``...`` in the page.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from kubetune.runs.decide import PROBLEM_SECONDS
from kubetune.settings import Settings
from kubetune.workload.misfit import explain_misfit
from kubetune.workload.secrets import HUB_FIELD, HUB_KEYS, SecretUse, check_secrets
from kubetune_contract import (
    Accelerator,
    Dataset,
    Hyperparameters,
    KubeTuneError,
    ObjectStore,
    Owner,
    Placement,
    TrainConfig,
)
from kubetune_shared.rows import read_rows
from kubetune_shared.store import Store
from kubetune_trainer.preflight.estimate import GIB
from kubetune_trainer.preflight.fit import verdict
from tests.support.s3 import s3_server
from tests.unit.trainer.published import MODELS

from .markdown import ROOT


@dataclass(frozen=True)
class Sample:
    """``shown`` finds the message in the page as its group 1; ``made`` says it."""

    page: str
    shown: str
    made: Callable[[], str]

    def find(self, text: str) -> re.Match[str]:
        """Raises AssertionError when the page shows no such message."""
        found = re.search(self.shown, text, re.MULTILINE)
        assert found, f"{self.page}: nothing like {self.shown}"
        return found


def _rows(lines: list[str], name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text("".join(f"{line}\n" for line in lines))
        try:
            list(read_rows(path, Dataset(f"s3://kubetune/{name}")))
        except KubeTuneError as error:
            return _said(error)
    raise AssertionError("the rows are good")


def _said(error: KubeTuneError) -> str:
    return f"{error.reason}: {error.message}"


def a_typo() -> str:
    """A brace left out."""
    good = {"prompt": "How long is the warranty?", "completion": "Two years."}
    lines = [json.dumps(good | {"prompt": f"{good['prompt']} ({n})"}) for n in range(1, 6)]
    lines[2] = lines[2].replace('", "completion"', '" "completion"')
    return _rows(lines, "train.jsonl")


def many_faults() -> str:
    """Of two kinds."""
    lines = [json.dumps({"prompt": f"{n}?", "completion": f"{n}!"}) for n in range(1, 501)]
    for number in (17, 44, 45):
        lines[number - 1] = json.dumps({"prompt": f"{number}?", "completion": ""})
    lines[79] = lines[79].replace(', "completion"', ' "completion"')
    return _rows(lines, "train.jsonl").partition(": ")[2]


def no_secret() -> str:
    """One that the user's own spec names."""
    use = SecretUse("hugging-face", HUB_KEYS, HUB_FIELD, is_named=True)
    problem = check_secrets(frozenset({use.name}), (use,), "team-a", Settings(), PROBLEM_SECONDS)
    assert problem
    return f"{problem.reason}: {problem.message}"


def no_gpu() -> str:
    """Of a node without any."""
    container = {"name": "train", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    node = {"metadata": {"name": "n1"}, "spec": {}, "status": {"allocatable": {"cpu": "8"}}}
    fact = explain_misfit({"containers": [container]}, [node])
    assert fact
    return f"{fact.reason}: {fact.message}"


def too_large() -> str:
    """An 8B model in 16 bits on a 12 GB card."""
    config = TrainConfig(
        schema=1,
        owner=Owner("team-a", "job", "uid"),
        base_model="hf://meta-llama/Llama-3.1-8B-Instruct@main",
        dataset=Dataset("s3://kubetune/data/train.jsonl"),
        output="s3://kubetune/out",
        store=ObjectStore(),
        hyperparameters=Hyperparameters(
            per_device_train_batch_size=1, gradient_checkpointing=True, max_sequence_length=1024
        ),
        gpus=1,
        placement=Placement(accelerators=(Accelerator("NVIDIA-GeForce-RTX-3060", 12 * GIB),)),
    )
    found = verdict(config, MODELS["Llama-3.1-8B"].shape, 0)
    return f"{found.fit.value}: {found.message}"


def no_bucket() -> str:
    """As a real store tells it."""
    with ExitStack() as held:
        server = held.enter_context(s3_server(Path(held.enter_context(tempfile.TemporaryDirectory()))))
        held.enter_context(mock.patch.dict(os.environ, server.environment))
        try:
            Store(server.store).read("s3://no-such-bucket/base/manifest.json")
        except KubeTuneError as error:
            return _said(error).replace(server.endpoint, "http://...")
    raise AssertionError("there is such a bucket")


def _row(did: str) -> str:
    return rf"^\| {re.escape(did)} \| `(.*)` \|$"


SAMPLES = (
    Sample("README.md", _row("a typo in line 3 of the data"), a_typo),
    Sample("README.md", _row("forgot the Secret"), no_secret),
    Sample("README.md", _row("asked for a GPU that no node has"), no_gpu),
    Sample("README.md", _row("asked for more than the card has"), too_large),
    Sample("README.md", _row("named a bucket that is not there"), no_bucket),
    Sample("docs/data.md", r"^(dataset train\.jsonl lines .*)$", many_faults),
)


def write() -> None:
    """Puts what the code says today into the pages."""
    for sample in SAMPLES:
        path = ROOT / sample.page
        text = path.read_text(encoding="utf-8")
        found = sample.find(text)
        path.write_text(text[: found.start(1)] + sample.made() + text[found.end(1) :], encoding="utf-8")


if __name__ == "__main__":
    write()
