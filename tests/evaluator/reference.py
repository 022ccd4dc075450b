"""Answers made the plain way: each model loaded by itself, one prompt at a time. Imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.trainer import tiny


def answers(
    base: Path,
    adapter: Path | None,
    prompts: Sequence[str | list[dict[str, Any]]],
    tokens: int = 8,
    template: str = tiny.CHAT_TEMPLATE,
    tools: list[dict[str, Any]] | None = None,
) -> list[str]:
    """Greedy answers, special tokens left out."""
    # Threads cost more than they bring in a model this small.
    torch.set_num_threads(1)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()

    def ids(prompt: str | list[dict[str, Any]]) -> list[int]:
        if isinstance(prompt, str):
            return list(tokenizer(prompt)["input_ids"])
        return list(
            tokenizer.apply_chat_template(
                prompt, tools=tools, add_generation_prompt=True, chat_template=template, return_dict=True
            )["input_ids"]
        )

    return [_answer(model, tokenizer, ids(prompt), tokens) for prompt in prompts]


def _answer(model: Any, tokenizer: Any, ids: list[int], tokens: int) -> str:
    made: list[int] = []
    for _ in range(tokens):
        with torch.inference_mode():
            logits = model(torch.tensor([ids + made])).logits[0, -1]
        made.append(int(logits.argmax()))
        if made[-1] == tokenizer.eos_token_id:
            break
    text: str = tokenizer.decode(made, skip_special_tokens=True)
    return text
