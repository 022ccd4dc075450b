"""What is said of quantised weights is what this image's vLLM has."""

from __future__ import annotations

import pytest
from vllm.model_executor.layers.quantization import (
    DEPRECATED_QUANTIZATION_METHODS,
    QUANTIZATION_METHODS,
    get_quantization_config,
)

from kubetune_server.model_check import check_servable
from kubetune_shared.intake.quantisation import QUANTISATIONS, Quantisation
from tests.support.points import Record

# Libraries of one release warn of each other's next one.
pytestmark = [pytest.mark.intake, pytest.mark.filterwarnings("default")]
LOADED = set(QUANTIZATION_METHODS) - set(DEPRECATED_QUANTIZATION_METHODS)


def taken_over(method: str) -> bool:
    """Whether one of vLLM's methods loads weights that name another."""
    config = {"quant_method": method, "bits": 4, "group_size": 128, "sym": True}
    return any(
        get_quantization_config(name).override_quantization_method(config, None) in LOADED
        for name in ("inc", "modelopt")
    )


@pytest.mark.parametrize("one", QUANTISATIONS, ids=lambda one: one.method)
def test_quantised_weights_are_served_as_vllm_has_them(one: Quantisation, record_property: Record) -> None:
    method, served = one.method, one.served
    loads = method in LOADED or taken_over(method)
    assert loads == (served == ""), method
    if not served:
        check_servable({"architectures": ["X"], "quantization_config": {"quant_method": method}}, "s3://models/x", 1)
    record_property("point", f"{method} weights in vLLM: {'loaded' if loads else 'refused: ' + served}")
