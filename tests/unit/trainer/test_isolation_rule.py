"""What becomes of packing on a base that does not keep packed rows apart."""

from __future__ import annotations

from typing import Any

import pytest

from kubetune_contract import Dataset, ExitCode, Hyperparameters, KubeTuneError, ObjectStore, Owner, TrainConfig
from kubetune_trainer.data.isolation import not_packed, unpacked_where_rows_would_leak

pytestmark = pytest.mark.intake


def config(**changes: Any) -> TrainConfig:
    packing = Hyperparameters(packing=changes.pop("packing", True))
    owner = Owner("team", "demo", "uid")
    return TrainConfig(
        1, owner, "s3://models/x", Dataset("s3://d/x"), "s3://o/x", ObjectStore(), hyperparameters=packing, **changes
    )


@pytest.mark.parametrize("kind", ["qwen3_5", "mamba", "somethingnew", None])
def test_packing_where_rows_would_leak(kind: str | None) -> None:
    base = {"model_type": kind}
    with pytest.raises(KubeTuneError, match=r"hyperparameters\.packing: .* leave packing out") as caught:
        unpacked_where_rows_would_leak(config(), base)
    assert (caught.value.code, caught.value.reason) == (ExitCode.BAD_CONFIG, "InvalidConfig")
    wished = config(packing_optional=True)
    assert not unpacked_where_rows_would_leak(wished, base).hyperparameters.packing
    told = not_packed(wished, base)
    assert told
    assert told.reason == "NotPacked"
    unpacked = config(packing=False)
    assert unpacked_where_rows_would_leak(unpacked, base) is unpacked
    assert not_packed(unpacked, base) is None
    assert not_packed(wished, {"model_type": "llama"}) is None
    assert unpacked_where_rows_would_leak(wished, {"model_type": "llama"}) is wished
