"""Checks of a model's folder that need neither torch nor transformers: is everything there and whole?"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

from .intake.weights import INDEX, WHOLE, NoWeightsError, copy_of, other_than_weights

HEADER_LIMIT = 100_000_000
"""Bytes the safetensors format allows a header."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def check_model(folder: Path, uri: str) -> dict[str, Any]:
    """The model's ``config.json``, once its tokenizer and every weight file are seen to be there and whole.

    Raises KubeTuneError: INPUT_NOT_FOUND (ModelIncomplete) or BAD_DATA (ModelDamaged).
    """
    config = model_config(folder, uri)
    for weights in weight_files(folder, uri):
        check_safetensors(weights, uri)
    return config


def check_layout(present: Collection[str], uri: str) -> None:
    """Raises KubeTuneError (INPUT_NOT_FOUND, ModelIncomplete) for a folder with these files that holds something else
    than a model in the Hugging Face layout, such as GGUF files or an adapter."""
    problem = None if "config.json" in present else other_than_weights(present)
    if problem:
        raise _incomplete(uri, problem)


def model_config(folder: Path, uri: str) -> dict[str, Any]:
    """The model's ``config.json``, once its tokenizer is seen to be there. Raises as ``check_model`` does."""
    config = _read_object(folder / "config.json", uri)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise _incomplete(uri, f"has no tokenizer (one of {', '.join(_TOKENIZERS)})")
    return config


def weight_files(folder: Path, uri: str) -> list[Path]:
    """The safetensors files of a model, all present. Pickled weights are refused: loading them runs their code."""
    return [folder / name for name in weight_names(folder, {path.name for path in folder.iterdir()}, uri)]


def weight_index(folder: Path, uri: str) -> dict[str, Any] | None:
    """The index of a model's weights; None where there is none. Raises KubeTuneError (BAD_DATA, ModelDamaged)."""
    path = folder / INDEX
    return _read_object(path, uri) if path.is_file() else None


def weight_names(folder: Path, present: Collection[str], uri: str) -> list[str]:
    """Which of the files ``present`` are the model's weights, by its index if it has one in ``folder``.

    Raises KubeTuneError (INPUT_NOT_FOUND, ModelIncomplete) when one is missing or there are none.
    """
    try:
        return copy_of(present, None if WHOLE in present else weight_index(folder, uri))
    except NoWeightsError as error:
        raise _incomplete(uri, str(error)) from error


def check_safetensors(path: Path, uri: str) -> None:
    """Raises KubeTuneError (BAD_DATA, ModelDamaged) when the header is broken or the file shorter than it says."""
    safetensors_header(path, uri)


def safetensors_header(path: Path, uri: str) -> dict[str, Any]:
    """``read_header`` of a local file."""
    with path.open("rb") as file:

        def read(start: int, length: int) -> bytes:
            file.seek(start)
            return file.read(length)

        return read_header(read, path.stat().st_size, path.name, uri)


def read_header(read: Callable[[int, int], bytes], size: int, name: str, uri: str) -> dict[str, Any]:
    """Names, types, shapes and offsets of the tensors in a safetensors file of ``size`` bytes, without reading them.

    ``read(start, length)`` gives a part of the file. Raises KubeTuneError (BAD_DATA, ModelDamaged) when the header is
    broken or the file is not as long as it says.
    """
    if size < 8:
        raise damaged(uri, name, f"is no safetensors file ({size} bytes)")
    try:
        (length,) = struct.unpack("<Q", read(0, 8))
        if not 0 < length <= min(size - 8, HEADER_LIMIT):
            raise damaged(uri, name, "is cut off inside its header")
        header = json.loads(read(8, length))
    except (struct.error, ValueError) as error:
        raise damaged(uri, name, f"is no safetensors file ({error})") from error
    if not isinstance(header, dict):
        raise damaged(uri, name, "is no safetensors file")
    header.pop("__metadata__", None)
    expected = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size != expected:
        raise damaged(uri, name, f"has {size} bytes, its header says {expected}")
    return header


def shapes(header: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Tensor -> shape of what ``read_header`` gives."""
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _read_object(path: Path, uri: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        here = {file.name for file in path.parent.iterdir()} if path.parent.is_dir() else set()
        instead = other_than_weights(here) or f"has no {path.name}; it must be a folder in the Hugging Face layout"
        raise _incomplete(uri, instead) from error
    except ValueError as error:
        raise damaged(uri, path.name, f"is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise damaged(uri, path.name, "is not a JSON object")
    return data


def _incomplete(uri: str, problem: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.INPUT_NOT_FOUND, "ModelIncomplete", f"model {uri} {problem}")


def damaged(uri: str, name: str, problem: str) -> KubeTuneError:
    """The failure for a file that is not what it should be."""
    return KubeTuneError(ExitCode.BAD_DATA, "ModelDamaged", f"model {uri}: {name} {problem}; upload the model again")
