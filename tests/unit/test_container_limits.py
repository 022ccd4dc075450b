"""CPU and memory of the container, from both generations of cgroups, and chat templates from both places."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kubetune_shared.cpus import computes_bfloat16, cpu_limit, memory_limit
from kubetune_shared.templates import chat_template

AFFINITY = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50000 100000", 1),
        ("150000 100000", 1),
        ("max 100000", AFFINITY),
        ("6400000 100000", AFFINITY),
        ("junk", AFFINITY),
    ],
)
def test_cpu_quota_of_cgroup_v2(tmp_path: Path, text: str, expected: int) -> None:
    """A training on 1.5 CPUs computes on one, as before; and so does an evaluation."""
    (tmp_path / "cpu.max").write_text(text)
    assert cpu_limit(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("100000", 1), ("-1", AFFINITY)])
def test_cpu_quota_of_cgroup_v1(tmp_path: Path, quota: str, expected: int) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert cpu_limit(tmp_path) == expected


def test_memory_limits(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) > 1 << 28
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert memory_limit(tmp_path) < 1 << 60
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory_limit(tmp_path) == 1 << 20
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit(tmp_path) > 1 << 28


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 vaes", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu avx2 avx512f avx512_fp16", False),
        ("model name\t: bf16", False),
    ],
)
def test_bfloat16_is_told_by_the_cpus_flags(tmp_path: Path, line: str, expected: bool) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\n{line}\n")
    assert computes_bfloat16(file) is expected


def test_a_machine_that_does_not_tell_its_flags_computes_in_float32(tmp_path: Path) -> None:
    assert computes_bfloat16(tmp_path / "none") is False


def test_chat_templates(tmp_path: Path) -> None:
    assert chat_template(tmp_path) is None
    config = tmp_path / "tokenizer_config.json"
    config.write_text("{}")
    assert chat_template(tmp_path) is None
    config.write_text(json.dumps({"chat_template": "plain"}))
    assert chat_template(tmp_path) == "plain"
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "usual"}]
    config.write_text(json.dumps({"chat_template": named}))
    assert chat_template(tmp_path) == "usual"
    assert chat_template(tmp_path, tools=True) == "tools"
    (tmp_path / "chat_template.jinja").write_text("file")
    assert chat_template(tmp_path) == chat_template(tmp_path, tools=True) == "file"
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tool file")
    assert (chat_template(tmp_path), chat_template(tmp_path, tools=True)) == ("file", "tool file")
