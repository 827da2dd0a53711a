"""The daemon: starts its parts in order, serves, stops cleanly.

Start: lock, adapters, reconcile (end unfinished swaps, look at every workload), then the control socket and the
gateway. Stop: no new requests, those who wait are told, answers under way may end, a swap comes to its end; what is
parked stays parked. Seated engines run on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotseat.config import Config
from hotseat.daemon import messages as m
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import row
from hotseat.daemon.control import Control
from hotseat.daemon.hands import RealHands
from hotseat.daemon.pages import house_of
from hotseat.daemon.seats import ActorSeats
from hotseat.daemon.watch import Watch
from hotseat.daemon.wiring import Runtime, build
from hotseat.errors import Busy, HotseatError, NotFound, Refused
from hotseat.events import EventBus
from hotseat.gateway import Gateway
from hotseat.gateway.health import Health
from hotseat.gateway.relay import AiohttpRelay

_log = logging.getLogger(__name__)

ANSWERS_GRACE = 10.0
"""Seconds that answers under way have to end at a stop."""
SWAP_GRACE = 120.0
"""Seconds that a swap has to end by itself at a stop, before it is asked to come to a stable end."""
LAST_GRACE = 300.0
"""Seconds after that. A driver call is never cut: its own deadline bounds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the caller of `serve` may show."""

    gateway: str
    """Its base URL, without /v1."""
    control: Path
    workloads: Callable[[], list[dict[str, Any]]]
    """As `hotseat ps --json` shows them, now."""


async def up(
    config: Config,
    *,
    ready: Callable[[Serving], None] = lambda serving: None,
    environ: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Serve until SIGTERM or SIGINT; a second one hurries. Returns the workloads as they are left.

    `environ`: see `wiring.build`. Run it under uvloop where that is to be had: `uvloop.run(up(config))`."""
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    try:
        async with build(config, environ=environ, warm=True) as runtime:
            return await serve(config, runtime, stop=stop, hurry=hurry, ready=ready)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def serve(
    config: Config,
    runtime: Runtime,
    *,
    stop: asyncio.Event,
    hurry: asyncio.Event | None = None,
    ready: Callable[[Serving], None] = lambda serving: None,
) -> list[dict[str, Any]]:
    """The daemon over `runtime`, until `stop` is set."""
    hurry = hurry or asyncio.Event()
    with _only_daemon(config.state):
        async with _parts(config, runtime) as (actor, watch, gateway, control):
            await _reconcile(actor, watch)
            background = [asyncio.create_task(actor.run()), asyncio.create_task(watch.run())]
            try:
                await control.start(config.control)
                host, port = await gateway.start(host=config.gateway.host, port=config.gateway.port)
                control.gateway = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
                actor.send(m.Preload())
                await asyncio.sleep(0)
                ready(
                    Serving(
                        gateway=control.gateway,
                        control=config.control,
                        workloads=lambda: [row(record) for record in actor.records.values()],
                    )
                )
                await _until(stop, background)
                await _stop(actor, gateway, hurry, background)
                return [row(record) for record in actor.records.values()]
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)


@contextlib.asynccontextmanager
async def _parts(config: Config, runtime: Runtime) -> AsyncIterator[tuple[Actor, Watch, Gateway, Control]]:
    async with contextlib.AsyncExitStack() as stack:
        health, relay = Health(), AiohttpRelay()
        stack.push_async_callback(health.aclose)
        stack.push_async_callback(relay.aclose)
        hands = RealHands(
            config.workloads,
            swapper=runtime.swapper,
            platforms=runtime.platforms,
            health=health,
            caps=config.caps(),
        )
        # Ids of events grow over restarts, so that who comes back with one of before hears all that is new.
        events = EventBus(first=int(time.time() * 1000))
        actor = Actor(config.workloads, hands=hands, events=events, caps=config.caps())
        watch = Watch(actor, hands=hands, platforms=runtime.platforms, devices=runtime.devices)
        gateway = Gateway(
            ActorSeats(actor),
            relay,
            keepalive=config.gateway.keepalive,
            max_silence=config.gateway.max_silence,
            max_body=config.gateway.max_body,
        )
        house = house_of(actor, events=events, platforms=runtime.platforms)
        measuring = asyncio.create_task(house.measuring.run())
        stack.push_async_callback(_end, measuring)
        control = Control(actor, devices=runtime.devices, events=events, house=house)
        stack.push_async_callback(control.aclose)
        stack.push_async_callback(gateway.aclose)
        forward = asyncio.create_task(_forward(runtime.events, events))
        stack.push_async_callback(_end, forward)
        yield actor, watch, gateway, control


async def _forward(swapper: EventBus, ours: EventBus) -> None:
    """The swapper's phases and reports. Its states are the actor's to tell: one change, one event."""
    async for event in swapper.subscribe():
        if event.kind != "state":
            ours.publish(event.kind, workload=event.workload, **event.data)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _reconcile(actor: Actor, watch: Watch) -> None:
    """End what a daemon that died has begun, then look at everything. What is seen is queued for the actor before any
    request can be."""

    async def recover(name: str) -> None:
        try:
            await actor.recover(name)
        except NotFound:
            return  # not made yet, or gone: the look says so
        except Busy as error:
            _log.info("%s", error.message)  # another hotseat swaps it now; it will be looked at again
        except HotseatError as error:
            _log.warning("cannot recover %s: %s", name, error.message)

    await asyncio.gather(*(recover(name) for name in actor.records))
    await watch.look_at_all()


async def _until(stop: asyncio.Event, background: list[asyncio.Task[None]]) -> None:
    """Until asked to stop, or until a part that must not end does."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, *background}, return_when=asyncio.FIRST_COMPLETED)
        _raise_if_ended(background)
    finally:
        stopping.cancel()


async def _stop(actor: Actor, gateway: Gateway, hurry: asyncio.Event, background: list[asyncio.Task[None]]) -> None:
    await gateway.stop_listening()
    actor.send(m.Closing())
    await _within(ANSWERS_GRACE, actor.answers_done(), hurry)
    await gateway.aclose()
    _raise_if_ended(background)
    if not await _within(SWAP_GRACE, actor.jobs_done(), hurry):
        actor.cancel_jobs()
        await _within(LAST_GRACE, actor.jobs_done(), asyncio.Event())
    await _within(ANSWERS_GRACE, actor.idle(), asyncio.Event())


async def _within(seconds: float, work: Any, hurry: asyncio.Event) -> bool:
    """Whether `work` ended in that time and before somebody hurried."""
    task = asyncio.ensure_future(work)
    hurried = asyncio.create_task(hurry.wait())
    try:
        await asyncio.wait({task, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(task.done())
    finally:
        task.cancel()
        hurried.cancel()
        await asyncio.gather(task, hurried, return_exceptions=True)


def _raise_if_ended(background: list[asyncio.Task[None]]) -> None:
    for task in background:
        if task.done():
            task.result()
            raise RuntimeError("a part of the daemon ended by itself")


@contextlib.contextmanager
def _only_daemon(state: Path) -> Iterator[None]:
    """One daemon a state directory, whatever its socket is called. The kernel drops the lock with its holder."""
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(state / "daemon.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Refused(
                f"another hotseat daemon uses {state}",
                rule="one daemon a state directory",
                hint="stop it, or set `state` to another directory",
            ) from error
        yield
    finally:
        os.close(descriptor)
