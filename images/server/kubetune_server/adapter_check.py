"""Whether vLLM can serve an adapter, told from its ``adapter_config.json`` and manifest. Pure.

The list follows vLLM's own (``vllm/lora/peft_helper.py``, 0.32 and 0.33), which is reached only after minutes of
loading and then ends the engine; here each refusal says what to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kubetune_contract import ExitCode, KubeTuneError, uris
from kubetune_shared.intake.adapters import layers_of, misfit, original, same_weights, whole_weights
from kubetune_shared.lora_serving import not_served
from kubetune_shared.manifest import Manifest

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM's ``--max-lora-rank`` takes."""
_PLAIN_INITS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})
"""Ways to start training that leave the base's weights as they are."""
_SERVED_MODULES_TO_SAVE = frozenset({"classifier", "score"})
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def check_adapter(config: Mapping[str, Any], uri: str) -> int:
    """The ``--max-lora-rank`` the adapter needs.

    Raises KubeTuneError (BAD_CONFIG, AdapterNotServable) naming every feature in the way and the way out.
    """
    problems = _problems(config)
    if problems:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "AdapterNotServable",
            f"adapter {uri} cannot be served by vLLM: {'; '.join(problems)}. "
            "Train it without that, or merge it into its base (method full trains a model that needs no adapter) "
            "and deploy the merged model.",
        )
    return next(allowed for allowed in RANKS if allowed >= highest_rank(config))


def check_tensors(tensors: Iterable[str], uri: str) -> None:
    """Judges an adapter by the names in its file.

    Raises KubeTuneError (BAD_CONFIG, AdapterNotServable) for whole weights among its matrices: vLLM passes over
    embeddings without a word, and what it serves is then another model than the one that was trained.
    """
    whole = [name for name in whole_weights(tensors) if name.split(".")[-2] not in _SERVED_MODULES_TO_SAVE]
    if whole:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "AdapterNotServable",
            f"adapter {uri} cannot be served by vLLM: its file holds whole weights beside the adapter's "
            f"({', '.join(whole[:3])}), which are left out in serving; PEFT adds them when tokens were added to the "
            "vocabulary. Merge it into its base and deploy the merged model.",
        )


def check_sizes(
    tensors: Mapping[str, tuple[int, ...]],
    base: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
    model_uri: str,
    uri: str,
) -> None:
    """Judges an adapter by its matrices and the ``base``'s (name -> shape), of which ``config`` is the config.json.

    Raises KubeTuneError (BAD_CONFIG, BaseModelMismatch).
    """
    # Packed weights have other shapes than the layers they stand for.
    problem = misfit(tensors, {} if config.get("quantization_config") else base, layers_of(config))
    if problem:
        raise _mismatch(
            uri, f"{problem}, in {model_uri}", "set the model's uri to the one it was trained on, or train it again"
        )


def check_on_model(config: Mapping[str, Any], model: Mapping[str, Any], uri: str) -> None:
    """Raises KubeTuneError (BAD_CONFIG, AdapterNotServable) when vLLM serves no such adapter on the model of this
    ``config.json``."""
    problem = not_served(model, config)
    if problem:
        raise KubeTuneError(
            ExitCode.BAD_CONFIG,
            "AdapterNotServable",
            f"adapter {uri} cannot be served on its base: {problem}. Merge it into its base (export.merged: true) and "
            "deploy the merged model.",
        )


def highest_rank(config: Mapping[str, Any]) -> int:
    """The largest rank of any module."""
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    return max((rank for rank in ranks if isinstance(rank, int)), default=0)


def _problems(config: Mapping[str, Any]) -> list[str]:
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        return [f"it is a {kind} adapter and only LORA ones are served"]
    found = []
    if config.get("use_dora"):
        found.append("it uses DoRA (use_dora)")
    saved = sorted(set(config.get("modules_to_save") or ()) - _SERVED_MODULES_TO_SAVE)
    if saved:
        found.append(f"it replaces whole modules (modules_to_save: {', '.join(saved)})")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        found.append("it trains biases (bias, lora_bias)")
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        found.append(f"its initialisation changed the base's weights (init_lora_weights: {init})")
    for member, meaning in (
        ("layer_replication", "it repeats layers of the base"),
        ("alora_invocation_tokens", "it is an activated LoRA"),
        ("use_bdlora", "it is a block-diagonal LoRA"),
        ("use_qalora", "it is a QA-LoRA"),
        ("trainable_token_indices", "it trains single tokens' embeddings"),
    ):
        if config.get(member):
            found.append(f"{meaning} ({member})")
    rank = highest_rank(config)
    if not 1 <= rank <= RANKS[-1]:
        found.append(f"its rank is {rank}, outside 1 to {RANKS[-1]}")
    return found


def check_base(
    config: Mapping[str, Any], manifest: Manifest | None, model_uri: str, model_sha256: str | None, uri: str
) -> None:
    """Raises KubeTuneError (BAD_CONFIG, BaseModelMismatch) when the adapter was trained on another base.

    ``model_sha256`` is the digest of the served model's manifest. Equal digests mean equal bytes wherever they lie;
    without digests the URIs are compared, and an adapter that says nothing of its base passes.
    """
    trained_on, digest = _recorded_base(config, manifest)
    if digest and model_sha256:
        if digest == model_sha256:
            return
        if trained_on is not None and _same(trained_on, model_uri):
            raise _mismatch(
                uri,
                f"{model_uri} was published again after the adapter was trained on it",
                "train the adapter again, or restore the base it was trained on",
            )
    if trained_on is not None and not _same(trained_on, model_uri):
        raise _mismatch(
            uri,
            f"it was trained on {trained_on}, the deployment serves {model_uri}",
            _elsewhere(trained_on),
        )


def _elsewhere(trained_on: str) -> str:
    """What to serve an adapter on that was trained on ``trained_on``: a quantised copy is not served itself."""
    plain = original(trained_on)
    if plain is None:
        return f"set the model's uri to {trained_on}"
    return (
        f"set the model's uri to the unquantised model that this is a copy of, {plain} or the one it was made from (a "
        "copy of it in a bucket or on a claim is taken, too)"
    )


def _recorded_base(config: Mapping[str, Any], manifest: Manifest | None) -> tuple[str | None, str | None]:
    """URI and manifest digest of the base, as far as the adapter knows them."""
    if manifest and manifest.base_model:
        return manifest.base_model.uri, manifest.base_model.manifest_sha256
    name = config.get("base_model_name_or_path")
    if not isinstance(name, str):
        return None, None
    if name.partition("://")[0] in uris.SCHEMES:
        return name, None
    # A hub's name can be compared; a path on the machine that trained it cannot.
    return (f"hf://{name}", None) if _HUB_NAME.fullmatch(name) else (None, None)


def _same(recorded: str, served: str) -> bool:
    try:
        first, second = uris.parse(recorded), uris.parse(served)
    except KubeTuneError:
        return recorded == served
    if first.scheme == "hf" and second.scheme != "hf":
        # The same model mirrored into a bucket or a claim is the usual way to work offline.
        return True
    if first.scheme == "hf":
        told = first.revision is not None and second.revision is not None
        names = f"{first.authority}/{first.path}", f"{second.authority}/{second.path}"
        # Revisions of two repositories say nothing of each other.
        return first == second or ((not told or names[0] != names[1]) and same_weights(*names))
    return first == second


def _mismatch(uri: str, problem: str, remedy: str) -> KubeTuneError:
    return KubeTuneError(
        ExitCode.BAD_CONFIG, "BaseModelMismatch", f"adapter {uri} does not belong to this model: {problem}; {remedy}"
    )
