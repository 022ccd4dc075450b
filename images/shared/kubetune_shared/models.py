"""Checks of a model's folder that need neither torch nor transformers: is everything there and whole?"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError

_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def check_model(folder: Path, uri: str) -> dict[str, Any]:
    """The model's ``config.json``, once its tokenizer and every weight file are seen to be there and whole.

    Raises KubeTuneError: INPUT_NOT_FOUND (ModelIncomplete) or BAD_DATA (ModelDamaged).
    """
    config = _read_object(folder / "config.json", uri)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise _incomplete(uri, f"has no tokenizer (one of {', '.join(_TOKENIZERS)})")
    for weights in weight_files(folder, uri):
        check_safetensors(weights, uri)
    return config


def weight_files(folder: Path, uri: str) -> list[Path]:
    """The safetensors files of a model, all present. Pickled weights are refused: loading them runs their code."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(_read_object(index, uri).get("weight_map", {}).values()))
        missing = [name for name in names if not (folder / name).is_file()]
        if missing or not names:
            raise _incomplete(uri, f"lacks {', '.join(missing) or 'a weight_map'} of {index.name}")
        return [folder / name for name in names]
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise _incomplete(uri, "has no *.safetensors weights; convert pickled weights (*.bin) to safetensors first")
    return found


def check_safetensors(path: Path, uri: str) -> None:
    """Raises KubeTuneError (BAD_DATA, ModelDamaged) when the header is broken or the file shorter than it says."""
    header = safetensors_header(path, uri)
    size = path.stat().st_size
    end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
    with path.open("rb") as file:
        expected = 8 + struct.unpack("<Q", file.read(8))[0] + end
    if size != expected:
        raise _damaged(uri, path, f"has {size} bytes, its header says {expected}")


def safetensors_header(path: Path, uri: str) -> dict[str, Any]:
    """Names, types, shapes and offsets of the tensors, without reading them."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise _damaged(uri, path, "is cut off inside its header")
            header = json.loads(file.read(length))
    except (struct.error, ValueError) as error:
        raise _damaged(uri, path, f"is no safetensors file ({error})") from error
    if not isinstance(header, dict):
        raise _damaged(uri, path, "is no safetensors file")
    return header


def _read_object(path: Path, uri: str) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _incomplete(uri, f"has no {path.name}; it must be a folder in the Hugging Face layout") from error
    except ValueError as error:
        raise _damaged(uri, path, f"is not JSON ({error})") from error
    if not isinstance(data, dict):
        raise _damaged(uri, path, "is not a JSON object")
    return data


def _incomplete(uri: str, problem: str) -> KubeTuneError:
    return KubeTuneError(ExitCode.INPUT_NOT_FOUND, "ModelIncomplete", f"model {uri} {problem}")


def _damaged(uri: str, path: Path, problem: str) -> KubeTuneError:
    return KubeTuneError(
        ExitCode.BAD_DATA, "ModelDamaged", f"model {uri}: {path.name} {problem}; upload the model again"
    )
