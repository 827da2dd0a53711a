"""Engines without the interposer, moved by custom storage: the same tokens after every swap, whoever dies in it.

On the emulated driver of CUDA 13.4, which is made after NVIDIA's documentation. No GPU has seen this way.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from integration_daemon import Daemon, ask, settled, workload
from integration_house import CONTEXT, MIB, SOON, Guest, House, in_containers
from integration_store import running_store

from hotseat.demo import EngineSpec
from hotseat.emulator import EmulatedNode, FaultKind
from hotseat.errors import Refused
from hotseat.platforms.port import Status
from hotseat.store.client import StoreClient
from hotseat.store.port import HeldState
from hotseat.testing.served import free_port
from hotseat.words import State

COPIES = {"out": "cuMemcpyDtoHAsync_v2", "in": "cuMemcpyHtoDAsync_v2"}


@pytest.fixture
def node(devices: tuple[int, ...]) -> Iterator[EmulatedNode]:
    with EmulatedNode.temporary(devices=devices, context_bytes=CONTEXT, custom_storage=True) as node:
        yield node


@pytest.fixture
async def store(house: House, control: Path) -> AsyncIterator[StoreClient]:
    async with running_store(house, control=control, options=("--custom-storage",)) as store:
        yield store


@in_containers
async def test_requests_swap_two_that_do_not_fit_together(house: House, control: Path, store: StoreClient) -> None:
    names = [house.name(), house.name()]
    specs = [
        EngineSpec(models=(name,), seed=seed, weights_bytes=36 * MIB, kv_bytes=2 * MIB, port=free_port())
        for seed, name in enumerate(names, start=1)
    ]
    workloads = {name: workload(house, spec, interposed=False) for name, spec in zip(names, specs, strict=True)}
    daemon = Daemon(house=house, guests=[], settings={"workloads": workloads, "store": {"control": str(control)}})
    await daemon.up()
    said = {name: await ask(daemon, name) for name in names}
    house.guests += [
        Guest(house=house, spec=spec, container=await house.platform.inspect(name))
        for name, spec in zip(names, specs, strict=True)
    ]
    assert said[names[0]] != said[names[1]]
    for _ in range(2):
        for name in names:
            assert await ask(daemon, name) == said[name]
            await settled(daemon)
            held = (await store.status(deadline=SOON)).processes
            assert [(one.state, one.custom) for one in held.values()] == [(HeldState.OUT, True)], "of the other one"
    rows = await daemon.rows()
    assert {rows[name]["way"] for name in names} == {"custom-storage"}
    await daemon.down()


async def test_several_processes_on_several_devices(house: House, store: StoreClient) -> None:
    guest = await house.start(devices=(0, 1), processes=4, threads=8)
    before, held = await guest.ask(), await guest.bytes()
    for _ in range(2):
        out = await guest.park()
        assert (len(out.custom), out.interposed) == (4, ())
        assert (await guest.bytes(), await guest.status()) == ({}, Status.PAUSED)
        await guest.seat()
        assert await guest.bytes() == held
        await guest.unharmed(before)


@pytest.mark.root
async def test_a_store_that_may_not_trace_it_is_told_before_anything_is_touched(house: House, control: Path) -> None:
    prefix = ("setpriv", "--bounding-set=-sys_ptrace")
    async with running_store(house, control=control, prefix=prefix, options=("--custom-storage",)):
        guest = await house.start()
        before = await guest.ask()
        with pytest.raises(Refused, match="may not trace process") as refused:
            await guest.park()
        assert refused.value.rule == "custom storage"
        await guest.unharmed(before)


async def caught_in_the_copy(house: House, guest: Guest, store: StoreClient, direction: str) -> None:
    """Another hotseat dies there; the store's copy is held up until its fault is cleared."""
    house.fault(FaultKind.HANG, op=COPIES[direction])
    command = await house.command({"out": "park", "in": "seat"}[direction], guest.name, "--no-daemon")
    state = HeldState.RUNNING

    async with asyncio.timeout(SOON):
        while state is not HeldState.YIELDED:
            processes = (await store.status(deadline=SOON)).processes
            state = next((one.state for one in processes.values()), HeldState.RUNNING)
            await asyncio.sleep(0.01)
    command.kill()
    await command.wait()


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_hotseat_dies_in_the_copy(house: House, store: StoreClient, direction: str) -> None:
    guest = await house.start()
    before = await guest.ask()
    if direction == "in":
        await guest.park()
    await caught_in_the_copy(house, guest, store, direction)
    house.node.clear_faults()
    found = await guest.recover()
    assert found.state is {"out": State.PARKED, "in": State.SEATED}[direction]
    if direction == "out":
        await guest.seat()
    await guest.unharmed(before)


@pytest.mark.parametrize("direction", ["out", "in"])
async def test_the_stores_worker_dies_in_the_copy(house: House, store: StoreClient, direction: str) -> None:
    """With it goes the engine whose memory it had mapped; its device is free, and the reason is said."""
    guest, other = await house.start(), await house.start(seed=2)
    before = await other.ask()
    if direction == "in":
        await guest.park()
    await caught_in_the_copy(house, guest, store, direction)
    worker = (await store.status(deadline=SOON)).worker
    os.kill(worker, signal.SIGKILL)
    house.node.clear_faults()
    found = await guest.recover()
    assert found.state is State.QUARANTINED
    assert "hotseat died in the middle" in found.note
    await guest.ends()
    await other.park()
    await other.seat()
    await other.unharmed(before)
    assert (await store.status(deadline=SOON)).used == 0


async def test_the_stores_worker_dies_while_they_are_out_on_several_devices(house: House, store: StoreClient) -> None:
    guest = await house.start(devices=(0, 1), processes=2)
    before = await guest.ask()
    await guest.park()
    first = await store.status(deadline=SOON)
    os.kill(first.worker, signal.SIGKILL)
    async with asyncio.timeout(SOON):
        while not ((now := await store.status(deadline=SOON)).running and now.starts > first.starts):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
    await guest.seat()
    await guest.unharmed(before)
