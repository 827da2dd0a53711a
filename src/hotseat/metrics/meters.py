"""The meters of one daemon: counters and histograms that are added to, and gauges that are read when asked for.

Every request is counted, so counting is plain arithmetic; Prometheus's families are made of it when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from hotseat.metrics import catalogue as c
from hotseat.metrics.catalogue import CATALOGUE, Kind, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Reading = tuple[Metric, tuple[str, ...], float]
"""A gauge's value now: which, its labels in the catalogue's order, the value."""


class Count:
    """One series of a counter. Whoever adds to it often may keep it, until its workload is forgotten."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Times:
    """One series of a histogram; as `Count`."""

    __slots__ = ("_bounds", "buckets", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.buckets = [0] * (len(bounds) + 1)
        """Each without those before it; the last is for what is longer than every bound."""
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        if seconds < 0.0:  # a clock that was set back makes no negative times
            seconds = 0.0
        self.buckets[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds


class Meters:
    """`read` is called at each exposition, for all gauges. One event loop's: no locks."""

    def __init__(self, read: Callable[[], Iterable[Reading]]) -> None:
        self._counts: dict[str, dict[tuple[str, ...], Count]] = {
            metric.name: {} for metric in CATALOGUE if metric.kind is Kind.COUNTER
        }
        self._times: dict[str, dict[tuple[str, ...], Times]] = {
            metric.name: {} for metric in CATALOGUE if metric.kind is Kind.HISTOGRAM
        }
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Counted(self._counts, self._times))
        self._registry.register(_Gauges(read))
        ProcessCollector(registry=self._registry)

    def exposition(self) -> bytes:
        """All values in Prometheus's text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def count(self, metric: Metric, *labels: str) -> Count:
        """The series with these labels."""
        series = self._counts[metric.name]
        return series.get(labels) or series.setdefault(labels, Count())

    def times(self, metric: Metric, *labels: str) -> Times:
        """The series with these labels."""
        series = self._times[metric.name]
        return series.get(labels) or series.setdefault(labels, Times(metric.buckets))

    def add(self, metric: Metric, *labels: str, count: float = 1.0) -> None:
        self.count(metric, *labels).value += count

    def observe(self, metric: Metric, *labels: str, seconds: float) -> None:
        self.times(metric, *labels).observe(seconds)

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
        for metric in CATALOGUE:
            series: dict[tuple[str, ...], Count] | dict[tuple[str, ...], Times] | None
            series = self._counts.get(metric.name) or self._times.get(metric.name)
            if series and "workload" in metric.labels:
                at = metric.labels.index("workload")
                for labels in [labels for labels in series if labels[at] == workload]:
                    del series[labels]


class _Counted(Collector):
    def __init__(
        self,
        counts: Mapping[str, Mapping[tuple[str, ...], Count]],
        times: Mapping[str, Mapping[tuple[str, ...], Times]],
    ) -> None:
        self._counts = counts
        self._times = times

    def collect(self) -> Iterator[Family]:
        for metric in CATALOGUE:
            if metric.kind is Kind.COUNTER:
                counter = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
                for labels, count in self._counts[metric.name].items():
                    counter.add_metric(labels, count.value)
                yield counter
            elif metric.kind is Kind.HISTOGRAM:
                histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
                bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
                for labels, times in self._times[metric.name].items():
                    buckets = list(zip(bounds, accumulate(times.buckets), strict=True))
                    histogram.add_metric(labels, buckets, times.total)
                yield histogram


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
