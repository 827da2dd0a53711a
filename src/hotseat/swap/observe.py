"""Reads the world for one workload, in one pass: container, processes, who uses CUDA and how, what the devices say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hotseat.config.units import format_size
from hotseat.errors import HotseatError, ProcessGone
from hotseat.gpu.port import CheckpointDriver, DeviceTruth
from hotseat.linux import proc
from hotseat.linux.port import HostMemory
from hotseat.platforms.port import Status
from hotseat.store.port import Held, HeldState, Store
from hotseat.swap import guard, truth
from hotseat.swap.classify import LIVING, classify, kept, void
from hotseat.swap.journal import Journal
from hotseat.swap.meter import Meter
from hotseat.swap.port import Deadlines, Observation, Workload
from hotseat.swap.records import Record
from hotseat.swap.way import Offer
from hotseat.words import DeviceUse, ProcessRef, ProcessState, State

READINGS = 3
"""How often the list of processes is read anew when one of them ends while it is asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """An observation, and what a swap needs beside it."""

    workload: Workload
    """With the container as it is now."""
    observation: Observation
    record: Record | None
    """The journal's, unless it is void."""
    restore_threads: Mapping[ProcessRef, int]
    uses: tuple[DeviceUse, ...]
    host: HostMemory | None
    store: str
    """Why no store answers, or ""."""
    offer: Offer
    """Of custom storage."""
    trouble: HotseatError | None
    """Why the CUDA processes or the devices could not be read; the observation then lacks them."""


class Observer:
    def __init__(
        self,
        *,
        driver: CheckpointDriver,
        devices: DeviceTruth,
        store: Store | None,
        journal: Journal,
        deadlines: Deadlines,
    ) -> None:
        self._driver = driver
        self._store = store
        self._devices = devices
        self._journal = journal
        self._deadlines = deadlines

    async def look(self, workload: Workload, *, meter: Meter) -> Sight:
        """`NotFound` or `PlatformFailed` if the platform does not know the container; all else is in `trouble`."""
        with meter.of("platform"):
            container = await workload.platform.inspect(workload.container.id)
        workload = Workload(name=workload.name, container=container, platform=workload.platform)
        record = self._journal.read(container.key)
        processes: Sequence[ProcessRef] = ()
        threads: Mapping[ProcessRef, int] = {}
        states: Mapping[ProcessRef, ProcessState | None] = {}
        uses: tuple[DeviceUse, ...] = ()
        host: HostMemory | None = None
        held: Mapping[ProcessRef, Held] = {}
        store, offer = "", Offer()
        trouble: HotseatError | None = None
        if container.status in LIVING:
            (processes, threads, states, trouble), host, uses_or = await asyncio.gather(
                self._cuda(workload, meter), workload.platform.memory(container), self._use()
            )
            if isinstance(uses_or, HotseatError):
                trouble = trouble or uses_or
            else:
                uses = uses_or
            if states:
                held, store, offer = await self._held(list(states))
        gpu_bytes = truth.with_blocks(truth.held(uses, {process.pid for process in processes}), held=held, uses=uses)
        verdict = classify(
            container=container,
            record=record,
            processes=processes,
            states=states,
            gpu_bytes=gpu_bytes,
            owner_alive=record is not None and guard.alive(record.owner),
        )
        if record is not None and void(container, record):
            record = None
        notes = [verdict.note, trouble.message if trouble else ""]
        stays: Mapping[int, int] = {}
        if record is not None and verdict.state is State.PARKED:
            notes.append(parked_blocks(record, held=held, store=store))
            stays = kept(record, processes)
            notes.append(kept_note(stays))
        parked = truth.less(record.parked, stays) if record is not None and verdict.state is State.PARKED else {}
        all_held = held.keys() == states.keys()
        observation = Observation(
            state=verdict.state,
            container=container,
            processes=tuple(processes),
            cuda=states,
            gpu_bytes=gpu_bytes,
            parked_gpu_bytes=parked,
            kept_gpu_bytes=stays,
            context_gpu_bytes=truth.beside_blocks(gpu_bytes, held=held, uses=uses) if all_held else {},
            held=held,
            note="; ".join(part for part in notes if part),
        )
        return Sight(
            workload=workload,
            observation=observation,
            record=record,
            restore_threads=threads,
            uses=uses,
            host=host,
            store=store,
            offer=offer,
            trouble=trouble,
        )

    async def _use(self) -> tuple[DeviceUse, ...] | HotseatError:
        try:
            return await self._devices.use()
        except HotseatError as error:
            return error

    async def _held(self, cuda: Sequence[ProcessRef]) -> tuple[Mapping[ProcessRef, Held], str, Offer]:
        if self._store is None:
            return {}, "no store is set up", Offer()
        try:
            held = await self._store.held(cuda, deadline=self._deadlines.query)
            interposed = [one for one in held.values() if not one.custom]
            status = None if len(interposed) == len(cuda) else await self._store.status(deadline=self._deadlines.query)
        except HotseatError as error:
            return {}, error.message, Offer()
        if status is None:
            return held, "", Offer()
        silent = "" if held or status.running else status.note or "no store runs"
        return (
            held,
            silent,
            Offer(
                works=status.custom_storage,
                why=status.no_custom_storage,
                room=max(status.arena, status.may_grow),
            ),
        )

    async def _cuda(
        self, workload: Workload, meter: Meter
    ) -> tuple[
        Sequence[ProcessRef],
        Mapping[ProcessRef, int],
        Mapping[ProcessRef, ProcessState | None],
        HotseatError | None,
    ]:
        """Processes, restore threads, states. A paused process is never asked for its state: it could not answer."""
        processes: Sequence[ProcessRef] = ()
        threads: Mapping[ProcessRef, int] = {}
        trouble: HotseatError | None = None
        for _ in range(READINGS):
            try:
                processes = workload.platform.read_pids(workload.container)
                with meter.of("driver"):
                    threads = await self._driver.find_cuda(processes, deadline=self._deadlines.query)
                cuda = sorted(threads)
                if workload.container.status is Status.PAUSED or not cuda:
                    return processes, threads, dict.fromkeys(cuda), None
                with meter.of("driver"):
                    seen = await self._driver.states(cuda, deadline=self._deadlines.query)
                return processes, threads, {process: seen.get(process) for process in cuda}, None
            except ProcessGone as error:
                trouble = error  # it ended between the list and the question: read the list again
            except HotseatError as error:
                return processes, threads, dict.fromkeys(sorted(threads)), error
        return processes, threads, dict.fromkeys(sorted(threads)), trouble


def parked_blocks(record: Record, *, held: Mapping[ProcessRef, Held], store: str) -> str:
    """What a person should know of the blocks of a parked workload."""
    mine = [holding.process for holding in record.holdings if holding.interposed or holding.custom]
    if not mine:
        return ""
    if store:
        return f"the store has memory of it, and {store}"
    lost = [process for process in mine if process not in held or held[process].state is HeldState.LOST]
    return "; ".join(lost_note(process, held.get(process)) for process in lost)


def kept_note(stays: Mapping[int, int]) -> str:
    """Of contexts that stay while it is parked."""
    told = ", ".join(f"{format_size(nbytes)} of device {index}" for index, nbytes in sorted(stays.items()) if nbytes)
    return f"its context stays ({told})" if told else ""


def lost_note(process: ProcessRef, held: Held | None) -> str:
    why = held.note if held is not None and held.note else "the store does not know it any more"
    return f"memory of process {process.pid} is lost: {why}"


HostBytes = Callable[[Sequence[ProcessRef]], int]


def resident_bytes(processes: Sequence[ProcessRef]) -> int:
    """Host memory of these processes, shared pages by share. Walks page tables, tens of milliseconds for a large
    process, so call it in a thread."""
    return sum(proc.pss_bytes(process.pid) or 0 for process in processes)
