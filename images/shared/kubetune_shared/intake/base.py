"""The answers that a base's files give, each as the refusal that comes of it. Imports no torch."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

from .classes import class_of
from .complete import Compared, incomplete
from .finite import not_finite
from .library import tables
from .positions import positions_of
from .quantisation import quantisation_of
from .tokenizer import outside, sentencepiece_only, vocabulary_rows


class Use(enum.Enum):
    """What is to be done with a base."""

    TRAIN = "trained"
    TRAIN_FULLY = "trained with method full"
    EVALUATE = "evaluated"


def check_files(folder: Path, config: Mapping[str, Any], uri: str, use: Use) -> None:
    """Judges a base by its small files, with no library; ``config`` is its ``config.json``.

    Raises KubeTuneError: BAD_CONFIG (ModelNotSupported) for what cannot be used so at all, BAD_DATA (ModelDamaged) for
    a tokenizer that is not right.
    """
    problem = _adapter_inside(folder) or _quantised(config, use)
    if problem:
        raise _unsupported(uri, use, problem)
    wrong = sentencepiece_only(folder) or outside(folder, vocabulary_rows(config))
    if wrong:
        raise _damaged(uri, wrong)


def check_class(config: Mapping[str, Any], uri: str, use: Use) -> None:
    """Judges a base by its class, as the transformers of this image knows it, which takes a second.

    Raises KubeTuneError (BAD_CONFIG, ModelNotSupported).
    """
    problem = class_of(config, tables()).problem
    if problem:
        raise _unsupported(uri, use, problem)


def check_complete(compared: Compared, names: Collection[str], uri: str) -> None:
    """Raises KubeTuneError (INPUT_NOT_FOUND, ModelIncomplete) when files with tensors of these ``names`` lack a part
    of the model; what is not there would be made up at random, without a word."""
    problem = incomplete(compared, names)
    if problem:
        raise KubeTuneError(ExitCode.INPUT_NOT_FOUND, "ModelIncomplete", f"model {uri} {problem}")


def check_fits(config: Mapping[str, Any], names: Collection[str], longest: int, highest: int, uri: str) -> None:
    """Judges rows against a base: ``longest`` is the longest of them in tokens, ``highest`` their highest token id,
    ``names`` those of the base's tensors.

    Raises KubeTuneError: BAD_CONFIG (SequenceTooLong) for rows that end behind the model's last position, BAD_DATA
    (ModelDamaged) for a token that has no place in the embedding.
    """
    positions = positions_of(config, names)
    if positions and positions.learned and longest > positions.limit:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "SequenceTooLong",
            f"the longest row has {longest} tokens, and {uri} has {positions.limit} positions and nothing behind them; "
            f"set maxSequenceLength to {positions.limit} or less, which cuts such rows, or take a model for longer "
            "ones",
        )
    rows = vocabulary_rows(config)
    if rows is not None and highest >= rows:
        raise _damaged(
            uri,
            f"has a tokenizer that gives token {highest} for these rows, where the embedding has {rows}; upload the "
            "tokenizer of this model, or resize the embedding (resize_token_embeddings) and upload the model again",
        )


def check_finite(files: list[Path], uri: str) -> None:
    """Raises KubeTuneError (BAD_DATA, ModelDamaged) when a weight in one of the safetensors files is no number."""
    for path in files:
        found = not_finite(path)
        if found:
            name, what = found
            raise _damaged(
                uri,
                f"has {what} in {name} ({path.name}), so that every loss would be NaN; mostly a merge or a conversion "
                "to float16 made it so: make it again in bfloat16 or float32",
            )


def _unsupported(uri: str, use: Use, problem: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_CONFIG, "ModelNotSupported", f"model {uri} cannot be {use.value} here: {problem}")


def _damaged(uri: str, problem: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.BAD_DATA, "ModelDamaged", f"model {uri} {problem}")


def _adapter_inside(folder: Path) -> str:
    """transformers puts an adapter that lies in a model's folder into the model, and tells nobody."""
    if not (folder / "adapter_config.json").is_file():
        return ""
    return (
        "an adapter lies beside it (adapter_config.json), which transformers would load into it; move "
        "adapter_config.json and adapter_model.safetensors to another folder, or merge the adapter and name the result"
    )


def _quantised(config: Mapping[str, Any], use: Use) -> str:
    found = quantisation_of(config)
    if found is None:
        return ""
    if use is Use.EVALUATE:
        return found.evaluated
    if use is Use.TRAIN_FULLY and not found.trained and found.method == "bitsandbytes":
        return "its weights are bitsandbytes, which only an adapter can be trained on; use method qlora"
    return found.trained
