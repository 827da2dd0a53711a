"""What a request costs in the daemon's core: `try_seat` and `release` of a workload that sits.

    python benchmarks/scheduler/seats.py [--requests 200000] [--json]

Four cases: `alone` (one workload), `many` (it is one of 200), `wanted` (somebody else waits for its seat), `idle timer`
(it has an `idle_timeout`). Each round is one request from arrival to departure. No I/O, no engine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import time
from typing import Any

from hotseat import config
from hotseat.daemon import messages as m
from hotseat.daemon.actor import Actor
from hotseat.daemon.seats import ActorSeats
from hotseat.daemon.tickets import Ticket
from hotseat.events import EventBus
from hotseat.platforms.port import Container, Status
from hotseat.swap.port import Observation
from hotseat.words import Device, DeviceUse, ProcessRef, State

BATCH = 1000


def seen(name: str, pid: int, state: State) -> Observation:
    container = Container(
        platform="docker",
        id=name,
        name=name,
        image="",
        status=Status.RUNNING,
        pid=pid,
        started_at=1.0,
        addresses=("127.0.0.1",),
    )
    return Observation(
        state=state,
        container=container,
        processes=(ProcessRef(pid, 1),),
        cuda={},
        gpu_bytes={0: 10} if state is State.SEATED else {},
        parked_gpu_bytes={0: 10} if state is State.PARKED else {},
    )


class Idle:
    """Hands that are never asked for a swap to end: what is measured needs none."""

    async def probe(self, name: str, container: Container) -> None:
        return

    def __getattr__(self, name: str) -> Any:
        async def never(*args: object, **kwargs: object) -> None:
            await asyncio.Event().wait()

        return never if name != "equip" else (lambda *args, **kwargs: None)


async def measure(*, workloads: int, waits: bool, idle: bool, requests: int) -> dict[str, float]:
    lines = [f"  w{n}: {{port: {n + 1}, min_stay: 1h{', idle_timeout: 1h' if idle else ''}}}" for n in range(workloads)]
    specs = config.parse("workloads:\n" + "\n".join(lines)).workloads
    actor = Actor(specs, hands=Idle(), events=EventBus())  # type: ignore[arg-type]
    running = asyncio.create_task(actor.run())
    device = Device(index=0, uuid="u", name="n", total_bytes=10)
    actor.send(m.Devices(uses=[DeviceUse(device=device, used_bytes=10, free_bytes=0, processes={1: 10})]))
    for number, name in enumerate(specs):
        state = State.SEATED if number == 0 else State.PARKED
        epoch = actor.records[name].epoch
        actor.send(m.Observed(workload=name, epoch=epoch, observation=seen(name, number + 1, state)))
    seats = ActorSeats(actor)
    async with seats.seat("w0"):
        pass  # its engine is probed
    if waits:
        now = asyncio.get_running_loop().time()
        actor.send(m.Arrived(ticket=Ticket(workload="w1", arrived=now, answer=lambda value, error: None)))
    await actor.idle()
    times = []
    for _ in range(requests // BATCH):
        begun = time.perf_counter()
        for _ in range(BATCH):
            lease = seats.try_seat("w0")
            assert lease is not None
            lease.release()
        times.append((time.perf_counter() - begun) / BATCH)
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return {"p50_us": round(statistics.median(times) * 1e6, 2), "worst_batch_us": round(max(times) * 1e6, 2)}


async def measure_all(requests: int) -> dict[str, Any]:
    return {
        "alone": await measure(workloads=1, waits=False, idle=False, requests=requests),
        "many": await measure(workloads=200, waits=False, idle=False, requests=requests),
        "wanted": await measure(workloads=200, waits=True, idle=False, requests=requests),
        "idle timer": await measure(workloads=200, waits=False, idle=True, requests=requests),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    out = {"python": platform.python_version(), **asyncio.run(measure_all(args.requests))}
    print(json.dumps(out, indent=2) if args.json else out)


if __name__ == "__main__":
    main()
