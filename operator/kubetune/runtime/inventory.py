"""What the custom resources last seen say of themselves, counted for ``/metrics``."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Object = dict[str, Any]


class Facts(NamedTuple):
    """What is remembered of one object."""

    phase: str
    namespace: str
    verdict: str | None = None
    cost: float = 0.0
    currency: str = ""


def facts_of(obj: Object) -> Facts:
    status = obj.get("status") or {}
    cost = status.get("cost") or {}
    return Facts(
        phase=status.get("phase", "Pending"),
        namespace=obj["metadata"]["namespace"],
        verdict=status.get("verdict"),
        cost=cost.get("amount") or 0.0,
        currency=cost.get("currency") or "",
    )


class Inventory(Collector):
    """``kubetune_finetunejobs{phase="Running"} 3`` and the like."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._seen: dict[str, dict[str, Facts]] = {kind: {} for kind in kinds}

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self._seen)

    def note(self, kind: str, obj: Object) -> str:
        """Remembers the object, and returns its phase."""
        facts = facts_of(obj)
        self._seen[kind][obj["metadata"]["uid"]] = facts
        return facts.phase

    def phase_of(self, kind: str, uid: str) -> str | None:
        """The phase last seen; None for an object that is new."""
        facts = self._seen[kind].get(uid)
        return facts.phase if facts else None

    def forget(self, kind: str, uid: str) -> None:
        self._seen[kind].pop(uid, None)

    def replace(self, kind: str, seen: dict[str, Facts]) -> None:
        """Takes over a complete listing."""
        self._seen[kind] = seen

    def collect(self) -> Iterator[Metric]:
        for kind, seen in self._seen.items():
            family = GaugeMetricFamily(f"kubetune_{kind.lower()}s", f"{kind} objects by phase.", labels=["phase"])
            for phase, count in Count(facts.phase for facts in seen.values()).items():
                family.add_metric([phase], count)
            yield family
        everything = [facts for seen in self._seen.values() for facts in seen.values()]
        yield _verdicts(everything)
        yield _cost(everything)


def _verdicts(everything: Iterable[Facts]) -> Metric:
    family = GaugeMetricFamily(
        "kubetune_evaluation_verdicts", "Evaluation objects by verdict.", labels=["namespace", "verdict"]
    )
    given = Count((facts.namespace, facts.verdict) for facts in everything if facts.verdict)
    for (namespace, verdict), count in given.items():
        family.add_metric([namespace, str(verdict)], count)
    return family


def _cost(everything: Iterable[Facts]) -> Metric:
    """A gauge: what is deleted does not count any more, here as in a budget."""
    family = GaugeMetricFamily(
        "kubetune_finetunejob_cost",
        "What the FineTuneJob objects of a namespace have cost so far.",
        labels=["namespace", "currency"],
    )
    sums: dict[tuple[str, str], float] = {}
    for facts in everything:
        if facts.cost:
            key = (facts.namespace, facts.currency)
            sums[key] = sums.get(key, 0.0) + facts.cost
    for (namespace, currency), amount in sums.items():
        family.add_metric([namespace, currency], amount)
    return family
