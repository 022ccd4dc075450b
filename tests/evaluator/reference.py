"""Answers made the plain way: each model loaded by itself, one prompt at a time. Imports torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.trainer import tiny


def answers(base: Path, adapter: Path | None, prompts: list[str | list[dict[str, str]]], tokens: int = 8) -> list[str]:
    """Greedy answers, special tokens left out."""
    # Threads cost more than they bring in a model this small.
    torch.set_num_threads(1)
    tokenizer: Any = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    return [_answer(model, tokenizer, prompt, tokens) for prompt in prompts]


def _answer(model: Any, tokenizer: Any, prompt: str | list[dict[str, str]], tokens: int) -> str:
    if isinstance(prompt, str):
        ids = tokenizer(prompt)["input_ids"]
    else:
        rendered = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, chat_template=tiny.CHAT_TEMPLATE, return_dict=True
        )
        ids = rendered["input_ids"]
    made: list[int] = []
    for _ in range(tokens):
        with torch.inference_mode():
            logits = model(torch.tensor([ids + made])).logits[0, -1]
        made.append(int(logits.argmax()))
        if made[-1] == tokenizer.eos_token_id:
            break
    text: str = tokenizer.decode(made, skip_special_tokens=True)
    return text
