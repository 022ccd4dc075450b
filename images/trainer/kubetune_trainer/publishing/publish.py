"""The trained model as a folder that others can load, and its way into the store. Imports no torch by itself."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from kubetune_contract import Artifact, TrainConfig
from kubetune_shared.artifacts import publish
from kubetune_trainer.job import Job
from kubetune_trainer.patience import patiently

from .results import artifact_kind

GENERATION = "generation_config.json"


def save_artifact(  # noqa: PLR0913 (what is saved, and how)
    config: TrainConfig, model: Any, tokenizer: Any, *, base: Path, dtype: Any, folder: Path
) -> None:
    """Writes adapter or whole model with its tokenizer and chat template into ``folder``.

    ``base`` is the base model's folder and ``dtype`` the precision of its files, in which a whole model is written too.
    """
    if artifact_kind(config) == "adapter":
        # Servers compare this with the model they run; peft would write the path inside this pod.
        model.peft_config["default"].base_model_name_or_path = config.base_model
        # "auto" would ask the hub whether the embedding was resized.
        model.save_pretrained(folder, save_embedding_layers=False)
        # peft's card is a form to fill in; the manifest holds the facts.
        (folder / "README.md").unlink(missing_ok=True)
    else:
        model.config.use_cache = True
        model.to(dtype).save_pretrained(folder)
        keep_generation_settings(base, folder)
    tokenizer.save_pretrained(folder)


def keep_generation_settings(base: Path, folder: Path) -> None:
    """The base's own settings, whatever they are, in place of those that transformers has written."""
    (folder / GENERATION).unlink(missing_ok=True)
    if (base / GENERATION).is_file():
        shutil.copyfile(base / GENERATION, folder / GENERATION)


def publish_when_possible(job: Job, folder: Path, uri: str, *, kind: str, meta: dict[str, Any]) -> Artifact:
    """Publishes ``folder``, trying again while the store is away, and only as long as this attempt is in charge.

    Raises the last KubeTuneError when patience did not suffice, and at once when trying again cannot help.
    """
    latest = job.state.latest
    return patiently(
        lambda: publish(job.store, folder, uri, kind=kind, meta=meta, guard=job.state.confirm),
        "publishing",
        job.stop,
        job.reporter,
        latest.step if latest else None,
    )
