"""How the numbers of a progress document are called in Prometheus. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric


@dataclass(frozen=True)
class Series:
    """One of them. A counter only grows within a pod's life; its name is written without ``_total``."""

    name: str
    help: str
    is_counter: bool = False


@dataclass(frozen=True)
class Catalog:
    """All that a workload serves: ``series`` by the members of its progress document, and who it is."""

    prefix: str
    """Begins every name: ``kubetune_train``."""
    series: Mapping[str, Series]
    info: Mapping[str, str]
    """Labels of ``<prefix>_info``, which joins the others to the object: ``namespace``, ``name``, ``uid``."""
    about: str = "What this pod works for."

    def families(self, value: Any) -> Iterator[Metric]:
        """For ``value``, the document; members that are not known yet are left out."""
        yield InfoMetricFamily(self.prefix, self.about, value=dict(self.info))
        for member, series in self.series.items():
            number = getattr(value, member, None)
            if number is None:
                continue
            kind = CounterMetricFamily if series.is_counter else GaugeMetricFamily
            yield kind(f"{self.prefix}_{series.name}", series.help, value=float(number))
