"""Shared API types: conditions, names, labels, units, scalars."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kubetune.common.conditions import MESSAGE_LIMIT, ConditionStatus, get_condition, is_true, set_condition
from kubetune.common.labels import Component, labels, match_labels
from kubetune.common.model import format_time
from kubetune.common.names import LIMIT, child_name, label_value
from kubetune.common.pod_options import Resources
from kubetune.common.units import format_delta, format_duration, format_progress
from kubetune.finetunejob.api import FineTuneJob

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)


def test_transition_time_moves_with_the_status_only() -> None:
    first = set_condition((), "Accepted", True, "Accepted", "fine", now=NOW, generation=1)
    later = NOW + timedelta(minutes=1)
    same = set_condition(first, "Accepted", True, "Accepted", "still fine", now=later, generation=2)
    assert same[0].last_transition_time == NOW.replace(microsecond=0)
    assert (same[0].message, same[0].observed_generation) == ("still fine", 2)
    changed = set_condition(same, "Accepted", False, "InvalidSpec", "no", now=later, generation=2)
    assert changed[0].last_transition_time == later.replace(microsecond=0)
    assert not is_true(changed, "Accepted")


def test_conditions_keep_their_order_and_their_input() -> None:
    conditions = set_condition((), "A", True, "R", "", now=NOW, generation=1)
    conditions = set_condition(conditions, "B", ConditionStatus.UNKNOWN, "R", "", now=NOW, generation=1)
    replaced = set_condition(conditions, "A", False, "R", "", now=NOW, generation=1)
    assert [condition.type for condition in replaced] == ["A", "B"]
    assert is_true(conditions, "A")
    assert get_condition(conditions, "C") is None


def test_long_messages_are_cut_to_what_the_schema_takes() -> None:
    (condition,) = set_condition((), "A", True, "R", "x" * 10_000, now=NOW, generation=1)
    assert len(condition.message) == MESSAGE_LIMIT


@given(st.from_regex(r"[a-z]([-a-z0-9]{0,100}[a-z0-9])?", fullmatch=True), st.sampled_from(["", "train", "evaluate"]))
def test_child_names_are_dns_labels(name: str, suffix: str) -> None:
    child = child_name(name, suffix)
    assert len(child) <= LIMIT
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", child)
    assert child.endswith(suffix)


def test_shortened_names_stay_apart() -> None:
    assert child_name("a" * 70 + "x", "train") != child_name("a" * 70 + "y", "train")
    assert child_name("demo", "train") == "demo-train"


@given(st.text(max_size=200))
def test_label_values_are_valid(text: str) -> None:
    assert re.fullmatch(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?", label_value(text))
    assert len(label_value(text)) <= LIMIT


def test_labels_contain_the_selector() -> None:
    selector = match_labels(FineTuneJob.info, "demo")
    assert selector == {"app.kubernetes.io/managed-by": "kubetune", "kubetune.io/finetunejob": "demo"}
    assert selector.items() <= labels(FineTuneJob.info, "demo", Component.TRAINER).items()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0.4, "0s"), (45, "45s"), (90, "1m30s"), (720, "12m"), (743, "12m"), (12_000, "3h20m"), (3605, "1h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("step", "total", "text"), [(310, 500, "62% 310/500"), (499, 500, "99% 499/500"), (7, 0, "7"), (6, 5, "100% 6/5")]
)
def test_progress(step: int, total: int, text: str) -> None:
    assert format_progress(step, total) == text


@pytest.mark.law("F26")
def test_deltas() -> None:
    assert format_delta(0.4101, 0.344, 0.479) == "+0.41 [0.34, 0.48]"
    assert format_delta(-12.34, -20.0, -4.71) == "-12.3 [-20.0, -4.7]"
    assert format_delta(0.004, 0.001, 0.007) == "+0.004 [0.001, 0.007]"
    assert format_delta(0.0002, 0.00001, 0.0004) == "+0.00020 [0.00001, 0.00040]"
    assert format_delta(0.25, 0.25, 0.25) == "+0.25 [0.25, 0.25]"
    assert format_delta(20.5, 20.49, 20.51) == "+20.500 [20.490, 20.510]"
    assert format_delta(0.1, -math.inf, math.inf) == "+0.1 [-inf, inf]"


@pytest.mark.law("F26")
@given(st.floats(-1, 1), st.floats(1e-5, 1), st.floats(0, 1))
def test_a_delta_tells_its_ends_apart(low: float, width: float, share: float) -> None:
    shown = format_delta(low + share * width, low, low + width)
    first, last = shown[shown.index("[") + 1 : -1].split(", ")
    assert float(first) < float(last)


def test_times_are_whole_seconds_in_utc() -> None:
    assert format_time(NOW) == "2026-01-02T03:04:05Z"


def test_quantities_are_text_however_yaml_wrote_them() -> None:
    assert Resources.model_validate({"cpu": 2, "memory": "8Gi"}) == Resources(cpu="2", memory="8Gi")
    with pytest.raises(ValidationError):
        Resources.model_validate({"cpu": [2]})
