"""The longest context a model's ``config.json`` allows, by the rule vLLM refuses a longer one with. Pure.

vLLM says so only once it has loaded its libraries, in a traceback, and names an environment variable as the remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kubetune_contract import Engine, ExitCode, KubeTuneError
from kubetune_shared.intake.textpart import text_part

_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "model_max_length",
    "max_target_positions",
    "max_sequence_length",
    "max_seq_length",
    "seq_len",
)
_ALREADY_SCALED = frozenset({"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling"})
"""Kinds of RoPE whose configuration states the scaled number of positions."""
_CONFIG_OPTIONS = ("--hf-overrides", "--hf-config-path", "--config-format")
"""Options that give the engine another configuration than the one that was fetched."""


def longest(config: Mapping[str, Any]) -> tuple[int, str] | None:
    """The most tokens and the member that says so; None where only the model's own code knows."""
    text = text_part(config)
    stated = {key: value for key in _KEYS if (value := _positive(text.get(key)))}
    if not stated:
        return None
    # Cohere's models state a length of their own beside the number of positions.
    key = "model_max_length" if "model_max_length" in stated else min(stated, key=lambda name: stated[name])
    return int(stated[key] * _scaling(text)), key


def check_length(engine: Engine, config: Mapping[str, Any], uri: str) -> None:
    """Raises KubeTuneError (BAD_CONFIG, MaxModelLenTooLarge) for what the engine would refuse to start with."""
    found, asked = longest(config), engine.max_model_len
    if asked is None or found is None or asked <= found[0] or _replaces_config(engine.extra_args):
        return
    most, key = found
    raise KubeTuneError(
        ExitCode.BAD_CONFIG,
        "MaxModelLenTooLarge",
        f"spec.engine.maxModelLen is {asked}, but model {uri} knows {most} positions ({key} in its config.json). "
        f"Set spec.engine.maxModelLen to {most} or less, or leave it out to get as much as model and memory allow.",
    )


def _scaling(text: Mapping[str, Any]) -> float:
    if "gemma3" in str(text.get("model_type", "")):
        return 1.0
    factor = 1.0
    for rope in _ropes(text):
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in _ALREADY_SCALED:
            factor = _positive(rope.get("factor")) or factor
    return factor


def _ropes(text: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """One, or one for each kind of layer; transformers 5 calls them rope_parameters, older ones rope_scaling."""
    for name in ("rope_parameters", "rope_scaling"):
        found = text.get(name)
        if isinstance(found, Mapping) and found:
            nested = [rope for rope in found.values() if isinstance(rope, Mapping)]
            yield from nested or [found]
            return


def _positive(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and value > 0 else None


def _replaces_config(arguments: Sequence[str]) -> bool:
    options = (argument.replace("_", "-").partition("=")[0] for argument in arguments if argument.startswith("--"))
    return any(known.startswith(option.partition(".")[0]) for option in options for known in _CONFIG_OPTIONS)
