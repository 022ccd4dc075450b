"""Taking results home: the plugin against a kubectl that keeps objects in files, and a real object store."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kubetune_contract import KubeTuneError, ObjectStore, dumps, from_json
from kubetune_shared import take
from kubetune_shared.artifacts import publish
from kubetune_shared.store import Store
from manifests.plugin import kubectl_tune as tune
from tests.support.s3 import S3Server

ROOT = Path(__file__).resolve().parents[2]
FAKE = """#!{python}
import json, os, pathlib, subprocess, sys
state = pathlib.Path({state!r})
arguments = [a for a in sys.argv[1:] if not a.startswith("--namespace=")]
with (state / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
verb, rest = arguments[0], arguments[1:]
if verb == "get":
    kind = rest[0]
    if kind == "pods":
        print((state / "pods").read_text())
    elif kind == "jobs":
        print(json.dumps({{"items": [json.loads((state / "job").read_text())]}}))
    else:
        print((state / kind.partition(".")[0]).read_text())
elif verb == "create":
    (state / "created").write_text(sys.stdin.read())
elif verb == "delete":
    (state / "deleted").write_text(rest[1])
elif verb == "exec":
    command = [sys.executable, *rest[rest.index("--") + 2 :]]
    done = subprocess.run(command, capture_output=True)
    sys.stdout.buffer.write(done.stdout)
    sys.stderr.buffer.write(done.stderr)
    if done.returncode:
        print(f"command terminated with exit code {{done.returncode}}", file=sys.stderr)
    sys.exit(done.returncode)
"""
READY = {"items": [{"metadata": {"name": "take-1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}]}


@dataclass
class Desk:
    """Somebody's machine: kubectl on its path, and a folder to work in."""

    state: Path
    home: Path

    def keep(self, name: str, value: Any) -> None:
        (self.state / name).write_text(json.dumps(value))

    def cut(self, times: int) -> None:
        """The next transfers of files break in the middle."""
        (self.state / "cuts").write_text(str(times))

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.state / "calls").read_text().splitlines()]

    @property
    def sent(self) -> list[tuple[str, int]]:
        """Files that were asked for, and from which byte on."""
        ends = [call[-3:] for call in self.calls if "exec" in call]
        return [(uri.rpartition("/")[2], int(start)) for uri, start, _ in ends if not uri.endswith("manifest.json")]


def in_process(desk: Desk) -> Callable[..., str]:
    """The same as the pod's program, without the second that each start of it takes."""

    config = json.loads(Path(os.environ["KUBETUNE_CONFIG"]).read_text())
    store = Store(from_json(ObjectStore, config["store"]))

    def pipe(_: tune.Kubectl, out: Any, *arguments: str) -> str:
        with (desk.state / "calls").open("a") as calls:
            calls.write(json.dumps(arguments) + "\n")
        uri, start, size = arguments[-3:]
        try:
            data = b"".join(take.parts(store, uri, int(start), int(size)))
        except KubeTuneError as error:
            return f"{error.reason}: {error.message}"
        cuts = int((desk.state / "cuts").read_text())
        if cuts and not uri.endswith(tune.MANIFEST):
            desk.cut(cuts - 1)
            out.write(data[: len(data) // 2])
            return "error: unexpected EOF"
        out.write(data)
        return ""

    return pipe


def finetunejob(**status: Any) -> dict[str, Any]:
    return {"kind": "FineTuneJob", "metadata": {"name": "support", "uid": "job-1"}, "status": status}


def training(server: S3Server, uid: str = "job-1") -> dict[str, Any]:
    """The Job that the operator made, as far as the plugin looks at it."""
    secret = {"valueFrom": {"secretKeyRef": {"name": "kubetune-object-store", "key": "AWS_ACCESS_KEY_ID"}}}
    container = {
        "name": "train",
        "image": "registry/trainer:1",
        "env": [
            {"name": "HOME", "value": "/tmp"},
            {"name": "AWS_ACCESS_KEY_ID", **secret},
            {"name": "HF_TOKEN", **secret},
        ],
        "volumeMounts": [{"name": "config", "mountPath": "/etc/kubetune"}, {"name": "claim-0", "mountPath": "/mnt"}],
        "resources": {"limits": {"nvidia.com/gpu": 1}},
        "securityContext": {"readOnlyRootFilesystem": True},
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "config", "downwardAPI": {}}, {"name": "claim-0", "persistentVolumeClaim": {}}],
        "nodeSelector": {"disk": "fast"},
        "affinity": {"nodeAffinity": {}},
        "runtimeClassName": "nvidia",
        "securityContext": {"runAsNonRoot": True},
    }
    config = {"store": {"endpoint": server.endpoint, "region": "us-east-1"}}
    annotations = {tune.CONFIG: json.dumps(config)}
    return {
        "metadata": {"name": "support-train", "ownerReferences": [{"uid": uid}]},
        "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}},
    }


@pytest.fixture
def desk(
    request: pytest.FixtureRequest, known_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Desk:
    state, home, programs = tmp_path / "state", tmp_path / "home", tmp_path / "bin"
    for folder in (state, home, programs):
        folder.mkdir()
    kubectl = programs / "kubectl"
    kubectl.write_text(FAKE.format(python=sys.executable, state=str(state)))
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(ROOT / "images" / part) for part in ("contract", "shared")))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"store": json.loads(dumps(known_server.store))}))
    monkeypatch.setenv("KUBETUNE_CONFIG", str(config))
    monkeypatch.chdir(home)
    made = Desk(state, home)
    made.keep("pods", READY)
    made.keep("job", training(known_server))
    made.cut(0)
    if "real_exec" not in request.fixturenames:
        monkeypatch.setattr(tune.Kubectl, "pipe", in_process(made))
    return made


@pytest.fixture
def real_exec() -> None:
    """Runs the pod's program as a program."""


@pytest.fixture
def published(store: Store, tmp_path: Path, desk: Desk) -> Path:
    """An adapter and a GGUF, named by the FineTuneJob's status."""
    folders = {}
    for kind, names in (("adapter", ("adapter_config.json", "deep/weights.bin", "empty")), ("gguf", ("Modelfile",))):
        folder = tmp_path / kind
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"" if name == "empty" else bytes(range(256)) * 100 * (number + 1))
        artifact = publish(store, folder, f"s3://data/take/{kind}", kind=kind, meta={})
        folders[kind] = {"uri": artifact.uri, "kind": kind, "manifestSHA256": artifact.manifest_sha256}
    desk.keep("finetunejobs", finetunejob(artifact=folders["adapter"], exports=[folders["gguf"]]))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != tune.MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.walk("C20")
@pytest.mark.usefixtures("real_exec")
def test_a_model_comes_home_whole_and_its_pod_is_removed(
    desk: Desk, published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main(["take", "finetunejob/support", "-n", "team-a"]) == 0
    assert contents(desk.home / "support-adapter") == contents(published / "adapter")
    assert (desk.home / "support-adapter" / tune.MANIFEST).is_file()
    assert "adapter of finetunejob/support: 3 files in support-adapter/, all digests right" in capsys.readouterr().out
    created = json.loads((desk.state / "created").read_text())
    assert (desk.state / "deleted").read_text() == created["metadata"]["name"]
    assert all("--namespace=team-a" in call for call in desk.calls)
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    assert not [call for call in desk.calls if secret in " ".join(call)]


def test_the_pod_has_keys_image_and_place_of_the_one_that_wrote_and_no_gpu(desk: Desk, published: Path) -> None:
    assert tune.main(["take", "ftj/support"]) == 0
    job = json.loads((desk.state / "created").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "registry/trainer:1"
    assert [variable["name"] for variable in container["env"]] == ["HOME", "AWS_ACCESS_KEY_ID"]
    assert [volume["name"] for volume in pod["volumes"]] == ["config"]
    assert [mount["name"] for mount in container["volumeMounts"]] == ["config"]
    assert pod["nodeSelector"] == {"disk": "fast"}
    assert not {"affinity", "runtimeClassName"} & pod.keys()
    assert "gpu" not in json.dumps(job)
    assert (pod["securityContext"], container["securityContext"]) == (
        {"runAsNonRoot": True},
        {"readOnlyRootFilesystem": True},
    )
    # Whatever becomes of the desk, nothing stays behind.
    assert job["spec"]["ttlSecondsAfterFinished"] == 60
    assert "hold" in container["command"]
    # The operator must not take it for one of its own.
    assert "managed-by" not in json.dumps(job["metadata"])


@pytest.mark.walk("C20")
def test_what_broke_off_goes_on_where_it_broke(desk: Desk, published: Path) -> None:
    desk.cut(2)
    assert tune.main(["take", "finetunejob/support"]) == 0
    assert contents(desk.home / "support-adapter") == contents(published / "adapter")
    starts = [start for name, start in desk.sent if name == "adapter_config.json"]
    assert starts == [0, 12_800, 19_200]


def test_a_second_call_fetches_only_what_is_missing(desk: Desk, published: Path) -> None:
    desk.cut(100)
    assert tune.main(["take", "finetunejob/support"]) == 1
    assert not (desk.home / "support-adapter" / tune.MANIFEST).exists()
    assert (desk.state / "deleted").exists()
    desk.cut(0)
    assert tune.main(["take", "finetunejob/support"]) == 0
    before = len(desk.sent)
    (desk.home / "support-adapter" / "adapter_config.json").write_bytes(b"changed")
    assert tune.main(["take", "finetunejob/support"]) == 0
    assert [name for name, _ in desk.sent[before:]] == ["adapter_config.json"]
    assert contents(desk.home / "support-adapter") == contents(published / "adapter")


def test_what_was_changed_in_the_store_does_not_come_home(
    desk: Desk, published: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(b"x" * 25_600, "s3://data/take/adapter/adapter_config.json")
    assert tune.main(["take", "finetunejob/support"]) == 1
    assert "adapter_config.json is not what its manifest says" in capsys.readouterr().err
    store.write(b'{"files": []}', "s3://data/take/adapter/manifest.json")
    assert tune.main(["take", "finetunejob/support"]) == 1
    assert "manifest.json is not the one that was published" in capsys.readouterr().err
    assert contents(desk.home) == {}


def test_a_gguf_says_how_ollama_takes_it(desk: Desk, published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main(["take", "finetunejob/support", "--what", "gguf", "--to", "out/here"]) == 0
    assert contents(desk.home / "out/here") == contents(published / "gguf")
    assert "ollama create support -f out/here/Modelfile" in capsys.readouterr().out


@pytest.mark.walk("C20")
def test_a_report_is_opened(desk: Desk, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "report.html").write_text("<p>Go</p>")
    artifact = publish(store, folder, "s3://data/take/report", kind="report", meta={})
    report = {"uri": artifact.uri, "manifestSHA256": artifact.manifest_sha256}
    evaluation = {"kind": "Evaluation", "metadata": {"name": "support", "uid": "job-1"}, "status": {"report": report}}
    desk.keep("evaluations", evaluation)
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", shown.append)
    assert tune.main(["take", "evl/support", "--open"]) == 0
    assert shown == [(desk.home / "support-report" / "report.html").as_uri()]


@pytest.mark.parametrize(
    ("obj", "what", "words"),
    [
        (finetunejob(phase="Running"), None, "has published nothing (yet): its phase is Running"),
        (
            finetunejob(artifact={"kind": "adapter", "uri": "s3://b/a", "manifestSHA256": "0"}),
            "gguf",
            "has no gguf; it has: adapter. A FineTuneJob makes one with spec.export.gguf: f16, bf16 or q8_0.",
        ),
        (finetunejob(artifact={"kind": "model", "uri": "s3://b/a"}), None, "lacks manifestSHA256"),
    ],
)
def test_what_there_is_not_is_told(obj: dict[str, Any], what: str | None, words: str) -> None:
    with pytest.raises(tune.TuneError) as caught:
        tune.folder_of(obj, what)
    assert words in str(caught.value)


def test_the_writer_is_the_objects_own_job(server: S3Server) -> None:
    other, own = training(server, "job-0"), training(server)
    assert tune.writer_of(finetunejob(), [other, own]) is own["spec"]["template"]
    with pytest.raises(tune.TuneError, match="has been deleted"):
        tune.writer_of(finetunejob(), [other])


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "C:\\x", "c:x", ""])
def test_no_file_lands_outside_of_the_folder(path: str) -> None:
    manifest = json.dumps({"files": [{"path": path, "size": 1, "sha256": "0"}]}).encode()
    with pytest.raises(tune.TuneError, match="outside its folder"):
        tune.files_of(manifest, tune.Found("adapter", "s3://b/a", "0"))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}]},
            "does not start: ImagePullBackOff: not found",
        ),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
            "no node takes the pod that would read the store: 0/1 nodes",
        ),
    ],
)
def test_a_pod_that_does_not_start_says_why(
    desk: Desk,
    published: Path,
    status: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    desk.keep("pods", {"items": [{"metadata": {"name": "take-1"}, "status": status}]})
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert tune.main(["take", "finetunejob/support"]) == 1
    assert words in capsys.readouterr().err
    assert (desk.state / "deleted").exists()


def test_an_older_image_is_told() -> None:
    said = "/usr/bin/python: No module named kubetune_shared.take\ncommand terminated with exit code 1"
    assert "--image" in tune.explained(said)
    assert tune.explained("AccessDenied: no\ncommand terminated with exit code 77") == "AccessDenied: no"


def test_the_plugin_has_the_name_that_kubectl_looks_for() -> None:
    plugin = ROOT / "manifests" / "plugin" / "kubectl-tune"
    assert os.access(plugin, os.X_OK)
    assert plugin.read_text().startswith("#!/usr/bin/env python3")
