"""Least rights: restricted pods, no tokens where none is needed, no more of the API than the operator uses."""

from __future__ import annotations

import pytest

from kubetune.kube import rights
from kubetune.kube.rights import Right
from tests.chart.helm import NAMESPACE, Object, environment, named, pods, render

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


Given = set[tuple[str, str, str, str]]
"""Group, resource, verb, and the name of the only object it holds for."""


def _given(role: Object) -> Given:
    return {
        (group, resource, verb, name)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def _asked(*rights: Right, lease: str = "kubetune-operator") -> Given:
    return {
        (right.resource.group, right.what, verb, lease if name == "<lease>" else name)
        for right in rights
        for verb in right.verbs
        for name in right.names or ("",)
    }


def _rights(role: Object) -> set[tuple[str, str]]:
    return {(resource, verb) for _, resource, verb, _ in _given(role)}


@pytest.mark.law("F18")
def test_the_operator_has_the_rights_of_its_calls_and_no_others() -> None:
    everywhere = _asked(*rights.IN_NAMESPACES, *rights.OWNERSHIP)
    assert _given(named(render(), "ClusterRole", "-operator")) == everywhere | _asked(*rights.IN_THE_CLUSTER)
    objects = render("namespaces={team-a}", "rbac.readNodes=true")
    assert _given(named(objects, "Role", "-operator")) == everywhere
    assert _given(named(objects, "ClusterRole", "-operator")) == _asked(*rights.IN_THE_CLUSTER)
    assert _given(named(objects, "Role", "-lease")) == _asked(*rights.AT_HOME)


@pytest.mark.law("F18")
def test_secrets_are_asked_about_and_never_read() -> None:
    with_check = _rights(named(render(), "ClusterRole", "-operator"))
    assert {verb for resource, verb in with_check if resource == "secrets"} == {"create"}, "by a dry run, for names"
    without = _rights(named(render("rbac.checkSecrets=false"), "ClusterRole", "-operator"))
    assert with_check - without == {("secrets", "create")}


def test_named_namespaces_need_no_cluster_wide_rights() -> None:
    objects = render("namespaces={team-a,team-b}", "rbac.aggregateToDefaultRoles=false")
    assert not any(obj["kind"].startswith("ClusterRole") for obj in objects)
    roles = [obj for obj in objects if obj["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == [NAMESPACE, "team-a", "team-b"]
    for binding in (obj for obj in objects if obj["kind"] == "RoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kubetune-operator", "namespace": NAMESPACE}]


@pytest.mark.parametrize("sets", [(), ("namespaces={team-a}",)], ids=["cluster", "namespaces"])
def test_one_lease_in_its_own_namespace(sets: tuple[str, ...]) -> None:
    objects = render(*sets)
    role, binding = named(objects, "Role", "-lease"), named(objects, "RoleBinding", "-lease")
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == NAMESPACE
    variables = environment(named(objects, "Deployment", "-operator")["spec"]["template"]["spec"])
    assert variables["KUBETUNE_LEASE_NAMESPACE"] == NAMESPACE
    create, own = role["rules"]
    assert (create["resources"], create["verbs"]) == (["leases"], ["create"])
    assert own["resourceNames"] == [variables["KUBETUNE_LEASE_NAME"]]
    assert own["verbs"] == ["get", "patch"]
    elsewhere = [obj for obj in objects if obj["kind"] in {"ClusterRole", "Role"} and obj is not role]
    assert not any(resource == "leases" for one in elsewhere for resource, _ in _rights(one))


def test_nodes_are_all_that_may_be_read_beyond_named_namespaces() -> None:
    objects = render("namespaces={team-a}", "rbac.aggregateToDefaultRoles=false", "rbac.readNodes=true")
    role, binding = named(objects, "ClusterRole"), named(objects, "ClusterRoleBinding")
    assert _rights(role) == {("nodes", "list"), ("runtimeclasses", "get")}
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, ["nvidia"]]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "kubetune-operator", "namespace": NAMESPACE}]
    everywhere = _rights(named(render(), "ClusterRole", "-operator"))
    assert _rights(named(objects, "Role", "-operator")) == everywhere - _rights(role)


def test_aggregated_roles_split_reading_from_writing() -> None:
    objects = render()
    view = _rights(named(objects, "ClusterRole", "-view"))
    assert {verb for _, verb in view} == {"get", "list", "watch"}
    edit = named(objects, "ClusterRole", "-edit")
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert not {verb for _, verb in _rights(edit)} & {"get", "list", "watch"}
