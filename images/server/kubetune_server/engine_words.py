"""vLLM's complaints in the words of a ModelDeployment: its options have other names there, or none. Pure."""

from __future__ import annotations

import re

_FIELDS = {
    "max_model_len": "spec.engine.maxModelLen",
    "max_num_seqs": "spec.engine.maxNumSeqs",
    "gpu_memory_utilization": "spec.engine.gpuMemoryUtilization",
    "GPU memory utilization": "spec.engine.gpuMemoryUtilization",
    "enforce_eager": "spec.engine.enforceEager",
    "tensor_parallel_size": "spec.resources.gpu",
    "--dtype": "spec.engine.dtype",
}
_MEMORY = re.compile(r"out of memory", re.I)
_MEMORY_ADVICE = (
    " Lower spec.engine.maxNumSeqs or spec.engine.maxModelLen, serve a quantised or smaller model, or take a GPU "
    "with more memory."
)


def in_our_words(text: str) -> str:
    """``text`` with the fields of spec.engine in place of vLLM's options, and advice where memory did not suffice."""
    for option, field in _FIELDS.items():
        spelled = option.replace("_", "[-_]")
        text = re.sub(rf"`?(?<![\w.])(?:--)?{spelled}(?![\w.])`?", field, text)
    return text + _MEMORY_ADVICE if _MEMORY.search(text) else text
