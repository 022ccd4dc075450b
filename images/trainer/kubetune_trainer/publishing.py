"""The trained model as a folder that others can load, and its way into the store. Imports no torch by itself."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from kubetune_contract import Artifact, ExitCode, KubeTuneError, TrainConfig
from kubetune_shared.artifacts import publish
from kubetune_shared.store import Store

from .results import artifact_kind, artifact_uri
from .stop import StopRequest

PATIENCE_SECONDS = 900.0
"""How long a finished training waits for a store that does not answer."""

log = logging.getLogger(__name__)


def save_artifact(config: TrainConfig, model: Any, tokenizer: Any, dtype: Any, folder: Path) -> None:
    """Writes adapter or whole model with its tokenizer and chat template into ``folder``.

    ``dtype`` is the precision the base's own files have, in which a whole model is written too.
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
    tokenizer.save_pretrained(folder)


def publish_when_possible(
    store: Store, folder: Path, config: TrainConfig, meta: dict[str, Any], stop: StopRequest
) -> Artifact:
    """Publishes, trying again for PATIENCE_SECONDS while the store is away: hours of training hang on it.

    Raises the last KubeTuneError when that did not suffice, or at once when trying again cannot help.
    """
    waited, pause = 0.0, 2.0
    while True:
        try:
            return publish(store, folder, artifact_uri(config), kind=artifact_kind(config), meta=meta)
        except KubeTuneError as error:
            if error.code is not ExitCode.UNAVAILABLE or waited >= PATIENCE_SECONDS:
                raise
            log.warning("cannot publish yet, trying again in %.0f s: %s", pause, error.message)
            if stop.wait(pause):
                raise
            waited, pause = waited + pause, min(pause * 2, 60.0)
