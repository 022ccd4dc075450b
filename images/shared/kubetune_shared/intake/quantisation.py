"""How a model's weights are quantised already, and what can be done with them here. Pure.

Trainer and evaluator load through transformers, which needs a library for most of these; the trainer's image has
bitsandbytes, the evaluator's none. The server is vLLM, whose table a test of its image compares with this one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .families import YES

_ITSELF = "name the unquantised model as the base (method qlora quantises it by itself)"
_PLAIN = "evaluate the unquantised model"


@dataclass(frozen=True)
class Quantisation:
    """One way to store weights; of each thing that can be done with them YES, or why not and what to do."""

    method: str
    """``quant_method`` of ``quantization_config``."""
    name: str
    trained: str = YES
    evaluated: str = YES
    served: str = YES


def _foreign(method: str, name: str, library: str) -> Quantisation:
    """One that only vLLM has the means for."""
    lacks = f"its weights are {name}, for which this image has no {library}; "
    return Quantisation(method, name, trained=lacks + _ITSELF, evaluated=lacks + _PLAIN)


def _unserved(method: str, name: str, library: str) -> Quantisation:
    """One that nobody here has the means for."""
    return replace(
        _foreign(method, name, library),
        served=f"it is quantised with {name}, which vLLM does not load; serve the unquantised model or an AWQ, GPTQ or "
        "FP8 version of it",
    )


_PLUGIN = (
    "it is quantised with {}, which vLLM no longer loads; serve the unquantised model or an AWQ, GPTQ or FP8 version "
    "of it"
)

QUANTISATIONS = (
    Quantisation(
        "bitsandbytes",
        "bitsandbytes",
        evaluated="its weights are bitsandbytes, for which this image has no library; " + _PLAIN,
        # Left vLLM's core for a plugin (0.24), as GGUF did (0.28); this image carries neither.
        served=_PLUGIN.format("bitsandbytes"),
    ),
    _foreign("gptq", "GPTQ", "gptqmodel"),
    _foreign("awq", "AWQ", "gptqmodel"),
    _foreign("compressed-tensors", "compressed-tensors", "compressed-tensors"),
    _foreign("fp8", "FP8", "kernels"),
    _unserved("fbgemm_fp8", "FP8 (fbgemm)", "fbgemm-gpu"),
    _foreign("modelopt", "ModelOpt", "modelopt"),
    _foreign("quark", "Quark", "quark"),
    _foreign("torchao", "torchao", "torchao"),
    _foreign("auto-round", "AutoRound", "auto-round"),
    # transformers unpacks it to bfloat16 where the library `kernels` is not installed, which it is not.
    Quantisation("mxfp4", "MXFP4"),
    _unserved("hqq", "HQQ", "hqq"),
    _unserved("aqlm", "AQLM", "aqlm"),
    _unserved("eetq", "EETQ", "eetq"),
    _unserved("quanto", "Quanto", "optimum-quanto"),
    _unserved("bitnet", "BitNet", "kernels"),
    Quantisation(
        "gguf",
        "GGUF",
        trained="its weights are GGUF; " + _ITSELF,
        evaluated="its weights are GGUF; " + _PLAIN,
        served=_PLUGIN.format("gguf"),
    ),
)
_BY_METHOD = {one.method: one for one in QUANTISATIONS}


def quantisation_of(config: Mapping[str, Any]) -> Quantisation | None:
    """How the model of this ``config.json`` is quantised; None for one that is not."""
    text = config.get("text_config")
    found = config.get("quantization_config") or (isinstance(text, Mapping) and text.get("quantization_config")) or None
    if not isinstance(found, Mapping):
        return None
    # bitsandbytes did not name itself at first.
    loaded = "bitsandbytes" if found.get("load_in_4bit") or found.get("load_in_8bit") else ""
    method = str(found.get("quant_method") or loaded).lower()
    return _BY_METHOD.get(method) or _unknown(method)


def _unknown(method: str) -> Quantisation:
    """Trainer and evaluator have nothing for it; vLLM may, and says so itself when it has not."""
    lacks = f"its weights are quantised with {method or 'something unnamed'}, which this image has no library for; "
    return Quantisation(method, method, trained=lacks + _ITSELF, evaluated=lacks + _PLAIN)
