"""`hotseat store`: the store in the foreground, what it holds, and its end."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from hotseat.cli import draw, units
from hotseat.cli.ending import ended, process
from hotseat.cli.storage import storage
from hotseat.config import find, load, paths
from hotseat.daemon.notify import Notifier
from hotseat.daemon.wiring import build
from hotseat.errors import Failed, HotseatError, NotFound, Refused
from hotseat.platforms.port import Status as ContainerStatus
from hotseat.store.__main__ import made
from hotseat.store.client import StoreClient
from hotseat.store.keeper import Keeper, Options
from hotseat.store.port import CONTROL, HeldState, Status, Store
from hotseat.words import ProcessRef

LOOK_EVERY = 0.25
"""Seconds between two looks at a store that populates its arena."""
ANSWER = 5.0
LOCALISE = 60.0
"""Seconds for a store to answer, and to give seated processes memory of their own."""


def with_file(config: Path | None, values: Mapping[str, Any], *, said: Collection[str]) -> Options:
    """What the command line does not say comes from the file. `said`: what it does. Without `--config` a file is looked
    for where no arena is said; that there is none is no mistake."""
    file = config
    if file is None and "arena" not in said:
        with suppress(NotFound):
            file = find()
    if file is None:
        return made(**values)
    store = load(file).store
    found: dict[str, Any] = {
        "arena": store.arena,
        "directory": store.control.parent,
        "compare": store.compare,
        "custom_storage": store.custom_storage,
        "spill": store.spill,
        "spill_limit": store.spill_limit,
        "agents_mode": int(store.agents_mode, 8),
    }
    return made(**{**values, **{name: value for name, value in found.items() if name not in said}})


def run(options: Options) -> int:
    """Until SIGTERM or SIGINT. `NoRoom`, `Refused` as `Keeper`."""
    keeper = Keeper(options)
    over = threading.Event()
    watcher = threading.Thread(target=lambda: asyncio.run(_watch(options, over)), name="watch", daemon=True)
    watcher.start()
    try:
        return keeper.run()
    finally:
        over.set()
        watcher.join(ANSWER)


async def _watch(options: Options, over: threading.Event) -> None:
    """Says how far the store is until its arena is whole."""
    notifier, store = Notifier(), StoreClient(options.directory / CONTROL)
    began, told = time.monotonic(), False
    with draw.progress("store") as progress:
        while not over.is_set():
            seen = await store.status(deadline=ANSWER)
            if seen.running and not told:
                told = True
                notifier.ready(f"populating {units.size(seen.arena)}")
                draw.remark(f"store    {options.directory / CONTROL}, arena {units.size(seen.arena)}")
            if seen.running and (seen.note or seen.ready == seen.arena):
                break
            words = f"{units.size(seen.ready)} of {units.size(seen.arena)} populated and pinned"
            progress(words, "start")
            notifier.status(words)
            await asyncio.to_thread(over.wait, LOOK_EVERY)
        else:
            return
    words = seen.note or f"ready: {units.size(seen.arena)} populated and pinned"
    notifier.status(words)
    took = "" if seen.note else f" in {units.duration(time.monotonic() - began)}"
    draw.remark(f"store    {'works only in part: ' if seen.note else ''}{words}{took}")


async def status(socket: Path | None, *, as_json: bool) -> None:
    """`NotFound` if none answers."""
    seen = await _seen(StoreClient(socket or paths.store_socket()))
    told = storage(seen, names=await _names(seen.processes))
    if as_json:
        click.echo(json.dumps(told.as_json(), indent=2))
        return
    for line in told.lines():
        click.echo(line)
    if told.workloads:
        click.echo()
        draw.table(told.HEADINGS, told.rows(), right=(3, 4, 5, 6, 7))


async def stop(socket: Path | None, *, lose_parked: bool, as_json: bool) -> None:
    store = StoreClient(socket or paths.store_socket())
    seen = await _seen(store)
    keeper = process(seen.keeper)
    if keeper is None:
        raise Failed(
            f"the store's keeper (pid {seen.keeper}) is not to be seen from here",
            hint="stop it where it runs: in its container, or with its service manager",
        )
    try:
        lost = _parked(seen)
        if lost and not lose_parked:
            told = storage(seen, names=await _names(lost))
            names = ", ".join(workload.name for workload in told.workloads if lost.keys() & set(workload.processes))
            raise Refused(
                f"the store has memory of {names}, which would be lost",
                rule="nothing is destroyed that cannot be brought back",
                hint="seat them first (hotseat seat NAME); --lose-parked stops it all the same",
            )
        await _localise(store, seen, all_the_same=lose_parked)
        keeper.signal(signal.SIGTERM)
        await ended(keeper, what="the store was told to end and")
    finally:
        keeper.close()
    if as_json:
        click.echo(json.dumps({"pid": seen.keeper, "lost": [ref.pid for ref in lost]}))
    else:
        draw.remark("the store has ended" + (f"; memory of {len(lost)} processes is lost" if lost else ""))


async def _seen(store: Store) -> Status:
    seen = await store.status(deadline=ANSWER)
    if not seen.running:
        raise NotFound(seen.note or "no store answers", hint="start one: hotseat store run --arena SIZE")
    return seen


def _parked(seen: Status) -> dict[ProcessRef, Any]:
    return {ref: held for ref, held in seen.processes.items() if held.state in (HeldState.OUT, HeldState.YIELDED)}


async def _localise(store: Store, seen: Status, *, all_the_same: bool) -> None:
    lent = [ref for ref, held in seen.processes.items() if held.state is HeldState.RUNNING and held.lent_bytes]
    for ref in lent:  # one by one: each needs room for its own copy
        try:
            await store.localise([ref], deadline=LOCALISE)
        except HotseatError as error:
            if not all_the_same:
                raise Refused(
                    f"process {ref.pid} runs on memory of the store and could not be given its own: {error.message}",
                    rule="without a store it could not be parked any more",
                    hint="it needs as much free device memory again for a moment: park another one by the driver, or "
                    "end it; --lose-parked stops the store all the same",
                ) from error


async def _names(processes: Mapping[ProcessRef, Any]) -> dict[int, str]:
    """Pid -> container, where a platform knows it. A platform that does not answer has no names to give."""
    if not processes:
        return {}
    names: dict[int, str] = {}
    async with build() as runtime:
        for platform in runtime.platforms.values():
            try:
                for container in await platform.list():
                    if container.status in (ContainerStatus.RUNNING, ContainerStatus.PAUSED):
                        names |= dict.fromkeys((one.pid for one in platform.read_pids(container)), container.name)
            except HotseatError:
                continue
    return names
