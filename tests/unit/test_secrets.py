"""Which Secrets a pod needs, what is said of a missing one, and how it is found out without reading any."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import Any

import pytest

from kubetune.common.pod_options import Credentials, PodOptions
from kubetune.kube.errors import ApiError
from kubetune.kube.secrets import BROKEN_SECONDS, KNOWN_SECONDS, MISSING_SECONDS, REFUSED_SECONDS, SecretCheck
from kubetune.settings import Settings
from kubetune.workload.explain import explain_failure, explain_waiting
from kubetune.workload.secrets import (
    TRACKING_FIELD,
    TRACKING_KEYS,
    SecretUse,
    check_secrets,
    copy_command,
    needed_secrets,
)
from tests.support.objects import failure_summary
from tests.support.observed import pod, waiting

Object = dict[str, Any]
SETTINGS = Settings(store_secret="keys", store_secret_namespace="kubetune")
OWN = PodOptions(credentials=Credentials(object_store_secret="own", hugging_face_secret="token"))


@pytest.mark.parametrize(
    ("options", "uris", "names"),
    [
        (PodOptions(), ["s3://data/a", "hf://a/b"], ["keys"]),
        (PodOptions(), ["pvc://a/b", "configmap://a/b"], []),
        (OWN, ["s3://data/a"], ["own"]),
        (OWN, ["hf://a/b"], ["token"]),
        (OWN, ["hf://a/b", "s3://data/a"], ["own", "token"]),
    ],
)
def test_which_are_needed(options: PodOptions, uris: list[str], names: list[str]) -> None:
    assert [use.name for use in needed_secrets(SETTINGS, options, uris)] == names


def test_the_key_to_mlflow_is_told_with_the_command_that_makes_it() -> None:
    use = SecretUse("tracker", TRACKING_KEYS, TRACKING_FIELD, is_named=True)
    problem = check_secrets(frozenset(["tracker"]), [use], "team-a", SETTINGS, 5)
    assert problem is not None
    assert "Secret team-a/tracker does not exist (spec.tracking.secret)." in problem.message
    assert "--from-literal=MLFLOW_TRACKING_USERNAME=... --from-literal=MLFLOW_TRACKING_PASSWORD=..." in problem.message


def said(options: PodOptions, missing: str, namespace: str = "team-a") -> str:
    needed = needed_secrets(SETTINGS, options, ["s3://data/a", "hf://a/b"])
    problem = check_secrets(frozenset([missing]), needed, namespace, SETTINGS, 5.0)
    assert problem is not None
    assert problem.reason == "SecretNotFound"
    return problem.message


@pytest.mark.walk("C1")
@pytest.mark.walk("C8")
def test_the_charts_own_is_copied_and_others_are_created() -> None:
    copied = said(PodOptions(), "keys")
    assert "Secret team-a/keys does not exist (the operator's default" in copied
    assert copy_command("keys", "kubetune", "team-a") in copied
    assert "objectStore.credentialNamespaces" in copied
    assert "looked for every 5 seconds" in copied
    created = said(OWN, "own")
    assert "kubectl -n team-a create secret generic own --from-literal=AWS_ACCESS_KEY_ID=..." in created
    assert "spec.credentials.objectStoreSecret" in created
    assert "--from-literal=HF_TOKEN=..." in said(OWN, "token")
    assert "create secret generic keys" in said(PodOptions(), "keys", "kubetune"), "nowhere to copy it from"
    assert check_secrets(frozenset(), needed_secrets(SETTINGS, OWN, ["s3://data/a"]), "x", SETTINGS, 5.0) is None


@pytest.mark.walk("C1")
@pytest.mark.skipif(not shutil.which("kubectl"), reason="no kubectl here")
def test_kubectl_makes_the_keys_out_of_the_copy() -> None:
    """The second half of the command, with what the first half prints."""
    command = copy_command("keys", "kubetune", "team-a").partition(" | ")[2].split()
    argv = [*command, "--dry-run=client", "-o", "jsonpath={.data.AWS_SECRET_ACCESS_KEY}"]
    done = subprocess.run(argv, input="AWS_SECRET_ACCESS_KEY=a b/c+d==\n", capture_output=True, text=True, check=True)
    assert done.stdout == "YSBiL2MrZD09"


def _with_keys(found: Object, secret: str) -> Object:
    source = {"name": "AWS_ACCESS_KEY_ID", "valueFrom": {"secretKeyRef": {"name": secret, "key": "AWS_ACCESS_KEY_ID"}}}
    found["spec"]["containers"] = [{"name": "train", "env": [source]}]
    return found


@pytest.mark.walk("C11")
def test_a_refused_key_names_its_secret() -> None:
    text = "s3://data/a: the store refused; check the Secret that holds AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    ended = {"terminated": {"exitCode": 77, "message": failure_summary(77, "AccessDenied", text)}}
    dead = _with_keys(pod(phase="Failed", node="n", containers={"train": ended}), "own")
    failure = explain_failure(dead, "train")
    assert "check Secret ns/own, which holds AWS_ACCESS_KEY_ID" in failure.message
    assert "spec.credentials.objectStoreSecret" in failure.message


@pytest.mark.walk("C8")
def test_what_the_kubelet_says_has_our_field_and_when_it_looks_again() -> None:
    stuck = _with_keys(
        pod(node="n", containers={"train": waiting("CreateContainerConfigError", 'secret "own" not found')}), "own"
    )
    fact = explain_waiting(stuck, (), None)
    assert fact.reason == "SecretNotFound"
    assert "spec.credentials.objectStoreSecret" in fact.message
    assert "looks again by itself" in fact.message


class Server:
    """Answers dry runs, counted."""

    def __init__(self, *existing: str, refuses: int = 0) -> None:
        self.existing = set(existing)
        self.refuses = refuses
        self.asked: list[str] = []

    async def could_create(self, obj: Object) -> bool:
        self.asked.append(obj["metadata"]["name"])
        if self.refuses:
            raise ApiError(self.refuses, "No", "no")
        return obj["metadata"]["name"] not in self.existing


def ask(check: SecretCheck, server: Any, *names: str) -> set[str]:
    return set(asyncio.run(check.missing(server, "ns", names)))


def test_what_is_there_is_asked_for_once_and_what_is_missing_soon_again() -> None:
    moment = [0.0]
    server, check = Server("a"), SecretCheck(lambda: moment[0])
    assert [ask(check, server, "a", "b", "b") for _ in range(1000)] == [{"b"}] * 1000
    assert server.asked == ["a", "b"]
    server.existing = {"b"}
    moment[0] = MISSING_SECONDS
    assert ask(check, server, "b") == set()
    moment[0] = KNOWN_SECONDS
    assert ask(check, server, "a", "b") == {"a"}


def test_where_it_may_not_ask_nothing_is_said_to_be_missing() -> None:
    moment = [0.0]
    server, check = Server(refuses=403), SecretCheck(lambda: moment[0])
    assert [ask(check, server, "a") for _ in range(3)] == [set()] * 3
    assert server.asked == ["a"]
    moment[0], server.refuses = REFUSED_SECONDS, 0
    assert ask(check, server, "a") == {"a"}


@pytest.mark.parametrize("status", [500, 503])
def test_a_webhook_that_is_down_stops_nothing_and_is_asked_again_soon(status: int) -> None:
    moment = [0.0]
    server, check = Server(refuses=status), SecretCheck(lambda: moment[0])
    assert [ask(check, server, "a") for _ in range(3)] == [set()] * 3
    assert server.asked == ["a"]
    moment[0], server.refuses = BROKEN_SECONDS, 0
    assert ask(check, server, "a") == {"a"}


@pytest.mark.parametrize("status", [0, 429])
def test_a_server_that_does_not_answer_is_no_answer(status: int) -> None:
    class Silent(Server):
        async def could_create(self, obj: Object) -> bool:
            raise ApiError(status, "No", "no")

    with pytest.raises(ApiError):
        ask(SecretCheck(), Silent(), "a")


def test_a_namespace_that_waits_for_its_answer_holds_up_no_other() -> None:
    async def both() -> frozenset[str]:
        answered = asyncio.Event()

        class Slow(Server):
            async def could_create(self, obj: Object) -> bool:
                if obj["metadata"]["namespace"] == "slow":
                    await answered.wait()
                return True

        check, server = SecretCheck(), Slow()
        slow = asyncio.create_task(check.missing(server, "slow", ["a"]))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        found = await check.missing(server, "ns", ["a"])  # type: ignore[arg-type]
        assert not slow.done()
        answered.set()
        return found | await slow

    assert asyncio.run(both()) == {"a"}
