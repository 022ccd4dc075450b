"""The demo driver's pure parts: what it reads from the installation, what it says, what it applies."""

from __future__ import annotations

from typing import Any

import pytest

from tests.demo.ask import EXAMPLE
from tests.demo.corpus import library_root, read_library
from tests.demo.environment import images_to_keep
from tests.demo.measure import Steps, clock, memory_used, summary, table
from tests.demo.scenario import MANIFESTS, read_manifests, score_lines
from tests.demo.seed_objects import CODE, job_objects
from tests.demo.settings import Settings, parse
from tests.demo.shell import DemoError
from tests.demo.task import MAX_CHARACTERS, MIN_CHARACTERS
from tests.demo.watch import deployment_line, evaluation_line, failure, job_line

SETTINGS = Settings("http://store.kubetune.svc.cluster.local:7070", "kubetune", "keys", "trainer:1", "IfNotPresent")


def deployment(env: dict[str, str]) -> dict[str, Any]:
    listed = [{"name": name, "value": value} for name, value in env.items()]
    return {"spec": {"template": {"spec": {"containers": [{"env": listed}]}}}}


def test_settings_are_read_from_the_operators_environment() -> None:
    operator = deployment({"KUBETUNE_TRAINER_IMAGE": "trainer:1", "KUBETUNE_STORE_BUCKET": "models"})
    found = parse([deployment({}), operator])
    assert (found.trainer_image, found.bucket, found.secret) == ("trainer:1", "models", "kubetune-object-store")


def test_missing_operator_is_said() -> None:
    with pytest.raises(DemoError, match="no operator"):
        parse([deployment({})])


@pytest.mark.parametrize(
    ("endpoint", "service"),
    [
        ("http://store.kubetune.svc.cluster.local:7070", ("kubetune", "store", 7070)),
        ("http://store.kubetune.svc", ("kubetune", "store", 80)),
        ("https://s3.example.com", None),
        ("", None),
    ],
)
def test_store_inside_the_cluster_is_told_by_its_name(endpoint: str, service: tuple[str, str, int] | None) -> None:
    assert Settings(endpoint, "b", "s", "i", "p").service == service


def test_seed_pod_runs_without_rights_and_gets_no_secret_in_its_text() -> None:
    code, job = job_objects(SETTINGS, "s3://kubetune/demo", "key", None)
    assert set(code["data"]) == {path.name for path in CODE}
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    keys = {entry["name"]: entry for entry in container["env"] if entry["name"].startswith("AWS_")}
    assert all("value" not in entry for entry in keys.values())
    assert len(keys) == 2


def test_manifests_tell_one_story() -> None:
    objects = {found["kind"]: found for found in read_manifests(MANIFESTS, gpu=False)}
    job, served = objects["FineTuneJob"], objects["ModelDeployment"]
    assert job["spec"]["evaluation"]["gate"]["metric"] in job["spec"]["evaluation"]["metrics"]
    assert served["spec"]["model"]["fineTuneJobRef"]["name"] == job["metadata"]["name"]
    assert served["spec"]["requireVerdict"]["evaluationRef"]["name"] == job["metadata"]["name"]
    assert "gpu" not in job["spec"]["resources"]


def test_a_gpu_is_asked_for_where_a_node_has_one() -> None:
    assert all(found["spec"]["resources"]["gpu"] == 1 for found in read_manifests(MANIFESTS, gpu=True))


def test_example_question_is_of_the_trained_size_and_not_from_the_library() -> None:
    assert MIN_CHARACTERS <= len(EXAMPLE) <= MAX_CHARACTERS
    assert not any("async def echo(" in file.text for file in read_library(library_root()))


def test_job_line_shows_step_loss_and_time_left() -> None:
    progress = {"display": "62% 310/500", "totalSteps": 500, "loss": 0.5, "tokensPerSecond": 4321.0, "eta": "12m"}
    assert job_line({"phase": "Running", "progress": progress}) == (
        "Running",
        "62% 310/500, loss 0.500, 4,321 tokens/s, 12m left",
    )


def test_lines_say_what_is_waited_for() -> None:
    waiting = {
        "phase": "Pending",
        "conditions": [
            {"type": "Accepted", "status": "True", "message": ""},
            {"type": "Admitted", "status": "False", "message": "Evaluation demo has no verdict yet."},
        ],
    }
    assert deployment_line(waiting) == ("Pending: Evaluation demo has no verdict yet.", "")
    assert evaluation_line({}) == ("Pending", "")


def test_failure_is_told_in_the_operators_words() -> None:
    assert failure({"status": {"failure": {"reason": "MalformedRow", "message": "line 17"}}}) == "line 17"
    assert "Events" in failure({})


def test_scores_are_shown_beside_each_other_with_the_interval() -> None:
    one = {
        "metric": "exactMatch",
        "baseline": "base",
        "candidateValue": 0.41,
        "baselineValue": 0.0,
        "difference": 0.41,
        "low": 0.34,
        "high": 0.48,
        "n": 200,
        "method": "paired-t",
    }
    first, second = score_lines({"metrics": [one], "verdict": "Go", "verdictMessage": "better"})
    assert "tuned 0.41, base 0.00, difference +0.41 (95 % interval 0.34 to 0.48" in first
    assert second == "verdict Go: better"


def test_memory_in_use_is_total_less_available() -> None:
    assert memory_used("MemTotal: 100 kB\nMemFree: 10 kB\nMemAvailable: 40 kB\n") == 60 * 1024


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (187, "3 min 07 s")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_summary_lists_the_steps_that_came_to_their_end() -> None:
    steps = Steps()
    with steps.step("train"):
        pass
    with pytest.raises(DemoError), steps.step("serve"):
        raise DemoError("no")
    assert [line.split()[0] for line in summary(steps, None).splitlines()] == ["train", "all"]


def test_table_aligns_columns() -> None:
    assert table([("a", "1"), ("long", "2")]) == "a     1\nlong  2"


def test_images_that_nothing_names_any_more_go() -> None:
    ours = [f"localhost/kubetune/{name}" for name in ("operator:b", "trainer:a", "trainer:b", "trainer:b2")]
    others = ["docker.io/library/busybox:1"]
    named = '{"image": "localhost/kubetune/operator:b", "env": [{"value": "localhost/kubetune/trainer:b"}]}'
    assert images_to_keep([*ours, *others], named) == [ours[0], ours[2], *others]
