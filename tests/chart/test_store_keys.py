"""Keys per namespace: what the chart renders for two of them, used on the real store as its Job and its pods do."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from kubetune_contract import KubeTuneError
from kubetune_shared.artifacts import fetch, publish
from kubetune_shared.store import ConflictError, Store
from kubetune_trainer.checkpoints.runstate import RunState
from kubetune_trainer.preflight.surroundings import try_output
from tests.chart.helm import CHART, NAMESPACE, Object, helm, named, render
from tests.support.points import Record
from tests.support.s3 import ACCESS_KEY, SECRET_KEY, S3Server, s3_server

SETS = (
    "objectStore.credentialNamespaces={team-a,team-b}",
    "objectStore.extraBuckets={extra}",
    "objectStore.namespacePrefixes.team-a={old/,s3://extra/}",
)
MIB = 1 << 20


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("object_store", CHART / "files/object_store.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def job(objects: list[Object]) -> Object:
    container: Object = named(objects, "Job", "-buckets")["spec"]["template"]["spec"]["containers"][0]
    return container


def secrets(objects: list[Object]) -> dict[tuple[str, str], dict[str, str]]:
    """Namespace and name of each Secret -> what it holds."""
    return {
        (one["metadata"]["namespace"], one["metadata"]["name"]): {
            key: base64.b64decode(value).decode() for key, value in one["data"].items()
        }
        for one in objects
        if one["kind"] == "Secret"
    }


@dataclass(frozen=True)
class Prepared:
    """A store that the chart's Job has prepared."""

    server: S3Server
    objects: list[Object]
    accounts: Path

    def run(self, objects: list[Object] | None = None, seconds: int = 180) -> subprocess.CompletedProcess[str]:
        """The Job's container, but for a shorter wait."""
        container = job(objects or self.objects)
        *interpreter, text = container["command"]
        assert interpreter == ["python", "-c"]
        text = text.replace("WAIT_SECONDS = 180", f"WAIT_SECONDS = {seconds}")
        argv = [sys.executable, "-c", text, *container["args"]]
        told = {"STORE_ENDPOINT": self.server.endpoint, "ACCOUNTS": str(self.accounts)}
        environment = {**os.environ, **self.server.environment, "AWS_DEFAULT_REGION": "us-east-1", **told}
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    def keys(self, namespace: str) -> dict[str, str]:
        return secrets(self.objects)[namespace, "kubetune-object-store"]

    def client(self, access: str, secret: str) -> Any:
        settings = Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0})
        return boto3.client(
            "s3",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            config=settings,
            aws_access_key_id=access,
            aws_secret_access_key=secret,
        )

    def of(self, namespace: str) -> Any:
        return self.client(*self.keys(namespace).values())

    @property
    def root(self) -> Any:
        return self.client(ACCESS_KEY, SECRET_KEY)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    folder, objects = tmp_path_factory.mktemp("store"), render(*SETS)
    accounts = folder / "mounted"
    accounts.mkdir()
    for name, key in secrets(objects)[NAMESPACE, "kubetune-object-store-accounts"].items():
        (accounts / name).write_text(key)
    with s3_server(folder) as server:
        made = Prepared(server, objects, accounts)
        done = made.run()
        assert done.returncode == 0, done.stderr
        for key in ("base-models/x", "mlflow/x", "finetunejobs/team-b/job/x", "evaluations/team-b/x"):
            made.root.put_object(Bucket="kubetune", Key=key, Body=b"theirs")
        yield made


@pytest.fixture
def store(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> Store:
    """As a pod in team-a has it."""
    for key, value in prepared.keys("team-a").items():
        monkeypatch.setenv(key, value)
    return Store(prepared.server.store)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    return str(caught.value.response["Error"]["Code"])


def test_each_namespace_gets_a_key_of_its_own_and_the_release_the_root_key() -> None:
    found = secrets(render(*SETS))
    names = [NAMESPACE, "team-a", "team-b"]
    own = [found[name, "kubetune-object-store"] for name in names]
    assert len({one["AWS_SECRET_ACCESS_KEY"] for one in own}) == len(names)
    assert [one["AWS_ACCESS_KEY_ID"] for one in own[1:]] == names[1:]
    accounts = found[NAMESPACE, "kubetune-object-store-accounts"]
    assert accounts == {name: found[name, "kubetune-object-store"]["AWS_SECRET_ACCESS_KEY"] for name in names[1:]}
    assert len(found) == 4


def test_a_key_is_handed_out_once_its_account_is_made() -> None:
    objects = render(*SETS)
    hooks = named(objects, "Job", "-buckets")["metadata"]["annotations"]
    for one in objects:
        if one["kind"] == "Secret" and one["metadata"]["namespace"] != NAMESPACE:
            assert one["metadata"]["annotations"]["helm.sh/hook"] == hooks["helm.sh/hook"]
            assert int(one["metadata"]["annotations"]["helm.sh/hook-weight"]) > int(hooks.get("helm.sh/hook-weight", 0))


def test_the_releases_own_namespace_may_be_listed() -> None:
    found = secrets(render(f"objectStore.credentialNamespaces={{team-a,{NAMESPACE}}}"))
    assert found[NAMESPACE, "kubetune-object-store"]["AWS_ACCESS_KEY_ID"].startswith("kubetune-")
    assert list(found[NAMESPACE, "kubetune-object-store-accounts"]) == ["team-a"]


def test_accounts_lie_on_the_volume() -> None:
    pod = named(render(), "Deployment", "object-store")["spec"]["template"]["spec"]["containers"][0]
    folder = pod["args"][pod["args"].index("--iam-dir") + 1]
    mount = next(one for one in pod["volumeMounts"] if one["mountPath"] == folder)
    assert mount == {"name": "data", "mountPath": folder, "subPath": "accounts"}, "no bucket of the store"


def test_a_prefix_without_a_key_is_refused() -> None:
    done = helm("template", "x", str(CHART), "--set", "objectStore.namespacePrefixes.team-c={old/}")
    assert done.returncode != 0
    assert "team-c is not in objectStore.credentialNamespaces" in done.stderr


def test_what_a_namespace_does_with_its_own(prepared: Prepared, record_property: Record) -> None:
    own = prepared.of("team-a")
    for folder in ("finetunejobs/team-a", "evaluations/team-a", "namespaces/team-a", "old"):
        own.put_object(Bucket="kubetune", Key=f"{folder}/x", Body=b"ours")
        assert own.list_objects_v2(Bucket="kubetune", Prefix=f"{folder}/")["KeyCount"] == 1
        assert own.get_object(Bucket="kubetune", Key=f"{folder}/x")["Body"].read() == b"ours"
        own.delete_object(Bucket="kubetune", Key=f"{folder}/x")
    own.put_object(Bucket="extra", Key="anywhere", Body=b"ours")
    assert own.list_objects_v2(Bucket="extra")["KeyCount"] == 1, "s3://extra/ is all of it"
    prepared.root.create_multipart_upload(Bucket="kubetune", Key="finetunejobs/team-b/large")
    begun = own.create_multipart_upload(Bucket="kubetune", Key="namespaces/team-a/large")
    uploads = own.list_multipart_uploads(Bucket="kubetune", Prefix="namespaces/team-a/")["Uploads"]
    assert [one["UploadId"] for one in uploads] == [begun["UploadId"]]
    own.abort_multipart_upload(Bucket="kubetune", Key="namespaces/team-a/large", UploadId=begun["UploadId"])
    assert own.get_object(Bucket="kubetune", Key="base-models/x")["Body"].read() == b"theirs"
    assert own.list_objects_v2(Bucket="kubetune", Prefix="base-models/")["KeyCount"] == 1
    record_property(
        "point", "a namespace's key reads, writes, lists and deletes below its own folders, and reads base models"
    )


@pytest.mark.parametrize(
    "key",
    [
        "finetunejobs/team-b/job/x",
        "evaluations/team-b/x",
        "mlflow/x",
        "top",
        "finetunejobs/team-a/../team-b/job/x",
        "finetunejobs/team-a-2/x",
    ],
)
def test_others_are_out_of_reach(prepared: Prepared, key: str) -> None:
    own, here = prepared.of("team-a"), {"Bucket": "kubetune", "Key": "finetunejobs/team-a/mine"}
    own.put_object(**here, Body=b"ours")
    there = {"Bucket": "kubetune", "Key": key}
    before = prepared.root.list_objects_v2(Bucket="kubetune")["Contents"]
    for call in (
        lambda: own.get_object(**there),
        lambda: own.head_object(**there),
        lambda: own.put_object(**there, Body=b"forged"),
        lambda: own.put_object(**there, Body=b"forged", IfNoneMatch="*"),
        lambda: own.delete_object(**there),
        lambda: own.create_multipart_upload(**there),
        lambda: own.copy_object(**here, CopySource=there),
        lambda: own.copy_object(**there, CopySource=here),
        lambda: own.list_objects_v2(Bucket="kubetune", Prefix=key.replace("team-a/../", "")),
        lambda: own.list_objects(Bucket="kubetune", Prefix=f"{key.partition('/')[0]}/"),
        lambda: own.list_multipart_uploads(Bucket="kubetune", Prefix=f"{key.partition('/')[0]}/"),
    ):
        refused(call)
    told = own.delete_objects(Bucket="kubetune", Delete={"Objects": [{"Key": key}]})
    assert [one["Code"] for one in told["Errors"]] == ["AccessDenied"]
    assert prepared.root.list_objects_v2(Bucket="kubetune")["Contents"] == before


def test_a_detour_lists_nothing(prepared: Prepared) -> None:
    listed = prepared.of("team-a").list_objects_v2(Bucket="kubetune", Prefix="finetunejobs/team-a/../team-b/")
    assert listed["KeyCount"] == 0


def test_what_is_shared_is_read_and_not_written(prepared: Prepared) -> None:
    own, there = prepared.of("team-b"), {"Bucket": "kubetune", "Key": "base-models/x"}
    assert own.get_object(**there)["Body"].read() == b"theirs"
    refused(lambda: own.put_object(**there, Body=b"forged"))
    refused(lambda: own.delete_object(**there))
    refused(lambda: own.create_multipart_upload(**there))
    refused(lambda: own.list_objects_v2(Bucket="extra"))
    refused(lambda: own.get_object(Bucket="kubetune", Key="old/x"))


def test_nobody_changes_what_it_may_do(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    own, here = prepared.of("team-a"), {"Bucket": "kubetune"}
    for call in (
        lambda: own.put_bucket_policy(**here, Policy="{}"),
        lambda: own.get_bucket_policy(**here),
        lambda: own.delete_bucket_policy(**here),
        lambda: own.put_bucket_acl(**here, ACL="public-read-write"),
        lambda: own.create_bucket(Bucket="mine"),
        lambda: own.delete_bucket(**here),
        lambda: own.list_multipart_uploads(**here),
        lambda: own.list_object_versions(**here),
        lambda: own.list_objects_v2(**here),
    ):
        refused(call)
    assert own.list_buckets()["Buckets"] == []
    for key, value in prepared.keys("team-a").items():
        monkeypatch.setenv(key, value)
    module = script()
    server = module.Server(prepared.server.endpoint)
    for path in ("list-users", "create-user", "update-user?access=team-a", "delete-user?access=team-b"):
        with pytest.raises(module.RefusedError, match="XAdminAccessDenied"):
            server._admin(path, "<MutableProps><Role>admin</Role></MutableProps>")


def test_a_pod_does_all_it_needs(store: Store, tmp_path: Path, record_property: Record) -> None:
    """A training from its preflight to its end, and what it reads."""
    output = "s3://kubetune/finetunejobs/team-a/first/uid"
    store.check_writable(output)
    assert try_output(store, output).conditional, "its lost claims are noticed"
    assert store.list(output) == []
    state = RunState.claim(store, output, "sha")
    state.flush()
    assert RunState.claim(store, output, "sha").generation == state.generation + 1
    assert store.find_tagged(f"{output}/run.json") is not None
    with pytest.raises(ConflictError):
        store.put_if(b"", f"{output}/run.json", None)
    assert store.find(f"{output}/none") is None

    weights = tmp_path / "model/weights.bin"
    weights.parent.mkdir()
    weights.write_bytes(os.urandom(12 * MIB))
    store._transfer = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    publish(store, weights.parent, f"{output}/model", kind="model", meta={})
    assert fetch(store, f"{output}/model", tmp_path / "got")
    assert (tmp_path / "got/weights.bin").read_bytes() == weights.read_bytes()
    assert store.read_range(f"{output}/model/weights.bin", 5, 7) == weights.read_bytes()[5:12]
    assert store.children("kubetune", "finetunejobs/team-a/first/uid") == ("model/", "run.json")
    store._client.create_multipart_upload(Bucket="kubetune", Key="finetunejobs/team-a/first/uid/broken")
    assert store.abort_uploads(output) == 1
    store.delete_folder(output)
    assert store.list(output) == []

    assert [one.path for one in store.list("s3://kubetune/base-models")] == ["x"]
    store.download("s3://kubetune/base-models/x", tmp_path / "x")
    for uri in ("s3://kubetune/finetunejobs/team-b/job", "s3://kubetune/base-models"):
        with pytest.raises(KubeTuneError) as caught:
            store.check_writable(uri)
        assert caught.value.reason == "AccessDenied"
    record_property(
        "point", "a pod's store does with a namespace's key what a training needs: claims, parts, conditions"
    )


def test_the_job_run_again_changes_nothing(prepared: Prepared) -> None:
    policy = prepared.root.get_bucket_policy(Bucket="kubetune")["Policy"]
    done = prepared.run()
    assert done.returncode == 0, done.stderr
    assert "account team-a: there" in done.stdout
    assert "created" not in done.stdout
    assert prepared.root.get_bucket_policy(Bucket="kubetune")["Policy"] == policy


def test_a_namespace_comes_and_goes(prepared: Prepared) -> None:
    """And a key is replaced; what the other namespaces have stays."""
    (prepared.accounts / "team-c").write_text("first")
    more = render("objectStore.credentialNamespaces={team-a,team-b,team-c}", *SETS[1:])
    assert prepared.run(more).returncode == 0
    key = {"Bucket": "kubetune", "Key": "namespaces/team-c/x"}
    prepared.client("team-c", "first").put_object(**key, Body=b"")
    (prepared.accounts / "team-c").write_text("second & <last>")
    assert "account team-c: has a new key" in prepared.run(more).stdout
    assert refused(lambda: prepared.client("team-c", "first").get_object(**key)) == "SignatureDoesNotMatch"
    prepared.client("team-c", "second & <last>").get_object(**key)

    done = prepared.run()
    assert "account team-c: removed" in done.stdout
    assert refused(lambda: prepared.client("team-c", "second & <last>").get_object(**key)) == "InvalidAccessKeyId"
    prepared.of("team-b").get_object(Bucket="kubetune", Key="finetunejobs/team-b/job/x")


def test_without_namespaces_there_are_no_accounts_and_others_policies_stay(tmp_path: Path) -> None:
    with s3_server(tmp_path) as server:
        made = Prepared(server, render(), tmp_path / "none")
        assert made.run().returncode == 0
        theirs = {
            "Effect": "Allow",
            "Principal": "*",
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::kubetune/a/*",
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [theirs]})
        made.root.put_bucket_policy(Bucket="kubetune", Policy=policy)
        assert made.run().returncode == 0
        assert made.root.get_bucket_policy(Bucket="kubetune")["Policy"] == policy


@pytest.mark.parametrize(
    ("sets", "complaint"),
    [
        ((SETS[0], SETS[2]), "bucket extra is neither objectStore.bucket nor in objectStore.extraBuckets"),
        (
            ("objectStore.credentialNamespaces={team-a,team-d}",),
            "team-d, for which the Secret kubetune-object-store-acc",
        ),
    ],
)
def test_what_is_wrong_is_said_at_once(prepared: Prepared, sets: tuple[str, ...], complaint: str) -> None:
    done = prepared.run(render(*sets))
    assert done.returncode != 0
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_a_root_key_with_the_name_of_a_namespace_is_refused(prepared: Prepared) -> None:
    (prepared.accounts / ACCESS_KEY).write_text("x")
    done = prepared.run(render(f"objectStore.credentialNamespaces={{{ACCESS_KEY}}}"))
    assert f"the root key's AWS_ACCESS_KEY_ID is '{ACCESS_KEY}'" in done.stderr


def test_a_store_that_refuses_is_told(prepared: Prepared) -> None:
    wrong = Prepared(S3Server("http://127.0.0.1:9", prepared.server.root), prepared.objects, prepared.accounts)
    done = wrong.run(seconds=0)
    assert done.returncode != 0
    assert "the object store at http://127.0.0.1:9 cannot be prepared" in done.stderr


def test_a_policy_without_room_is_told_with_what_to_do() -> None:
    """As versitygw answers over ext4, whose attributes take 3,800 bytes: with eight namespaces."""
    module = script()
    names = [f"my-team{number}" for number in range(8)]
    settings = {"bucket": "kubetune", "namespaces": names, "sharedPrefixes": ["data/"], "namespacePrefixes": {}}

    class Full:
        def put_bucket_policy(self, **asked: str) -> None:
            raise ClientError({"Error": {"Code": "InternalError"}}, "PutBucketPolicy")

    server = object.__new__(module.Server)
    server.s3 = Full()
    with pytest.raises(
        module.WrongSettingsError, match=r"takes \d+ bytes and was refused.*ext4 keeps about 3,800 bytes"
    ):
        server.set_policies(["kubetune"], module.policies(settings))
    settings["namespaces"] = names[:1]
    with pytest.raises(ClientError):
        server.set_policies(["kubetune"], module.policies(settings))


_NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,8}[a-z0-9])?", fullmatch=True)


@given(st.lists(_NAMES, unique=True, min_size=2, max_size=5))
def test_no_statement_of_one_namespace_reaches_another(names: list[str]) -> None:
    module = script()
    settings = {"bucket": "b", "namespaces": names, "sharedPrefixes": ["shared/"], "namespacePrefixes": {}}
    own = {name: [prefix for _, prefix in module.own_places(settings, name)] for name in names}
    for statement in module.policies(settings)["b"]["Statement"]:
        who = statement["Principal"]
        allowed = {"shared/"} if isinstance(who, list) else set(own[who])
        if statement["Action"] == "s3:ListBucket*":
            given_ = {one.removesuffix("*") for one in statement["Condition"]["StringLike"]["s3:prefix"]}
        else:
            given_ = {one.removeprefix("arn:aws:s3:::b/").removesuffix("*") for one in statement["Resource"]}
        assert given_ == allowed
        for other in set(names) - ({who} if isinstance(who, str) else set()):
            assert not any(place.startswith(tuple(given_)) for place in own[other])
