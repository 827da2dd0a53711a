#!/usr/bin/env python3
"""Half an hour of mixed load, kills and reloads on an emulated node: nothing lost, nothing wrong, nothing leaked.

    sudo .venv/bin/python benchmarks/soak/run.py --out benchmarks/results --minutes 30

Real processes: `hotseat up`, demo engines as process trees, in Docker and in Podman, clients over HTTP. The driver is
emulated, so no figure says anything about a GPU. Every answer is compared with that of an undisturbed twin of its
engine; a demo engine's text depends on every byte of its device memory. Exit code 1 if anything was lost, wrong or
leaked; the report says what.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import report  # noqa: E402 - the folder above is no package, so that it runs from a bare checkout
from chaos import Chaos  # noqa: E402
from load import Load  # noqa: E402
from stage import Stage, open_stage  # noqa: E402
from tally import Tally  # noqa: E402


async def soak(args: argparse.Namespace) -> int:
    tally = Tally()
    async with open_stage(platforms=args.platforms.split(","), seed=args.seed) as stage:
        stage.say(f"{len(stage.guests)} engines on {len(stage.devices)} emulated devices; undisturbed twins first")
        await stage.learn_references()
        await stage.start_daemon()
        until = time.monotonic() + args.minutes * 60
        load = Load(stage, tally, clients=args.clients, rng=random.Random(args.seed))
        chaos = Chaos(stage, tally, rng=random.Random(args.seed + 1), every=args.every, without=args.without)
        watch = asyncio.create_task(sample(stage, tally, until))
        await asyncio.gather(load.run(until), chaos.run(until - 30))
        await watch
        await settle(stage, tally)
        stopped_in = await stage.stop_daemon()
    tally.note("graceful stop", f"{stopped_in:.1f} s")
    stage.leftovers(tally)
    path = report.write(tally, args)
    stage.say(f"report: {path}")
    stage.say(f"{len(tally.wrong)} wrong")
    return 1 if tally.wrong else 0


async def sample(stage: Stage, tally: Tally, until: float) -> None:
    """What the daemon holds, every ten seconds, per incarnation of it."""
    while time.monotonic() < until:
        await asyncio.sleep(10)
        held = stage.daemon_holds()
        if held is not None:
            tally.samples.append({"at": round(time.monotonic() - tally.began), **held})
            stage.say(tally.line(held))


async def settle(stage: Stage, tally: Tally) -> None:
    """The storm is over: every engine answers once more, as undisturbed, through the gateway."""
    load = Load(stage, tally, clients=0, rng=random.Random(0))
    for guest in stage.guests:
        try:
            async with asyncio.timeout(120):
                await load.ask_once(guest)
        except TimeoutError:
            tally.fault(f"{guest.name} did not answer within 120 s after the storm")
    for row in await stage.rows():
        if row["state"] not in ("seated", "parked", "stopped"):
            tally.fault(f"{row['name']} is {row['state']} after the storm: {row['note']}")
        if row["waiting"] or row["in_flight"]:
            tally.fault(f"{row['name']} has {row['waiting']} waiting and {row['in_flight']} running, with no client")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the report")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--every", type=float, default=15, help="mean seconds between disturbances")
    parser.add_argument("--platforms", default="process,docker,podman")
    parser.add_argument("--without", action="append", default=[], metavar="DISTURBANCE", help="leave this one out")
    parser.add_argument("--seed", type=int, default=1)
    return asyncio.run(soak(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
