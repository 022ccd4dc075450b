"""What a user could do better, told from the configuration and the encoded data. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from kubetune_contract import Method, Suggestion, TrainConfig
from kubetune_shared.lora_serving import not_served
from kubetune_trainer.data.encoding import MASKED, Tokenised

_TRAILING = 3
"""Tokens looked at from the end of a learned part: templates write a line break after the end of a turn."""


def end_of_turn_not_learned(data: Tokenised, ends: Collection[int]) -> Suggestion | None:
    """EndOfTurnNotLearned when no learned part ends with one of the token ids ``ends``.

    A model that is never shown the end of its turn goes on until it is cut off.
    """
    learned_parts = 0
    for labels in data.labels:
        for number, label in enumerate(labels):
            if label == MASKED or (number + 1 < len(labels) and labels[number + 1] != MASKED):
                continue
            learned_parts += 1
            if any(last in ends for last in labels[max(0, number + 1 - _TRAILING) : number + 1]):
                return None
    if not learned_parts:
        return None
    cut = f"; {data.truncated} rows were cut at maxSequenceLength, which takes their end" if data.truncated else ""
    return Suggestion(
        "EndOfTurnNotLearned",
        f"none of the {learned_parts} learned turns ends with an end-of-turn token{cut}: the tuned model may not know "
        "when to stop. Mark the turn with its end by {% generation %} in the chat template, or raise "
        "maxSequenceLength where rows are cut",
    )


def adapter_not_servable(config: TrainConfig, base: Mapping[str, Any], *, on_experts: bool) -> Suggestion | None:
    """AdapterNotServable when vLLM does not take such an adapter on such a base, and no merged model is asked for.

    ``base`` is its ``config.json``; ``on_experts`` says whether fused experts are adapted.
    """
    if config.method is Method.FULL or config.export.merged:
        return None
    problem = not_served(base, {"target_parameters": ["experts"] if on_experts else None})
    if problem is None:
        return None
    attention = ", or name attention layers alone in lora.targetModules (q_proj, k_proj, v_proj, o_proj)"
    return Suggestion(
        "AdapterNotServable",
        f"{problem}: set export.merged: true and deploy the merged model{attention if on_experts else ''}",
    )


def precision_changed(before: str | None, now: str) -> Suggestion | None:
    """PrecisionChanged when the run goes on in another precision than it was in ``before`` (None: not known)."""
    if before is None or before == now:
        return None
    return Suggestion(
        "PrecisionChanged",
        f"the run began in {before} and goes on in {now}, as this node does not compute in {before}: the result is as "
        "good, but not bitwise that of an undisturbed run. Set nodeSelector to keep a run on nodes of one kind",
    )


def dora_not_servable(config: TrainConfig) -> Suggestion | None:
    """DoraNotServable when the adapter would need merging before vLLM takes it, and no merged model is asked for."""
    if config.method is Method.FULL or not config.lora.use_dora or config.export.merged:
        return None
    return Suggestion(
        "DoraNotServable",
        "vLLM cannot serve a DoRA adapter on its base; set export.merged: true and deploy the merged model, or leave "
        "lora.useDora out",
    )
