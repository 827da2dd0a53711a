"""The meters of one daemon: counters and histograms that are added to, and gauges that are read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from hotseat.metrics import catalogue as c
from hotseat.metrics.catalogue import CATALOGUE, Kind, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Reading = tuple[Metric, tuple[str, ...], float]
"""A gauge's value now: which, its labels in the catalogue's order, the value."""
M = TypeVar("M", Counter, Histogram)


class Meters:
    """`read` is called at each exposition, for all gauges."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._counters = {m.name: self._made(Counter, m) for m in CATALOGUE if m.kind is Kind.COUNTER}
        self._histograms = {m.name: self._made(Histogram, m) for m in CATALOGUE if m.kind is Kind.HISTOGRAM}
        self._series: dict[tuple[str, tuple[str, ...]], Any] = {}
        """Counters and histograms with their labels: looking one up costs more than adding to it."""
        self._registry.register(_Gauges(read))
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """All values in Prometheus's text format (`CONTENT_TYPE`)."""
        return generate_latest(_WithoutCreated(self._registry))

    def add(self, metric: Metric, *labels: str, count: float = 1.0) -> None:
        series = self._series.get((metric.name, labels))
        if series is None:
            series = self._series[metric.name, labels] = self._counters[metric.name].labels(*labels)
        series.inc(count)

    def observe(self, metric: Metric, *labels: str, seconds: float) -> None:
        # A clock that was set back makes no negative times.
        series = self._series.get((metric.name, labels))
        if series is None:
            series = self._series[metric.name, labels] = self._histograms[metric.name].labels(*labels)
        series.observe(max(0.0, seconds))

    def swap(
        self,
        *,
        workload: str,
        direction: str,
        seconds: float,
        phases: Iterable[tuple[str, str, float]],
        gpu_bytes: Mapping[int, int],
    ) -> None:
        """A swap that is done. `phases`: name, part, seconds."""
        self.add(c.SWAPS, workload, direction, "done")
        self.add(c.SWAP_BYTES, workload, direction, count=sum(gpu_bytes.values()))
        self.observe(c.SWAP_SECONDS, workload, direction, seconds=seconds)
        for name, part, took in phases:
            self.observe(c.PHASE_SECONDS, workload, direction, name, part, seconds=took)

    def forget(self, workload: str) -> None:
        """Drop the values of a workload that is gone for good."""
        self._series.clear()
        for metric in CATALOGUE:
            meter = self._counters.get(metric.name) or self._histograms.get(metric.name)
            if meter is not None and "workload" in metric.labels:
                meter.remove_by_labels({"workload": workload})

    def _made(self, kind: type[M], metric: Metric) -> M:
        more = {"buckets": metric.buckets} if metric.buckets else {}
        return kind(metric.name, metric.help, metric.labels, registry=self._registry, **more)  # type: ignore[arg-type]


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Family]:
        families = {
            metric.name: GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
            for metric in CATALOGUE
            if metric.kind is Kind.GAUGE
        }
        for metric, labels, value in self._read():
            families[metric.name].add_metric(labels, value)
        yield from families.values()


class _WithoutCreated(Collector):
    """Without the times at which series began: as many series again, and nobody asks for them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Family]:
        for family in self._registry.collect():
            family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
            yield family
