"""Every metric: name, kind, labels, meaning. docs/metrics.md and the Grafana board are checked against this list."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    name: str
    """As Prometheus shows it: counters end in _total, histograms have _bucket, _sum and _count besides."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


PHASES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds: from a seat that is free to the default of max_wait."""

BUILD = Metric(name="hotseat_build_info", kind=Kind.GAUGE, help="1; the version as a label", labels=("version",))
EMULATED = Metric(
    name="hotseat_emulated",
    kind=Kind.GAUGE,
    help="1 if any device is one of the emulated driver: then no figure here is a performance figure",
)

STATE = Metric(
    name="hotseat_workload_state",
    kind=Kind.GAUGE,
    help="1 for the state that the workload is in, 0 for the others",
    labels=("workload", "state"),
)
WAITING = Metric(
    name="hotseat_workload_waiting",
    kind=Kind.GAUGE,
    help="Requests that wait for its seat: the depth of its queue",
    labels=("workload",),
)
RUNNING = Metric(
    name="hotseat_workload_running",
    kind=Kind.GAUGE,
    help="Requests that its engine works on, also while they are frozen in the middle",
    labels=("workload",),
)
OLDEST = Metric(
    name="hotseat_workload_oldest_wait_seconds",
    kind=Kind.GAUGE,
    help="How long the first of its queue has waited; 0 if nobody waits",
    labels=("workload",),
)
WORKLOAD_DEVICE = Metric(
    name="hotseat_workload_device_bytes",
    kind=Kind.GAUGE,
    help="Device memory that it holds",
    labels=("workload", "device"),
)
WORKLOAD_PARKED = Metric(
    name="hotseat_workload_parked_bytes",
    kind=Kind.GAUGE,
    help="Device memory that it needs to sit again; only while it is parked",
    labels=("workload", "device"),
)
WORKLOAD_STORED = Metric(
    name="hotseat_workload_stored_bytes",
    kind=Kind.GAUGE,
    help="Of its device memory: bytes on disk, as compressed; only while it is stored",
    labels=("workload",),
)
WORKLOAD_HOST = Metric(
    name="hotseat_workload_host_bytes",
    kind=Kind.GAUGE,
    help="Resident memory of its processes: what they need in any case, and while it is parked by the driver also its "
    "device memory",
    labels=("workload",),
)

DEVICE_TOTAL = Metric(
    name="hotseat_device_size_bytes", kind=Kind.GAUGE, help="Memory of the device", labels=("device", "uuid", "name")
)
DEVICE_USED = Metric(
    name="hotseat_device_used_bytes",
    kind=Kind.GAUGE,
    help="What the device itself reports used, by whomever",
    labels=("device",),
)
DEVICE_FOREIGN = Metric(
    name="hotseat_device_foreign_bytes",
    kind=Kind.GAUGE,
    help="Used by processes outside hotseat's care",
    labels=("device",),
)

HELD = Metric(
    name="hotseat_gateway_held_bytes",
    kind=Kind.GAUGE,
    help="Bodies of requests that the gateway holds, but for those of up to 256 KiB; gateway.max_held bounds it",
)

PHASE_SECONDS = Metric(
    name="hotseat_swap_phase_seconds",
    kind=Kind.HISTOGRAM,
    help="One phase of a swap; part says whose time it is",
    labels=("workload", "direction", "phase", "part"),
    buckets=PHASES,
)
SWAP_SECONDS = Metric(
    name="hotseat_swap_seconds",
    kind=Kind.HISTOGRAM,
    help="A whole swap",
    labels=("workload", "direction"),
    buckets=PHASES,
)
SWAP_BYTES = Metric(
    name="hotseat_swap_bytes_total",
    kind=Kind.COUNTER,
    help="Device memory released by swaps out and taken by swaps in",
    labels=("workload", "direction"),
)
SWAPS = Metric(
    name="hotseat_swaps_total",
    kind=Kind.COUNTER,
    help="Swaps by outcome: done, refused (nothing was touched), rolled_back, quarantined, failed",
    labels=("workload", "direction", "outcome"),
)
COLD_STARTS = Metric(
    name="hotseat_cold_starts_total",
    kind=Kind.COUNTER,
    help="Cold starts by outcome: done, refused, failed",
    labels=("workload", "outcome"),
)
COLD_START_SECONDS = Metric(
    name="hotseat_cold_start_seconds",
    kind=Kind.HISTOGRAM,
    help="A cold start, until the engine answered",
    labels=("workload",),
    buckets=(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 300.0, 600.0),
)
QUARANTINES = Metric(
    name="hotseat_quarantines_total",
    kind=Kind.COUNTER,
    help="Times that the workload was put into quarantine",
    labels=("workload",),
)

SEAT_WAIT = Metric(
    name="hotseat_seat_wait_seconds",
    kind=Kind.HISTOGRAM,
    help="A request's time from its arrival to its seat; those that never had one are not in it",
    labels=("workload",),
    buckets=WAITS,
)
REQUESTS = Metric(
    name="hotseat_requests_total",
    kind=Kind.COUNTER,
    help="Requests by what the client was sent; 499: it left before anything was. A model that nobody serves is empty",
    labels=("model", "dialect", "status"),
)
REQUEST_SECONDS = Metric(
    name="hotseat_request_seconds",
    kind=Kind.HISTOGRAM,
    help="A request from its arrival to the end of its answer, its wait included",
    labels=("model", "dialect"),
    buckets=WAITS,
)
FIRST_BYTE = Metric(
    name="hotseat_first_byte_seconds",
    kind=Kind.HISTOGRAM,
    help="From a request's arrival to the first byte of the engine's body, its wait included",
    labels=("model", "dialect"),
    buckets=WAITS,
)
BROKEN = Metric(
    name="hotseat_broken_answers_total",
    kind=Kind.COUNTER,
    help="Answers that began and did not reach their end: the engine broke off, or the client left",
    labels=("model", "dialect"),
)
TOKENS = Metric(
    name="hotseat_tokens_total",
    kind=Kind.COUNTER,
    help="kind is prompt or completion; source is usage (the engine says so) or deltas: estimated from an OpenAI "
    "stream whose client does not ask for usage, one for each delta with text",
    labels=("model", "kind", "source"),
)

CATALOGUE = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
