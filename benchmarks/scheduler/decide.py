"""How long one decision takes: 200 workloads on 16 devices, as the simulator and a large daemon ask for it.

    python benchmarks/scheduler/decide.py [--rounds 300] [--json]

Three tables: `calm` (nobody waits), `loaded` (12 wait, the others sit or are parked), `crowded` (everybody waits).
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time

from hotseat.scheduler import DeviceRoom, HostRoom, Snapshot, WorkloadView, decide
from hotseat.words import State

WORKLOADS, DEVICES, SIZE = 200, 16, 80


def table(*, demands: int, seed: int = 7) -> Snapshot:
    """Devices full of seated workloads of 15 to 50 units, the rest parked; `demands` of those wait."""
    random_ = random.Random(seed)
    views, left = [], dict.fromkeys(range(DEVICES), SIZE)
    for number in range(WORKLOADS):
        need = {random_.randrange(DEVICES): random_.randint(15, 50)}
        if number % 20 == 0:  # one in twenty is spread over two devices
            need[random_.randrange(DEVICES)] = 20
        sits = all(left[index] >= nbytes for index, nbytes in need.items())
        if sits:
            left = {index: free - need.get(index, 0) for index, free in left.items()}
        waits = not sits and demands > 0
        demands -= waits
        views.append(
            WorkloadView(
                name=f"w{number:03}",
                state=State.SEATED if sits else State.PARKED,
                holds=need if sits else {},
                need=need,
                demand_since=1000.0 - random_.random() * 30 if waits else None,
                priority=random_.choice([0, 0, 5]),
                busy=random_.random() < 0.5,
                rate=random_.random(),
                seated_since=1000.0 - random_.random() * 20,
                last_used=1000.0 - random_.random() * 60,
                min_stay=5.0,
                linger=0.5,
                can_start=True,
                out_seconds=2.0,
                in_seconds=1.0,
                host_bytes=sum(need.values()),
            )
        )
    rooms = tuple(DeviceRoom(index=index, size=SIZE) for index in range(DEVICES))
    return Snapshot(devices=rooms, workloads=tuple(views), host=HostRoom(budget=WORKLOADS * SIZE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    out: dict[str, object] = {"python": platform.python_version(), "workloads": WORKLOADS, "devices": DEVICES}
    for name, demands in (("calm", 0), ("loaded", 12), ("crowded", WORKLOADS)):
        snapshot = table(demands=demands)
        times = []
        for _ in range(args.rounds):
            begun = time.perf_counter()
            decision = decide(1000.0, snapshot)
            times.append(time.perf_counter() - begun)
        out[name] = {
            "p50_us": round(statistics.median(times) * 1e6, 1),
            "p99_us": round(sorted(times)[int(len(times) * 0.99)] * 1e6, 1),
            "actions": len(decision.actions),
        }
    print(json.dumps(out, indent=2) if args.json else out)


if __name__ == "__main__":
    main()
