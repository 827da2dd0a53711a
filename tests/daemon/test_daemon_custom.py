"""What goes by custom storage counts against the store's arena, not against what workloads hold of the host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from daemon_world import NEED, Real

from hotseat import config
from hotseat.daemon.book import Job, JobKind, Record
from hotseat.store.port import Held, HeldState
from hotseat.words import ProcessRef, State


@pytest.mark.parametrize(
    ("state", "custom", "job", "host", "arena"),
    [
        (State.SEATED, 0, None, NEED["b"], 0),
        (State.SEATED, NEED["b"], None, 0, NEED["b"]),
        (State.SEATED, 4, None, NEED["b"] - 4, 4),
        (State.SEATED, NEED["b"], JobKind.STOP, 0, 0),
        (State.PARKED, 0, None, 0, 3),
    ],
)
def test_of_the_host_and_of_the_arena(state: State, custom: int, job: JobKind | None, host: int, arena: int) -> None:
    seen = replace(Real(state).seen("b"), custom_gpu_bytes=custom)
    if state is State.PARKED:
        out = Held(state=HeldState.OUT, blocks=1, bytes=NEED["b"], parked_bytes=3, custom=True)
        seen = replace(seen, held={ProcessRef(101, 1): out})
    spec = config.parse("workloads: {b: {port: 1}}").workloads["b"]
    record = Record(name="b", spec=spec, state=state, observation=seen)
    record.job = None if job is None else Job(kind=job, begun=0.0)
    assert (record.host_bytes, record.arena_bytes) == (host, arena)
