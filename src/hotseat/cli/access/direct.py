"""Without a daemon: the swapper itself, on any running container or process tree of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from hotseat.cli import view
from hotseat.cli.access.find import find
from hotseat.cli.view import Row
from hotseat.errors import HotseatError, NotFound, Refused
from hotseat.gpu.port import DeviceTruth
from hotseat.platforms.port import Container, Platform, Status
from hotseat.swap.plan import CHECKPOINT
from hotseat.swap.port import BringsAhead, Observation, Progress, Swapper, Workload
from hotseat.words import DeviceUse, State, SwapReport

IN_A_SWAP = (State.PARKED, State.QUARANTINED, State.SWAPPING_OUT, State.SWAPPING_IN)


class Parts(Protocol):
    """The part of `hotseat.daemon.wiring.Runtime` that is needed here."""

    @property
    def swapper(self) -> Swapper: ...

    @property
    def platforms(self) -> Mapping[str, Platform]: ...

    @property
    def devices(self) -> DeviceTruth: ...

    async def find_workload(self, ref: str) -> Workload: ...


class Direct:
    """`Access` by the parts themselves."""

    way = "direct"

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def rows(self, *, everything: bool = False) -> Sequence[Row]:
        uses = await self._parts.devices.use()
        found = await self._workloads()
        seen = await asyncio.gather(*(self._look(workload) for workload in found))
        rows = [
            _row(workload.name, observation)
            for workload, observation in zip(found, seen, strict=True)
            if everything or observation.cuda or observation.state in IN_A_SWAP or observation.gpu_bytes
        ]
        return [*rows, *strangers(uses, known={pid for row in rows for pid in row.pids})]

    async def devices(self) -> Sequence[DeviceUse]:
        return await self._parts.devices.use()

    async def notes(self) -> Sequence[str]:
        return ()

    async def snapshot(self) -> dict[str, Any]:
        rows, uses = await asyncio.gather(self.rows(), self._parts.devices.use())
        return view.picture(rows, uses)

    async def logs(self, name: str, *, tail: int, follow: bool) -> AsyncGenerator[bytes]:
        workload = await self._parts.find_workload(name)
        if not follow:
            yield (await workload.platform.logs(workload.container, tail=tail)).encode()
            return
        async for chunk in workload.platform.follow_logs(workload.container, tail=tail):
            yield chunk

    async def park(self, name: str, *, whole: bool = False, progress: Progress) -> SwapReport:
        """Always wholly: no settings say that a context may stay."""
        return await self._parts.swapper.swap_out(await find(self._parts, name), progress=progress)

    async def seat(self, name: str, *, progress: Progress) -> SwapReport:
        return await self._parts.swapper.swap_in(await find(self._parts, name), progress=progress)

    async def swap(self, name: str, out: str | None, *, progress: Progress) -> Sequence[SwapReport]:
        going_in = await find(self._parts, name)
        if out is not None:
            going_out = await find(self._parts, out)
        else:
            chosen = await self._who_must_go(going_in)
            if chosen is None:
                return [await self._parts.swapper.swap_in(going_in, progress=progress)]
            going_out = chosen
        if going_in.container.key == going_out.container.key:
            raise Refused(f"{name} and {out} are the same container", rule="one workload cannot replace itself")
        # Nothing is parked for a workload that could not sit then.
        state = (await self._parts.swapper.observe(going_in)).state
        if state is not State.PARKED:
            raise Refused(
                f"{going_in.name} is {state}, not parked",
                rule="only a parked workload can be seated",
                hint=f"to free the GPU only: hotseat park {going_out.name}",
            )
        parked = await self._out_beside(going_out, going_in, progress=progress)
        try:
            return [parked, await self._parts.swapper.swap_in(going_in, progress=progress)]
        except HotseatError as error:
            if parked.phases:
                await self._give_back(going_out, progress=progress, because=error)
            raise

    async def aclose(self) -> None:
        """The parts belong to whoever built them."""

    async def _out_beside(self, going_out: Workload, going_in: Workload, *, progress: Progress) -> SwapReport:
        """And as far as the store has the other, that one begins to come in ahead; its swap in does not need it."""
        swapper = self._parts.swapper
        begun: list[asyncio.Task[None]] = []

        def told(phase: str, status: str) -> None:
            progress(phase, status)
            if (phase, status) == (CHECKPOINT.name, "start") and isinstance(swapper, BringsAhead):
                begun.append(asyncio.create_task(swapper.ahead(going_in)))

        try:
            return await swapper.swap_out(going_out, progress=told)
        finally:
            await asyncio.gather(*begun, return_exceptions=True)

    async def _give_back(self, workload: Workload, *, progress: Progress, because: HotseatError) -> None:
        """The other could not sit: the seat goes back to who had it, and the error tells how that went."""
        try:
            await self._parts.swapper.swap_in(workload, progress=progress)
            because.message += f"; {workload.name} has its seat again"
        except HotseatError as error:
            because.message += f"; {workload.name} stays parked ({error.message})"

    async def _who_must_go(self, going_in: Workload) -> Workload | None:
        """Nobody if there is room; the only one that sits on its devices, if it is only one; else ask."""
        need = (await self._parts.swapper.observe(going_in)).parked_gpu_bytes
        free = {use.device.index: use.free_bytes for use in await self._parts.devices.use()}
        tight = {index for index, count in need.items() if free.get(index, 0) < count}
        if not tight:
            return None
        seated = [row for row in await self.rows() if row.state is State.SEATED and tight & set(row.gpu_bytes)]
        names = ", ".join(row.name for row in seated)
        if len(seated) != 1:
            raise Refused(
                f"{going_in.name} does not fit and {'nobody' if not seated else names} sits there",
                rule="hotseat parks no one that was not named unless the choice is clear",
                hint=f"name who goes: hotseat swap {going_in.name} OUT"
                if seated
                else "see `hotseat ps` and `nvidia-smi`",
            )
        return await find(self._parts, seated[0].container)

    async def _workloads(self) -> list[Workload]:
        """Every running or paused container of every platform that answers, and whatever the journal knows."""
        out: dict[str, Workload] = {}
        for platform in self._parts.platforms.values():
            try:
                containers = await platform.list()
            except HotseatError:
                continue  # doctor tells why a platform does not answer
            for container in containers:
                if container.status in (Status.RUNNING, Status.PAUSED):
                    out[container.key] = Workload(name=container.name, container=container, platform=platform)
        for key, _state, _note in await self._parts.swapper.known():
            if key not in out:
                try:
                    out[key] = await find(self._parts, key)
                except NotFound:
                    continue  # ended since; the journal forgets it at its next swap
        return sorted(out.values(), key=lambda workload: workload.name)

    async def _look(self, workload: Workload) -> Observation:
        try:
            return await self._parts.swapper.observe(workload)
        except HotseatError as error:
            return _unseen(workload.container, error)


def _unseen(container: Container, error: HotseatError) -> Observation:
    state = State.PAUSED if container.status is Status.PAUSED else State.SEATED
    return Observation(state=state, container=container, processes=(), cuda={}, note=error.message)


def _row(name: str, seen: Observation) -> Row:
    return Row(
        name=name,
        state=seen.state,
        platform=seen.container.platform,
        container=seen.container.key,
        models=_models(seen.container.labels),
        pids=tuple(process.pid for process in seen.processes),
        gpu_bytes=dict(seen.gpu_bytes),
        parked_gpu_bytes=dict(seen.parked_gpu_bytes),
        stored_bytes=sum(one.disk_bytes for one in seen.held.values()),
        host_bytes=seen.host_bytes,
        note=seen.note,
        way=seen.way.name,
        way_why=seen.way.why,
    )


def _models(labels: Mapping[str, Any]) -> tuple[str, ...]:
    """The label `hotseat.models` (hotseat's own) or `hotseat.model` (somebody's), names separated by commas."""
    said = str(labels.get("hotseat.models") or labels.get("hotseat.model") or "")
    return tuple(name.strip() for name in said.split(",") if name.strip())


def strangers(uses: Sequence[DeviceUse], *, known: set[int]) -> list[Row]:
    """Processes on a device that belong to no container seen here. They can be parked by their number."""
    held: dict[int, dict[int, int]] = {}
    for use in uses:
        for pid, count in use.processes.items():
            if pid not in known:
                held.setdefault(pid, {})[use.device.index] = count
    return [
        Row(
            name=str(pid),
            state=State.SEATED,
            platform="process",
            container=f"process:{pid}",
            pids=(pid,),
            gpu_bytes=devices,
            note="in no container; park it by this number",
        )
        for pid, devices in sorted(held.items())
    ]
