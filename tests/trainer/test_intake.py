"""Bases as people have them, through the preflight: what becomes of each, and what is said of it."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers

from kubetune_contract import ExitCode, KubeTuneError, Lora, Method
from kubetune_shared.intake.families import FAMILIES
from kubetune_shared.intake.library import tables
from kubetune_trainer.data.tokenizer import encoder_for, load_tokenizer
from kubetune_trainer.preflight.command import preflight
from kubetune_trainer.prepare import prepare
from tests.support.points import Record
from tests.support.s3 import S3Server
from tests.support.training import Jobs, rows

from . import bases, inprocess, tiny
from .bases import PICTURES, TINY, config, make

pytestmark = pytest.mark.intake
NOT_SUPPORTED = (ExitCode.BAD_CONFIG, "ModelNotSupported")
INCOMPLETE = (ExitCode.INPUT_NOT_FOUND, "ModelIncomplete")
DAMAGED = (ExitCode.BAD_DATA, "ModelDamaged")
LONG = [{"prompt": "say hello " * 60, "completion": " hello"}]
CHATS = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}] * 16
DATED = "{{ strftime_now('%d %b %Y') }}" + tiny.CHAT_TEMPLATE
MISTRAL_3 = {"text_config": TINY | {"model_type": "mistral"}, "vision_config": PICTURES | {"model_type": "pixtral"}}
QUANTISED = "its weights are {}, for which this image has no"

# What it is, how it differs from a whole tiny Llama, what becomes of it, and words of the message.
REFUSED: tuple[tuple[str, tuple[bases.Change, ...], tuple[ExitCode, str], str], ...] = (
    (
        "a base that lacks one weight",
        (bases.without("model.layers.1.mlp.up_proj.weight"),),
        INCOMPLETE,
        "lacks model.layers.1.mlp.up_proj.weight",
    ),
    ("names behind base_model.model.", (bases.prefixed("base_model.model."),), INCOMPLETE, "merge_and_unload()"),
    ("names behind _orig_mod.", (bases.prefixed("_orig_mod."),), INCOMPLETE, "torch.compile"),
    ("names behind module.", (bases.prefixed("module."),), INCOMPLETE, "save its .module"),
    (
        "weights of another size than config.json's",
        (config(intermediate_size=96),),
        INCOMPLETE,
        "config.json says 64x96",
    ),
    (
        "more layers in config.json than in the file",
        (config(num_hidden_layers=3),),
        INCOMPLETE,
        "lacks model.layers.2.",
    ),
    ("no output layer", (bases.without("lm_head.weight"),), INCOMPLETE, "lacks lm_head.weight"),
    (
        "parts without their index",
        (bases.sharded, bases.gone("model.safetensors.index.json")),
        INCOMPLETE,
        "no model.safetensors.index.json",
    ),
    (
        "an index and one part missing",
        (bases.sharded, bases.gone("model-00001-of-00002.safetensors")),
        INCOMPLETE,
        "lacks model-00001-of-00002.safetensors",
    ),
    ("pickled weights only", (bases.renamed("model.safetensors", "pytorch_model.bin"),), INCOMPLETE, "convert pickled"),
    ("GGUF files only", (bases.renamed("model.safetensors", "tiny.Q8_0.gguf"),), INCOMPLETE, "only GGUF files"),
    (
        "consolidated.safetensors only",
        (bases.renamed("model.safetensors", "consolidated.safetensors"),),
        INCOMPLETE,
        "a name that transformers does not look for (consolidated.safetensors)",
    ),
    ("an adapter in the base's folder", (bases.with_adapter,), NOT_SUPPORTED, "an adapter lies beside it"),
    (
        "an adapter in place of a base",
        (bases.with_adapter, bases.gone("config.json", "model.safetensors")),
        INCOMPLETE,
        "is an adapter without its base",
    ),
    *(
        (
            f"{name} weights",
            (config(quantization_config={"quant_method": method}),),
            NOT_SUPPORTED,
            QUANTISED.format(name),
        )
        for method, name in (
            ("gptq", "GPTQ"),
            ("awq", "AWQ"),
            ("compressed-tensors", "compressed-tensors"),
            ("fp8", "FP8"),
            ("hqq", "HQQ"),
        )
    ),
    (
        "a wrapper whose text side has no class",
        (bases.model("Mistral3ForConditionalGeneration", **MISTRAL_3),),
        NOT_SUPPORTED,
        "a model of text and images (Mistral3ForConditionalGeneration)",
    ),
    (
        "an encoder-decoder",
        (
            bases.model(
                "T5ForConditionalGeneration", vocab_size=512, d_model=64, d_ff=64, num_layers=1, num_heads=4, d_kv=16
            ),
        ),
        NOT_SUPPORTED,
        "an encoder-decoder (T5ForConditionalGeneration)",
    ),
    (
        "a masked language model",
        (
            bases.model(
                "BertForMaskedLM",
                **{
                    name: TINY[name]
                    for name in ("hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
                },
                num_hidden_layers=1,
            ),
        ),
        NOT_SUPPORTED,
        "a masked language model (BertForMaskedLM)",
    ),
    ("a classifier", (config(architectures=["LlamaForSequenceClassification"]),), NOT_SUPPORTED, "has a classifier"),
    ("an unknown model_type", (config(model_type="lama"),), NOT_SUPPORTED, "did you mean llama?"),
    (
        "code of its own repository",
        (config(model_type="own", auto_map={"AutoModelForCausalLM": "modeling_own.Own"}),),
        NOT_SUPPORTED,
        "Python code of its own repository",
    ),
    ("no model_type", (config(model_type=None),), NOT_SUPPORTED, "has no model_type"),
    (
        "a tokenizer.json of a newer library",
        (bases.in_json("tokenizer.json", pre_tokenizer={"type": "Novel"}),),
        DAMAGED,
        "a newer release wrote it, or it is damaged",
    ),
    (
        "a merge that names no token",
        (bases.tokenizer_model(merges=[["h", "e"], ["nowhere", "else"]]),),
        DAMAGED,
        "has a tokenizer.json that tokenizers",
    ),
    ("a SentencePiece tokenizer only", (bases.sentencepiece,), DAMAGED, "as SentencePiece only (tokenizer.model)"),
    ("a padding token beyond the embedding", (bases.resized,), DAMAGED, "'<extra>' as its pad_token"),
    (
        "neither end nor padding token",
        (bases.in_json("tokenizer_config.json", eos_token=None, pad_token=None),),
        DAMAGED,
        "neither an eos_token nor a pad_token",
    ),
    (
        "several named templates and no default",
        (bases.template(tool_use=tiny.CHAT_TEMPLATE, rag=tiny.CHAT_TEMPLATE),),
        (ExitCode.BAD_DATA, "NoChatTemplate"),
        "has several chat templates (rag, tool_use) and none called default",
    ),
    ("no chat template", (bases.template(),), (ExitCode.BAD_DATA, "NoChatTemplate"), "has no chat template"),
    (
        "rows longer than GPT-2's positions",
        (bases.model("GPT2LMHeadModel", vocab_size=512, n_positions=64, n_embd=64, n_layer=2, n_head=4),),
        (ExitCode.BAD_CONFIG, "SequenceTooLong"),
        "has 64 positions",
    ),
)
STRICT = (
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
)
SYSTEM = [{"messages": [{"role": "system", "content": "hi"}, *CHATS[0]["messages"]]}]
BEGINS = [{"messages": [CHATS[0]["messages"][1], *CHATS[0]["messages"]]}]
TAKEN: tuple[tuple[str, tuple[bases.Change, ...], str | None], ...] = (
    (
        "a stale index beside a whole file",
        (bases.file("model.safetensors.index.json", '{"weight_map": {"a": "gone"}}'),),
        None,
    ),
    ("parts with their index", (bases.sharded,), None),
    ("a second copy, consolidated.safetensors", (bases.copied("model.safetensors", "consolidated.safetensors"),), None),
    ("a second copy in original/", (bases.copied("model.safetensors", "original/model.safetensors"),), None),
    ("a second copy, pytorch_model.bin", (bases.copied("model.safetensors", "pytorch_model.bin"),), None),
    (
        "names without the prefix model.",
        (bases.tensors(lambda found: {k.removeprefix("model."): v for k, v in found.items()}),),
        None,
    ),
    ("one template, with a name", (bases.template(tool_use=tiny.CHAT_TEMPLATE),), None),
    ("a template that writes the date", (bases.template(DATED),), "DatedTemplate"),
    ("MXFP4 weights", (config(quantization_config={"quant_method": "mxfp4"}),), None),
    (
        "bitsandbytes weights",
        (config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True}),),
        "QuantisedBase",
    ),
    ("no end token", (bases.in_json("tokenizer_config.json", eos_token=None),), "NoEndToken"),
)


@pytest.fixture
def tried(jobs: Jobs, server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command in this process, where the libraries are loaded already, on a base made of ``changes``."""

    def run(command: Any, changes: tuple[bases.Change, ...], data: Any = CHATS, **settings: Any) -> dict[str, Any]:
        shutil.rmtree(tmp_path / "pvc", ignore_errors=True)
        make(tmp_path / "pvc/models/it", *changes)
        job = jobs.job(data=data, base_model="pvc://models/it", **settings)
        for name, value in {**job.prepared(), "KUBETUNE_PVC_ROOT": str(tmp_path / "pvc")}.items():
            monkeypatch.setenv(name, value)
        command()
        return job.termination if command is preflight else {}

    return run


@pytest.mark.parametrize(("what", "changes", "outcome", "said"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_refused(
    tried: Any,
    record_property: Record,
    what: str,
    changes: tuple[bases.Change, ...],
    outcome: tuple[ExitCode, str],
    said: str,
) -> None:
    data = LONG * 16 if outcome[1] == "SequenceTooLong" else CHATS
    with pytest.raises(KubeTuneError) as caught:
        tried(preflight, changes, data, hyperparameters={"max_sequence_length": 256})
    assert (caught.value.code, caught.value.reason) == outcome
    assert said in caught.value.message
    assert len(caught.value.message) < 400
    assert "\n" not in caught.value.message
    record_property("point", f"{what}: refused, {outcome[1]}: {caught.value.message}")


@pytest.mark.parametrize(
    ("what", "data", "said"),
    [
        ("a system message", SYSTEM, "line 2: it has a system"),
        ("a chat that begins with the assistant", BEGINS, "line 2"),
    ],
)
def test_a_template_that_takes_less(
    tried: Any, record_property: Record, what: str, data: list[dict[str, Any]], said: str
) -> None:
    tried(preflight, (bases.template(STRICT),), CHATS)
    with pytest.raises(KubeTuneError, match=said) as caught:
        tried(preflight, (bases.template(STRICT),), [CHATS[0], *data, *CHATS])
    assert caught.value.reason == "ChatTemplateRefused"
    record_property("point", f"{what} that the template refuses: refused, ChatTemplateRefused: {caught.value.message}")


@pytest.mark.parametrize(("what", "changes", "told"), TAKEN, ids=[row[0] for row in TAKEN])
def test_what_is_taken(
    tried: Any, record_property: Record, what: str, changes: tuple[bases.Change, ...], told: str | None
) -> None:
    summary = tried(preflight, changes)
    suggested = {one["reason"]: one["message"] for one in summary["suggestions"]}
    assert told is None or told in suggested
    assert told or not {"DatedTemplate", "QuantisedBase", "NoEndToken", "BeyondPositions"} & suggested.keys()
    record_property("point", f"{what}: taken" + (f", told {told}: {suggested[told]}" if told else ""))


def test_rows_beyond_rotary_positions_are_told(tried: Any, record_property: Record) -> None:
    summary = tried(
        preflight, (config(max_position_embeddings=64),), LONG * 16, hyperparameters={"max_sequence_length": 256}
    )
    (message,) = (one["message"] for one in summary["suggestions"] if one["reason"] == "BeyondPositions")
    assert "made for 64" in message
    record_property("point", f"rows beyond a rotary model's positions: taken, told BeyondPositions: {message}")


@pytest.mark.parametrize(
    ("value", "said"),
    [(float("nan"), "has NaN in model.layers.1.mlp.up_proj.weight"), (float("inf"), "has infinity in")],
)
def test_weights_that_are_no_numbers(tried: Any, record_property: Record, value: float, said: str) -> None:
    """Weights are read once they are here, so prepare says it."""
    with pytest.raises(KubeTuneError, match=said) as caught:
        tried(prepare, (bases.broken(value),))
    assert (caught.value.code, caught.value.reason) == DAMAGED
    record_property("point", f"a weight that is {value}: refused, ModelDamaged: {caught.value.message}")


def test_a_target_that_is_not_there_beside_one_that_is(tried: Any, record_property: Record) -> None:
    with pytest.raises(KubeTuneError, match="no layer does_not_exist that") as caught:
        tried(preflight, (), rows(), lora=Lora(rank=4, alpha=8, target_modules=("q_proj", "does_not_exist")))
    assert caught.value.reason == "UnknownTargetModules"
    record_property("point", f"one target right, one misspelt: refused, UnknownTargetModules: {caught.value.message}")


def test_quantised_weights_are_not_tuned_fully(tried: Any) -> None:
    quantised = config(quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(KubeTuneError, match="use method qlora"):
        tried(preflight, (quantised,), method=Method.FULL)


@pytest.mark.parametrize("method", [Method.LORA, Method.QLORA])
def test_a_bitsandbytes_base_is_trained(tmp_path: Path, record_property: Record, method: Method) -> None:
    folder = make(tmp_path / "it", bases.in_four_bits)
    assert (folder / "config.json").read_text().count("bitsandbytes")
    trainer = inprocess.trainer_for(inprocess.config(method=method, hyper={"max_steps": 2}), folder, tmp_path / "out")
    assert trainer.train().global_step == 2
    record_property("point", f"a bitsandbytes base with method {method}: trained")


def test_an_mxfp4_base_is_trained(tmp_path: Path, record_property: Record) -> None:
    name, settings = MADE["gpt_oss"]
    folder = make(tmp_path / "it", bases.model(name, **settings), bases.in_mxfp4)
    trainer = inprocess.trainer_for(inprocess.config(hyper={"max_steps": 2}), folder, tmp_path / "out")
    assert trainer.train().global_step == 2
    record_property("point", "an MXFP4 base (gpt-oss): unpacked to bfloat16 and trained")


def test_a_dated_template_gives_the_same_tokens_tomorrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: Jobs
) -> None:
    folder = make(tmp_path / "it", bases.template("{{ strftime_now('%d %b %Y') }}" + tiny.UNMARKED_TEMPLATE))
    hyper = jobs.job().config.hyperparameters
    today = _ids(folder, hyper)

    class Tomorrow(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Tomorrow:
            return cls(2031, 2, 3, tzinfo=tz)

    module = transformers.utils.chat_template_utils
    monkeypatch.setattr(module, "datetime", Tomorrow)
    module._compile_jinja_template.cache_clear()
    assert _ids(folder, hyper) == today
    tokenizer = load_tokenizer(folder, "it")
    assert "03 Feb 2031" in tokenizer.apply_chat_template(CHATS[0]["messages"], tokenize=False)


def _ids(folder: Path, hyper: Any) -> list[int]:
    tokenizer = load_tokenizer(folder, "it")
    encoder = encoder_for(tokenizer, hyper)
    found: list[int] = tokenizer.apply_chat_template(
        CHATS[0]["messages"], chat_template=encoder.template, tokenize=True, return_dict=False
    )
    return found


def whole(name: str, **settings: Any) -> bases.Change:
    return bases.model(name, **settings)


TEXT = TINY | {"head_dim": 16}
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", TINY),
    "mistral": ("MistralForCausalLM", TINY),
    "qwen2": ("Qwen2ForCausalLM", TINY),
    "qwen3": ("Qwen3ForCausalLM", TEXT),
    "qwen3_moe": (
        "Qwen3MoeForCausalLM",
        TEXT | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
    ),
    "qwen3_5": (
        "Qwen3_5ForConditionalGeneration",
        {
            "text_config": TEXT | {"layer_types": ["linear_attention", "full_attention"]},
            "vision_config": {
                "hidden_size": 32,
                "intermediate_size": 32,
                "depth": 1,
                "num_heads": 2,
                "out_hidden_size": 64,
            },
        },
    ),
    "gemma2": ("Gemma2ForCausalLM", TEXT),
    "gemma3": ("Gemma3ForConditionalGeneration", {"text_config": TEXT, "vision_config": PICTURES}),
    "gemma3_text": ("Gemma3ForCausalLM", TEXT),
    "phi3": ("Phi3ForCausalLM", TINY | {"pad_token_id": 0}),
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": 512, "n_positions": 256, "n_embd": 64, "n_layer": 2, "n_head": 4}),
    "mixtral": ("MixtralForCausalLM", TINY | {"num_local_experts": 4}),
    "gpt_oss": ("GptOssForCausalLM", TEXT | {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "granitemoehybrid": (
        "GraniteMoeHybridForCausalLM",
        TINY
        | {
            "layer_types": ["mamba", "attention"],
            "mamba_n_heads": 8,
            "mamba_d_head": 16,
            "shared_intermediate_size": 32,
            "num_local_experts": 0,
        },
    ),
    "smollm3": ("SmolLM3ForCausalLM", TINY | {"pad_token_id": 0}),
}


def test_every_family_of_the_table_is_made_here() -> None:
    assert MADE.keys() == {family.model_type for family in FAMILIES}
    assert not [kind for kind in MADE if kind not in tables().causal]


@pytest.mark.parametrize("kind", MADE)
def test_a_whole_model_of_every_family_is_taken(tried: Any, record_property: Record, kind: str) -> None:
    """No tensor is missed where none is missing, whatever names the files have; one that is gone is."""
    name, settings = MADE[kind]
    summary = tried(preflight, (whole(name, **settings),), rows())
    assert summary["fit"]
    record_property("point", f"{kind} ({name}): whole, taken")


@pytest.mark.parametrize("kind", MADE)
def test_a_weight_that_is_gone_is_missed_in_every_family(tried: Any, record_property: Record, kind: str) -> None:
    name, settings = MADE[kind]

    def last(folder: Path) -> None:
        found = sorted(
            key
            for key in json.loads(_header(folder / bases.WEIGHTS))
            if "down_proj" in key or "w2" in key or "c_proj" in key or "output_linear" in key
            if "vision" not in key and "visual" not in key
        )
        bases.without(found[-1])(folder)

    with pytest.raises(KubeTuneError) as caught:
        tried(preflight, (whole(name, **settings), last), rows())
    assert (caught.value.code, caught.value.reason) == INCOMPLETE
    record_property("point", f"{kind} without one of its weights: refused, ModelIncomplete: {caught.value.message}")


def _header(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]
