"""Which files of a folder are its weights: one copy of them, the one that transformers reads. Pure.

Repositories often hold a second copy (``consolidated.safetensors``, ``original/``, ``pytorch_model.bin`` beside
safetensors), which would be fetched and counted for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SMALL = (".json", ".model", ".txt", ".jinja")
"""Ends of the files beside the weights that a model is made of."""
_TEXTS = ("README.md", "LICENSE")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".msgpack", ".h5", ".onnx", ".gguf")
ADAPTER_ONLY = (
    "is an adapter without its base; name the model it was trained on (base_model_name_or_path in adapter_config.json)"
    ", or merge the adapter into that and name the result"
)
_SHARD = re.compile(r"model-\d+-of-(\d+)\.safetensors")


class NoWeightsError(ValueError):
    """A folder without a whole set of weights; the message says what is missing and what to do."""


def copy_of(present: Collection[str], index: Mapping[str, Any] | None) -> list[str]:
    """The weight files among the paths ``present``, in the order transformers looks for them: one file, else shards.

    ``index`` is the parsed index, if the folder has one. An index beside a whole file is that of another save, and is
    passed over. Raises NoWeightsError.
    """
    if WHOLE in present:
        return [WHOLE]
    if index is not None:
        return _indexed(present, index)
    shards = sorted(name for name in present if _SHARD.fullmatch(name))
    if shards:
        raise NoWeightsError(
            f"has its weights in {len(shards)} parts ({shards[0]}, ...) but no {INDEX}, which tells what is in which; "
            "upload that too, or save the model again with save_pretrained"
        )
    raise NoWeightsError(_instead(present))


def _indexed(present: Collection[str], index: Mapping[str, Any]) -> list[str]:
    mapped = index.get("weight_map")
    names = sorted({str(name) for name in mapped.values()}) if isinstance(mapped, Mapping) else []
    if not names:
        raise NoWeightsError(f"has no weight_map in {INDEX}; save the model again with save_pretrained")
    missing = [name for name in names if name not in present]
    if missing:
        many = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise NoWeightsError(f"lacks {', '.join(missing[:3])}{many}, which {INDEX} names; upload what is missing")
    return names


def _instead(present: Collection[str]) -> str:
    """What there is in place of the weights."""
    other = other_than_weights(present)
    if other:
        return other
    named = sorted(name for name in present if name.endswith(".safetensors") and "/" not in name)
    if named:
        return (
            f"has its weights under a name that transformers does not look for ({named[0]}); it must be {WHOLE}, or "
            f"parts with {INDEX}"
        )
    return "has no *.safetensors weights; convert pickled weights (*.bin) to safetensors first"


def other_than_weights(present: Collection[str]) -> str | None:
    """What a folder with these files holds in place of a model, and what to do; None where that cannot be told."""
    tops = {name for name in present if "/" not in name}
    if {WHOLE, INDEX} & tops:
        return None
    if "adapter_config.json" in tops or any(name.startswith("adapter_model.") for name in tops):
        return ADAPTER_ONLY
    if any(name.endswith(".gguf") for name in tops):
        return "has only GGUF files, which are for llama.cpp; name the model they were made from, in safetensors"
    return None


def spare(paths: Collection[str], index: Mapping[str, Any] | None) -> set[str]:
    """Of a folder's paths the weights that nobody reads: second copies, in other formats or for other programs, and
    the index of another save beside a whole file, which vLLM would follow.

    None in an adapter's folder (no ``config.json``), and no safetensors file where there is no whole copy: whoever
    reads them says what is wrong.
    """
    tops = {path for path in paths if "/" not in path}
    if "config.json" not in tops:
        return set()
    try:
        chosen = set(copy_of(tops, index))
    except NoWeightsError:
        chosen = {name for name in tops if name.endswith(".safetensors")}
    stale = {INDEX} if chosen == {WHOLE} and index is not None and _stale(index) else set()
    return ({path for path in paths if path.endswith(_WEIGHTS)} - chosen) | stale


def misleads(present: Collection[str], index: Mapping[str, Any] | None) -> str | None:
    """What beside a whole file in a mounted folder makes vLLM read other weights than transformers, and what to do:
    vLLM follows an index before a whole file, and reads every safetensors file where there is no index."""
    if WHOLE not in present:
        return None
    if index is not None:
        return f"{INDEX} beside {WHOLE} is of another save, and vLLM follows it; delete it" if _stale(index) else None
    extra = sorted(name for name in present if name.endswith(".safetensors") and "/" not in name and name != WHOLE)
    if extra:
        return f"{extra[0]} is a second copy of its weights, and vLLM reads both; move it to another folder"
    return None


def _stale(index: Mapping[str, Any]) -> bool:
    """Whether an index beside a whole file tells of other files."""
    mapped = index.get("weight_map")
    return not isinstance(mapped, Mapping) or set(mapped.values()) != {WHOLE}


def of_hub(paths: Collection[str], index: Mapping[str, Any] | None) -> set[str]:
    """Of a repository's paths those that make a model or an adapter: no Python among them, as it is never run."""
    wanted = {path for path in paths if _is_small(path) or ("/" not in path and path.endswith(".safetensors"))}
    return wanted - spare(paths, index)


def _is_small(path: str) -> bool:
    folder, _, name = path.rpartition("/")
    if folder not in {"", "additional_chat_templates"}:
        return False
    return name.endswith(SMALL) or name.startswith(_TEXTS)
