"""Rendered configuration of the test cluster's components."""

from __future__ import annotations

import base64
import tomllib
from pathlib import Path

import pytest

from tests.cluster import config, manifests, pki
from tests.cluster.config import Paths
from tests.cluster.layout import Addresses, Layout

ADDRESSES = Addresses(3)
SLOT = Path("/cache/containerd/slot-0")
PATHS = Paths(Layout("unit", Path("/cache")), SLOT)


def flags(component: str) -> dict[str, str]:
    argv = config.commands(PATHS, ADDRESSES)[component]
    return dict(argument.removeprefix("--").partition("=")[::2] for argument in argv[1:])


def test_every_component_has_a_command() -> None:
    assert set(config.commands(PATHS, ADDRESSES)) == {*config.CONTROL_PLANE, *config.NODE}


def test_api_server_is_at_the_clusters_own_addresses() -> None:
    given = flags("kube-apiserver")
    assert given["advertise-address"] == "198.18.48.2"
    assert given["service-cluster-ip-range"] == "198.18.56.0/21"
    assert given["authorization-mode"] == "Node,RBAC"
    assert given["kubelet-preferred-address-types"] == "InternalIP"


def test_etcd_listens_to_the_node_alone() -> None:
    given = flags("etcd")
    assert given["listen-client-urls"] == "http://127.0.0.1:2379"
    assert "unsafe-no-fsync" in given


def test_kubelet_stays_within_its_limits_and_cgroup() -> None:
    kubelet = config.kubelet(PATHS, ADDRESSES, open_files=20000)
    assert kubelet["maxOpenFiles"] == 20000
    assert kubelet["cgroupRoot"] == f"/{PATHS.layout.cgroup}"
    assert kubelet["failCgroupV1"] is False
    assert kubelet["authentication"]["anonymous"] == {"enabled": False}
    assert kubelet["clusterDNS"] == [str(ADDRESSES.dns)]


def test_proxy_leaves_the_machines_connection_table_alone() -> None:
    assert config.proxy(PATHS, ADDRESSES)["conntrack"] == {"maxPerCore": 0}


def test_containerd_keeps_images_in_the_slot() -> None:
    text = config.containerd(SLOT, "/config/cni", "/usr/lib/cni", "/usr/sbin/runc")
    parsed = tomllib.loads(text)
    runtime = parsed["plugins"]["io.containerd.cri.v1.runtime"]
    assert parsed["root"] == "/cache/containerd/slot-0/root"
    assert runtime["restrict_oom_score_adj"] is True
    assert runtime["cni"] == {"bin_dirs": ["/usr/lib/cni"], "conf_dir": "/config/cni"}
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["BinaryName"] == "/usr/sbin/runc"


def test_janitor_is_containerd_without_its_kubernetes_part() -> None:
    text = config.containerd(SLOT, "/config/cni", "/usr/lib/cni", "/usr/sbin/runc")
    whole, janitor = tomllib.loads(text), tomllib.loads(config.without_cri(text))
    extra = set(janitor["disabled_plugins"]) - set(whole["disabled_plugins"])
    assert len(extra) == 3
    assert all(".cri" in plugin for plugin in extra)
    assert janitor["root"] == whole["root"]


def test_pods_are_routed_and_never_bridged() -> None:
    network, ports = config.cni(ADDRESSES)["plugins"]
    assert network["type"] == "ptp"
    assert network["ipam"]["ranges"] == [[{"subnet": "198.18.52.0/22"}]]
    assert ports["type"] == "portmap"


def test_names_outside_the_cluster_do_not_exist() -> None:
    inside, outside = config.corefile(PATHS, ADDRESSES).split("\n.:53 ")
    assert "kubernetes cluster.local" in inside
    assert "rcode NXDOMAIN" in outside
    assert "forward" not in inside + outside


def test_kubeconfig_holds_everything_itself() -> None:
    rendered = config.kubeconfig(ADDRESSES, b"authority", b"certificate", b"key")
    assert rendered["clusters"][0]["cluster"]["server"] == ADDRESSES.api_url
    assert base64.b64decode(rendered["users"][0]["user"]["client-key-data"]) == b"key"


def test_certificates_name_what_clients_call_the_servers() -> None:
    made = {identity.name: identity for identity in pki.identities(ADDRESSES)}
    assert f"IP:{ADDRESSES.services[1]}" in made["apiserver"].server_names
    assert f"IP:{ADDRESSES.node}" in made["kubelet"].server_names
    assert made["admin"].subject == "/O=system:masters/CN=kubetune-admin"
    assert "extendedKeyUsage=clientAuth" in made["proxy"].extensions


def test_one_storage_class_is_the_default() -> None:
    classes = [m for path, m in manifests.storage() if path.endswith("/storageclasses")]
    assert [c["metadata"]["name"] for c in classes] == ["local-path"]
    assert classes[0]["metadata"]["annotations"] == {"storageclass.kubernetes.io/is-default-class": "true"}
    assert classes[0]["provisioner"] == flags("local-path-provisioner")["name"]


def test_dns_service_has_the_address_that_pods_are_told() -> None:
    services = [m for path, m in manifests.dns(ADDRESSES) if path.endswith("/services")]
    assert services[0]["spec"]["clusterIP"] == str(ADDRESSES.dns)


@pytest.mark.parametrize(("count", "quantity"), [(2, "2"), (0, None)])
def test_no_gpu_means_no_resource(count: int, quantity: str | None) -> None:
    patch = manifests.extended_resource("nvidia.com/gpu", count)
    assert patch["status"]["allocatable"] == {"nvidia.com/gpu": quantity}
