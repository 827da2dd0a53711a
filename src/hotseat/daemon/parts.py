"""The parts of a daemon, put together over the adapters of `wiring`, and closed again in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from hotseat.config import Config
from hotseat.config import Gateway as Settings
from hotseat.daemon.actor import Actor
from hotseat.daemon.admin import AdminDesk
from hotseat.daemon.control import Control, Desk
from hotseat.daemon.discovery import Discovery
from hotseat.daemon.hands import RealHands
from hotseat.daemon.hooks import HookCalls
from hotseat.daemon.learned_store import LearnedStore
from hotseat.daemon.messages import How
from hotseat.daemon.notify import Notifier
from hotseat.daemon.pages import house_of
from hotseat.daemon.reload import Reloader
from hotseat.daemon.seats import ActorSeats
from hotseat.daemon.sources import Sources
from hotseat.daemon.stopping import Order
from hotseat.daemon.watch import Watch
from hotseat.daemon.wiring import Runtime
from hotseat.dashboard import Pages
from hotseat.events import EventBus
from hotseat.gateway import Gateway
from hotseat.gateway.admin import AdminSite
from hotseat.gateway.health import Health
from hotseat.gateway.keys import KeyRing
from hotseat.gateway.site import Sites


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    actor: Actor
    watch: Watch
    gateway: Gateway
    control: Control
    sources: Sources
    reloader: Reloader
    discovery: Discovery
    events: EventBus


@contextlib.asynccontextmanager
async def assemble(
    config: Config,
    runtime: Runtime,
    *,
    file: Path | None,
    order: Order,
    asked: asyncio.Event | None,
    notifier: Notifier,
) -> AsyncIterator[Parts]:
    async with contextlib.AsyncExitStack() as stack:
        health, hooks = Health(), HookCalls(config.state / "asleep")
        stack.push_async_callback(health.aclose)
        stack.push_async_callback(hooks.aclose)
        hands = RealHands(
            config.workloads,
            swapper=runtime.swapper,
            devices=runtime.devices,
            platforms=runtime.platforms,
            health=health,
            hooks=hooks,
            caps=config.caps(),
            store=config.store,
        )
        # Ids of events grow over restarts, so that who comes back with one of before hears all that is new.
        events = EventBus(first=int(time.time() * 1000))
        store = None
        if runtime.journal is not None:
            store = LearnedStore(runtime.journal, clock=asyncio.get_running_loop().time)
        actor = Actor(
            config.workloads, hands=hands, events=events, caps=config.caps(), host=config.host_memory, store=store
        )
        watch = Watch(actor, hands=hands, platforms=runtime.platforms)
        house = house_of(actor, events=events, platforms=runtime.platforms)
        keys = KeyRing(config.keys)
        admin = AdminSite(AdminDesk(house))

        def pages_of(settings: Settings) -> Pages:
            public, ui, metrics = not config.gateway.loopback, settings.ui, settings.metrics
            return Pages(house, keys=lambda: bool(keys), public=public, ui=ui, metrics=metrics)

        pages = pages_of(config.gateway)
        sites = Sites(admin, pages)
        gateway = Gateway(
            ActorSeats(actor),
            config.gateway,
            keys=keys,
            site=sites,
            on_request=house.measuring.request,
        )
        house.measuring.held_bytes = lambda: gateway.held_bytes
        sources = Sources(actor, events=events, file=config.workloads, caps=config.caps())
        discovery = Discovery(sources, platforms=runtime.platforms, config=lambda: reloader.config)
        actor.seek = discovery.seek
        reloader = Reloader(
            config,
            file=file,
            sources=sources,
            events=events,
            asked=asked,
            takers=[
                lambda new: gateway.configure(new.gateway),
                lambda new: keys.replace(new.keys),
                lambda new: sites.replace(admin, pages_of(new.gateway)),
                discovery.again,
            ],
            around=notifier.reloading_or_ready,
        )

        def stop(parked: How | None) -> How:
            if not order.stop.is_set():  # the first who asks says how
                order.parked = parked
                order.stop.set()
            return order.parked or reloader.config.on_stop

        desk = Desk(reload=reloader.reload, stop=stop, notes=lambda: [*reloader.notes, *sources.notes])
        measuring = asyncio.create_task(house.measuring.run())
        stack.push_async_callback(_end, measuring)
        control = Control(actor, devices=runtime.devices, events=events, house=house, desk=desk)
        stack.push_async_callback(control.aclose)
        stack.push_async_callback(gateway.aclose)
        forward = asyncio.create_task(_forward(runtime.events, events))
        stack.push_async_callback(_end, forward)
        yield Parts(
            actor=actor,
            watch=watch,
            gateway=gateway,
            control=control,
            sources=sources,
            reloader=reloader,
            discovery=discovery,
            events=events,
        )


async def _forward(swapper: EventBus, ours: EventBus) -> None:
    """The swapper's phases and reports. Its states are the actor's to tell: one change, one event."""
    async for event in swapper.subscribe():
        if event.kind != "state":
            ours.publish(event.kind, workload=event.workload, **event.data)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
