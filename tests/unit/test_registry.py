"""A kind is declared once; what cannot import the declaration agrees with it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from kubetune.common.labels import KINDS as LABELLED
from kubetune.common.meta import API_VERSION
from kubetune.kube.kinds import ALL
from kubetune.registry import CUSTOM, KINDS, Parts, controllers
from kubetune.runtime.metrics import Metrics
from kubetune.runtime.poll import Poller
from kubetune.runtime.polls import Polls
from kubetune.runtime.queue import WorkQueue
from kubetune.settings import Settings
from tests.unit.test_operator_purity import KINDS as FOLDERS


def test_names_agree_wherever_they_are_needed_below_the_registry() -> None:
    for kind in KINDS:
        info = kind.api.info
        assert (kind.resource.api_version, kind.resource.kind, kind.resource.plural) == (
            API_VERSION,
            info.kind,
            info.plural,
        )
        assert kind.resource in ALL
    assert {kind.api.info.singular: kind.api.info.kind for kind in KINDS} == LABELLED
    assert set(FOLDERS) == set(LABELLED)


async def test_every_kind_has_its_controller() -> None:
    metrics = Metrics(resource.kind for resource in CUSTOM)
    built = controllers(Parts(Settings(), Polls(WorkQueue(lambda: 0.0), Poller(), 2.0), metrics))
    assert [controller.resource for controller in built.values()] == list(CUSTOM)
    assert isinstance(metrics.registry, CollectorRegistry)
