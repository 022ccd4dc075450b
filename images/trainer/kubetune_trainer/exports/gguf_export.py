"""A model's folder as one GGUF file, tensor by tensor: memory for the largest written tensor is all it needs.

llama.cpp's own converter is no package; names, quantisation and file format come from its library ``gguf``, only
what decides how Llama, Mistral, Qwen 2 and Qwen 3 map onto it is here.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors import safe_open

from kubetune_shared.models import safetensors_header, weight_files

from .exportable import ARCHITECTURES, cannot_export, check_gguf, rope_settings, tokenizer_kind
from .gguf_vocab import space_prefix, vocabulary

ROWS = 4096
"""Rows of a tensor converted at once."""
_TYPES = {
    "f16": (gguf.GGMLQuantizationType.F16, gguf.LlamaFileType.MOSTLY_F16),
    "bf16": (gguf.GGMLQuantizationType.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}

_MARK = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")

logging.getLogger("gguf").setLevel(logging.WARNING)


@dataclass(frozen=True)
class _Tensor:
    """One tensor to write."""

    source: str
    name: str
    shape: tuple[int, ...]
    type: gguf.GGMLQuantizationType
    heads: int = 0
    """Above 0: the rows of so many heads change places (see ``_interleaved``)."""

    @property
    def bytes_shape(self) -> tuple[int, ...]:
        if self.type in {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16}:
            return self.shape
        return tuple(gguf.quant_shape_to_byte_shape(self.shape, self.type))

    @property
    def dtype(self) -> np.dtype[Any]:
        plain: dict[Any, Any] = {gguf.GGMLQuantizationType.F32: np.float32, gguf.GGMLQuantizationType.F16: np.float16}
        found: np.dtype[Any] = np.dtype(plain.get(self.type, np.uint8))
        return found


def write_gguf(folder: Path, dest: Path, quantisation: str, name: str, uri: str) -> None:
    """Converts the Hugging Face folder ``folder`` into the file ``dest``.

    ``uri`` names the model in messages. Raises KubeTuneError: BAD_CONFIG (CannotExport) for a model or a value that
    the format cannot hold.
    """
    check_gguf(folder, uri)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    arch = ARCHITECTURES[config["architectures"][0]]
    kind, file_type = _TYPES[quantisation]
    writer = gguf.GGUFWriter(dest, arch)
    _add_settings(writer, config, name, file_type)
    _add_tokenizer(writer, folder, config)
    with ExitStack() as stack:
        stack.callback(writer.close)
        files = _open(stack, folder, uri)
        plan = list(_plan(files, config, arch, kind))
        factors = _rope_factors(folder, config)
        if factors is not None:
            writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
        for tensor in plan:
            size = int(np.prod(tensor.bytes_shape)) * tensor.dtype.itemsize
            writer.add_tensor_info(tensor.name, tensor.bytes_shape, tensor.dtype, size, raw_dtype=tensor.type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if factors is not None:
            writer.write_tensor_data(factors)
        for tensor in plan:
            writer.write_tensor_data(_converted(files[tensor.source], tensor, uri))


def _add_settings(writer: gguf.GGUFWriter, config: dict[str, Any], name: str, file_type: int) -> None:
    heads, rope = config["num_attention_heads"], rope_settings(config)
    dim = _head_dim(config)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(file_type)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(dim)
    writer.add_value_length(dim)
    writer.add_layer_norm_rms_eps(config.get("rms_norm_eps", 1e-6))
    writer.add_rope_dimension_count(dim)
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    scaling = {"linear": gguf.RopeScalingType.LINEAR, "yarn": gguf.RopeScalingType.YARN}.get(rope.get("rope_type", ""))
    if scaling:
        writer.add_rope_scaling_type(scaling)
        writer.add_rope_scaling_factor(float(rope["factor"]))
        if original := rope.get("original_max_position_embeddings"):
            writer.add_rope_scaling_orig_ctx_len(int(original))


def _head_dim(config: dict[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    model, pre = tokenizer_kind(tokenizer) or ("", "")
    words = vocabulary(tokenizer, config["vocab_size"])
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    if model == "llama":
        writer.add_token_scores(words.scores)
        writer.add_add_space_prefix(space_prefix(tokenizer))
    special = gguf.SpecialVocab(folder, load_merges=model == "gpt2", n_vocab=config["vocab_size"])
    special.add_special_token.setdefault("bos", False)
    if isinstance(special.chat_template, str):
        special.chat_template = inference_template(special.chat_template)
    special.add_to_gguf(writer, quiet=True)


def inference_template(template: str) -> str:
    """The same template without the marks around assistant turns, which llama.cpp's Jinja does not know.

    An empty statement takes their place, so that white space is trimmed as before.
    """
    return _MARK.sub(r"{%\1 set turn = 0 \2%}", template)


def _open(stack: ExitStack, folder: Path, uri: str) -> dict[str, Any]:
    """Tensor name -> the opened file that holds it."""
    found: dict[str, Any] = {}
    for path in weight_files(folder, uri):
        file = stack.enter_context(safe_open(path, framework="pt"))
        found |= {name: file for name in safetensors_header(path, uri) if name != "__metadata__"}
    return found


def _plan(
    files: dict[str, Any], config: dict[str, Any], arch: str, kind: gguf.GGMLQuantizationType
) -> Iterator[_Tensor]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[arch.upper()], config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    groups = {"q_proj": heads, "k_proj": config.get("num_key_value_heads") or heads} if arch == "llama" else {}
    for source, file in files.items():
        if source.endswith(".rotary_emb.inv_freq") or (
            source == "lm_head.weight" and config.get("tie_word_embeddings")
        ):
            continue
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise cannot_export(f"GGUF: the model has the weight {source}, which {arch} has no place for in llama.cpp")
        shape = tuple(file.get_slice(source).get_shape())
        heads_here = groups.get(source.split(".")[-2], 0)
        yield _Tensor(source, name, shape, _type_for(shape, kind), heads_here)


def _type_for(shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    if len(shape) < 2:  # norms and biases, as llama.cpp's kernels want them
        return gguf.GGMLQuantizationType.F32
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    return kind if shape[-1] % block == 0 else gguf.GGMLQuantizationType.F16


def _converted(file: Any, tensor: _Tensor, uri: str) -> np.ndarray[Any, Any]:
    rows = file.get_slice(tensor.source)
    out = np.empty(tensor.bytes_shape, tensor.dtype)
    step = tensor.shape[0] if tensor.heads else ROWS
    for start in range(0, tensor.shape[0], step):
        part = rows[start : start + step].float().numpy()
        if tensor.heads:
            part = _interleaved(part, tensor.heads)
        if tensor.type is gguf.GGMLQuantizationType.F16 and np.abs(part).max(initial=0) > np.finfo(np.float16).max:
            raise cannot_export(f"GGUF: {tensor.source} of {uri} holds values beyond float16; set export.gguf to bf16")
        out[start : start + step] = gguf.quantize(part, tensor.type)
    return out


def _interleaved(rows: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """From halves (transformers rotates element i with i + d/2) to pairs (llama.cpp's llama: 2i with 2i + 1)."""
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _rope_factors(folder: Path, config: dict[str, Any]) -> np.ndarray[Any, Any] | None:
    """What llama.cpp divides each frequency by, for Llama 3.1's long context; None for other models."""
    if rope_settings(config).get("rope_type") != "llama3":
        return None
    from transformers import AutoConfig  # noqa: PLC0415 (seconds, and only for these models)
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS  # noqa: PLC0415

    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](AutoConfig.from_pretrained(folder), "cpu")
    exponents = np.arange(0, _head_dim(config), 2, dtype=np.float64) / _head_dim(config)
    plain = float(rope_settings(config)["rope_theta"]) ** -exponents
    factors: np.ndarray[Any, Any] = (plain / scaled.double().numpy()).astype(np.float32)
    return factors
