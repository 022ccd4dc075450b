"""The demo driver's pure parts: what it reads from the installation, what it says, what it applies."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.demo.docstring_story import DOCSTRINGS
from tests.demo.environment import images_to_keep
from tests.demo.measure import Steps, clock, memory_used, summary, table
from tests.demo.outcome import Outcome
from tests.demo.scenario import anew, answer_lines, read_manifests, score_lines, shown
from tests.demo.seed import recipe_key
from tests.demo.seed_objects import MOUNT, job_objects
from tests.demo.settings import Settings, parse
from tests.demo.shell import DemoError
from tests.demo.source import Source
from tests.demo.story import Answered, Question, Story
from tests.demo.watch import deployment_line, evaluation_line, failure, job_line
from tests.smallmodel.source import SMALL_MODEL
from tests.smallmodel.story import PACKAGES

STORIES = pytest.mark.parametrize("story", [DOCSTRINGS, PACKAGES], ids=["real", "small"])
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


@STORIES
def test_every_run_of_the_demo_trains_for_itself(story: Story) -> None:
    """An earlier one may have left its result, which would be taken; one that was interrupted goes on."""
    objects, now = read_manifests(story.manifests, gpu=False), datetime(2026, 1, 2, tzinfo=UTC)
    made = {found["kind"]: found for found in anew(objects, None, now)}
    assert made["FineTuneJob"]["spec"]["rerun"] == "demo of 2026-01-02T00:00:00Z"
    assert all("rerun" not in found["spec"] for kind, found in made.items() if kind != "FineTuneJob")
    assert anew(objects, made["FineTuneJob"], now.replace(day=3)) == list(made.values())
    assert anew(objects, {"spec": {}}, now) == objects, "one of an older version cannot be changed"


@STORIES
def test_seed_pod_runs_without_rights_and_gets_no_secret_in_its_text(story: Story) -> None:
    code, job = job_objects(SETTINGS, story.source, ["s3://kubetune/demo", "key"])
    assert code["metadata"]["name"] == job["metadata"]["name"]
    pod = job["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    keys = {entry["name"]: entry for entry in container["env"] if entry["name"].startswith("AWS_")}
    assert all("value" not in entry for entry in keys.values())
    assert len(keys) == 2


@STORIES
def test_seed_pod_finds_the_module_it_runs_and_what_that_imports(story: Story) -> None:
    code, job = job_objects(SETTINGS, story.source, ["s3://kubetune/demo", "key"])
    [container] = job["spec"]["template"]["spec"]["containers"]
    items = job["spec"]["template"]["spec"]["volumes"][0]["configMap"]["items"]
    assert container["command"][:3] == ["python", "-m", story.source.module]
    assert {"name": "PYTHONPATH", "value": f"/opt/kubetune:{MOUNT}"} in container["env"]
    assert {item["key"] for item in items} == set(code["data"])
    modules = {item["path"].removesuffix(".py").replace("/", "."): code["data"][item["key"]] for item in items}
    assert story.source.module in modules
    for name, text in modules.items():
        package = name.rpartition(".")[0]
        for dots, module in re.findall(r"^from (\.?)((?:tests\.)?[\w.]+) import", text, re.MULTILINE):
            wanted = f"{package}.{module}" if dots else module
            assert not wanted.startswith("tests.") or wanted in modules, f"{name} imports {wanted}"


def test_key_names_code_arguments_and_libraries() -> None:
    keys = {recipe_key(one) for one in (SMALL_MODEL, SMALL_MODEL.with_arguments("50"), DOCSTRINGS.source)}
    assert len(keys) == 3
    assert recipe_key(SMALL_MODEL) == recipe_key(SMALL_MODEL.with_arguments())
    fewer = Source("small", SMALL_MODEL.module, SMALL_MODEL.code[1:], SMALL_MODEL.makers)
    assert recipe_key(fewer) != recipe_key(SMALL_MODEL)


@STORIES
def test_manifests_tell_one_story(story: Story) -> None:
    objects = {found["kind"]: found for found in read_manifests(story.manifests, gpu=False)}
    job, served = objects["FineTuneJob"], objects["ModelDeployment"]
    assert job["spec"]["evaluation"]["gate"]["metric"] in job["spec"]["evaluation"]["metrics"]
    assert served["spec"]["model"]["fineTuneJobRef"]["name"] == job["metadata"]["name"]
    assert served["spec"]["requireVerdict"]["evaluationRef"]["name"] == job["metadata"]["name"]
    assert "gpu" not in job["spec"]["resources"]
    # YAML reads 5e-4 as text; a number needs its point.
    assert isinstance(job["spec"]["hyperparameters"]["learningRate"], float)
    folder = f"s3://kubetune/{story.source.name}"
    assert job["spec"]["baseModel"]["uri"] == f"{folder}/base"
    assert job["spec"]["dataset"]["uri"] == f"{folder}/data/train.jsonl"
    assert job["spec"]["evaluation"]["dataset"]["uri"] == f"{folder}/data/test.jsonl"


def test_the_two_stories_do_not_meet_in_the_cluster_or_in_the_store() -> None:
    names = [
        {(found["kind"], found["metadata"]["name"]) for found in read_manifests(story.manifests, gpu=False)}
        for story in (DOCSTRINGS, PACKAGES)
    ]
    assert not names[0] & names[1]
    assert DOCSTRINGS.source.name != PACKAGES.source.name


@STORIES
def test_manifests_name_the_installations_own_bucket(story: Story) -> None:
    [job] = [
        found for found in read_manifests(story.manifests, gpu=False, bucket="mine") if "baseModel" in found["spec"]
    ]
    assert job["spec"]["baseModel"]["uri"] == f"s3://mine/{story.source.name}/base"
    assert "s3://kubetune/" not in str(job)


@STORIES
def test_a_gpu_is_asked_for_where_a_node_has_one(story: Story) -> None:
    assert all(found["spec"]["resources"]["gpu"] == 1 for found in read_manifests(story.manifests, gpu=True))


def test_the_small_models_answer_has_to_be_right() -> None:
    [one] = PACKAGES.questions
    assert PACKAGES.objection([Answered(one, " asyncio\n", "code")]) is None
    found = PACKAGES.objection([Answered(one, "email", "code")])
    assert found is not None
    assert "'email'" in found
    assert PACKAGES.remark is not None
    assert "0.13" in PACKAGES.remark({"majorityShare": 0.126})


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Calculate the area.\n", "Calculate the area."),
        ("one\ntwo", '"one\\ntwo"'),
        ("x" * 120, f'"{"x" * 100}..."'),
    ],
)
def test_answers_are_shown_on_one_line(answer: str, expected: str) -> None:
    assert shown(answer) == expected


def test_answers_stand_below_their_question() -> None:
    lines = answer_lines(Answered(Question("Why?\ndef f():", "So."), "So.", "def f()"))
    assert lines == ["Why?", "def f():", "", "  tuned: So.", "  base:  def f()", ""]
    assert not [line for line in answer_lines(Answered(Question("Why?", "So."), "So.", None)) if "base" in line]


def test_outcome_holds_what_was_answered() -> None:
    question = Question("Why?", "So.")
    facts = {"items": {"train": 3, "validation": 2, "test": 1}}
    found = Outcome.of(
        DOCSTRINGS, facts, ["rougeL"], [Answered(question, "So.", "def"), Answered(question, "So.", None)]
    )
    assert found.answers == [
        {"question": "Why?", "tuned": "So.", "base": "def"},
        {"question": "Why?", "tuned": "So."},
    ]
    assert found.rows == facts["items"]


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
        "method": "skew-t",
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
