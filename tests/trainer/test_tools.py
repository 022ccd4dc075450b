"""Chats with tools through real templates: calls are learned, results are not, and nothing is left out silently."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import trl

from kubetune_contract import ExitCode, Hyperparameters, KubeTuneError, Method
from kubetune_shared.rows import Row
from kubetune_trainer.data.encoding import MASKED
from kubetune_trainer.data.tokenizer import encoder_for, load_tokenizer, use_template
from tests.support.points import Record
from tests.support.toolchats import (
    ASKED,
    BEFORE_THE_LAST_QUESTION,
    CALLED,
    CHAT,
    HEARD,
    TEMPLATE,
    TOLD,
    TOOL,
    UNMARKED,
    WRITTEN_CALL,
    number_chat,
)
from tests.support.training import Jobs, upload

from . import tiny

ROW = Row(7, messages=CHAT, tools=(TOOL,))
PUBLISHED = Path(trl.__file__).parent / "chat_templates"
"""Templates as models' publishers wrote them, which TRL knows."""


def tokenizer_with(base: Path, template: str | dict[str, str]) -> Any:
    tokenizer = load_tokenizer(base, "s3://models/tiny")
    tokenizer.chat_template = template
    return tokenizer


def texts(tokenizer: Any, row: Row, **hyper: Any) -> tuple[str, str]:
    """All of the row, and what is learned of it."""
    done = encoder_for(tokenizer, Hyperparameters(max_sequence_length=4096, **hyper)).encode([row], "training")
    labels = [label for label in done.labels[0] if label != MASKED]
    return tokenizer.decode(done.input_ids[0]), tokenizer.decode(labels)


def refusal(tokenizer: Any, row: Row) -> tuple[str, str]:
    with pytest.raises(KubeTuneError) as caught:
        texts(tokenizer, row)
    assert caught.value.code is ExitCode.BAD_DATA
    return caught.value.reason, caught.value.message


@pytest.mark.parametrize("template", [TEMPLATE, UNMARKED])
def test_calls_are_learned_and_results_are_not(base: Path, template: str) -> None:
    tokenizer = tokenizer_with(base, template)
    whole, learned = texts(tokenizer, ROW)
    assert learned == WRITTEN_CALL + "lazy dog<|end|>"
    assert whole == tokenizer.apply_chat_template(list(CHAT), tools=[TOOL], tokenize=False)
    assert '"description": "jumps"' in whole
    assert texts(tokenizer, dataclasses.replace(ROW, unlearned=(1,)))[1] == "lazy dog<|end|>"
    assert texts(tokenizer, dataclasses.replace(ROW, unlearned=(3,)))[1] == WRITTEN_CALL
    assert texts(tokenizer, ROW, assistant_only_loss=False)[1] == whole
    assert texts(tokenizer, Row(1, messages=(ASKED, TOLD), tools=(TOOL,)))[1] == "lazy dog<|end|>"


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3_1", "llama3_2", "glm4moe"])
def test_templates_as_published(base: Path, name: str) -> None:
    tokenizer = tokenizer_with(base, (PUBLISHED / f"{name}.jinja").read_text())
    whole, learned = texts(tokenizer, ROW)
    assert "jumps" in whole
    assert "quick" in whole
    assert "fox" in learned
    assert "lazy dog" in learned
    assert not any(given in learned for given in ("hello", "quick", "jumps"))


@pytest.mark.parametrize(
    ("template", "row", "missing"),
    [
        (tiny.CHAT_TEMPLATE, ROW, "the definitions of its tools, its tool calls: nothing"),
        (tiny.UNMARKED_TEMPLATE, Row(7, messages=(ASKED, TOLD), tools=(TOOL,)), "the definitions of its tools"),
        (tiny.CHAT_TEMPLATE, Row(7, messages=CHAT), "its tool calls: nothing"),
        (
            (PUBLISHED / "phi3.jinja").read_text(),
            Row(7, messages=(ASKED, TOLD, HEARD, TOLD)),
            "the results of its tools",
        ),
        (
            (PUBLISHED / "llama3_1.jinja").read_text(),
            dataclasses.replace(ROW, messages=(ASKED, {**CALLED, "content": "wait"}, HEARD, TOLD)),
            "the text beside its tool calls",
        ),
    ],
)
def test_a_template_that_leaves_a_part_out_is_refused(base: Path, template: str, row: Row, missing: str) -> None:
    reason, message = refusal(tokenizer_with(base, template), row)
    assert reason == "ToolsNotWritten"
    assert message.startswith(f"dataset line 7: the base model's chat template does not write {missing}")
    assert message.endswith("use a base model whose chat template does, or take it out of the rows")


def test_what_a_template_refuses_is_told_in_its_words(base: Path) -> None:
    twice = {**CALLED, "tool_calls": [*CALLED["tool_calls"], *CALLED["tool_calls"]]}
    row = dataclasses.replace(ROW, messages=(ASKED, twice, HEARD, TOLD))
    reason, message = refusal(tokenizer_with(base, (PUBLISHED / "llama3_1.jinja").read_text()), row)
    assert reason == "ChatTemplateRefused"
    assert "line 7" in message
    assert "single tool-calls at once" in message


def test_results_are_never_learned_because_turns_are_not_found(base: Path) -> None:
    tokenizer = tokenizer_with(base, BEFORE_THE_LAST_QUESTION)
    assert "quick" not in texts(tokenizer, ROW)[1]
    twice = dataclasses.replace(ROW, messages=(ASKED, TOLD, {**ASKED, "content": "world"}, *CHAT[1:]))
    reason, message = refusal(tokenizer, twice)
    assert reason == "TurnsNotFound"
    assert message.startswith("dataset line 7: the base model's chat template does not show where")
    whole, learned = texts(tokenizer, twice, assistant_only_loss=False)
    assert whole == learned


def test_a_template_only_for_tools_is_used_for_chats_with_them(base: Path, tmp_path: Path) -> None:
    named = {"default": tiny.CHAT_TEMPLATE, "tool_use": UNMARKED}
    tokenizer = tokenizer_with(base, named)
    assert texts(tokenizer, ROW)[1] == WRITTEN_CALL + "lazy dog<|end|>"
    assert texts(tokenizer, Row(1, messages=(ASKED, TOLD)))[1] == "lazy dog<|end|>"
    use_template(tokenizer, "other")
    assert tokenizer.chat_template == {"default": "other", "tool_use": UNMARKED}
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path, "s3://models/tiny").chat_template == tokenizer.chat_template


def test_a_training_on_tool_calls(jobs: Jobs, tmp_path: Path, record_property: Record) -> None:
    upload(jobs.server, tiny.build(tmp_path / "tools", chat_template=TEMPLATE), "s3://models/tools")
    data = [number_chat(n) for n in range(12)]
    hyper = {"max_sequence_length": 256, "max_steps": 60, "per_device_train_batch_size": 4}
    held = {"validation_uri": jobs.data([number_chat(n) for n in range(12, 16)], "held.jsonl")}
    job = jobs.job(data, dataset=held, base_model="s3://models/tools", method=Method.FULL, hyperparameters=hyper)
    found = job.succeed("preflight", "prepare", "train")
    assert found["droppedRows"] == found["truncatedRows"] == 0
    mean, last = found["trainLoss"], found["evalLoss"]
    assert last < 1
    record_property(
        "point", f"60 steps on 12 chats with tool calls: mean loss {mean:.2f}, of others at the end {last:.2f}"
    )


def test_a_model_without_tools_in_its_template_is_refused_in_the_preflight(jobs: Jobs) -> None:
    job = jobs.job([number_chat(n) for n in range(3)])
    assert job.run("prepare") == 0, job.log
    for command in ("preflight", "train"):
        assert job.run(command) == ExitCode.BAD_DATA, job.log
        assert job.termination["reason"] == "ToolsNotWritten"
        assert "dataset line 1: the base model's chat template does not write" in job.termination["message"]
