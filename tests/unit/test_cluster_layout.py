"""Names and addresses of test clusters."""

from __future__ import annotations

from ipaddress import IPv4Network
from itertools import combinations
from pathlib import Path

import pytest

from tests.cluster.layout import ADDRESS_POOL, MAX_CLUSTERS, Addresses, Layout, cache_root, check_name
from tests.cluster.namespaces import free_indexes


@pytest.mark.parametrize("name", ["a", "default", "run-1", "a" * 32])
def test_usable_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "..", "a b", "a" * 33])
def test_unusable_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 32 of a-z"):
        check_name(name)


def test_clusters_share_no_address() -> None:
    blocks = [Addresses(index).block for index in range(MAX_CLUSTERS)]
    assert all(block.subnet_of(ADDRESS_POOL) for block in blocks)
    assert not any(a.overlaps(b) for a, b in combinations(blocks, 2))


@pytest.mark.parametrize("index", [0, 7, MAX_CLUSTERS - 1])
def test_networks_of_a_cluster_are_apart_and_inside_its_block(index: int) -> None:
    addresses = Addresses(index)
    parts = [addresses.link, addresses.pods, addresses.services]
    assert all(part.subnet_of(addresses.block) for part in parts)
    assert not any(a.overlaps(b) for a, b in combinations(parts, 2))
    assert addresses.dns in addresses.services
    assert addresses.node in addresses.link
    assert addresses.api_url == f"https://{addresses.node}:6443"


@pytest.mark.parametrize("index", [-1, MAX_CLUSTERS])
def test_cluster_numbers_end(index: int) -> None:
    with pytest.raises(ValueError, match=r"not in 0\.\.31"):
        Addresses(index)


def test_numbers_whose_addresses_are_routed_are_not_free() -> None:
    taken = [Addresses(0).block, Addresses(2).link, IPv4Network("192.168.0.0/16")]
    assert free_indexes(taken)[:3] == [1, 3, 4]
    assert free_indexes([ADDRESS_POOL]) == []
    assert free_indexes([]) == list(range(MAX_CLUSTERS))


def test_interface_names_fit_the_kernels_15_characters() -> None:
    assert len(Addresses(MAX_CLUSTERS - 1).interface) <= 15


def test_equal_names_in_two_caches_have_two_cgroups() -> None:
    one, other = Layout("x", Path("/a")), Layout("x", Path("/b"))
    assert one.cgroup != other.cgroup
    assert one.cgroup == Layout("x", Path("/a")).cgroup


def test_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBETUNE_CACHE", "/data/cache")
    assert cache_root() == Path("/data/cache")
    monkeypatch.delenv("KUBETUNE_CACHE")
    assert cache_root() == Path.home() / ".cache" / "kubetune"
