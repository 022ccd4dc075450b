"""The training pod's own Prometheus series: every number of the progress document, under a name of Prometheus' kind."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from kubetune_contract import Dataset, ObjectStore, Owner, TrainConfig, TrainProgress
from kubetune_trainer.reporting.series import SERIES, catalog

CONFIG = TrainConfig(1, Owner("team", "demo", "u-1"), "s3://m/x", Dataset("s3://d/x"), "s3://o/x", ObjectStore())
NUMBERS = {
    name for name, hint in typing.get_type_hints(TrainProgress).items() if {int, float} & {hint, *typing.get_args(hint)}
}


def served() -> list[Metric]:
    """What ``/metrics`` says of a progress in which every number is known."""
    known: dict[str, Any] = dict.fromkeys(NUMBERS, 3)
    progress = dataclasses.replace(TrainProgress("training", 1, 1, 1.0), **known)

    class Collector:
        def collect(self) -> Iterator[Metric]:
            return catalog(CONFIG).families(progress)

    registry = CollectorRegistry()
    registry.register(Collector())
    return list(text_string_to_metric_families(generate_latest(registry).decode()))


@pytest.mark.walk("S1")
def test_every_number_is_there_once_with_words_of_its_own() -> None:
    assert set(SERIES) == NUMBERS
    found = served()
    texts = [family.documentation for family in found]
    assert len(set(texts)) == len(texts) == len(NUMBERS) + 1
    assert all(text.endswith(".") for text in texts)


@pytest.mark.walk("S1")
def test_names_say_kind_and_unit() -> None:
    for family in served():
        (sample,) = family.samples
        assert sample.name.startswith("kubetune_train_")
        assert sample.name.endswith("_total") is (family.type == "counter"), sample.name
        if family.type == "counter":
            continue
        assert "_at" not in sample.name.split("kubetune_train")[1][-3:], sample.name
        if "in seconds since" in family.documentation:
            assert sample.name.endswith("_timestamp_seconds")


@pytest.mark.walk("S1")
def test_one_series_says_whose_they_are() -> None:
    (info,) = [family.samples[0] for family in served() if family.samples[0].name == "kubetune_train_info"]
    assert info.labels == {
        "namespace": "team",
        "name": "demo",
        "uid": "u-1",
        "method": "lora",
        "base_model": "s3://m/x",
    }
