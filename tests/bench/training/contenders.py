"""One contender's training in a process of its own: ``python -m tests.bench.training.contenders NAME PLAN``.

PLAN is a JSON file (see ``contest.py``); the measurement goes to standard output as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

from kubetune_shared.cpus import computes_bfloat16
from kubetune_shared.rows import load_rows
from kubetune_trainer.data.encoding import Encoder
from kubetune_trainer.processes.stop import StopRequest
from kubetune_trainer.train import train

from . import clock

Plan = dict[str, Any]


def arguments(plan: Plan) -> dict[str, Any]:
    """What both peers get: our settings in their words."""
    gpu = torch.cuda.is_available()
    return {
        "output_dir": plan["output"],
        "num_train_epochs": plan["epochs"],
        "per_device_train_batch_size": plan["batch"],
        "gradient_accumulation_steps": plan["accumulation"],
        "learning_rate": plan["learningRate"],
        "lr_scheduler_type": "cosine",
        "optim": "adamw_torch",
        "seed": plan["seed"],
        "bf16": torch.cuda.is_bf16_supported() if gpu else computes_bfloat16(),
        "use_cpu": not gpu,
        "dataloader_pin_memory": gpu,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "logging_steps": plan["loggingSteps"],
        "report_to": [],
        "disable_tqdm": True,
    }


def lora(plan: Plan) -> LoraConfig:
    return LoraConfig(r=plan["rank"], lora_alpha=plan["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")


def plain(plan: Plan) -> None:
    """transformers.Trainer over rows tokenised and masked by us, padded to the longest of a batch."""
    tokenizer = AutoTokenizer.from_pretrained(plan["model"])
    done = Encoder(tokenizer, plan["maxLength"]).encode(load_rows(Path(plan["prepared"])), "training")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(plan["model"]), lora(plan))
    Trainer(
        model=model,
        args=TrainingArguments(**arguments(plan)),
        train_dataset=Dataset.from_dict(done.columns),
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
    ).train()


def trl(plan: Plan, *, packing: bool = False) -> None:
    """TRL's SFTTrainer on the rows as they are."""
    rows = [json.loads(line) for line in Path(plan["rows"]).read_text().splitlines()]
    SFTTrainer(
        model=plan["model"],
        args=SFTConfig(**arguments(plan), max_length=plan["maxLength"], packing=packing),
        train_dataset=Dataset.from_list(rows),
        peft_config=lora(plan),
    ).train()


def kubetune(_: Plan) -> None:
    """Our train command as its container runs it; its configuration is in the environment."""
    train(StopRequest.installed())


CONTENDERS: dict[str, Callable[[Plan], None]] = {
    "transformers.Trainer": plain,
    "trl.SFTTrainer": trl,
    "trl.SFTTrainer, packed": lambda plan: trl(plan, packing=True),
}


def main(name: str, path: str) -> None:
    plan: Plan = json.loads(Path(path).read_text())
    torch.set_num_threads(plan["threads"])
    clock.install()
    CONTENDERS.get(name, kubetune)(plan)
    json.dump(clock.LAPS.result(plan["usefulTokens"]), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
