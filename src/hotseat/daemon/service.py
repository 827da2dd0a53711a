"""The daemon: starts its parts in order, serves, stops cleanly.

Start: lock, adapters, reconcile (end unfinished swaps, look at every workload), then the control socket and the
gateway. Stop: see `stopping`. Seated engines run on.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hotseat import hotpath
from hotseat.config import Config
from hotseat.daemon import messages as m
from hotseat.daemon.actor import Actor
from hotseat.daemon.book import row
from hotseat.daemon.notify import Notifier
from hotseat.daemon.parts import assemble
from hotseat.daemon.stopping import Order, stop
from hotseat.daemon.watch import Watch
from hotseat.daemon.wiring import Runtime, build
from hotseat.errors import Busy, HotseatError, NotFound, Refused
from hotseat.swap.journal import Journal
from hotseat.swap.tidy import tidy

_log = logging.getLogger(__name__)

TIDY_EVERY = 86400.0
"""Seconds."""


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
    file: Path | None = None,
    ready: Callable[[Serving], None] = lambda serving: None,
    environ: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Serve until SIGTERM or SIGINT; a second one hurries. Returns the workloads as they are left.

    `file`: where `config` was read, and is read again on SIGHUP and when it changes. `environ`: see `wiring.build`.
    Run it under uvloop where that is to be had: `uvloop.run(up(config))`."""
    loop = asyncio.get_running_loop()
    order, again = Order(), asyncio.Event()

    def stopped() -> None:
        (order.hurry if order.stop.is_set() else order.stop).set()

    if why := hotpath.finder.why:
        _log.warning("the gateway runs uncompiled, which takes about twice the CPU for a request: %s", why)
    handlers = {signal.SIGTERM: stopped, signal.SIGINT: stopped, signal.SIGHUP: again.set}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        async with build(config, environ=environ, warm=True) as runtime:
            return await serve(config, runtime, file=file, order=order, reload=again, ready=ready)
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


async def serve(
    config: Config,
    runtime: Runtime,
    *,
    file: Path | None = None,
    order: Order,
    reload: asyncio.Event | None = None,
    ready: Callable[[Serving], None] = lambda serving: None,
) -> list[dict[str, Any]]:
    """The daemon over `runtime`, until `order` says stop."""
    notifier = Notifier()
    with _only_daemon(config.state):
        async with assemble(config, runtime, file=file, order=order, asked=reload, notifier=notifier) as parts:
            actor = parts.actor
            discovered = asyncio.create_task(parts.discovery.first())
            await _reconcile(actor, parts.watch)
            background = [asyncio.create_task(part) for part in (actor.run(), parts.watch.run(), notifier.stay_alive())]
            background.append(asyncio.create_task(parts.discovery.run()))
            if file is not None:
                background.append(asyncio.create_task(parts.reloader.run()))
            try:
                await discovered
                await parts.control.start(config.control)
                host, port = await parts.gateway.start(host=config.gateway.host, port=config.gateway.port)
                url = parts.control.gateway = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
                actor.send(m.Preload())
                await asyncio.sleep(0)
                rows = _rows(actor)
                ready(Serving(gateway=url, control=config.control, workloads=rows))
                if runtime.journal is not None:
                    background.append(asyncio.create_task(_tidy(actor, runtime.journal)))
                notifier.ready(f"serves {len(actor.records)} workloads at {url}")
                await _until(order.stop, background)
                notifier.stopping()
                how = order.parked or parts.reloader.config.on_stop
                await stop(actor, parts.gateway, order=order, parked=how, events=parts.events)
                _raise_if_ended(background)
                return rows()
            finally:
                for task in (discovered, *background):
                    task.cancel()
                await asyncio.gather(discovered, *background, return_exceptions=True)


def _rows(actor: Actor) -> Callable[[], list[dict[str, Any]]]:
    return lambda: [row(record) for record in actor.records.values()]


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


async def _tidy(actor: Actor, journal: Journal) -> None:
    """Now and once a day, until cancelled."""
    while True:
        records = actor.records.values()
        keys = {record.learned.container for record in records}
        keys.update(seen.container.key for record in records if (seen := record.observation) is not None)
        try:
            if gone := tidy(journal, names=set(actor.records), keys=keys):
                _log.info("dropped %d rows and files of what was not seen for 30 days", gone)
        except (HotseatError, OSError) as error:
            _log.warning("the state directory cannot be tidied: %s", error)
        await asyncio.sleep(TIDY_EVERY)


async def _until(stop: asyncio.Event, background: list[asyncio.Task[None]]) -> None:
    """Until asked to stop, or until a part that must not end does."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, *background}, return_when=asyncio.FIRST_COMPLETED)
        _raise_if_ended(background)
    finally:
        stopping.cancel()


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
