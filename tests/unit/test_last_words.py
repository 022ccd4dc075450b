"""What is left of a dead program's log: the cause, in a sentence or three."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract.last_words import LIMIT, last_words
from kubetune_server.engine_words import in_our_words

TOO_LONG = """\
(APIServer pid=1) INFO 11-29 10:00:01 [model.py:549] Resolved architecture: LlamaForCausalLM
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/usr/local/bin/vllm", line 8, in <module>
(APIServer pid=1)     sys.exit(main())
(APIServer pid=1)              ^^^^^^
(APIServer pid=1)   File "/usr/lib/vllm/engine/arg_utils.py", line 1400, in create_model_config
(APIServer pid=1)     return ModelConfig(
(APIServer pid=1)            ^^^^^^^^^^^^
(APIServer pid=1) pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
(APIServer pid=1)   Value error, User-specified max_model_len (100000) is greater than the derived max_model_len \
(max_position_embeddings=1024 or model_max_length=None in model's config.json). To allow overriding this maximum, set \
the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1. VLLM_ALLOW_LONG_MAX_MODEL_LEN must be used with extreme caution. If the \
model uses relative position encoding (RoPE), positions exceeding derived_max_model_len lead to nan. \
[type=value_error, input_value=ArgsKwargs((), {'model': ...mm_processor_cache_gb': 4}), input_type=ArgsKwargs]
(APIServer pid=1)     For further information visit https://errors.pydantic.dev/2.12/v/value_error
"""
NO_CACHE = """\
(EngineCore pid=77) ERROR 11-29 10:00:09 [core.py:1107] EngineCore failed to start.
(EngineCore pid=77) ERROR 11-29 10:00:09 [core.py:1107] Traceback (most recent call last):
(EngineCore pid=77) ERROR 11-29 10:00:09 [core.py:1107]   File "/usr/lib/vllm/v1/engine/core.py", line 1083, in run
(EngineCore pid=77) ERROR 11-29 10:00:09 [core.py:1107]     engine_core = EngineCoreProc(*args)
(EngineCore pid=77) ERROR 11-29 10:00:09 [core.py:1107]                   ^^^^^^^^^^^^^^^^^^^^^
(EngineCore pid=77) ERROR 11-29 10:00:09 [core.py:1107] ValueError: To serve at least one request with the \
models's max seq len (32768), (4.0 GiB KV cache is needed, which is larger than the available KV cache memory \
(1.2 GiB). Based on the available memory, the estimated maximum model length is 9728. Try increasing \
`gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1)   File "/usr/lib/vllm/v1/engine/utils.py", line 990, in wait_for_engine_startup
(APIServer pid=1)     raise RuntimeError(
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
/usr/lib/python3.12/multiprocessing/resource_tracker.py:279: UserWarning: resource_tracker: There appear to be 1 leaked
  warnings.warn(
"""
CUDA = """\
(EngineCore pid=9) ERROR 11-29 10:00:09 [core.py:1107] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate \
224.00 MiB. GPU 0 has a total capacity of 11.63 GiB of which 100.00 MiB is free. If reserved but unallocated memory is \
large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.
(EngineCore pid=9) Process EngineCore:
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
USAGE = """\
usage: vllm serve [model_tag] [options]
vllm serve: error: unrecognized arguments: --max-modellen 5
"""


@pytest.mark.walk("W11")
@pytest.mark.parametrize(
    ("log", "expected"),
    [
        (
            TOO_LONG,
            "User-specified max_model_len (100000) is greater than the derived max_model_len "
            "(max_position_embeddings=1024 or model_max_length=None in model's config.json). If the model uses "
            "relative position encoding (RoPE), "
            "positions exceeding derived_max_model_len lead to nan.",
        ),
        (
            CUDA,
            "CUDA out of memory. Tried to allocate 224.00 MiB. GPU 0 has a total capacity of 11.63 GiB of which "
            "100.00 MiB is free.",
        ),
        (USAGE, "unrecognized arguments: --max-modellen 5"),
        ("\x1b[31mloading\x1b[0m\n2026-11-29 10:00:00,123 ERROR kubetune boom\n", "loading boom"),
        ("Traceback (most recent call last):\n  File x\nKeyError: 'q_proj'\n", "KeyError: 'q_proj'"),
        ("Traceback (most recent call last):\n  File x\nAssertionError\n", "AssertionError"),
        ("RuntimeError: Engine core initialization failed. See root cause above.\n", None),
        ("", ""),
        ("  ^^^^^\n", ""),
    ],
)
def test_the_cause_without_its_traceback(log: str, expected: str | None) -> None:
    said = last_words(log)
    assert said == expected if expected is not None else said.startswith("Engine core initialization failed")


@pytest.mark.walk("W11")
def test_the_first_process_to_die_tells_the_cause_in_the_words_of_our_fields() -> None:
    said = in_our_words(last_words(NO_CACHE))
    assert said.startswith("To serve at least one request with the models's max seq len (32768)")
    assert said.endswith(
        "Try increasing spec.engine.gpuMemoryUtilization or decreasing spec.engine.maxModelLen when initializing the "
        "engine."
    )
    assert in_our_words(last_words(CUDA)).endswith("or take a GPU with more memory.")


@given(st.text(), st.sampled_from([TOO_LONG, NO_CACHE, CUDA, USAGE, ""]))
def test_never_a_traceback_never_a_variable_never_long(noise: str, log: str) -> None:
    said = last_words(log[len(noise) % 200 :] + noise)
    assert len(said) <= LIMIT
    assert "\n" not in said
    if not noise:
        assert "VLLM_" not in said
        assert "^^" not in said
