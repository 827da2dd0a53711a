"""Disturbances, one after the other: kills, reloads, commands, pauses behind hotseat's back, faults of the driver."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable, Sequence

from stage import Guest, Stage
from tally import Tally

from hotseat.emulator import Fault, FaultKind


class Chaos:
    def __init__(
        self, stage: Stage, tally: Tally, *, rng: random.Random, every: float, without: Sequence[str] = ()
    ) -> None:
        self.stage = stage
        self.tally = tally
        self.rng = rng
        self.every = every
        self.without = without

    async def run(self, until: float) -> None:
        acts: dict[str, tuple[Callable[[], Awaitable[None]], int]] = {
            "the daemon is killed": (self._kill_daemon, 3),
            "an engine is killed": (self._kill_engine, 2),
            "reload": (self._reload, 4),
            "a broken file": (self._broken_reload, 1),
            "park by command": (self._park, 2),
            "seat by command": (self._seat, 2),
            "paused by somebody else": (self._pause, 1),
            "stopped by somebody else": (self._stop, 1),
            "the driver's lock times out": (self._lock_fault, 2),
        }
        containers = () if self.stage.adapters else ("paused by somebody else", "stopped by somebody else")
        for name in {*self.without, *containers}:
            del acts[name]
        while True:
            pause = self.rng.expovariate(1 / self.every)
            if time.monotonic() + pause > until:
                return
            await asyncio.sleep(pause)
            (name,) = self.rng.choices(list(acts), [weight for _, weight in acts.values()])
            self.stage.say(f"-- {name}")
            self.tally.disturbances[name] += 1
            try:
                async with asyncio.timeout(180):
                    await acts[name][0]()
            except Exception as error:
                self.tally.fault(f"{name}: {type(error).__name__}: {error}")

    async def _kill_daemon(self) -> None:
        seconds = await self.stage.kill_daemon()
        self.stage.say(f"   serves again after {seconds:.1f} s")

    async def _kill_engine(self) -> None:
        guest = self.rng.choice([guest for guest in self.stage.guests if guest.platform == "process"])
        rows = {row["name"]: row for row in await self.stage.rows()}
        pids = rows.get(guest.name, {}).get("pids", [])
        guest.harmed_at = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        guest.harmed_at = time.monotonic()

    async def _reload(self) -> None:
        self.stage.variant += 1
        self.stage.write_config()
        assert self.stage.daemon is not None
        self.stage.daemon.send_signal(signal.SIGHUP)

    async def _broken_reload(self) -> None:
        path = self.stage.directory / "hotseat.yaml"
        whole = path.read_text()
        path.write_text(whole.replace("workloads:", "wrokloads:"))
        assert self.stage.daemon is not None
        self.stage.daemon.send_signal(signal.SIGHUP)
        await asyncio.sleep(3)
        path.write_text(whole)

    async def _park(self) -> None:
        await self._command("park", self.rng.choice(self.stage.guests))

    async def _seat(self) -> None:
        await self._command("seat", self.rng.choice(self.stage.guests))

    async def _command(self, word: str, guest: Guest) -> None:
        code, out = await self.stage.cli(word, guest.name, "--json")
        # A refusal or a busy workload is an honest answer; a bug is not.
        if code not in (0, 1, 4) or "bug in hotseat" in out:
            self.tally.fault(f"hotseat {word} {guest.name}: exit {code}: {out[-500:]}")

    async def _pause(self) -> None:
        guest = self.rng.choice([guest for guest in self.stage.guests if guest.platform in self.stage.adapters])
        adapter = self.stage.adapters[guest.platform]
        container = await adapter.inspect(guest.name)
        row = next((row for row in await self.stage.rows() if row["name"] == guest.name), None)
        if row is None or row["state"] != "seated":
            return
        guest.harmed_at = time.monotonic()
        await adapter.pause(container)
        await asyncio.sleep(3)
        await adapter.unpause(container)
        guest.harmed_at = time.monotonic()

    async def _stop(self) -> None:
        guest = self.rng.choice([guest for guest in self.stage.guests if guest.platform in self.stage.adapters])
        adapter = self.stage.adapters[guest.platform]
        guest.harmed_at = time.monotonic()
        await adapter.stop(await adapter.inspect(guest.name), grace=2)
        guest.harmed_at = time.monotonic()

    async def _lock_fault(self) -> None:
        self.stage.node.set_fault(Fault(kind=FaultKind.LOCK_TIMEOUT, times=1))
        await asyncio.sleep(5)
        self.stage.node.clear_faults()
