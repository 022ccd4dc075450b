"""Least rights: restricted pods, no tokens where none is needed, no more of the API than the operator uses."""

from __future__ import annotations

import pytest

from kubetune.handlers import CHILDREN
from kubetune.kube.kinds import CLAIM, CONFIGMAP, DEPLOYMENT, EVALUATION, EVENT, JOB, NODE, SERVICE
from kubetune.registry import CUSTOM
from tests.chart.helm import NAMESPACE, Object, named, pods, render

PODS = list(pods(render()))
each_pod = pytest.mark.parametrize("pod", [pod for _, pod in PODS], ids=[name for name, _ in PODS])


@each_pod
def test_pods_fit_the_restricted_standard(pod: Object) -> None:
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert not any("hostPath" in volume for volume in pod["volumes"])
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= container["resources"].keys()


def test_only_the_operator_has_a_token() -> None:
    with_token = [name for name, pod in PODS if pod.get("automountServiceAccountToken") is not False]
    assert with_token == ["Deployment kubetune-operator"]


def _rights(role: Object) -> set[tuple[str, str]]:
    return {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}


def test_the_operator_may_do_no_more_than_it_does() -> None:
    rights = _rights(named(render(), "ClusterRole", "-operator"))
    assert not any("*" in right for right in rights)
    assert not any(resource in ("pods/exec", "pods/log", "roles") for resource, _ in rights)
    assert {verb for resource, verb in rights if resource == "secrets"} == {"create"}, "to ask, by a dry run, for names"
    without = _rights(named(render("rbac.checkSecrets=false"), "ClusterRole", "-operator"))
    assert rights - without == {("secrets", "create")}
    spec_writes = {right for right in rights if right[0] in ("finetunejobs", "modeldeployments")}
    assert {verb for _, verb in spec_writes} == {"get", "list", "watch"}


def test_the_operator_may_do_what_it_does() -> None:
    rights = _rights(named(render(), "ClusterRole", "-operator"))
    for resource in (*CUSTOM, *CHILDREN, EVENT):
        assert {(resource.plural, verb) for verb in ("list", "watch")} <= rights, resource.plural
    for resource in (JOB, DEPLOYMENT, SERVICE, EVALUATION):
        assert {(resource.plural, verb) for verb in ("get", "create", "patch", "delete")} <= rights, resource.plural
    for resource in CUSTOM:
        assert (f"{resource.plural}/status", "patch") in rights, resource.plural
    assert ("pods/eviction", "create") in rights
    assert {(CLAIM.plural, "get"), (CONFIGMAP.plural, "get"), (NODE.plural, "list"), (EVENT.plural, "create")} <= rights


def test_named_namespaces_need_no_cluster_wide_rights() -> None:
    objects = render("namespaces={team-a,team-b}", "rbac.aggregateToDefaultRoles=false")
    assert not any(obj["kind"].startswith("ClusterRole") for obj in objects)
    roles = [obj for obj in objects if obj["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == ["team-a", "team-b"]
    for binding in (obj for obj in objects if obj["kind"] == "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kubetune-operator", "namespace": NAMESPACE}]


def test_nodes_are_all_that_may_be_read_beyond_named_namespaces() -> None:
    objects = render("namespaces={team-a}", "rbac.aggregateToDefaultRoles=false", "rbac.readNodes=true")
    role, binding = named(objects, "ClusterRole"), named(objects, "ClusterRoleBinding")
    assert _rights(role) == {("nodes", "list"), ("runtimeclasses", "get")}
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, ["nvidia"]]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kubetune-operator", "namespace": NAMESPACE}]
    assert _rights(named(objects, "Role")) == _rights(named(render(), "ClusterRole", "-operator")) - _rights(role)


def test_aggregated_roles_split_reading_from_writing() -> None:
    objects = render()
    view = _rights(named(objects, "ClusterRole", "-view"))
    assert {verb for _, verb in view} == {"get", "list", "watch"}
    edit = named(objects, "ClusterRole", "-edit")
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert not {verb for _, verb in _rights(edit)} & {"get", "list", "watch"}
