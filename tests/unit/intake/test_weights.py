"""One copy of the weights: the one that transformers reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import KubeTuneError
from kubetune_server.model_check import check_weights
from kubetune_shared.intake.weights import INDEX, WHOLE, NoWeightsError, copy_of, of_hub, spare
from tests.support.points import Record

pytestmark = pytest.mark.intake
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
MAPPED = {"weight_map": {"a": SHARDS[0], "b": SHARDS[1], "c": SHARDS[0]}}
SMALL = ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
SECOND = [
    "consolidated.safetensors",
    "original/model.safetensors",
    "pytorch_model.bin",
    "model.gguf",
    "onnx/model.onnx",
]


@pytest.mark.parametrize(
    ("present", "index", "copy"),
    [
        ([WHOLE], None, [WHOLE]),
        ([WHOLE, *SECOND], None, [WHOLE]),
        ([WHOLE, INDEX], {"weight_map": {"a": "gone"}}, [WHOLE]),
        ([*SHARDS, INDEX], MAPPED, SHARDS),
        ([*SHARDS, INDEX, "consolidated.safetensors", "model-00003-of-00003.safetensors"], MAPPED, SHARDS),
    ],
)
def test_the_copy_that_is_read(present: list[str], index: dict[str, object] | None, copy: list[str]) -> None:
    assert copy_of(present, index) == copy


@pytest.mark.parametrize(
    ("present", "index", "said"),
    [
        (SHARDS, None, "in 2 parts"),
        ([SHARDS[0], INDEX], MAPPED, f"lacks {SHARDS[1]}, which"),
        ([INDEX], {"weight_map": {str(n): f"part-{n}" for n in range(9)}}, "part-0, part-1, part-2 and 6 more"),
        ([*SHARDS, INDEX], {}, "no weight_map"),
        ([*SHARDS, INDEX], {"weight_map": []}, "no weight_map"),
        (["consolidated.safetensors"], None, "under a name that transformers does not look for"),
        (["adapter_model.safetensors", "adapter_config.json"], None, "is an adapter without its base"),
        (["model.Q4_K_M.gguf"], None, "only GGUF files"),
        (["pytorch_model.bin"], None, "convert pickled weights"),
        ([], None, "convert pickled weights"),
    ],
)
def test_what_is_no_copy(
    present: list[str], index: dict[str, object] | None, said: str, record_property: Record
) -> None:
    with pytest.raises(NoWeightsError, match=said) as caught:
        copy_of(present, index)
    record_property("point", f"a folder with {', '.join(present) or 'no weights'}: {caught.value}")


def test_second_copies_are_not_fetched(record_property: Record) -> None:
    folder = [*SMALL, WHOLE, *SECOND, "modeling_own.py", "README.md", "original/params.json"]
    assert spare(folder, None) == set(SECOND)
    assert of_hub(folder, None) == {*SMALL, WHOLE, "README.md"}
    assert of_hub([*folder, INDEX], {"weight_map": {"a": "gone"}}) == {*SMALL, WHOLE, "README.md"}
    parts = [*SMALL, *SHARDS, INDEX, "model-00009-of-00009.safetensors"]
    assert of_hub(parts, MAPPED) == {*SMALL, *SHARDS, INDEX}
    record_property("point", f"second copies ({', '.join(SECOND)}): not fetched, not counted")


def test_what_misleads_vllm_in_a_mounted_folder() -> None:
    check_weights([*SMALL, WHOLE, "original/model.safetensors", "pytorch_model.bin"], None, "pvc://m/x")
    check_weights([*SMALL, *SHARDS, INDEX, "consolidated.safetensors"], MAPPED, "pvc://m/x")
    check_weights([*SMALL, WHOLE, INDEX], {"weight_map": {"a": WHOLE}}, "pvc://m/x")
    with pytest.raises(KubeTuneError, match="is of another save, and vLLM follows it; delete it"):
        check_weights([*SMALL, WHOLE, INDEX], MAPPED, "pvc://m/x")
    with pytest.raises(KubeTuneError, match=r"consolidated\.safetensors is a second copy of its weights"):
        check_weights([*SMALL, WHOLE, "consolidated.safetensors"], None, "pvc://m/x")


def test_an_adapters_folder_is_fetched_whole() -> None:
    folder = ["adapter_config.json", "adapter_model.safetensors", "training_args.bin"]
    assert spare(folder, None) == set()
    assert of_hub(folder, None) == set(folder[:2])


NAMES = st.sampled_from([*SMALL, WHOLE, INDEX, *SHARDS, *SECOND, "adapter_model.safetensors", "a/b.json"])


@given(st.sets(NAMES), st.sampled_from([None, MAPPED, {}, {"weight_map": {"a": "gone"}}]))
def test_nothing_that_is_read_is_spared(present: set[str], index: dict[str, object] | None) -> None:
    if index is not None:
        present = present | {INDEX}
    unread = spare(present, index)
    assert unread <= present
    assert {path for path in unread if path.endswith(".json")} <= ({INDEX} if WHOLE in present else set())
    try:
        copy = copy_of({path for path in present if "/" not in path}, index)
    except NoWeightsError:
        assert not {path for path in unread if path.endswith(".safetensors") and "/" not in path}
    else:
        assert not unread & set(copy)
        if "config.json" in present:
            assert {path for path in present - unread if path.endswith(".safetensors")} == set(copy)
