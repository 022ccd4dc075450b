"""What a FineTuneJob asks of the cluster."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from kubetune.finetunejob.api import FineTuneJob
from kubetune.finetunejob.job.config import build_config
from kubetune.finetunejob.job.resources import build_evaluation, build_preflight_job, build_train_job
from kubetune.finetunejob.job.uris import output_uri, used_uris
from kubetune.settings import Settings
from kubetune.workload.fingerprint import SPEC_HASH, is_current, is_owned_by, stamp
from kubetune.workload.pod import CONFIG_ANNOTATION
from kubetune_contract import PERMANENT, ExitCode, TrainConfig, from_json, to_json
from kubetune_contract.codec import camel
from tests.support.fields import beyond_defaults
from tests.support.golden import assert_golden
from tests.support.objects import EVALUATION, finetunejob

SETTINGS = Settings(
    trainer_image="registry.example/trainer:1",
    store_endpoint="http://store.kubetune.svc:7070",
    tracking_uri="http://mlflow.kubetune.svc:5000",
    runtime_class="nvidia",
)


def custom(name: str = "demo", **spec: Any) -> FineTuneJob:
    raw = finetunejob(name, namespace="research", **spec)
    raw["metadata"] |= {"uid": "uid-1", "generation": 1}
    return FineTuneJob.parse(raw)


def full() -> FineTuneJob:
    return custom(
        baseModel={"uri": "hf://owner/model@abc"},
        dataset={
            "uri": "pvc://rows/train.jsonl",
            "format": "promptCompletion",
            "columns": {"prompt": "question"},
            "missing": "Drop",
            "validationUri": "configmap://small/val.jsonl",
            "systemPrompt": "Be brief.",
        },
        preset="code",
        recovery={"outOfMemory": "Fail", "divergence": {"lossSigmas": 0, "patience": 5, "rollback": True}},
        export={"merged": True, "gguf": "q8_0"},
        method="qlora",
        lora={"rank": 8, "alpha": 16, "dropout": 0.05, "targetModules": ["q_proj", "v_proj"]},
        hyperparameters={"learningRate": 1e-4, "maxSteps": 500, "optimizer": "paged_adamw_8bit", "saveSteps": 50},
        resources={"gpu": 1, "cpu": "4", "memory": "16Gi"},
        nodeSelector={"kubernetes.io/hostname": "workstation"},
        tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        output={"uri": "s3://results/runs/"},
        tracking={"experiment": "tries"},
        credentials={"objectStoreSecret": "mine", "huggingFaceSecret": "hub"},
        activeDeadlineSeconds=3600,
        backoffLimit=1,
    )


def pod_spec(job: FineTuneJob, settings: Settings = SETTINGS) -> dict[str, Any]:
    spec: dict[str, Any] = build_train_job(job, settings)["spec"]["template"]["spec"]
    return spec


def without_config(job: dict[str, Any]) -> dict[str, Any]:
    """The Job without what ``finetunejob-config`` shows."""
    shown = copy.deepcopy(job)
    template = shown["spec"]["template"]["metadata"]["annotations"]
    assert json.loads(template[CONFIG_ANNOTATION])["schema"] == 1
    template[CONFIG_ANNOTATION] = "see finetunejob-config"
    del shown["metadata"]["annotations"][SPEC_HASH]
    return shown


def named(config: TrainConfig) -> list[str]:
    return sorted(beyond_defaults(config.hyperparameters))


def test_a_job_with_every_field() -> None:
    assert_golden("finetunejob-job", without_config(build_train_job(full(), SETTINGS)))


def test_a_job_with_nothing_but_what_it_needs() -> None:
    assert_golden("finetunejob-job-least", without_config(build_train_job(custom(), Settings())))


def test_a_preflight_job_with_every_field() -> None:
    assert_golden("finetunejob-preflight", without_config(build_preflight_job(full(), SETTINGS)))


def test_the_preflight_takes_no_gpu_and_little_else() -> None:
    job = build_preflight_job(full(), SETTINGS)
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert "initContainers" not in spec
    assert container["command"] == ["python", "-m", "kubetune_trainer", "preflight"]
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "512Mi", "ephemeral-storage": "1Gi"},
        "limits": {"memory": "16Gi", "ephemeral-storage": "98304Mi"},
    }
    assert "runtimeClassName" not in spec
    assert job["spec"]["ttlSecondsAfterFinished"] == 3600


def test_the_preflight_reads_what_the_training_reads_where_the_user_says() -> None:
    checks = build_preflight_job(full(), SETTINGS)["spec"]["template"]
    training = build_train_job(full(), SETTINGS)["spec"]["template"]
    read, trained = (json.loads(made["metadata"]["annotations"][CONFIG_ANNOTATION]) for made in (checks, training))
    # But for what the number of rows, which it counts, may decide.
    assert read.pop("unsetHyperparameters") == ["warmup_ratio", "logging_steps"]
    assert read == trained
    for one in (checks, training):
        # How much of the node's disk they may take is each one's own: tests/unit/test_pods.py.
        one["spec"]["volumes"] = [{**v, "emptyDir": {}} if "emptyDir" in v else v for v in one["spec"]["volumes"]]
    for member in ("volumes", "nodeSelector", "tolerations", "securityContext"):
        assert checks["spec"][member] == training["spec"][member], member
    assert checks["spec"]["containers"][0]["env"] == training["spec"]["containers"][0]["env"]


def test_a_runtime_class_without_a_gpu_is_a_wish_of_its_own() -> None:
    job = build_preflight_job(custom(runtimeClassName="gvisor"), SETTINGS)
    assert job["spec"]["template"]["spec"]["runtimeClassName"] == "gvisor"


@pytest.mark.parametrize(("asked", "requested"), [("256Mi", "256Mi"), ("1Gi", "512Mi"), (536870912, "512Mi")])
def test_the_preflight_requests_no_more_than_its_limit(asked: Any, requested: str) -> None:
    container = build_preflight_job(custom(resources={"memory": asked}), SETTINGS)["spec"]["template"]["spec"]
    assert container["containers"][0]["resources"]["requests"]["memory"] == requested


def test_the_result_is_registered_under_the_objects_name() -> None:
    tracking = build_config(custom(), SETTINGS).tracking
    assert tracking is not None
    assert (tracking.experiment, tracking.registered_model) == ("research", "research.demo")
    own = build_config(custom(tracking={"registeredModel": "support-bot"}), SETTINGS).tracking
    assert own is not None
    assert own.registered_model == "support-bot"
    assert build_config(custom(), Settings()).tracking is None


@pytest.mark.parametrize(
    ("preset", "stated", "optional"),
    [
        ("support", None, True),
        ("support", {"learningRate": 1e-4}, True),
        ("support", {"packing": True}, False),
        ("support", {"packing": False}, False),
        ("code", None, False),
        (None, {"packing": True}, False),
    ],
)
def test_packing_that_only_the_preset_wants_may_be_left_out(preset: str | None, stated: Any, optional: bool) -> None:
    written = {"preset": preset, "hyperparameters": stated}
    config = build_config(custom(**{name: value for name, value in written.items() if value}), SETTINGS)
    assert config.packing_optional is optional
    assert config.hyperparameters.packing is (optional or bool(stated and stated.get("packing")))


def test_configuration_of_every_field() -> None:
    config = build_config(full(), SETTINGS)
    shown = to_json(config)
    # A member at the contract's default says nothing of this job.
    shown["hyperparameters"] = {camel(name): shown["hyperparameters"][camel(name)] for name in named(config)}
    assert_golden("finetunejob-config", shown)


def test_the_mounted_configuration_is_what_the_trainer_reads() -> None:
    text = build_train_job(full(), SETTINGS)["spec"]["template"]["metadata"]["annotations"][CONFIG_ANNOTATION]
    assert from_json(TrainConfig, json.loads(text)) == build_config(full(), SETTINGS)


def test_output_is_below_the_uid() -> None:
    assert output_uri(custom(), SETTINGS) == "s3://kubetune/finetunejobs/research/demo/uid-1"
    assert output_uri(full(), SETTINGS) == "s3://results/runs/uid-1"


def test_building_changes_nothing_and_depends_on_nothing_else() -> None:
    job = full()
    before = copy.deepcopy(job)
    assert build_train_job(job, SETTINGS) == build_train_job(job, SETTINGS)
    assert job == before


@pytest.mark.parametrize("name", ["a", "x" * 52])
def test_names_fit(name: str) -> None:
    for job in (build_train_job(custom(name), SETTINGS), build_preflight_job(custom(name), SETTINGS)):
        assert len(job["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in job["metadata"]["labels"].values())


def test_pods_are_locked_down() -> None:
    spec = pod_spec(full())
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*spec["initContainers"], *spec["containers"]):
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}


def test_gpu_is_asked_for_by_the_training_only() -> None:
    spec = pod_spec(full())
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "nvidia.com/gpu" not in spec["initContainers"][0]["resources"]["limits"]
    assert spec["runtimeClassName"] == "nvidia"
    assert "runtimeClassName" not in pod_spec(custom())


def test_another_gpu_resource() -> None:
    spec = pod_spec(full(), Settings(gpu_resource="amd.com/gpu"))
    assert spec["containers"][0]["resources"]["requests"]["amd.com/gpu"] == 1


def test_hub_access_only_for_hub_uris() -> None:
    def names(job: FineTuneJob) -> dict[str, Any]:
        return {entry["name"]: entry for entry in pod_spec(job)["containers"][0]["env"]}

    assert names(full())["HF_HUB_OFFLINE"]["value"] == "0"
    assert names(full())["HF_TOKEN"]["valueFrom"]["secretKeyRef"] == {"name": "hub", "key": "HF_TOKEN"}
    assert not {"HF_HUB_OFFLINE", "HF_TOKEN"} & names(custom()).keys()


def test_inputs_are_mounted_read_only() -> None:
    spec = pod_spec(full())
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts["/mnt/pvc/rows"]["readOnly"] is True
    assert mounts["/mnt/configmap/small"]["readOnly"] is True
    assert mounts["/etc/kubetune"]["readOnly"] is True


def test_permanent_failures_are_not_tried_again() -> None:
    rules = build_train_job(custom(), SETTINGS)["spec"]["podFailurePolicy"]["rules"]
    (fail,) = [rule for rule in rules if rule["action"] == "FailJob"]
    assert fail["onExitCodes"]["values"] == sorted(int(code) for code in PERMANENT)
    assert "containerName" not in fail["onExitCodes"], "the init container's codes count, too"
    ignored = [rule for rule in rules if rule["action"] == "Ignore"]
    assert {"onPodConditions", "onExitCodes"} == {key for rule in ignored for key in rule if key != "action"}
    assert int(ExitCode.PREEMPTED) not in fail["onExitCodes"]["values"]


def test_used_uris() -> None:
    assert used_uris(full(), SETTINGS) == (
        "hf://owner/model@abc",
        "pvc://rows/train.jsonl",
        "configmap://small/val.jsonl",
        "s3://results/runs/uid-1",
    )


def test_no_evaluation_without_a_template() -> None:
    assert build_evaluation(custom()) is None


def test_the_evaluation_takes_over_where_to_run_but_not_how_long() -> None:
    evaluation = build_evaluation(full().model_copy(update={"spec": _with_evaluation(full())}))
    assert evaluation is not None
    spec = evaluation["spec"]
    assert spec["credentials"] == {"objectStoreSecret": "mine", "huggingFaceSecret": "hub"}
    assert spec["output"] == {"uri": "s3://results/runs/"}
    assert spec["dataset"]["systemPrompt"] == "Be brief.", "the model is asked the way it was taught"
    assert "activeDeadlineSeconds" not in spec


def _with_evaluation(job: FineTuneJob) -> Any:
    return custom(**(job.spec.to_dict() | {"evaluation": EVALUATION})).spec


def test_fingerprint_tells_a_change_from_the_servers_defaults() -> None:
    wanted = build_train_job(custom(), SETTINGS)
    live = copy.deepcopy(wanted)
    live["spec"]["completionMode"] = "NonIndexed"
    assert is_current(wanted, live)
    assert not is_current(build_train_job(custom(), Settings(trainer_image="other")), live)
    assert not is_current(wanted, None)


def test_stamping_is_stable() -> None:
    obj: dict[str, Any] = {"metadata": {"annotations": {"a": "b"}}, "spec": {"x": 1}}
    assert stamp(obj) == stamp(copy.deepcopy(obj))
    assert SPEC_HASH not in obj["metadata"]["annotations"]
    assert stamp(obj)["metadata"]["annotations"]["a"] == "b"


@pytest.mark.parametrize(
    ("references", "is_ours"),
    [
        ([], False),
        ([{"uid": "uid-1", "controller": True}], True),
        ([{"uid": "uid-1"}], False),
        ([{"uid": "uid-2", "controller": True}], False),
    ],
)
def test_ownership(references: list[dict[str, Any]], is_ours: bool) -> None:
    assert is_owned_by({"metadata": {"ownerReferences": references}}, "uid-1") is is_ours
